//! `forward_downstream_sni`: asks upstream for the server name that the client asked for.

pub mod config;

use std::rc::Rc;

use sampan_filters_api::StreamInfo;
use sampan_filters_api::info::UPSTREAM_SERVER_NAME;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};

use crate::state::Text;

/// The factory.
#[derive(Clone, Copy, Debug)]
pub struct ForwardDownstreamSni;

impl NetworkFilterFactory for ForwardDownstreamSni {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(*self)
    }
}

impl NetworkFilter for ForwardDownstreamSni {
    fn on_open(&mut self, info: &mut StreamInfo) -> NetworkFlow {
        if let Some(name) = info.connection.requested_server_name.as_deref().filter(|name| !name.is_empty()) {
            info.connection.state.borrow_mut().set(UPSTREAM_SERVER_NAME, Rc::new(Text::of(name)));
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
    fn the_server_name_goes_upstream() {
        for (name, expected) in [(Some("a.test"), Some("a.test")), (Some(""), None), (None, None)] {
            let connection = ConnectionInfo { requested_server_name: name.map(Into::into), ..connection() };
            let mut info = StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now());
            assert!(matches!(ForwardDownstreamSni.create(&info).on_open(&mut info), NetworkFlow::Continue));
            assert_eq!(info.state(UPSTREAM_SERVER_NAME).map(|o| o.plain()).as_deref(), expected);
        }
    }
}
