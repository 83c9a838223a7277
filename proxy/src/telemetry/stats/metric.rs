//! Metrics with names and tags that only traffic or configuration tells: a filter's counters, Istio's
//! `istio_requests_total` with its twenty labels.
//!
//! As with blocks, each thread has a [`Metric`] of its own and keeps the `Arc`; finding one takes a lock and a hash, so
//! callers cache by whatever they key on. Their number is bounded: labels can come from request headers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sampan_filters_api::Series;
use sampan_filters_api::series::Wanted;
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
    /// The metric was given up: what is written now is not seen.
    gone: AtomicBool,
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

impl Series for Metric {
    fn add(&self, amount: u64) {
        self.shift(amount.cast_signed());
    }

    fn set(&self, value: u64) {
        Metric::set(self, value.cast_signed());
    }

    fn record(&self, value: u64) {
        Metric::record(self, value);
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
}

/// All metrics that are not part of a block.
pub(super) struct Metrics {
    known: Mutex<HashMap<Key, Arc<Entry>>>,
    limit: usize,
    refused: AtomicU64,
    /// How many were asked for that had to be folded into others.
    folded: AtomicU64,
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
    /// After how long without a write it is given up, and when it was last seen to change.
    idle: Option<(Duration, Mutex<(u64, Instant)>)>,
}

/// What filters may make at most: their labels can come from clients, and a metric with all of Istio's takes about 2 KiB.
const MOST_OF_FILTERS: usize = 20_000;

/// How a metric is asked for.
#[derive(Clone, Copy)]
struct Terms {
    limit: usize,
    /// After how long without a write it is given up.
    idle: Option<Duration>,
}

impl Metrics {
    pub(super) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit, refused: AtomicU64::new(0), folded: AtomicU64::new(0) }
    }

    /// How many metrics were folded into others for want of room.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Relaxed)
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

    fn entry(&self, key: Key, terms: Terms) -> Option<Arc<Entry>> {
        let mut known = locked(&self.known);
        if let Some(entry) = known.get(&key) {
            entry.retired.store(false, Relaxed);
            return Some(Arc::clone(entry));
        }
        if known.len() >= terms.limit {
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
            idle: terms.idle.map(|idle| (idle, Mutex::new((0, Instant::now())))),
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

    /// This thread's share.
    fn share(&self, writer: Writer) -> Arc<Metric> {
        let mut shares = locked(&self.shares);
        if let Some((_, share)) = shares.iter().find(|(owner, _)| *owner == writer) {
            return Arc::clone(share);
        }
        let share = Arc::new(Metric::default());
        shares.push((writer, Arc::clone(&share)));
        share
    }

    /// Gives it up if nothing was written to it for as long as it may be idle.
    fn give_up_idle(&self, now: Instant) -> bool {
        let Some((most, seen)) = &self.idle else { return false };
        let written = match self.is {
            MetricType::Histogram => self.distribution().count(),
            MetricType::Counter | MetricType::Gauge => self.sum().unwrap_or(0).cast_unsigned(),
        };
        let mut seen = locked(seen);
        if seen.0 != written {
            *seen = (written, now);
        }
        let over = now.saturating_duration_since(seen.1) >= *most;
        if over {
            // Writers ask for it again. One that writes at this very moment loses a count of a series that nobody used for long.
            locked(&self.shares).iter().for_each(|(_, share)| share.gone.store(true, Relaxed));
        }
        over
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
        let terms = Terms { limit: self.metrics.limit, idle: None };
        let Some(entry) = self.metrics.entry(Key { name: name.into(), tags, is }, terms) else {
            self.metrics.refused.fetch_add(1, Relaxed);
            return Arc::default();
        };
        entry.share(writer)
    }

    /// A metric of a filter for this thread; none when there are too many.
    pub(super) fn of_filter(&self, wanted: &Wanted<'_>, is: MetricType) -> Option<Arc<Metric>> {
        let terms = Terms { limit: self.metrics.limit.min(MOST_OF_FILTERS), idle: wanted.idle };
        let key = Key { name: wanted.name.into(), tags: Arc::clone(&wanted.labels), is };
        Some(self.metrics.entry(key, terms)?.share(Writer::here()))
    }

    /// A metric that stands for others for which there was no room.
    pub(super) fn of_folded(&self, wanted: &Wanted<'_>, is: MetricType) -> Option<Arc<Metric>> {
        self.metrics.folded.fetch_add(1, Relaxed);
        let key = Key { name: wanted.name.into(), tags: Arc::clone(&wanted.labels), is };
        Some(self.metrics.entry(key, Terms { limit: usize::MAX, idle: None })?.share(Writer::here()))
    }

    /// Gives metrics up that were idle for as long as they may be.
    pub fn give_up_idle(&self, now: Instant) {
        let mut known = locked(&self.metrics.known);
        known.retain(|_, entry| !entry.give_up_idle(now));
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

    fn wanted(label: &str, idle: Option<Duration>) -> Wanted<'static> {
        let labels = [("l".into(), label.to_owned())].into();
        Wanted { kind: sampan_filters_api::SeriesKind::Counter, name: "istiocustom.x", labels, idle }
    }

    #[test]
    fn a_series_that_nobody_writes_is_given_up_and_made_anew() {
        let stats = Stats::new(&StatsConfig::default()).unwrap();
        let hour = Duration::from_hours(1);
        let idle = stats.of_filter(&wanted("a", Some(hour)), MetricType::Counter).unwrap();
        let kept = stats.of_filter(&wanted("b", None), MetricType::Counter).unwrap();
        Series::add(&*idle, 1);
        Series::add(&*kept, 1);
        let start = Instant::now();
        stats.give_up_idle(start);
        stats.give_up_idle(start + hour / 2);
        Series::add(&*idle, 1);
        stats.give_up_idle(start + hour);
        assert!(!idle.is_gone());
        stats.give_up_idle(start + hour * 2);
        assert!(idle.is_gone() && !kept.is_gone());
        assert_eq!(stats.metrics.entries().len(), 1);
        let again = stats.of_filter(&wanted("a", Some(hour)), MetricType::Counter).unwrap();
        assert!(!again.is_gone() && again.value() == 0);
    }

    #[test]
    fn filters_are_told_that_there_is_no_room_and_fold() {
        let stats = Stats::new(&StatsConfig { max_metrics: 2, ..StatsConfig::default() }).unwrap();
        for label in ["a", "b"] {
            assert!(stats.of_filter(&wanted(label, None), MetricType::Counter).is_some());
        }
        assert!(stats.of_filter(&wanted("c", None), MetricType::Counter).is_none());
        assert!(stats.of_filter(&wanted("a", None), MetricType::Counter).is_some());
        assert!(stats.of_folded(&wanted("folded", None), MetricType::Counter).is_some());
        assert_eq!((stats.metrics.folded(), stats.metrics.refused()), (1, 0));
    }
}
