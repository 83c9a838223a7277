//! The HTTP connection manager -> [`HttpConfig`].
//!
//! Called for a filter of that type. [`options`] has protocol options and timeouts, [`filters`] the HTTP filters and their
//! per-route configuration, [`rules`] what happens to the head of a request; routes are in [`super::route`].

mod facts;
pub mod filters;
mod options;
mod rules;
pub mod scoped;
mod support;
#[cfg(test)]
mod tests;

pub use support::SUPPORT;

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier,
};

use super::{Context, Scope, access_log, local_reply, route, source, trace, value};
use crate::http::config::{Codec, HttpConfig, RouteSource, UserAgent};

/// Compiles a connection manager; `None` if anything in it is refused.
pub fn compile(proto: &pb::HttpConnectionManager, context: &Context, at: &Scope<'_>) -> Option<HttpConfig> {
    let found_before = at.rejects().len();
    rules::refuse_unsupported(proto, at);
    let routes = route_source(proto, context, at);
    let prefix = format!("http.{}.", proto.stat_prefix);
    let filters = filters::chain(&proto.http_filters, &prefix, context, &at.field("http_filters"));
    let http1 = options::http1(proto.http_protocol_options.as_ref(), &at.field("http_protocol_options"));
    let http2 = options::http2(proto.http2_protocol_options.as_ref(), &at.field("http2_protocol_options"));
    let access_logs = access_log::access_logs(&proto.access_log, context, &at.field("access_log"));
    let request_id = rules::request_id(proto, at);
    let beside =
        trace::Beside { by_request_id: request_id.for_sampling, child_spans: filters.start_child_span };
    let tracing =
        proto.tracing.as_ref().and_then(|proto| trace::compile(proto, beside, context, &at.field("tracing")));
    let user_agent = || UserAgent {
        cluster: Arc::clone(&context.service_cluster),
        node: Arc::clone(&context.service_node),
    };
    let mut config = HttpConfig {
        stat_prefix: proto.stat_prefix.as_str().into(),
        codec: codec(proto, at),
        routes: routes?,
        on_demand: filters.on_demand,
        suppress_envoy_headers: filters.suppress_envoy_headers,
        filters: filters.filters,
        http1,
        http2,
        timeouts: options::timeouts(proto, at),
        head_limits: options::head_limits(proto),
        max_requests_per_connection: options::max_requests(proto),
        underscores: options::underscores(proto),
        server_name: rules::server_name(proto),
        server_header: rules::server_header(proto),
        via: proto.via.as_str().into(),
        forwarding: rules::forwarding(proto, at),
        request_id,
        normalize: rules::normalize(proto, at),
        upgrades: rules::upgrades(proto, at),
        proxy_100_continue: proto.proxy_100_continue,
        add_user_agent: value::switch(proto.add_user_agent.as_ref()).unwrap_or(false).then(user_agent),
        local_reply: local_reply::compile(proto.local_reply_config.as_ref(), &at.field("local_reply_config")),
        client_cert: rules::client_cert(proto),
        client_cert_details: rules::client_cert_details(proto),
        stream_error_on_invalid: options::stream_error_on_invalid(proto),
        overwrite_scheme: rules::overwrite_scheme(proto),
        access_logs,
        tracing,
        needs_facts: true,
    };
    config.needs_facts = facts::needed(&config);
    (at.rejects().len() == found_before).then_some(config)
}

fn codec(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> Codec {
    match proto.codec_type() {
        CodecType::Auto => Codec::Auto,
        CodecType::Http1 => Codec::Http1,
        CodecType::Http2 => Codec::Http2,
        CodecType::Http3 => {
            at.field("codec_type").reject_value::<()>("HTTP3", "HTTP/3 is not supported", "use AUTO");
            Codec::Auto
        }
    }
}

fn route_source(proto: &pb::HttpConnectionManager, context: &Context, at: &Scope<'_>) -> Option<RouteSource> {
    match &proto.route_specifier {
        Some(RouteSpecifier::RouteConfig(config)) => {
            let compiled = route::compile(config, true, context, &at.field("route_config"))?;
            Some(RouteSource::Inline(Arc::new(compiled)))
        }
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            let source = source::compile(rds.config_source.as_ref(), &at.field("config_source"))?;
            Some(RouteSource::Discovered(context.routes.reference(source, &rds.route_config_name)))
        }
        Some(RouteSpecifier::ScopedRoutes(proto)) => {
            scoped::compile(proto, context, &at.field("scoped_routes")).map(RouteSource::Scoped)
        }
        None => at.reject("neither route_config nor rds is given"),
    }
}
