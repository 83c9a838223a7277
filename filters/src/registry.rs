//! Every built-in filter: its name, the message that configures it, and the function that compiles that message.
//!
//! Called by the proxy's compile step, which finds a filter by the type of its `typed_config`. A new filter is one line
//! here and its folder. The HTTP connection manager and `tcp_proxy` are not in the table: they are the data plane itself.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_filters_api::network::{NetworkFilterFactory, UpstreamFilterFactory};

use crate::config::{self, Compiled, FilterContext};
use crate::http::{
    api_key_auth, basic_auth, buffer, compressor, connect_authority, cors, csrf, custom_response,
    decompressor, ext_authz, fault, grpc_http1_bridge, grpc_stats, grpc_web, header_mutation,
    header_to_metadata, health_check, istio_alpn, istio_stats, jwt_authn, local_ratelimit, lua,
    peer_metadata, ratelimit, rbac, set_filter_state, set_metadata, stateful_session,
};
use crate::network::{self, connection_limit, direct_response, echo};

/// Compiles the payload of a network filter's `typed_config`.
pub type CompileNetwork = fn(&[u8], &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>>;

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
    NetworkEntry { name: "forward_downstream_sni", message: network::forward_downstream_sni::config::MESSAGE, compile: network::forward_downstream_sni::config::compile, support: network::forward_downstream_sni::config::SUPPORT },
    NetworkEntry { name: "istio.metadata_exchange", message: network::metadata_exchange::config::MESSAGE, compile: network::metadata_exchange::config::compile, support: network::metadata_exchange::config::SUPPORT },
    NetworkEntry { name: "istio.stats", message: config::istio_stats::MESSAGE, compile: network::istio_stats::config::compile, support: config::istio_stats::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.ext_authz", message: network::ext_authz::config::MESSAGE, compile: network::ext_authz::config::compile, support: network::ext_authz::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.local_ratelimit", message: network::local_ratelimit::config::MESSAGE, compile: network::local_ratelimit::config::compile, support: network::local_ratelimit::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.rbac", message: network::rbac::config::MESSAGE, compile: network::rbac::config::compile, support: network::rbac::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.set_filter_state", message: network::set_filter_state::config::MESSAGE, compile: network::set_filter_state::config::compile, support: network::set_filter_state::config::SUPPORT },
    NetworkEntry { name: "envoy.filters.network.sni_cluster", message: network::sni_cluster::config::MESSAGE, compile: network::sni_cluster::config::compile, support: network::sni_cluster::config::SUPPORT },
];

/// Compiles the payload of the `typed_config` of a filter in a cluster.
pub type CompileUpstream = fn(&[u8], &FilterContext<'_>) -> Compiled<Arc<dyn UpstreamFilterFactory>>;

/// A built-in filter of clusters. Its fields are those of the network filter of the same message.
pub struct UpstreamEntry {
    /// Full name of the message that configures it.
    pub message: &'static str,
    /// What makes a factory of it.
    pub compile: CompileUpstream,
}

/// The filters of clusters (`Cluster.filters`).
#[rustfmt::skip]
pub const UPSTREAM: &[UpstreamEntry] = &[
    UpstreamEntry { message: network::metadata_exchange::config::MESSAGE, compile: network::metadata_exchange::config::compile_upstream },
];

/// Compiles the payload of an HTTP filter's `typed_config`.
pub type CompileHttp = fn(&[u8], &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>>;
/// Compiles an entry of `typed_per_filter_config`.
pub type CompileRoute = fn(&[u8], &FilterContext<'_>) -> Compiled<RouteConfig>;

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
    HttpEntry { name: "envoy.filters.http.api_key_auth", message: api_key_auth::config::MESSAGE, compile: api_key_auth::config::compile, route: Some((api_key_auth::config::PER_ROUTE, api_key_auth::config::compile_route)), support: api_key_auth::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.basic_auth", message: basic_auth::config::MESSAGE, compile: basic_auth::config::compile, route: Some((basic_auth::config::PER_ROUTE, basic_auth::config::compile_route)), support: basic_auth::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.buffer", message: buffer::config::MESSAGE, compile: buffer::config::compile, route: Some((buffer::config::PER_ROUTE, buffer::config::compile_route)), support: buffer::config::SUPPORT },
    HttpEntry { name: "connect_authority", message: connect_authority::config::MESSAGE, compile: connect_authority::config::compile, route: Some((connect_authority::config::MESSAGE, connect_authority::config::compile_route)), support: connect_authority::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.compressor", message: compressor::config::MESSAGE, compile: compressor::config::compile, route: Some((compressor::config::PER_ROUTE, compressor::config::compile_route)), support: compressor::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.cors", message: cors::config::MESSAGE, compile: cors::config::compile, route: Some((cors::config::PER_ROUTE, cors::config::compile_route)), support: cors::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.csrf", message: csrf::config::MESSAGE, compile: csrf::config::compile, route: Some((csrf::config::MESSAGE, csrf::config::compile_route)), support: csrf::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.ext_authz", message: ext_authz::config::MESSAGE, compile: ext_authz::config::compile, route: Some((ext_authz::config::PER_ROUTE, ext_authz::config::compile_route)), support: ext_authz::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.custom_response", message: custom_response::config::MESSAGE, compile: custom_response::config::compile, route: Some((custom_response::config::MESSAGE, custom_response::config::compile_route)), support: custom_response::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.decompressor", message: decompressor::config::MESSAGE, compile: decompressor::config::compile, route: None, support: decompressor::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.fault", message: fault::config::MESSAGE, compile: fault::config::compile, route: Some((fault::config::MESSAGE, fault::config::compile_route)), support: fault::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.grpc_http1_bridge", message: grpc_http1_bridge::config::MESSAGE, compile: grpc_http1_bridge::config::compile, route: None, support: grpc_http1_bridge::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.grpc_stats", message: grpc_stats::config::MESSAGE, compile: grpc_stats::config::compile, route: None, support: grpc_stats::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.grpc_web", message: grpc_web::config::MESSAGE, compile: grpc_web::config::compile, route: None, support: grpc_web::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.header_mutation", message: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", compile: header_mutation::config::compile, route: Some((header_mutation::config::PER_ROUTE, header_mutation::config::compile_route)), support: header_mutation::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.header_to_metadata", message: header_to_metadata::config::MESSAGE, compile: header_to_metadata::config::compile, route: Some((header_to_metadata::config::MESSAGE, header_to_metadata::config::compile_route)), support: header_to_metadata::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.health_check", message: health_check::config::MESSAGE, compile: health_check::config::compile, route: None, support: health_check::config::SUPPORT },
    HttpEntry { name: "istio.alpn", message: istio_alpn::config::MESSAGE, compile: istio_alpn::config::compile, route: None, support: istio_alpn::config::SUPPORT },
    HttpEntry { name: "istio.metadata_exchange", message: peer_metadata::config::MESSAGE, compile: peer_metadata::config::compile, route: None, support: peer_metadata::config::SUPPORT },
    // Its fields are in the table of network filters: the message is the same.
    HttpEntry { name: "istio.stats", message: config::istio_stats::MESSAGE, compile: istio_stats::config::compile, route: None, support: &[] },
    HttpEntry { name: "envoy.filters.http.jwt_authn", message: jwt_authn::config::MESSAGE, compile: jwt_authn::config::compile, route: Some((jwt_authn::config::PER_ROUTE, jwt_authn::config::compile_route)), support: jwt_authn::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.local_ratelimit", message: local_ratelimit::config::MESSAGE, compile: local_ratelimit::config::compile, route: Some((local_ratelimit::config::MESSAGE, local_ratelimit::config::compile_route)), support: local_ratelimit::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.ratelimit", message: ratelimit::config::MESSAGE, compile: ratelimit::config::compile, route: Some((ratelimit::config::PER_ROUTE, ratelimit::config::compile_route)), support: ratelimit::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.lua", message: lua::config::MESSAGE, compile: lua::config::compile, route: Some((lua::config::PER_ROUTE, lua::config::compile_route)), support: lua::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.rbac", message: rbac::config::MESSAGE, compile: rbac::config::compile, route: Some((rbac::config::PER_ROUTE, rbac::config::compile_route)), support: rbac::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.set_filter_state", message: set_filter_state::config::MESSAGE, compile: set_filter_state::config::compile, route: Some((set_filter_state::config::MESSAGE, set_filter_state::config::compile_route)), support: set_filter_state::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.set_metadata", message: set_metadata::config::MESSAGE, compile: set_metadata::config::compile, route: None, support: set_metadata::config::SUPPORT },
    HttpEntry { name: "envoy.filters.http.stateful_session", message: stateful_session::config::MESSAGE, compile: stateful_session::config::compile, route: Some((stateful_session::config::PER_ROUTE, stateful_session::config::compile_route)), support: stateful_session::config::SUPPORT },
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

/// The filter of clusters that a message configures.
pub fn upstream(message: &str) -> Option<&'static UpstreamEntry> {
    UPSTREAM.iter().find(|entry| entry.message == message)
}

/// The support rows of every filter.
pub fn support() -> impl Iterator<Item = &'static MessageSupport> {
    let network = NETWORK.iter().flat_map(|entry| entry.support);
    let http = HTTP.iter().flat_map(|entry| entry.support);
    network
        .chain(http)
        .chain(config::compression::SUPPORT)
        .chain(config::cel::SUPPORT)
        .chain(config::matcher::SUPPORT)
        .chain(config::tree::SUPPORT)
        .chain(config::fraction::SUPPORT)
        .chain(config::rbac::SUPPORT)
        .chain(config::rate_limit::SUPPORT)
        .chain(config::remote::SUPPORT)
        .chain(config::state::SUPPORT)
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
