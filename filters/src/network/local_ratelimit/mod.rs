//! `envoy.filters.network.local_ratelimit`: closes new connections for which there is no token.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow, NetworkStart};
use sampan_filters_api::{Counters, RuntimeSwitch, StreamInfo};

use crate::rate_limit::bucket::Bucket;

/// The factory.
#[derive(Debug)]
pub struct LocalRateLimit {
    /// `token_bucket`; shared by filters with the same `share_key`.
    pub bucket: Arc<Bucket>,
    /// `runtime_enabled`
    pub enabled: RuntimeSwitch,
    /// `local_rate_limit.<stat_prefix>.rate_limited`
    pub counters: Arc<Counters>,
}

/// The names of [`LocalRateLimit::counters`].
pub const COUNTERS: &[&str] = &["rate_limited"];

/// A connection.
struct Connection {
    refused: bool,
}

impl NetworkFilterFactory for LocalRateLimit {
    fn create(&self, info: &StreamInfo) -> Box<dyn NetworkFilter> {
        self.create_with(&NetworkStart::bare(info))
    }

    fn create_with(&self, start: &NetworkStart<'_>) -> Box<dyn NetworkFilter> {
        let refused = self.enabled.is_on(start.runtime) && !self.bucket.take(1.0, Instant::now());
        if refused {
            self.counters.inc(0);
        }
        Box::new(Connection { refused })
    }
}

impl NetworkFilter for Connection {
    fn on_open(&mut self, _info: &mut StreamInfo) -> NetworkFlow {
        if self.refused {
            return NetworkFlow::Close { farewell: Bytes::new(), details: "".into() };
        }
        NetworkFlow::Continue
    }

    fn reads(&self) -> bool {
        false
    }
}
