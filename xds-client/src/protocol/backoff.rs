//! How long to wait before the next attempt to connect: exponential with full jitter, as AWS and Envoy do it, so that proxies that
//! lost their control plane at the same moment do not come back at the same moment.

use std::time::Duration;

/// The delays between failed attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    ceiling: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    /// The first delay is below `base`, none is above `max`.
    pub fn new(base: Duration, max: Duration, rng: fastrand::Rng) -> Self {
        let base = base.max(Duration::from_millis(1));
        let max = max.max(base);
        Self { base, max, ceiling: base, rng }
    }

    /// The next delay: anything from zero to a ceiling that doubles.
    pub fn delay(&mut self) -> Duration {
        let ceiling = u64::try_from(self.ceiling.as_nanos()).unwrap_or(u64::MAX);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        Duration::from_nanos(self.rng.u64(0..=ceiling))
    }

    /// After a response: the next failure counts as the first.
    pub fn reset(&mut self) {
        self.ceiling = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_are_spread_over_the_whole_range() {
        let (base, max) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut low = 0;
        for seed in 0..500 {
            let mut backoff = Backoff::new(base, max, fastrand::Rng::with_seed(seed));
            let mut ceiling = base;
            for _ in 0..10 {
                let delay = backoff.delay();
                assert!(delay <= ceiling, "{delay:?} is over {ceiling:?}");
                low += usize::from(delay < ceiling / 2);
                ceiling = (ceiling * 2).min(max);
            }
            backoff.reset();
            assert!(backoff.delay() <= base);
        }
        assert!((2_000..3_000).contains(&low), "{low} of 5000 delays are in the lower half");
    }
}
