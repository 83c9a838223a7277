//! `RateLimitSettings`: a token bucket for requests on one stream.

use std::time::{Duration, Instant};

/// `rate_limit_settings` of an `ApiConfigSource`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// How many requests may go out at once (`max_tokens`, Envoy's default 100).
    pub max_tokens: u32,
    /// Requests per second afterwards (`fill_rate`, Envoy's default 10).
    pub fill_rate: f64,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { max_tokens: 100, fill_rate: 10.0 }
    }
}

/// The bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: RateLimit,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(limit: RateLimit) -> Self {
        // Envoy refuses a rate below once a year; here it is simply not slower than that.
        let fill_rate =
            if limit.fill_rate.is_finite() { limit.fill_rate.max(1.0 / 31_536_000.0) } else { 1e9 };
        let limit = RateLimit { max_tokens: limit.max_tokens.max(1), fill_rate };
        Self { tokens: f64::from(limit.max_tokens), limit, filled: None }
    }

    fn fill(&mut self, now: Instant) {
        let since = self.filled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.filled = Some(now);
        let filled = self.tokens + since.as_secs_f64() * self.limit.fill_rate;
        self.tokens = filled.min(f64::from(self.limit.max_tokens));
    }

    /// When a request may go out: `None` is now.
    pub(crate) fn ready(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        // A token that floating point fell short of by a hair is a token, or the wait for it would be no time at all.
        let missing = 1.0 - self.tokens;
        (missing > 1e-9)
            .then(|| now + Duration::from_secs_f64(missing / self.limit.fill_rate) + Duration::from_nanos(1))
    }

    /// Takes the token that [`Bucket::ready`] saw.
    pub(crate) fn take(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RateLimit { max_tokens: 3, fill_rate: 10.0 });
        let mut now = start;
        let mut passed = Vec::new();
        while passed.len() < 23 {
            match bucket.ready(now) {
                None => {
                    bucket.take();
                    passed.push(now - start);
                }
                Some(at) => {
                    assert!(at > now, "waiting must get somewhere");
                    now = at;
                }
            }
        }
        assert_eq!(passed[2], Duration::ZERO);
        assert!(passed[3] >= Duration::from_millis(99));
        let last = passed[22];
        assert!((Duration::from_millis(1990)..Duration::from_millis(2010)).contains(&last), "{last:?}");
    }
}
