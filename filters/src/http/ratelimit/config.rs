//! The configuration of the rate limit filter, its own and that of routes.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::{ApiVersion, RuntimeFractionalPercent};
use sampan_api::envoy::extensions::filters::http::ratelimit::v3 as pb;
use sampan_api::envoy::extensions::filters::http::ratelimit::v3::rate_limit::XRateLimitHeadersRfcVersion;
use sampan_api::envoy::extensions::filters::http::ratelimit::v3::rate_limit_per_route::{
    OverrideOptions, VhRateLimitsOptions,
};
use sampan_api::envoy::r#type::v3::HttpStatus;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeFraction;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Asks, COUNTERS, RateLimits, RouteSettings, Settings};
use crate::config::{Compiled, ConfigError, FilterContext, duration, fraction, payload, rate_limit, remote};
use crate::counted::ClusterCounters;
use crate::http::header_mutation::config::append;
use crate::http::local_ratelimit::HostLimits;

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimit";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("*", YES)]),
    (PER_ROUTE, &[("*", YES)]),
    ("envoy.config.ratelimit.v3.RateLimitServiceConfig", &[("*", YES)]),
];

/// How long the service may take where nothing is configured.
const TIMEOUT: Duration = Duration::from_millis(20);

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::RateLimit = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.domain.is_empty() {
        errors.push(ConfigError::new("domain", "is required"));
    }
    let service = service(&proto).map_err(|error| errors.push(error)).ok();
    let limits = rate_limit::limits(&proto.rate_limits, context, "rate_limits", &mut errors);
    let mut response_headers = Vec::new();
    for (index, option) in proto.response_headers_to_add.iter().enumerate() {
        match append(option, &format!("response_headers_to_add[{index}]"), false) {
            Ok(mutation) => response_headers.push(mutation),
            Err(error) => errors.push(error),
        }
    }
    let asks = match &*proto.request_type {
        "" | "both" => Asks::All,
        "internal" => Asks::Internal,
        "external" => Asks::External,
        other => {
            errors.push(ConfigError::new("request_type", "must be internal, external or both").value(other));
            Asks::All
        }
    };
    let Some(service) = service.filter(|_| errors.is_empty()) else { return Err(errors) };
    let kind = match &*proto.stat_prefix {
        "" => "ratelimit.".to_owned(),
        own => format!("ratelimit.{own}."),
    };
    let namespace = match &*proto.metadata_namespace {
        "" => "envoy.filters.http.ratelimit",
        own => own,
    };
    Ok(Arc::new(RateLimits(Arc::new(Settings {
        service,
        domain: proto.domain.as_str().into(),
        stage: proto.stage,
        asks,
        limits,
        enabled: share(proto.filter_enabled.as_ref(), "ratelimit.http_filter_enabled"),
        enforced: share(proto.filter_enforced.as_ref(), "ratelimit.http_filter_enforcing"),
        deny_failure: proto.failure_mode_deny,
        deny_share: proto.failure_mode_deny_percent.as_ref().map(fraction::fraction),
        exhausted: proto.rate_limited_as_resource_exhausted,
        told: proto.enable_x_ratelimit_headers() == XRateLimitHeadersRfcVersion::DraftVersion03,
        marked: !proto.disable_x_envoy_ratelimited_header,
        retry_after: proto.enable_retry_after_header,
        status: code(proto.rate_limited_status.as_ref()).filter(|code| *code >= 400).unwrap_or(429),
        status_on_error: code(proto.status_on_error.as_ref()).unwrap_or(500),
        response_headers,
        namespace: namespace.into(),
        counters: ClusterCounters::new(context.counters, &kind, COUNTERS),
    }))))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::RateLimitPerRoute = payload(bytes)?;
    let mut errors = Vec::new();
    let limits = rate_limit::limits(&proto.rate_limits, context, "rate_limits", &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let host_limits =
        match (proto.override_option(), proto.vh_rate_limits()) {
            (OverrideOptions::OverridePolicy, _)
            | (OverrideOptions::Default, VhRateLimitsOptions::Override) => HostLimits::Override,
            (OverrideOptions::IncludePolicy, _)
            | (OverrideOptions::Default, VhRateLimitsOptions::Include) => HostLimits::Include,
            (OverrideOptions::IgnorePolicy, _) | (OverrideOptions::Default, VhRateLimitsOptions::Ignore) => {
                HostLimits::Ignore
            }
        };
    let domain = (!proto.domain.is_empty()).then(|| proto.domain.as_str().into());
    Ok(Arc::new(RouteSettings { host_limits, limits, domain }))
}

fn service(proto: &pb::RateLimit) -> Result<crate::grpc::GrpcService, ConfigError> {
    let Some(service) = &proto.rate_limit_service else {
        return Err(ConfigError::new("rate_limit_service", "is required"));
    };
    if service.transport_api_version() != ApiVersion::V3 {
        let version = service.transport_api_version().as_str_name();
        let path = "rate_limit_service.transport_api_version";
        let error = ConfigError::new(path, "only V3 is spoken").value(version);
        return Err(error.hint("set transport_api_version: V3"));
    }
    let timeout = proto.timeout.as_ref().map(|proto| duration(proto, "timeout")).transpose()?;
    let path = "rate_limit_service.grpc_service";
    let mut found = remote::grpc(service.grpc_service.as_ref(), TIMEOUT, path)?;
    // The filter's own timeout counts, whatever the service's says.
    found.timeout = Some(timeout.unwrap_or(TIMEOUT)).filter(|limit| *limit > Duration::ZERO);
    Ok(found)
}

fn share(proto: Option<&RuntimeFractionalPercent>, key: &str) -> RuntimeFraction {
    proto.map_or_else(|| RuntimeFraction { key: key.into(), ..RuntimeFraction::always() }, fraction::fraction)
}

fn code(proto: Option<&HttpStatus>) -> Option<u16> {
    proto.and_then(|status| u16::try_from(status.code).ok()).filter(|code| *code > 0)
}
