//! `connect_authority`: a request goes to the address that its authority is, where its route says so.
//!
//! The address lies in the filter state, where clusters of type `ORIGINAL_DST` look for it first.

pub mod config;

use std::net::SocketAddr;
use std::rc::Rc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::ORIGINAL_DESTINATION;

use crate::state::Text;

/// The factory.
#[derive(Clone, Copy, Debug)]
pub struct ConnectAuthority;

/// What a route says.
#[derive(Clone, Copy, Debug)]
pub struct OfRoute {
    /// `enabled`
    pub enabled: bool,
    /// `port`, in place of the authority's.
    pub port: Option<u16>,
}

struct Instance(Option<u16>);

impl HttpFilterFactory for ConnectAuthority {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let route = start.route::<OfRoute>().filter(|route| route.enabled)?;
        Some(Box::new(Instance(route.port)))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let authority = std::str::from_utf8(stream.request.authority()).ok();
        let address = authority.and_then(|authority| authority.parse::<SocketAddr>().ok());
        if let Some(mut address) = address {
            address.set_port(self.0.unwrap_or(address.port()));
            stream.info.filter_state.set(ORIGINAL_DESTINATION, Rc::new(Text::of(address.to_string())));
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes, context, info, request, start};

    #[test]
    fn a_route_makes_the_authority_the_destination() {
        type Proto = sampan_api::istio::ConnectAuthority;
        let factory = config::compile(&[], &context()).unwrap();
        for (yaml, authority, expected) in [
            ("{enabled: true}", "10.0.0.9:8080", Some("10.0.0.9:8080")),
            ("{enabled: true, port: 15008}", "10.0.0.9:8080", Some("10.0.0.9:15008")),
            ("{enabled: true}", "name:8080", None),
            ("{enabled: false}", "10.0.0.9:8080", None),
        ] {
            let route = config::compile_route(&bytes::<Proto>(yaml), &context()).unwrap();
            let (mut request, mut info) = (request(&[(":authority", authority)]), info());
            let filter = factory.create(&start(&request, &info, &[&route]));
            if let Some(mut filter) = filter {
                let (request, info, clear_route) = (&mut request, &mut info, &mut false);
                filter.on_request_head(&mut Stream { request, response: None, info, clear_route }, true);
            }
            let state = info.state(ORIGINAL_DESTINATION).map(|object| object.plain());
            assert_eq!(state.as_deref(), expected, "{yaml} {authority}");
        }
        assert!(config::compile_route(&bytes::<Proto>("{port: 65536}"), &context()).is_err());
    }
}
