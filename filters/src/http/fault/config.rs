//! The configuration of the fault filter; a route's own is the same message.

use std::sync::Arc;

use bytes::Bytes;
use sampan_api::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier as DelayKind;
use sampan_api::envoy::extensions::filters::common::fault::v3::fault_rate_limit::LimitType;
use sampan_api::envoy::extensions::filters::common::fault::v3::{FaultDelay, FaultRateLimit};
use sampan_api::envoy::extensions::filters::http::fault::v3 as pb;
use sampan_api::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use sampan_api::envoy::r#type::v3::FractionalPercent;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeFraction;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};
use sampan_filters_api::info::MetadataValue;

use super::{Abort, COUNTERS, Delay, Fault, Faults, Limit, Status, Wait};
use crate::config::{Compiled, ConfigError, FilterContext, duration, fraction, matcher, payload, value};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("*", YES),
            (
                "disable_downstream_cluster_stats",
                Support::Ignored("there are no counters by downstream cluster"),
            ),
        ],
    ),
    ("envoy.extensions.filters.common.fault.v3.FaultDelay", &[("*", YES)]),
    ("envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay", &[]),
    ("envoy.extensions.filters.common.fault.v3.FaultRateLimit", &[("*", YES)]),
    ("envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit", &[("limit_kbps", YES)]),
    ("envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit", &[]),
    ("envoy.extensions.filters.http.fault.v3.FaultAbort", &[("*", YES)]),
    ("envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort", &[]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let prefix = format!("{}fault.", context.prefix);
    Ok(Arc::new(Fault {
        faults: Arc::new(faults(&payload(bytes)?)?),
        active: context.counters.gauge(&format!("{prefix}active_faults")),
        counters: context.counters.counters(&prefix, COUNTERS),
    }))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(faults(&payload(bytes)?)?))
}

/// A runtime key, or the one that counts where none is given.
fn key(configured: &str, usual: &str) -> Box<str> {
    if configured.is_empty() { usual.into() } else { configured.into() }
}

fn faults(proto: &pb::HttpFault) -> Compiled<Faults> {
    let mut errors = Vec::new();
    let delay = proto.delay.as_ref().map(|fault| delay(fault, proto));
    let abort = proto.abort.as_ref().map(|fault| abort(fault, proto));
    let limit = proto.response_rate_limit.as_ref().map(|fault| limit(fault, proto));
    let each = proto.headers.iter().enumerate();
    let headers = each.map(|(index, rule)| matcher::header(rule, &format!("headers[{index}]"))).collect();
    let metadata = proto.filter_metadata.as_ref().map(value::structure);
    let found = Faults {
        delay: kept(delay, &mut errors),
        abort: kept(abort, &mut errors),
        limit: kept(limit, &mut errors),
        headers: kept(Some(headers), &mut errors).unwrap_or_default(),
        upstream_cluster: (!proto.upstream_cluster.is_empty())
            .then(|| proto.upstream_cluster.as_str().into()),
        downstream_nodes: proto.downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
        most_active: proto.max_active_faults.map(|wrapper| u64::from(wrapper.value)),
        most_active_key: key(&proto.max_active_faults_runtime, "fault.http.max_active_faults"),
        metadata: match metadata {
            Some(MetadataValue::Struct(fields)) => fields,
            _ => Vec::new(),
        },
    };
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn kept<T>(found: Option<Result<T, ConfigError>>, errors: &mut Vec<ConfigError>) -> Option<T> {
    found?.map_err(|error| errors.push(error)).ok()
}

fn delay(proto: &FaultDelay, whole: &pb::HttpFault) -> Result<Delay, ConfigError> {
    let wait = match &proto.fault_delay_secifier {
        Some(DelayKind::FixedDelay(fixed)) => {
            let fixed = duration(fixed, "delay.fixed_delay")?;
            if fixed.is_zero() {
                return Err(ConfigError::new("delay.fixed_delay", "must be longer than nothing"));
            }
            Wait::Fixed(fixed)
        }
        Some(DelayKind::HeaderDelay(_)) => Wait::Header,
        None => return Err(ConfigError::new("delay", "neither fixed_delay nor header_delay is given")),
    };
    let share = share(
        proto.percentage.as_ref(),
        key(&whole.delay_percent_runtime, "fault.http.delay.fixed_delay_percent"),
    );
    let key = key(&whole.delay_duration_runtime, "fault.http.delay.fixed_duration_ms");
    Ok(Delay { wait, share, key })
}

fn abort(proto: &pb::FaultAbort, whole: &pb::HttpFault) -> Result<Abort, ConfigError> {
    let status = match &proto.error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(*status) {
            Ok(status) if (200..600).contains(&status) => Status::Http(status),
            _ => {
                let error = ConfigError::new("abort.http_status", "a status is between 200 and 599");
                return Err(error.value(status));
            }
        },
        Some(ErrorType::GrpcStatus(status)) => Status::Grpc(*status),
        Some(ErrorType::HeaderAbort(_)) => Status::Header,
        None => return Err(ConfigError::new("abort", "no status is given")),
    };
    let body = match proto.response_body.as_str() {
        "" => Bytes::from_static(b"fault filter abort"),
        body => Bytes::copy_from_slice(body.as_bytes()),
    };
    let share =
        share(proto.percentage.as_ref(), key(&whole.abort_percent_runtime, "fault.http.abort.abort_percent"));
    Ok(Abort {
        status,
        body,
        share,
        http_key: key(&whole.abort_http_status_runtime, "fault.http.abort.http_status"),
        grpc_key: key(&whole.abort_grpc_status_runtime, "fault.http.abort.grpc_status"),
    })
}

fn limit(proto: &FaultRateLimit, whole: &pb::HttpFault) -> Result<Limit, ConfigError> {
    let kilobytes = match &proto.limit_type {
        Some(LimitType::FixedLimit(fixed)) if fixed.limit_kbps > 0 => Some(fixed.limit_kbps),
        Some(LimitType::FixedLimit(_)) => {
            let at = "response_rate_limit.fixed_limit.limit_kbps";
            return Err(ConfigError::new(at, "must be at least 1"));
        }
        Some(LimitType::HeaderLimit(_)) => None,
        None => {
            let reason = "neither fixed_limit nor header_limit is given";
            return Err(ConfigError::new("response_rate_limit", reason));
        }
    };
    let key = key(&whole.response_rate_limit_percent_runtime, "fault.http.rate_limit.response_percent");
    Ok(Limit { kilobytes, share: share(proto.percentage.as_ref(), key) })
}

/// A share; none at all where nothing is configured.
fn share(proto: Option<&FractionalPercent>, key: Box<str>) -> RuntimeFraction {
    let (numerator, denominator) = proto.map_or((0, 100), fraction::parts);
    RuntimeFraction { numerator, denominator, key }
}
