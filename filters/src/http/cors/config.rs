//! The configuration of the CORS filter, which is empty, and the policies of routes.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::http::cors::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeFraction;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{COUNTERS, Cors, Policy};
use crate::config::{Compiled, ConfigError, FilterContext, fraction, matcher, payload};

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.cors.v3.Cors";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[]),
    (
        PER_ROUTE,
        &[
            ("allow_origin_string_match", YES),
            ("allow_methods", YES),
            ("allow_headers", YES),
            ("expose_headers", YES),
            ("max_age", YES),
            ("allow_credentials", YES),
            ("filter_enabled", YES),
            ("shadow_enabled", YES),
            ("allow_private_network_access", YES),
            ("forward_not_matching_preflights", YES),
        ],
    ),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    payload::<pb::Cors>(bytes)?;
    let counters = context.counters.counters(&format!("{}cors.", context.prefix), COUNTERS);
    Ok(Arc::new(Cors { counters }))
}

/// Compiles the policy of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::CorsPolicy = payload(bytes)?;
    let mut errors = Vec::new();
    let mut origins = Vec::new();
    for (index, rule) in proto.allow_origin_string_match.iter().enumerate() {
        match matcher::string(rule, &format!("allow_origin_string_match[{index}]")) {
            Ok(rule) => origins.push(rule),
            Err(error) => errors.push(error),
        }
    }
    let header = |text: &str, field: &str| {
        if text.bytes().all(|byte| byte >= b' ' && byte != 0x7f) {
            return Ok(Box::from(text));
        }
        Err(ConfigError::new(field, "a header value has no control characters"))
    };
    let mut text = |text: &str, field: &str| {
        header(text, field).unwrap_or_else(|error| {
            errors.push(error);
            Box::default()
        })
    };
    let policy = Policy {
        origins,
        methods: text(&proto.allow_methods, "allow_methods"),
        headers: text(&proto.allow_headers, "allow_headers"),
        expose: text(&proto.expose_headers, "expose_headers"),
        max_age: text(&proto.max_age, "max_age"),
        credentials: proto.allow_credentials.map(|wrapper| wrapper.value),
        private_network: proto.allow_private_network_access.map(|wrapper| wrapper.value),
        forward_others: proto.forward_not_matching_preflights.map(|wrapper| wrapper.value),
        enabled: proto.filter_enabled.as_ref().map_or_else(RuntimeFraction::always, fraction::fraction),
        shadow: proto.shadow_enabled.as_ref().map_or_else(RuntimeFraction::never, fraction::fraction),
    };
    if errors.is_empty() { Ok(Arc::new(policy)) } else { Err(errors) }
}
