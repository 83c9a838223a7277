//! Metrics with labels that only traffic tells, such as `istio_requests_total`.
//!
//! A filter keeps what [`SeriesStore::series`] gives by whatever it keys on: finding a series takes a lock and a hash, writing one
//! takes neither. Series belong to the thread that asked for them. Their number is bounded, for labels can come from clients.

use std::sync::Arc;
use std::time::Duration;

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// Names and values, in the order in which they are shown.
pub type Labels = Arc<[(Arc<str>, String)]>;

/// One thread's share of a series.
pub trait Series: Send + Sync {
    /// Adds to a counter.
    fn add(&self, amount: u64);

    /// Sets a gauge.
    fn set(&self, value: u64);

    /// Records a value in a histogram.
    fn record(&self, value: u64);

    /// Whether it was given up because nothing was written to it for long: it is to be asked for again.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A series to ask for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What it is.
    pub kind: SeriesKind,
    /// Its full name without labels.
    pub name: &'a str,
    /// Its labels.
    pub labels: Labels,
    /// After how long without a write it is given up; never, if none is given.
    pub idle: Option<Duration>,
}

/// Where series are kept.
pub trait SeriesStore: Send + Sync {
    /// This thread's share of a series; none when there are too many.
    fn series(&self, wanted: &Wanted<'_>) -> Option<Arc<dyn Series>>;

    /// As [`SeriesStore::series`], for a series that stands for all that there was no room for. It is counted that it was needed.
    fn folded(&self, wanted: &Wanted<'_>) -> Arc<dyn Series>;

    /// Sets a gauge that stays as it is, from the control thread.
    fn constant(&self, name: &str, labels: Labels, value: u64);
}

/// Keeps nothing.
#[derive(Debug)]
pub struct NoSeries;

impl Series for NoSeries {
    fn add(&self, _: u64) {}

    fn set(&self, _: u64) {}

    fn record(&self, _: u64) {}
}

impl SeriesStore for NoSeries {
    fn series(&self, _: &Wanted<'_>) -> Option<Arc<dyn Series>> {
        None
    }

    fn folded(&self, _: &Wanted<'_>) -> Arc<dyn Series> {
        Arc::new(NoSeries)
    }

    fn constant(&self, _: &str, _: Labels, _: u64) {}
}
