//! The time that a side call has, and each of its attempts.

use std::time::Duration;

use sampan_filters_api::Known;
use sampan_filters_api::call::{Call, CallError};
use tokio::time::{Instant, sleep_until};

use crate::failure::Kind;

/// The time of a call and of its attempts.
pub(super) struct Clock {
    since: Instant,
    whole: Option<Duration>,
    /// Of one attempt, where that is less than the whole.
    attempt: Option<Duration>,
}

impl Clock {
    pub(super) fn new(call: &Call) -> Self {
        let attempt = call.retry.as_ref().map(|retry| retry.max_interval);
        let attempt = attempt.filter(|one| call.timeout.is_none_or(|whole| *one < whole));
        Self { since: Instant::now(), whole: call.timeout, attempt }
    }

    /// When an attempt that begins now must have ended, and what it is if it has not.
    pub(super) fn attempt(&self) -> Option<(Instant, Kind)> {
        let whole = self.end().map(|end| (end, Kind::ResponseTimeout));
        let one = self.attempt.map(|one| (Instant::now() + one, Kind::PerTryTimeout));
        whole.into_iter().chain(one).min_by_key(|(end, _)| *end)
    }

    /// Tells the service how long it has.
    pub(super) fn tell(&self, call: &mut Call) {
        let left = self.whole.map(|whole| whole.as_millis().saturating_sub(self.since.elapsed().as_millis()));
        let one = self.attempt.map(|one| one.as_millis());
        if let Some(millis) = left.into_iter().chain(one).min() {
            let mut text = itoa::Buffer::new();
            call.head.headers.set_known(Known::XEnvoyExpectedRqTimeoutMs, text.format(millis.max(1)));
        }
    }

    /// Waits before another attempt, as long as the call has time.
    pub(super) async fn pause(&self, wait: Duration) -> Result<(), CallError> {
        let next = Instant::now() + wait;
        match self.end().filter(|end| *end <= next) {
            None => sleep_until(next).await,
            Some(end) => {
                sleep_until(end).await;
                return Err(CallError::Timeout);
            }
        }
        Ok(())
    }

    fn end(&self) -> Option<Instant> {
        Some(self.since + self.whole?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sampan_filters_api::RequestHead;
    use sampan_filters_api::call::Retry;

    use super::*;

    fn call(timeout: Option<u64>, most: u64) -> Call {
        let max_interval = Duration::from_millis(most);
        let retry = Retry { on: "5xx".into(), retries: 9, base_interval: max_interval, max_interval };
        let timeout = timeout.map(Duration::from_millis);
        Call { timeout, retry: Some(Arc::new(retry)), ..Call::new("c".into(), RequestHead::default()) }
    }

    fn told(clock: &Clock, call: &mut Call) -> String {
        clock.tell(call);
        String::from_utf8_lossy(call.head.headers.known(Known::XEnvoyExpectedRqTimeoutMs).unwrap())
            .into_owned()
    }

    fn kind(clock: &Clock) -> Option<&'static str> {
        clock.attempt().map(|(_, kind)| if matches!(kind, Kind::PerTryTimeout) { "one" } else { "whole" })
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_share_the_time_of_the_call() {
        let mut call = call(Some(1000), 400);
        let clock = Clock::new(&call);
        assert_eq!((told(&clock, &mut call).as_str(), kind(&clock)), ("400", Some("one")));
        assert_eq!(clock.pause(Duration::from_millis(700)).await, Ok(()));
        assert_eq!((told(&clock, &mut call).as_str(), kind(&clock)), ("300", Some("whole")));
        let before = Instant::now();
        assert_eq!(clock.pause(Duration::from_millis(400)).await, Err(CallError::Timeout));
        assert_eq!(before.elapsed().as_millis(), 300, "it does not wait for what has no time left");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_longer_than_the_call_limits_nothing() {
        let mut bounded = call(Some(100), 400);
        let clock = Clock::new(&bounded);
        assert_eq!((told(&clock, &mut bounded).as_str(), kind(&clock)), ("100", Some("whole")));
        let mut endless = call(None, 400);
        let clock = Clock::new(&endless);
        assert_eq!((told(&clock, &mut endless).as_str(), kind(&clock)), ("400", Some("one")));
    }
}
