//! `envoy.filters.network.sni_cluster`: makes the server name that the client asks for the cluster of `tcp_proxy`.

pub mod config;

use std::rc::Rc;

use sampan_filters_api::StreamInfo;
use sampan_filters_api::info::TCP_CLUSTER;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

use crate::state::Text;

/// The factory.
#[derive(Clone, Copy, Debug)]
pub struct SniCluster;

impl NetworkFilterFactory for SniCluster {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(*self)
    }
}

impl NetworkFilter for SniCluster {
    fn on_open(&mut self, info: &mut StreamInfo) -> NetworkFlow {
        if let Some(name) = info.connection.requested_server_name.as_deref().filter(|name| !name.is_empty()) {
            info.connection
                .state
                .borrow_mut()
                .set(TCP_CLUSTER, Rc::new(Text { text: name.to_owned(), hashable: false }));
        }
        NetworkFlow::Continue
    }

    fn reads(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use sampan_filters_api::ConnectionInfo;

    use super::*;
    use crate::testing::connection;

    #[test]
    fn the_server_name_is_the_cluster() {
        for (name, expected) in [(Some("c"), Some("c")), (Some(""), None), (None, None)] {
            let connection = ConnectionInfo { requested_server_name: name.map(Into::into), ..connection() };
            let mut info = StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now());
            assert!(matches!(SniCluster.create(&info).on_open(&mut info), NetworkFlow::Continue));
            assert_eq!(info.state(TCP_CLUSTER).map(|object| object.plain()).as_deref(), expected);
        }
    }
}
