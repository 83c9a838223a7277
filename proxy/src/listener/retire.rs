//! The end of a filter chain that a newer configuration no longer has, or has otherwise.
//!
//! ```text
//! in force --begin--> retired: responses ask clients to leave, gradually or at once --drain time--> its connections are closed
//! ```
//!
//! The control thread begins it once the replacement is published; connections of other chains notice nothing. Reading it
//! costs a request one load of a word that nobody writes.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::config::FilterChain;
use crate::cli::DrainStrategy;
use crate::net::alarm::Alarm;
use crate::process::drain::{AfterDrain, Drain, DrainScope, DrainState};
use crate::worker::Worker;
use crate::worker::idle::IdleSlot;

/// Whether a filter chain is retired, and since when.
#[derive(Debug, Default)]
pub struct Retirement(OnceLock<Drain>);

impl Retirement {
    /// Retires the chain; a second time changes nothing.
    pub fn begin(&self, time: Duration, strategy: DrainStrategy) {
        let scope = DrainScope::All;
        self.0.get_or_init(|| Drain {
            since: Instant::now(),
            time,
            strategy,
            scope,
            then: AfterDrain::StopListening,
        });
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether a connection that just finished a request should go now; see [`DrainState::should_close`].
    pub fn should_close(&self, now: Instant, random: impl FnOnce() -> u64) -> bool {
        let Some(drain) = self.0.get() else { return false };
        DrainState { health_failed: false, drain: Some(*drain) }.should_close(now, true, random())
    }

    /// When its connections are closed, whatever they do.
    fn ends_at(&self) -> Option<Instant> {
        self.0.get().map(|drain| drain.since + drain.time)
    }
}

/// Serves a connection of `chain` with `life`, until that ends or the chain's connections are to be closed.
///
/// The worker wakes the task when listeners change, so that it learns of the chain's end; whatever `life` waits for is asked
/// again then, which is how its protocol learns of a drain.
pub(crate) async fn until_over(
    worker: &Rc<Worker>,
    chain: &FilterChain,
    mut life: Pin<Box<dyn Future<Output = ()> + '_>>,
) {
    let place = IdleSlot::new(worker);
    let mut end = Alarm::default();
    poll_fn(|cx| {
        place.register(cx);
        if life.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        end.poll(cx, chain.retirement.ends_at())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_chain_lets_go_in_proportion_to_the_time() {
        let retirement = Retirement::default();
        assert!(!retirement.should_close(Instant::now(), || 0));
        assert_eq!(retirement.ends_at(), None);
        retirement.begin(Duration::from_secs(10), DrainStrategy::Gradual);
        let since = retirement.ends_at().unwrap().checked_sub(Duration::from_secs(10)).unwrap();
        assert!(!retirement.should_close(since + Duration::from_secs(1), || 5_000));
        assert!(retirement.should_close(since + Duration::from_secs(6), || 5_000));
        retirement.begin(Duration::ZERO, DrainStrategy::Immediate);
        assert_eq!(retirement.ends_at(), Some(since + Duration::from_secs(10)), "it begins once");
    }

    #[test]
    fn or_at_once() {
        let retirement = Retirement::default();
        retirement.begin(Duration::from_secs(10), DrainStrategy::Immediate);
        assert!(retirement.has_begun() && retirement.should_close(Instant::now(), || u64::MAX));
    }
}
