//! A token bucket without a lock: it is one moment in time, that at which it would have been empty.
//!
//! Tokens come in a steady stream, not in bursts of `tokens_per_fill`, as in Envoy. Taking some moves the moment on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a bucket is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// `max_tokens`
    pub most: u32,
    /// Tokens per second.
    pub rate: f64,
}

impl Shape {
    /// `tokens_per_fill` for each `fill_interval`.
    pub fn new(most: u32, per_fill: u32, interval: Duration) -> Self {
        let seconds = interval.as_secs_f64();
        Self { most, rate: if seconds > 0.0 { f64::from(per_fill) / seconds } else { 0.0 } }
    }
}

/// A bucket, full at first.
#[derive(Debug)]
pub struct Bucket {
    shape: Shape,
    since: Instant,
    /// Seconds after `since` (a negative number, at first) at which there would have been no token; the bits of an `f64`.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(shape: Shape, now: Instant) -> Self {
        let full = if shape.rate > 0.0 { -f64::from(shape.most) / shape.rate } else { 0.0 };
        Self { shape, since: now, empty_at: AtomicU64::new(full.to_bits()) }
    }

    /// What the bucket is like.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes tokens if there are so many; a negative number gives back.
    pub fn take(&self, count: f64, now: Instant) -> bool {
        let now = self.seconds(now);
        let mut old = self.empty_at.load(Relaxed);
        loop {
            let there = self.tokens(f64::from_bits(old), now);
            if there < count || self.shape.rate <= 0.0 {
                return false;
            }
            let left = (there - count).min(f64::from(self.shape.most));
            let new = (now - left / self.shape.rate).to_bits();
            match self.empty_at.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => old = other,
            }
        }
    }

    /// How many whole tokens there are.
    pub fn left(&self, now: Instant) -> u64 {
        self.tokens(f64::from_bits(self.empty_at.load(Relaxed)), self.seconds(now)) as u64
    }

    /// Whole seconds until there is a token; none if there is one.
    pub fn next(&self, now: Instant) -> u64 {
        let there = self.tokens(f64::from_bits(self.empty_at.load(Relaxed)), self.seconds(now));
        if there >= 1.0 || self.shape.rate <= 0.0 {
            0
        } else {
            ((1.0 - there) / self.shape.rate).ceil() as u64
        }
    }

    fn tokens(&self, empty_at: f64, now: f64) -> f64 {
        ((now - empty_at) * self.shape.rate).clamp(0.0, f64::from(self.shape.most))
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.since).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_steadily_and_no_more_than_fit() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let bucket = Bucket::new(Shape::new(2, 1, Duration::from_secs(1)), start);
        assert_eq!(bucket.left(start), 2);
        assert!(bucket.take(1.0, start) && bucket.take(1.0, start) && !bucket.take(1.0, start));
        assert_eq!((bucket.left(start), bucket.next(start)), (0, 1));
        assert!(!bucket.take(1.0, at(999)) && bucket.take(1.0, at(1001)));
        assert_eq!(bucket.left(at(100_000)), 2);
        assert_eq!(bucket.next(at(100_000)), 0);
    }

    #[test]
    fn hits_count_and_are_given_back() {
        let start = Instant::now();
        let bucket = Bucket::new(Shape::new(10, 1, Duration::from_mins(1)), start);
        assert!(!bucket.take(11.0, start) && bucket.take(7.0, start));
        assert_eq!(bucket.left(start), 3);
        assert!(bucket.take(-100.0, start));
        assert_eq!(bucket.left(start), 10);
    }

    #[test]
    fn an_empty_bucket_stays_empty() {
        let start = Instant::now();
        let bucket = Bucket::new(Shape::new(0, 1, Duration::from_mins(1)), start);
        assert!(!bucket.take(1.0, start + Duration::from_mins(10)));
        let never = Bucket::new(Shape::new(0, 1, Duration::ZERO), start);
        assert_eq!((never.take(1.0, start), never.next(start)), (false, 0));
    }
}
