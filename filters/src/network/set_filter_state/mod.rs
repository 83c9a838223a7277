//! `envoy.filters.network.set_filter_state`: leaves formatted values in the filter state of a connection, for all its streams.

pub mod config;

use std::sync::Arc;

use bytes::BytesMut;
use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

use crate::state::StateValue;

/// What is set, and when.
#[derive(Debug)]
pub struct States {
    /// `on_new_connection`. Filters see a connection after its handshake.
    pub open: Vec<StateValue>,
    /// `on_downstream_tls_handshake`: only where there was one.
    pub handshake: Vec<StateValue>,
    /// `on_downstream_data`
    pub data: Vec<StateValue>,
}

/// The factory.
#[derive(Debug)]
pub struct SetFilterState(pub Arc<States>);

/// A connection.
struct Connection {
    states: Arc<States>,
    done: bool,
}

impl NetworkFilterFactory for SetFilterState {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(Connection { states: Arc::clone(&self.0), done: false })
    }
}

impl NetworkFilter for Connection {
    fn on_open(&mut self, info: &mut StreamInfo) -> NetworkFlow {
        let handshake = info.connection.tls.is_some().then_some(&self.states.handshake);
        for value in self.states.open.iter().chain(handshake.into_iter().flatten()) {
            value.set_for_connection(info);
        }
        NetworkFlow::Continue
    }

    fn on_data(&mut self, info: &mut StreamInfo, _data: &mut BytesMut, _end: bool) -> NetworkFlow {
        if !std::mem::replace(&mut self.done, true) {
            for value in &self.states.data {
                value.set_for_connection(info);
            }
        }
        NetworkFlow::Continue
    }

    fn reads(&self) -> bool {
        !self.states.data.is_empty()
    }
}
