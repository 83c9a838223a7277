//! What draining asks of a connection: a pure decision over a small state that is passed around by value.
//!
//! A worker subscribes to [`Lifecycle::drain`](super::Lifecycle::drain) and asks [`DrainState::should_close`]
//! after each response, and [`Drain::stops_at`] for when to close its listening sockets.

use std::time::{Duration, Instant};

use crate::cli::DrainStrategy;

/// Which listeners a drain is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainScope {
    /// Those whose `traffic_direction` is INBOUND.
    Inbound,
    /// All.
    All,
}

/// What follows the drain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterDrain {
    /// Nothing: connections are asked to leave, new ones are still accepted.
    KeepListening,
    /// The listeners are stopped.
    StopListening,
    /// The process exits; its listeners are stopped at once.
    Exit,
}

/// A drain that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub since: Instant,
    /// How long it lasts; zero when no grace was asked for.
    pub time: Duration,
    /// How connections are asked to leave.
    pub strategy: DrainStrategy,
    /// Which listeners it is about.
    pub scope: DrainScope,
    /// What comes then.
    pub then: AfterDrain,
}

impl Drain {
    /// When the listeners in scope stop accepting; `None` if they never do.
    pub fn stops_at(&self) -> Option<Instant> {
        match self.then {
            AfterDrain::KeepListening => None,
            AfterDrain::StopListening => Some(self.since + self.time),
            AfterDrain::Exit => Some(self.since),
        }
    }

    /// Both drains at once: the wider scope and the more final end. The clock of `self` goes on, unless the
    /// other one brings more than `self` promised.
    pub(super) fn joined(self, later: Self) -> Self {
        let wider = later.scope > self.scope || later.then > self.then;
        let clock = if wider { later } else { self };
        Self { scope: self.scope.max(later.scope), then: self.then.max(later.then), ..clock }
    }
}

/// Whether connections should leave, and why. Copied to every worker when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainState {
    /// Health checks are failed on purpose: all connections are asked to leave.
    pub health_failed: bool,
    /// The drain that has begun.
    pub drain: Option<Drain>,
}

impl DrainState {
    /// Whether a connection that just finished a request (or has none) should be closed. `random` spreads the
    /// closes of a gradual drain over its time; any uniform 64-bit number will do.
    pub fn should_close(&self, now: Instant, inbound: bool, random: u64) -> bool {
        if self.health_failed {
            return true;
        }
        let Some(drain) = self.drain else { return false };
        if drain.scope == DrainScope::Inbound && !inbound {
            return false;
        }
        if drain.then == AfterDrain::Exit
            || drain.strategy == DrainStrategy::Immediate
            || drain.time.is_zero()
        {
            return true;
        }
        let elapsed = now.saturating_duration_since(drain.since).as_millis();
        elapsed >= u128::from(random) % drain.time.as_millis().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(strategy: DrainStrategy, scope: DrainScope, then: AfterDrain) -> Drain {
        Drain { since: Instant::now(), time: Duration::from_secs(10), strategy, scope, then }
    }

    fn state(drain: Drain) -> DrainState {
        DrainState { health_failed: false, drain: Some(drain) }
    }

    #[test]
    fn a_gradual_drain_closes_in_proportion_to_its_time() {
        let d = drain(DrainStrategy::Gradual, DrainScope::All, AfterDrain::StopListening);
        for (seconds, expected) in [(0, 0), (2, 2), (5, 5), (10, 10), (20, 10)] {
            let now = d.since + Duration::from_secs(seconds);
            let closed = (0..10).filter(|i| state(d).should_close(now, true, i * 1000 + 1)).count();
            // At the very start a random number of 0 would close; 1 ms later than a full second does not.
            assert_eq!(closed, if seconds == 0 { 0 } else { expected }, "after {seconds} s");
        }
    }

    #[test]
    fn scope_strategy_and_health() {
        let inbound = drain(DrainStrategy::Immediate, DrainScope::Inbound, AfterDrain::KeepListening);
        assert!(state(inbound).should_close(inbound.since, true, u64::MAX));
        assert!(!state(inbound).should_close(inbound.since, false, 0));
        assert_eq!(inbound.stops_at(), None);
        let exit = drain(DrainStrategy::Gradual, DrainScope::All, AfterDrain::Exit);
        assert!(state(exit).should_close(exit.since, false, u64::MAX));
        assert_eq!(exit.stops_at(), Some(exit.since));
        assert!(!DrainState::default().should_close(exit.since, true, 0));
        assert!(DrainState { health_failed: true, drain: None }.should_close(exit.since, false, 1));
    }

    #[test]
    fn a_second_drain_widens_the_first() {
        let first = drain(DrainStrategy::Immediate, DrainScope::Inbound, AfterDrain::StopListening);
        let mut second = drain(DrainStrategy::Gradual, DrainScope::All, AfterDrain::KeepListening);
        second.since += Duration::from_secs(3);
        let both = first.joined(second);
        assert_eq!(
            (both.scope, both.then, both.since),
            (DrainScope::All, AfterDrain::StopListening, second.since)
        );
        let same = Drain { since: second.since, ..first };
        assert_eq!(first.joined(same), first, "asking again does not restart the clock");
    }
}
