//! Every built-in filter: its name, the message that configures it, and the function that compiles that message.
//!
//! Called by the proxy's compile step, which finds a filter by the type of its `typed_config`. A new filter is one line
//! here and its folder. The HTTP connection manager and `tcp_proxy` are not in the table: they are the data plane itself.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_filters_api::network::NetworkFilterFactory;

use crate::config::Compiled;
use crate::http::{fault, header_mutation};
use crate::network::{connection_limit, direct_response, echo};

/// Compiles the payload of a network filter's `typed_config`.
pub type CompileNetwork = fn(&[u8]) -> Compiled<Arc<dyn NetworkFilterFactory>>;

/// A built-in network filter.
pub struct NetworkEntry {
    /// The name under which Envoy knows it.
    pub name: &'static str,
    /// Full name of the message that configures it.
    pub message: &'static str,
    /// What makes a factory of it.
    pub compile: CompileNetwork,
    /// The fields that it reads.
    pub support: &'static [MessageSupport],
}

/// The network filters.
#[rustfmt::skip]
pub const NETWORK: &[NetworkEntry] = &[
    NetworkEntry { name: "envoy.filters.network.connection_limit", message: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", compile: connection_limit::config::compile, support: connection_limit::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.direct_response", message: "envoy.extensions.filters.network.direct_response.v3.Config", compile: direct_response::config::compile, support: direct_response::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.echo", message: "envoy.extensions.filters.network.echo.v3.Echo", compile: echo::config::compile, support: echo::config::SUPPORT },
];

/// Compiles the payload of an HTTP filter's `typed_config`.
pub type CompileHttp = fn(&[u8]) -> Compiled<Arc<dyn HttpFilterFactory>>;
/// Compiles an entry of `typed_per_filter_config`.
pub type CompileRoute = fn(&[u8]) -> Compiled<RouteConfig>;

/// A built-in HTTP filter.
pub struct HttpEntry {
    /// The name under which Envoy knows it.
    pub name: &'static str,
    /// Full name of the message that configures it.
    pub message: &'static str,
    /// What makes a factory of it.
    pub compile: CompileHttp,
    /// Full name of its per-route message, and what compiles that.
    pub route: Option<(&'static str, CompileRoute)>,
    /// The fields that it reads.
    pub support: &'static [MessageSupport],
}

/// The HTTP filters. The router is not among them: it is the end of the data plane's own stream.
#[rustfmt::skip]
pub const HTTP: &[HttpEntry] = &[
    HttpEntry { name: "envoy.filters.http.fault", message: fault::config::MESSAGE, compile: fault::config::compile, route: Some((fault::config::MESSAGE, fault::config::compile_route)), support: fault::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.header_mutation", message: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", compile: header_mutation::config::compile, route: Some((header_mutation::config::PER_ROUTE, header_mutation::config::compile_route)), support: header_mutation::config::SUPPORT },
];

/// The HTTP filter that a message configures.
pub fn http(message: &str) -> Option<&'static HttpEntry> {
    HTTP.iter().find(|entry| entry.message == message)
}

/// What compiles a message of per-route configuration.
pub fn http_route(message: &str) -> Option<CompileRoute> {
    HTTP.iter()
        .filter_map(|entry| entry.route)
        .find(|(known, _)| *known == message)
        .map(|(_, compile)| compile)
}

/// The network filter that a message configures.
pub fn network(message: &str) -> Option<&'static NetworkEntry> {
    NETWORK.iter().find(|entry| entry.message == message)
}

/// The support rows of every filter.
pub fn support() -> impl Iterator<Item = &'static MessageSupport> {
    let network = NETWORK.iter().flat_map(|entry| entry.support);
    network.chain(HTTP.iter().flat_map(|entry| entry.support))
}

#[cfg(test)]
mod tests {
    use sampan_api::{Descriptors, SupportTable};

    use super::*;

    #[test]
    fn every_row_names_a_message_of_the_api() {
        assert_eq!(SupportTable::new(support()).check(Descriptors::load()), [""; 0]);
        let messages = NETWORK.iter().map(|entry| entry.message);
        for message in messages.chain(HTTP.iter().map(|entry| entry.message)) {
            assert!(Descriptors::load().message(message).is_some(), "{message}");
        }
    }
}
