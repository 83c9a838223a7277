//! `envoy.filters.network.direct_response`: says one thing to each client and closes the connection.

pub mod config;

use bytes::Bytes;
use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

/// The factory.
#[derive(Debug)]
pub struct DirectResponse {
    /// What clients are told; may be empty.
    pub response: Bytes,
}

/// One connection.
struct Connection(Bytes);

impl NetworkFilterFactory for DirectResponse {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(Connection(self.response.clone()))
    }

    fn is_terminal(&self) -> bool {
        true
    }
}

impl NetworkFilter for Connection {
    fn on_open(&mut self, _info: &mut StreamInfo) -> NetworkFlow {
        NetworkFlow::Close { farewell: std::mem::take(&mut self.0), details: "".into() }
    }

    fn reads(&self) -> bool {
        false
    }
}
