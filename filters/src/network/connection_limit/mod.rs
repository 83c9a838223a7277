//! `envoy.filters.network.connection_limit`: closes connections of a filter chain above a number.
//!
//! The count is shared by all workers. It is touched once when a connection opens and once when it ends, so it needs
//! no more than an atomic.

pub mod config;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

/// The factory.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// `max_connections`
    pub most: u64,
    /// `runtime_enabled`
    pub enabled: bool,
    /// Connections that are open.
    pub active: Arc<AtomicU64>,
}

/// One connection.
struct Connection {
    active: Arc<AtomicU64>,
    /// Whether this connection is over the limit.
    refused: bool,
}

impl NetworkFilterFactory for ConnectionLimit {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        let before = self.active.fetch_add(1, Ordering::Relaxed);
        Box::new(Connection {
            active: Arc::clone(&self.active),
            refused: self.enabled && before >= self.most,
        })
    }
}

impl NetworkFilter for Connection {
    fn on_open(&mut self, _info: &mut StreamInfo) -> NetworkFlow {
        if self.refused {
            NetworkFlow::Close { farewell: Bytes::new(), details: "over_connection_limit" }
        } else {
            NetworkFlow::Continue
        }
    }

    fn reads(&self) -> bool {
        false
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::{Instant, SystemTime};

    use sampan_filters_api::{Address, ConnectionInfo};

    use super::*;

    fn info() -> StreamInfo {
        let address = Address::Pipe("".into());
        let connection = ConnectionInfo {
            id: 1,
            local: address.clone(),
            direct_remote: address,
            start: Instant::now(),
            listener_name: "".into(),
            filter_chain_name: "".into(),
            requested_server_name: None,
            tls: None,
        };
        StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
    }

    #[test]
    fn the_connection_over_the_limit_is_closed_and_a_freed_place_is_taken() {
        let factory = ConnectionLimit { most: 1, enabled: true, active: Arc::default() };
        let mut info = info();
        let mut first = factory.create(&info);
        assert!(matches!(first.on_open(&mut info), NetworkFlow::Continue));
        let mut second = factory.create(&info);
        assert!(matches!(second.on_open(&mut info), NetworkFlow::Close { .. }));
        drop((first, second));
        assert!(matches!(factory.create(&info).on_open(&mut info), NetworkFlow::Continue));
        assert_eq!(factory.active.load(Ordering::Relaxed), 0);
    }
}
