//! The last answer to a check, in pass-through mode with `cache_time`.
//!
//! Time is cut into pieces of that length, from when the filter was configured; an answer holds until the end of the piece in which
//! it came. So upstreams see a check of each worker once in each piece, or a few that overlap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An answer to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whether it has `x-envoy-degraded`.
    pub degraded: bool,
}

/// The last answer, shared by all workers.
#[derive(Debug)]
pub struct Cache {
    since: Instant,
    piece: Duration,
    /// Which piece of time (47 bits), `degraded` (1), `status` (16); zero as long as there is none.
    last: AtomicU64,
}

impl Cache {
    /// An empty one, of answers that hold for as long as `piece`, which is not zero.
    pub fn new(piece: Duration, now: Instant) -> Self {
        Self { since: now, piece, last: AtomicU64::new(0) }
    }

    /// The answer that holds.
    pub fn answer(&self, now: Instant) -> Option<Answer> {
        let last = self.last.load(Relaxed);
        let status = (last & 0xffff) as u16;
        (status != 0 && last >> 17 == self.piece(now))
            .then_some(Answer { status, degraded: last & 1 << 16 != 0 })
    }

    /// Keeps an answer.
    pub fn keep(&self, answer: Answer, now: Instant) {
        let degraded = u64::from(answer.degraded);
        self.last.store(self.piece(now) << 17 | degraded << 16 | u64::from(answer.status), Relaxed);
    }

    fn piece(&self, now: Instant) -> u64 {
        let pieces = now.saturating_duration_since(self.since).as_nanos() / self.piece.as_nanos().max(1);
        // A piece has at least a millisecond, so this is never cut in a lifetime.
        (pieces as u64) & (u64::MAX >> 17)
    }
}
