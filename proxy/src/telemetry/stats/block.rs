//! A thread's own block of stats for one scope.
//!
//! Gauges are per-writer signed sums that the reader adds up. A gauge cell holds `value * 2 + 1` once it was written and
//! 0 before, so that `usedonly` can tell a gauge set to 0 from one never set.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::codes::{CodeTable, Origin};
use super::histogram::Recorder;
use super::kinds::{Cluster, ClusterHistogram};
use super::schema::{Kind, Slot};

/// The stats of one scope as one thread writes them. Every write is a relaxed load and store.
pub struct Block<K: Kind> {
    cells: K::Cells,
    histograms: K::Histograms,
    codes: CodeTable,
}

impl<K: Kind> Block<K> {
    /// A block of zeros, that no registry knows. For tests of code that needs a block; else see `Stats::block`.
    pub fn detached() -> Self {
        Self { cells: K::cells(), histograms: K::histograms(), codes: CodeTable::default() }
    }

    /// Adds one to a counter.
    #[inline]
    pub fn inc(&self, counter: K::Counter) {
        self.add(counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: K::Counter, amount: u64) {
        if let Some(cell) = self.cells.as_ref().get(counter.index()) {
            cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
        }
    }

    /// What this thread has counted.
    pub fn counter(&self, counter: K::Counter) -> u64 {
        self.cells.as_ref().get(counter.index()).map_or(0, |cell| cell.load(Relaxed))
    }

    /// Adds one to a gauge.
    #[inline]
    pub fn raise(&self, gauge: K::Gauge) {
        self.shift(gauge, 1);
    }

    /// Takes one from a gauge.
    #[inline]
    pub fn lower(&self, gauge: K::Gauge) {
        self.shift(gauge, -1);
    }

    /// Adds a signed amount to a gauge.
    #[inline]
    pub fn shift(&self, gauge: K::Gauge, amount: i64) {
        if let Some(cell) = self.gauge_cell(gauge) {
            cell.store(cell.load(Relaxed).wrapping_add(amount.cast_unsigned() << 1) | 1, Relaxed);
        }
    }

    /// Sets this thread's share of a gauge. Of use where one thread alone writes it (the control thread).
    #[inline]
    pub fn set(&self, gauge: K::Gauge, value: i64) {
        if let Some(cell) = self.gauge_cell(gauge) {
            cell.store(value.cast_unsigned() << 1 | 1, Relaxed);
        }
    }

    /// This thread's share of a gauge.
    pub fn gauge(&self, gauge: K::Gauge) -> i64 {
        self.gauge_cell(gauge).map_or(0, |cell| unpack(cell.load(Relaxed)).unwrap_or(0))
    }

    /// Records a value in a histogram (milliseconds or bytes, as its name says).
    #[inline]
    pub fn record(&self, histogram: K::Histogram, value: u64) {
        if let Some(cell) = self.histograms.as_ref().get(histogram.index()) {
            cell.get_or_init(Box::default).record(value);
        }
    }

    /// Counts a response by its status code. Only kinds with response codes print it.
    #[inline]
    pub fn response(&self, code: u16, origin: Origin) {
        self.codes.inc(code, origin);
    }

    #[inline]
    fn gauge_cell(&self, gauge: K::Gauge) -> Option<&AtomicU64> {
        self.cells.as_ref().get(K::FIRST_GAUGE + gauge.index())
    }
}

impl Block<Cluster> {
    /// Records how long a response took, in milliseconds, under `upstream_rq_time` and under that of its origin.
    #[inline]
    pub fn response_time(&self, origin: Origin, milliseconds: u64) {
        let own = match origin {
            Origin::Any | Origin::Retry => None,
            Origin::External => Some(ClusterHistogram::ExternalUpstreamRqTime),
            Origin::Internal => Some(ClusterHistogram::InternalUpstreamRqTime),
            Origin::Canary => return self.record(ClusterHistogram::CanaryUpstreamRqTime, milliseconds),
        };
        self.record(ClusterHistogram::UpstreamRqTime, milliseconds);
        if let Some(own) = own {
            self.record(own, milliseconds);
        }
    }
}

/// What a reader sees of a block of any kind.
pub trait AnyBlock: Send + Sync {
    /// Counter by index.
    fn counter_at(&self, index: usize) -> u64;
    /// Gauge by index, `None` if never written.
    fn gauge_at(&self, index: usize) -> Option<i64>;
    /// Histogram by index, `None` if never written.
    fn histogram_at(&self, index: usize) -> Option<&Recorder>;
    /// Response codes.
    fn codes(&self) -> &CodeTable;
}

impl<K: Kind> AnyBlock for Block<K> {
    fn counter_at(&self, index: usize) -> u64 {
        self.cells.as_ref().get(index).map_or(0, |cell| cell.load(Relaxed))
    }

    fn gauge_at(&self, index: usize) -> Option<i64> {
        self.cells.as_ref().get(K::FIRST_GAUGE + index).and_then(|cell| unpack(cell.load(Relaxed)))
    }

    fn histogram_at(&self, index: usize) -> Option<&Recorder> {
        self.histograms.as_ref().get(index).and_then(|cell| cell.get()).map(AsRef::as_ref)
    }

    fn codes(&self) -> &CodeTable {
        &self.codes
    }
}

/// The value of a gauge cell, `None` if never written.
fn unpack(raw: u64) -> Option<i64> {
    (raw & 1 == 1).then_some(raw.cast_signed() >> 1)
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{ClusterCounter, ClusterGauge};
    use super::*;

    #[test]
    fn gauges_go_below_zero_and_remember_being_written() {
        let block = Block::<Cluster>::detached();
        let index = ClusterGauge::UpstreamCxActive.index();
        assert_eq!(block.gauge_at(index), None);
        block.lower(ClusterGauge::UpstreamCxActive);
        block.lower(ClusterGauge::UpstreamCxActive);
        assert_eq!(block.gauge_at(index), Some(-2));
        block.shift(ClusterGauge::UpstreamCxActive, 2);
        assert_eq!(block.gauge_at(index), Some(0));
        block.set(ClusterGauge::UpstreamCxActive, 4_294_967_295);
        assert_eq!(block.gauge(ClusterGauge::UpstreamCxActive), 4_294_967_295);
    }

    #[test]
    fn counters_and_gauges_do_not_overlap() {
        let block = Block::<Cluster>::detached();
        block.add(ClusterCounter::UpstreamRqTotal, 3);
        block.inc(ClusterCounter::UpstreamRqTotal);
        assert_eq!(block.counter(ClusterCounter::UpstreamRqTotal), 4);
        for index in 0..ClusterGauge::COUNT {
            assert_eq!(block.gauge_at(index), None);
        }
        let others: u64 = (0..ClusterCounter::COUNT).map(|index| block.counter_at(index)).sum();
        assert_eq!(others, 4);
    }

    #[test]
    fn a_cluster_block_stays_small() {
        assert!(size_of::<Block<Cluster>>() <= 1200, "{}", size_of::<Block<Cluster>>());
    }

    #[test]
    fn histograms_exist_once_recorded() {
        let block = Block::<Cluster>::detached();
        let index = ClusterHistogram::UpstreamCxConnectMs.index();
        assert!(block.histogram_at(index).is_none());
        block.record(ClusterHistogram::UpstreamCxConnectMs, 12);
        assert!(block.histogram_at(index).is_some());
    }
}
