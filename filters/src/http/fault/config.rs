//! The configuration of the fault filter; a route's own is the same message.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use sampan_api::envoy::extensions::filters::common::fault::v3::FaultDelay;
use sampan_api::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier as Delay;
use sampan_api::envoy::extensions::filters::http::fault::v3 as pb;
use sampan_api::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use sampan_api::envoy::r#type::v3::FractionalPercent;
use sampan_api::envoy::r#type::v3::fractional_percent::DenominatorType;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Abort, Fault, Faults, Share};
use crate::config::{Compiled, ConfigError, duration, payload};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");
const RUNTIME: Support = Support::Later("the configured value counts, whatever the runtime says");

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("delay", YES),
            ("abort", YES),
            ("downstream_nodes", YES),
            ("max_active_faults", YES),
            ("upstream_cluster", REFUSED),
            ("headers", REFUSED),
            ("response_rate_limit", REFUSED),
            ("delay_percent_runtime", RUNTIME),
            ("abort_percent_runtime", RUNTIME),
            ("delay_duration_runtime", RUNTIME),
            ("abort_http_status_runtime", RUNTIME),
            ("max_active_faults_runtime", RUNTIME),
            ("response_rate_limit_percent_runtime", RUNTIME),
            ("abort_grpc_status_runtime", RUNTIME),
            ("disable_downstream_cluster_stats", Support::Ignored("there are no such stats")),
            ("filter_metadata", Support::Later("no metadata is set")),
        ],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultDelay",
        &[("fixed_delay", YES), ("percentage", YES), ("header_delay", REFUSED)],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.FaultAbort",
        &[
            ("http_status", YES),
            ("grpc_status", YES),
            ("percentage", YES),
            ("response_body", YES),
            ("header_abort", REFUSED),
        ],
    ),
    ("envoy.type.v3.FractionalPercent", &[("numerator", YES), ("denominator", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8]) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let faults = Arc::new(faults(&payload(bytes)?)?);
    Ok(Arc::new(Fault { faults, active: Arc::new(AtomicU64::new(0)) }))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8]) -> Compiled<RouteConfig> {
    Ok(Arc::new(faults(&payload(bytes)?)?))
}

fn faults(proto: &pb::HttpFault) -> Compiled<Faults> {
    let mut errors = Vec::new();
    for (set, field) in [
        (!proto.upstream_cluster.is_empty(), "upstream_cluster"),
        (!proto.headers.is_empty(), "headers"),
        (proto.response_rate_limit.is_some(), "response_rate_limit"),
    ] {
        if set {
            errors.push(ConfigError::new(field, "is not supported yet"));
        }
    }
    let delay = proto.delay.as_ref().map(delay).transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let abort = proto.abort.as_ref().map(abort).transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Faults {
        delay,
        abort,
        downstream_nodes: proto.downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
        most_active: proto.max_active_faults.map(|wrapper| u64::from(wrapper.value)),
    })
}

fn delay(proto: &FaultDelay) -> Result<(std::time::Duration, Share), ConfigError> {
    match &proto.fault_delay_secifier {
        Some(Delay::FixedDelay(fixed)) => {
            Ok((duration(fixed, "delay.fixed_delay")?, share(proto.percentage.as_ref())))
        }
        Some(Delay::HeaderDelay(_)) => Err(ConfigError::new("delay.header_delay", "is not supported yet")),
        None => Err(ConfigError::new("delay", "neither fixed_delay nor header_delay is given")),
    }
}

fn abort(proto: &pb::FaultAbort) -> Result<(Abort, Share), ConfigError> {
    let (status, grpc_status) = match &proto.error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(*status) {
            Ok(status) if (200..600).contains(&status) => (status, None),
            _ => {
                let error = ConfigError::new("abort.http_status", "a status is between 200 and 599");
                return Err(error.value(status));
            }
        },
        // A request that is not gRPC gets 200, as in Envoy.
        Some(ErrorType::GrpcStatus(status)) => (200, Some(*status)),
        Some(ErrorType::HeaderAbort(_)) => {
            return Err(ConfigError::new("abort.header_abort", "is not supported yet"));
        }
        None => return Err(ConfigError::new("abort", "no status is given")),
    };
    let body = match proto.response_body.as_str() {
        "" => Bytes::from_static(b"fault filter abort"),
        body => Bytes::copy_from_slice(body.as_bytes()),
    };
    Ok((Abort { status, grpc_status, body }, share(proto.percentage.as_ref())))
}

/// A share; none at all where nothing is configured.
fn share(proto: Option<&FractionalPercent>) -> Share {
    let Some(proto) = proto else { return Share { numerator: 0, denominator: 100 } };
    let denominator = match proto.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    Share { numerator: proto.numerator, denominator }
}
