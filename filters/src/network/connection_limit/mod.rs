//! `envoy.filters.network.connection_limit`: closes connections of a filter chain above a number.
//!
//! The counts are shared by all workers. They are touched once when a connection opens and once when it ends, so they
//! need no more than atomics.

pub mod config;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{
    FilterStat, NetworkFilter, NetworkFilterFactory, NetworkFlow, NetworkStart,
};

/// The factory.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// `max_connections`
    pub most: u64,
    /// `delay`: how long a connection above the limit is kept, so that its client does not come back at once.
    pub delay: Option<Duration>,
    /// `runtime_enabled.default_value`
    pub enabled: bool,
    /// `runtime_enabled.runtime_key`
    pub runtime_key: Box<str>,
    /// What is counted.
    pub counts: Arc<Counts>,
}

/// Counts of one configured filter.
#[derive(Debug, Default)]
pub struct Counts {
    prefix: Box<str>,
    /// Connections within the limit.
    within: AtomicU64,
    /// All that are open, those above the limit included.
    active: AtomicU64,
    /// Those that were refused.
    limited: AtomicU64,
}

impl Counts {
    /// For a `stat_prefix`.
    pub fn new(stat_prefix: &str) -> Self {
        Self { prefix: format!("connection_limit.{stat_prefix}").into(), ..Self::default() }
    }
}

/// One connection that is counted.
struct Connection {
    counts: Arc<Counts>,
    /// Whether it is over the limit.
    refused: bool,
    delay: Option<Duration>,
}

/// A connection while the filter is off.
struct Off;

impl NetworkFilter for Off {
    fn reads(&self) -> bool {
        false
    }
}

impl ConnectionLimit {
    fn connection(&self, enabled: bool) -> Box<dyn NetworkFilter> {
        if !enabled {
            return Box::new(Off);
        }
        let counts = Arc::clone(&self.counts);
        counts.active.fetch_add(1, Relaxed);
        let refused = counts.within.fetch_add(1, Relaxed) >= self.most;
        if refused {
            counts.within.fetch_sub(1, Relaxed);
            counts.limited.fetch_add(1, Relaxed);
        }
        Box::new(Connection { counts, refused, delay: self.delay })
    }
}

impl NetworkFilterFactory for ConnectionLimit {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        self.connection(self.enabled)
    }

    fn create_with(&self, start: &NetworkStart<'_>) -> Box<dyn NetworkFilter> {
        let runtime = start.runtime;
        let told = if self.runtime_key.is_empty() { None } else { runtime.switch(&self.runtime_key) };
        self.connection(told.unwrap_or(self.enabled))
    }

    fn stats(&self, tell: &mut dyn FnMut(FilterStat)) {
        let counts = &self.counts;
        let name = |stat| format!("{}.{stat}", counts.prefix);
        tell(FilterStat::Gauge(name("active_connections"), counts.active.load(Relaxed)));
        tell(FilterStat::Counter(name("limited_connections"), counts.limited.load(Relaxed)));
    }
}

impl NetworkFilter for Connection {
    fn on_open(&mut self, _info: &mut StreamInfo) -> NetworkFlow {
        const DETAILS: &str = "over_connection_limit";
        match (self.refused, self.delay) {
            (false, _) => NetworkFlow::Continue,
            (true, None) => NetworkFlow::Close { farewell: Bytes::new(), details: DETAILS.into() },
            (true, Some(after)) => NetworkFlow::CloseLater { after, details: DETAILS.into() },
        }
    }

    fn reads(&self) -> bool {
        false
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.active.fetch_sub(1, Relaxed);
        if !self.refused {
            self.counts.within.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use sampan_filters_api::Runtime;

    use super::*;
    use crate::testing::info;

    struct Layers(Option<bool>);

    impl Runtime for Layers {
        fn switch(&self, key: &str) -> Option<bool> {
            assert_eq!(key, "limit.on");
            self.0
        }

        fn number(&self, _: &str) -> Option<u64> {
            None
        }

        fn fraction(&self, _: &str) -> Option<(u32, u32)> {
            None
        }
    }

    fn factory(delay: Option<Duration>) -> ConnectionLimit {
        let counts = Arc::new(Counts::new("p"));
        ConnectionLimit { most: 1, delay, enabled: true, runtime_key: "limit.on".into(), counts }
    }

    fn stats(factory: &ConnectionLimit) -> Vec<FilterStat> {
        let mut stats = Vec::new();
        factory.stats(&mut |stat| stats.push(stat));
        stats
    }

    fn expected(active: u64, limited: u64) -> [FilterStat; 2] {
        [
            FilterStat::Gauge("connection_limit.p.active_connections".into(), active),
            FilterStat::Counter("connection_limit.p.limited_connections".into(), limited),
        ]
    }

    #[test]
    fn the_connection_over_the_limit_is_closed_and_a_freed_place_is_taken() {
        let factory = factory(None);
        let mut info = info();
        let mut first = factory.create(&info);
        assert!(matches!(first.on_open(&mut info), NetworkFlow::Continue));
        let mut second = factory.create(&info);
        assert!(matches!(second.on_open(&mut info), NetworkFlow::Close { .. }));
        assert_eq!(stats(&factory), expected(2, 1));
        drop((first, second));
        assert!(matches!(factory.create(&info).on_open(&mut info), NetworkFlow::Continue));
        assert_eq!(stats(&factory), expected(0, 1));
    }

    #[test]
    fn one_that_waits_for_its_end_takes_nobodys_place() {
        let second = Duration::from_secs(1);
        let factory = factory(Some(second));
        let mut info = info();
        let first = factory.create(&info);
        let mut refused = factory.create(&info);
        assert!(
            matches!(refused.on_open(&mut info), NetworkFlow::CloseLater { after, .. } if after == second)
        );
        drop(first);
        assert!(matches!(factory.create(&info).on_open(&mut info), NetworkFlow::Continue));
    }

    #[test]
    fn the_runtime_switches_it_off() {
        let factory = factory(None);
        let mut info = info();
        let _first =
            factory.create_with(&NetworkStart { runtime: &Layers(None), ..NetworkStart::bare(&info) });
        let mut second =
            factory.create_with(&NetworkStart { runtime: &Layers(Some(false)), ..NetworkStart::bare(&info) });
        assert!(matches!(second.on_open(&mut info), NetworkFlow::Continue));
        assert_eq!(stats(&factory), expected(1, 0));
        let start = NetworkStart { runtime: &Layers(Some(true)), ..NetworkStart::bare(&info) };
        let mut third = factory.create_with(&start);
        assert!(matches!(third.on_open(&mut info), NetworkFlow::Close { .. }));
    }
}
