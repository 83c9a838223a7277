//! What workers note of a host: outcomes in atomics that all workers share. Touched only where a cluster has outlier detection.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{OutlierConfig, Reason};

/// How something that was sent to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status (a gRPC status counts as the HTTP status it stands for).
    Response(u16),
    /// It was reached, and will answer.
    Connected,
    /// It was reached, and that was all that was wanted of it (TCP).
    ConnectedFinally,
    /// It was not reached, or left before it answered.
    Failed,
    /// It did not answer in time.
    TimedOut,
}

/// Whose failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host's answers.
    External,
    /// Ours to reach it; where the two are split.
    LocalOrigin,
}

/// Outcomes over an interval.
#[derive(Debug, Default)]
struct Rate {
    total: AtomicU64,
    success: AtomicU64,
    /// Bits of the last interval's success rate, where that was computed; 0 stands for none.
    last: AtomicU64,
}

/// The outcomes of one host, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Monitor {
    external: Rate,
    local: Rate,
    in_row_5xx: AtomicU32,
    in_row_gateway: AtomicU32,
    in_row_local: AtomicU32,
    /// Runs that are complete and that the detector has not seen, as bits.
    complete: AtomicU32,
}

const GATEWAY: u32 = 1;
const SERVER: u32 = 2;
const LOCAL: u32 = 4;

impl Monitor {
    /// Notes an outcome; true if a run of failures is complete and the detector is to look.
    pub fn note(&self, outcome: Outcome, config: &OutlierConfig) -> bool {
        match (outcome, config.split) {
            (Outcome::Response(status), _) => self.response(status, config),
            (Outcome::Connected | Outcome::ConnectedFinally, true) => self.reached(true, config),
            (Outcome::Failed | Outcome::TimedOut, true) => self.reached(false, config),
            (Outcome::Connected, false) => false,
            (Outcome::ConnectedFinally, false) => self.response(200, config),
            (Outcome::Failed, false) => self.response(503, config),
            (Outcome::TimedOut, false) => self.response(504, config),
        }
    }

    fn response(&self, status: u16, config: &OutlierConfig) -> bool {
        self.external.total.fetch_add(1, Relaxed);
        if status < 500 {
            self.external.success.fetch_add(1, Relaxed);
            clear(&self.in_row_5xx);
            clear(&self.in_row_gateway);
            return false;
        }
        let mut complete = 0;
        if matches!(status, 502..=504) {
            if self.in_row_gateway.fetch_add(1, Relaxed) + 1 == config.consecutive_gateway_failure {
                complete |= GATEWAY;
            }
        } else {
            clear(&self.in_row_gateway);
        }
        if self.in_row_5xx.fetch_add(1, Relaxed) + 1 == config.consecutive_5xx {
            complete |= SERVER;
        }
        self.completed(complete)
    }

    fn reached(&self, well: bool, config: &OutlierConfig) -> bool {
        self.local.total.fetch_add(1, Relaxed);
        if well {
            self.local.success.fetch_add(1, Relaxed);
            clear(&self.in_row_local);
            return false;
        }
        let complete = self.in_row_local.fetch_add(1, Relaxed) + 1 == config.consecutive_local_origin_failure;
        self.completed(if complete { LOCAL } else { 0 })
    }

    fn completed(&self, runs: u32) -> bool {
        if runs != 0 {
            self.complete.fetch_or(runs, Relaxed);
        }
        runs != 0
    }

    /// The success rate of the last interval in percent, where there was enough to tell.
    pub fn success_rate(&self, side: Side) -> Option<f64> {
        let bits = self.rate(side).last.load(Relaxed);
        // A rate of zero has a sign here, so that its bits are not zero.
        (bits != 0).then(|| f64::from_bits(bits).abs())
    }

    pub(super) fn set_success_rate(&self, side: Side, rate: Option<f64>) {
        self.rate(side).last.store(rate.map_or(0, |rate| (-rate).to_bits()), Relaxed);
    }

    /// The runs that were completed since the last look.
    pub(super) fn take_complete(&self) -> impl Iterator<Item = Reason> + use<> {
        let runs = self.complete.swap(0, Relaxed);
        let all = [
            (GATEWAY, Reason::ConsecutiveGatewayFailure),
            (SERVER, Reason::Consecutive5xx),
            (LOCAL, Reason::ConsecutiveLocalOriginFailure),
        ];
        all.into_iter().filter(move |(bit, _)| runs & bit != 0).map(|(_, reason)| reason)
    }

    /// Begins the run of a reason anew.
    pub(super) fn reset(&self, reason: Reason) {
        match reason {
            Reason::ConsecutiveGatewayFailure => self.in_row_gateway.store(0, Relaxed),
            Reason::Consecutive5xx => self.in_row_5xx.store(0, Relaxed),
            Reason::ConsecutiveLocalOriginFailure => self.in_row_local.store(0, Relaxed),
            _ => {}
        }
    }

    /// Successes and outcomes of the interval that ends now.
    pub(super) fn take_interval(&self, side: Side) -> (u64, u64) {
        let rate = self.rate(side);
        // The total last: an outcome in between may be missing from it, and is not a failure.
        let success = rate.success.swap(0, Relaxed);
        let total = rate.total.swap(0, Relaxed);
        (success.min(total), total)
    }

    fn rate(&self, side: Side) -> &Rate {
        match side {
            Side::External => &self.external,
            Side::LocalOrigin => &self.local,
        }
    }
}

/// Writes only if there is something to clear: the usual case shares the line.
fn clear(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}
