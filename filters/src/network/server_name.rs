//! What `sni_cluster` and `forward_downstream_sni` do: the server name that a client asks for becomes filter state, under the key of
//! whoever acts on it.

use std::rc::Rc;

use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

use crate::state::Text;

/// The factory, with the key.
#[derive(Clone, Copy, Debug)]
pub struct KeepServerName(pub &'static str);

impl NetworkFilterFactory for KeepServerName {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(*self)
    }
}

impl NetworkFilter for KeepServerName {
    fn on_open(&mut self, info: &mut StreamInfo) -> NetworkFlow {
        if let Some(name) = info.connection.requested_server_name.as_deref().filter(|name| !name.is_empty()) {
            info.connection.state.borrow_mut().set(self.0, Rc::new(Text::of(name)));
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
    use sampan_filters_api::info::{TCP_CLUSTER, UPSTREAM_SERVER_NAME};

    use super::*;
    use crate::testing::connection;

    #[test]
    fn a_name_that_is_asked_for_is_kept() {
        for key in [TCP_CLUSTER, UPSTREAM_SERVER_NAME] {
            for (name, expected) in [(Some("a.test"), Some("a.test")), (Some(""), None), (None, None)] {
                let connection =
                    ConnectionInfo { requested_server_name: name.map(Into::into), ..connection() };
                let mut info = StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now());
                let opened = KeepServerName(key).create(&info).on_open(&mut info);
                assert!(matches!(opened, NetworkFlow::Continue));
                assert_eq!(info.state(key).map(|object| object.plain()).as_deref(), expected);
            }
        }
    }
}
