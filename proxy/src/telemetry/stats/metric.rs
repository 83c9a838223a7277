//! Metrics with names and tags that only traffic or configuration tells: a filter's counters, Istio's
//! `istio_requests_total` with its twenty labels.
//!
//! As with blocks, each thread has a [`Metric`] of its own and keeps the `Arc`; finding one takes a lock and a hash, so
//! callers cache by whatever they key on. Their number is bounded: labels can come from request headers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use smallvec::SmallVec;

use super::collect::Interval;
use super::histogram::{Distribution, Recorder};
use super::registry::{Stats, Writer, locked};
use super::tags::Tag;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// One thread's share of a metric. Only that thread may write to it.
#[derive(Default)]
pub struct Metric {
    /// As a gauge cell of a block: `value * 2 + 1`, or 0 if never written.
    cell: AtomicU64,
    histogram: OnceLock<Box<Recorder>>,
}

impl Metric {
    /// Adds one to a counter or gauge.
    #[inline]
    pub fn inc(&self) {
        self.shift(1);
    }

    /// Takes one from a gauge.
    #[inline]
    pub fn dec(&self) {
        self.shift(-1);
    }

    /// Adds to a counter or gauge.
    #[inline]
    pub fn shift(&self, amount: i64) {
        let raw = self.cell.load(Relaxed);
        self.cell.store(raw.wrapping_add(amount.cast_unsigned() << 1) | 1, Relaxed);
    }

    /// Sets this thread's share of a gauge.
    #[inline]
    pub fn set(&self, value: i64) {
        self.cell.store(value.cast_unsigned() << 1 | 1, Relaxed);
    }

    /// Records a value in a histogram.
    #[inline]
    pub fn record(&self, value: u64) {
        self.histogram.get_or_init(Box::default).record(value);
    }

    /// This thread's share of a counter or gauge.
    pub fn value(&self) -> i64 {
        self.cell.load(Relaxed).cast_signed() >> 1
    }
}

/// All metrics that are not part of a block.
pub(super) struct Metrics {
    known: Mutex<HashMap<Key, Arc<Entry>>>,
    limit: usize,
    refused: AtomicU64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    name: Box<str>,
    tags: Arc<[Tag]>,
    is: MetricType,
}

type Shares = SmallVec<[(Writer, Arc<Metric>); 2]>;

/// A metric with the shares of all threads.
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) tags: Arc<[Tag]>,
    pub(super) is: MetricType,
    /// What a reset took off.
    pub(super) baseline: AtomicU64,
    pub(super) interval: Mutex<Interval>,
    shares: Mutex<Shares>,
    retired: AtomicBool,
}

impl Metrics {
    pub(super) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit, refused: AtomicU64::new(0) }
    }

    /// How many metrics were asked for beyond the limit.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// All that exist, after dropping the retired ones that nobody writes any more.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut known = locked(&self.known);
        known.retain(|_, entry| !entry.is_gone());
        known.values().map(Arc::clone).collect()
    }

    fn entry(&self, key: Key) -> Option<Arc<Entry>> {
        let mut known = locked(&self.known);
        if let Some(entry) = known.get(&key) {
            entry.retired.store(false, Relaxed);
            return Some(Arc::clone(entry));
        }
        if known.len() >= self.limit {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        let entry = Arc::new(Entry {
            name: key.name.clone(),
            tags: Arc::clone(&key.tags),
            is: key.is,
            baseline: AtomicU64::new(0),
            interval: Mutex::default(),
            shares: Mutex::default(),
            retired: AtomicBool::new(false),
        });
        known.insert(key, Arc::clone(&entry));
        Some(entry)
    }
}

impl Entry {
    /// The sum over all threads, `None` if never written.
    pub(super) fn sum(&self) -> Option<i64> {
        let shares = locked(&self.shares);
        let written = shares.iter().filter(|(_, share)| share.cell.load(Relaxed) != 0);
        written.map(|(_, share)| share.value()).reduce(i64::wrapping_add)
    }

    /// The values of all threads.
    pub(super) fn distribution(&self) -> Distribution {
        let mut sum = Distribution::default();
        for (_, share) in locked(&self.shares).iter() {
            if let Some(recorder) = share.histogram.get() {
                recorder.add_to(&mut sum);
            }
        }
        sum
    }

    fn is_gone(&self) -> bool {
        self.retired.load(Relaxed)
            && locked(&self.shares).iter().all(|(_, share)| Arc::strong_count(share) == 1)
    }
}

impl Stats {
    /// A metric by its full name, whose tags are found by the rules like those of any other stat.
    pub fn named(&self, is: MetricType, name: &str, writer: Writer) -> Arc<Metric> {
        self.metric(is, name, Arc::default(), writer)
    }

    /// A metric with tags of its own. With more metrics than the limit allows, one that is not printed.
    pub fn metric(&self, is: MetricType, name: &str, tags: Arc<[Tag]>, writer: Writer) -> Arc<Metric> {
        let Some(entry) = self.metrics.entry(Key { name: name.into(), tags, is }) else {
            return Arc::default();
        };
        let mut shares = locked(&entry.shares);
        if let Some((_, share)) = shares.iter().find(|(owner, _)| *owner == writer) {
            return Arc::clone(share);
        }
        let share = Arc::new(Metric::default());
        shares.push((writer, Arc::clone(&share)));
        share
    }

    /// Lets go of all metrics whose name begins with `prefix`, once nobody writes them any more.
    pub fn retire_metrics(&self, prefix: &str) {
        let known = locked(&self.metrics.known);
        let meant = known.values().filter(|entry| entry.name.starts_with(prefix));
        meant.for_each(|entry| entry.retired.store(true, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::StatsConfig;
    use super::*;

    #[test]
    fn labels_without_end_are_refused_and_counted() {
        let stats = Stats::new(&StatsConfig { max_metrics: 3, ..StatsConfig::default() }).unwrap();
        for label in 0..10 {
            let tags: Arc<[Tag]> = [("code".into(), label.to_string())].into();
            stats.metric(MetricType::Counter, "istio_requests_total", tags, Writer::worker(0)).inc();
        }
        assert_eq!(stats.metrics.entries().len(), 3);
        assert_eq!(stats.metrics.refused(), 7);
    }

    #[test]
    fn shares_add_up_and_are_kept_apart() {
        let stats = Stats::new(&StatsConfig::default()).unwrap();
        let zero = stats.named(MetricType::Gauge, "a.b", Writer::worker(0));
        let one = stats.named(MetricType::Gauge, "a.b", Writer::worker(1));
        zero.inc();
        one.shift(5);
        one.dec();
        let entries = stats.metrics.entries();
        assert_eq!(entries[0].sum(), Some(5));
        stats.retire_metrics("a.");
        assert_eq!(stats.metrics.entries().len(), 1);
        drop((zero, one, entries));
        assert!(stats.metrics.entries().is_empty());
    }
}
