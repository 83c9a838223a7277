//! The configuration of the local rate limit filter; a route's own is the same message.

use std::sync::Arc;
use std::time::Instant;

use sampan_api::envoy::config::core::v3::HeaderValueOption;
use sampan_api::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use sampan_api::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeFraction;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{COUNTERS, HostLimits, Limits, LocalRateLimit, next_id};
use crate::config::{Compiled, ConfigError, FilterContext, fraction, payload, rate_limit};
use crate::http::header_mutation::Mutation;
use crate::http::header_mutation::config::append;
use crate::rate_limit::limiter::{Limit, Limiter, Plan};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("stat_prefix", YES),
            ("status", YES),
            ("token_bucket", YES),
            ("filter_enabled", YES),
            ("filter_enforced", YES),
            ("request_headers_to_add_when_not_enforced", YES),
            ("response_headers_to_add", YES),
            ("descriptors", YES),
            ("stage", YES),
            ("local_rate_limit_per_downstream_connection", YES),
            ("local_cluster_rate_limit", REFUSED),
            ("enable_x_ratelimit_headers", YES),
            ("vh_rate_limits", YES),
            ("always_consume_default_token_bucket", YES),
            ("rate_limited_as_resource_exhausted", YES),
            ("rate_limits", YES),
            ("max_dynamic_descriptors", YES),
            ("enable_retry_after_header", YES),
        ],
    ),
    ("envoy.type.v3.HttpStatus", &[("code", YES)]),
    (
        "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        &[("entries", YES), ("token_bucket", YES), ("shadow_mode", YES)],
    ),
    ("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry", &[("*", YES)]),
];

/// `max_dynamic_descriptors` where nothing is configured.
const DYNAMIC: u32 = 20;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    Ok(Arc::new(LocalRateLimit(limits(&payload(bytes)?, context, false)?)))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(limits(&payload(bytes)?, context, true)?))
}

fn limits(proto: &pb::LocalRateLimit, context: &FilterContext<'_>, of_route: bool) -> Compiled<Limits> {
    let mut errors = Vec::new();
    if proto.stat_prefix.is_empty() {
        errors.push(ConfigError::new("stat_prefix", "is required"));
    }
    if proto.local_cluster_rate_limit.is_some() {
        errors.push(ConfigError::new("local_cluster_rate_limit", "is not supported yet"));
    }
    let default = proto.token_bucket.as_ref().map(|bucket| rate_limit::bucket(bucket, "token_bucket"));
    let default = default.transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    if of_route && proto.token_bucket.is_none() {
        let reason = "local rate limit token bucket must be set for per filter configs";
        errors.push(ConfigError::new("token_bucket", reason));
    }
    let plan = Plan {
        default,
        limits: descriptors(&proto.descriptors, &mut errors),
        always_default: proto.always_consume_default_token_bucket.is_none_or(|wrapper| wrapper.value),
        most_dynamic: proto.max_dynamic_descriptors.map_or(DYNAMIC, |wrapper| wrapper.value) as usize,
    };
    let headers = |list: &[HeaderValueOption], field: &str, request, errors: &mut Vec<ConfigError>| {
        let each = list.iter().enumerate();
        let each = each.map(|(index, option)| append(option, &format!("{field}[{index}]"), request));
        let (good, bad): (Vec<_>, Vec<_>) = each.partition(Result::is_ok);
        errors.extend(bad.into_iter().filter_map(Result::err));
        good.into_iter().filter_map(Result::ok).collect::<Vec<Mutation>>()
    };
    let response_headers =
        headers(&proto.response_headers_to_add, "response_headers_to_add", false, &mut errors);
    let field = "request_headers_to_add_when_not_enforced";
    let request_headers = headers(&proto.request_headers_to_add_when_not_enforced, field, true, &mut errors);
    let limits = rate_limit::limits(&proto.rate_limits, context, "rate_limits", &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let code = proto.status.as_ref().map_or(0, |status| status.code);
    let share = |proto: Option<&_>| proto.map_or_else(RuntimeFraction::never, fraction::fraction);
    let prefix = format!("{}.http_local_rate_limit.", proto.stat_prefix);
    Ok(Limits {
        id: next_id(),
        limiter: Limiter::new(plan, Instant::now()),
        per_connection: proto.local_rate_limit_per_downstream_connection,
        enabled: share(proto.filter_enabled.as_ref()),
        enforced: share(proto.filter_enforced.as_ref()),
        limits,
        stage: proto.stage,
        host_limits: match proto.vh_rate_limits() {
            VhRateLimitsOptions::Override => HostLimits::Override,
            VhRateLimitsOptions::Include => HostLimits::Include,
            VhRateLimitsOptions::Ignore => HostLimits::Ignore,
        },
        // As in Envoy, what is no error is not what a refused request is answered with.
        status: u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(429),
        exhausted: proto.rate_limited_as_resource_exhausted,
        response_headers,
        request_headers,
        told: proto.enable_x_ratelimit_headers() == XRateLimitHeadersRfcVersion::DraftVersion03,
        retry_after: proto.enable_retry_after_header,
        counters: context.counters.counters(&prefix, COUNTERS),
    })
}

fn descriptors(protos: &[LocalRateLimitDescriptor], errors: &mut Vec<ConfigError>) -> Vec<Limit> {
    let mut found: Vec<Limit> = Vec::with_capacity(protos.len());
    for (index, proto) in protos.iter().enumerate() {
        let path = format!("descriptors[{index}]");
        let entries: Vec<_> = proto
            .entries
            .iter()
            .map(|entry| (entry.key.as_str().into(), entry.value.as_str().into()))
            .collect();
        if entries.is_empty() {
            errors.push(ConfigError::new(format!("{path}.entries"), "at least one is required"));
        }
        if found.iter().any(|other| other.entries == entries) {
            errors.push(ConfigError::new(&*path, "duplicate descriptor in the local rate descriptor"));
        }
        let at = format!("{path}.token_bucket");
        let shape = match &proto.token_bucket {
            Some(bucket) => rate_limit::bucket(bucket, &at),
            None => Err(ConfigError::new(at, "is required")),
        };
        match shape {
            Ok(shape) => found.push(Limit { entries, shape, shadow: proto.shadow_mode }),
            Err(error) => errors.push(error),
        }
    }
    found
}
