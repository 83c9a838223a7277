//! The metrics of filters: what [`SeriesStore`] asks for, kept in the registry.
//!
//! Filters are configured before there is a registry, which follows the bootstrap that configures them. So the store is made first
//! and takes the registry when that is there; what was asked for until then is made up for.

use std::sync::{Arc, Mutex, OnceLock};

use sampan_filters_api::series::{Labels, NoSeries, Wanted};
use sampan_filters_api::{Series, SeriesKind, SeriesStore};

use super::metric::MetricType;
use super::registry::{Stats, Writer, locked};

/// The metrics of filters.
#[derive(Default)]
pub struct FilterSeries {
    stats: OnceLock<Arc<Stats>>,
    early: Mutex<Vec<(String, Labels, u64)>>,
}

impl FilterSeries {
    /// Keeps metrics in this registry from now on.
    pub fn attach(&self, stats: Arc<Stats>) {
        if self.stats.set(stats).is_ok() {
            for (name, labels, value) in std::mem::take(&mut *locked(&self.early)) {
                self.constant(&name, labels, value);
            }
        }
    }
}

fn of(kind: SeriesKind) -> MetricType {
    match kind {
        SeriesKind::Counter => MetricType::Counter,
        SeriesKind::Gauge => MetricType::Gauge,
        SeriesKind::Histogram => MetricType::Histogram,
    }
}

impl SeriesStore for FilterSeries {
    fn series(&self, wanted: &Wanted<'_>) -> Option<Arc<dyn Series>> {
        let metric = self.stats.get()?.of_filter(wanted, of(wanted.kind))?;
        Some(metric)
    }

    fn folded(&self, wanted: &Wanted<'_>) -> Arc<dyn Series> {
        match self.stats.get().and_then(|stats| stats.of_folded(wanted, of(wanted.kind))) {
            Some(metric) => metric,
            None => Arc::new(NoSeries),
        }
    }

    fn constant(&self, name: &str, labels: Labels, value: u64) {
        match self.stats.get() {
            Some(stats) => {
                stats.metric(MetricType::Gauge, name, labels, Writer::CONTROL).set(value.cast_signed());
            }
            None => locked(&self.early).push((name.to_owned(), labels, value)),
        }
    }
}
