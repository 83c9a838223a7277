//! `envoy.filters.network.echo`: sends back what the client sends.

pub mod config;

use bytes::BytesMut;
use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

/// The factory; there is nothing to configure.
#[derive(Debug)]
pub struct Echo;

/// One connection.
struct Connection;

impl NetworkFilterFactory for Echo {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(Connection)
    }

    fn is_terminal(&self) -> bool {
        true
    }
}

impl NetworkFilter for Connection {
    fn on_data(&mut self, _info: &mut StreamInfo, data: &mut BytesMut, end: bool) -> NetworkFlow {
        let echoed = data.split().freeze();
        if end {
            NetworkFlow::Close { farewell: echoed, details: "".into() }
        } else {
            NetworkFlow::Answer(echoed)
        }
    }
}
