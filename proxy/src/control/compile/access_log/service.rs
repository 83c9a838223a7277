//! `envoy.extensions.access_loggers.grpc.v3`: access logs that are sent to a gRPC access log service.

use std::time::Duration;

use sampan_api::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::HeaderName;

use super::super::{Scope, custom_tag, source, value};
use crate::telemetry::access_log::{EntryFormat, EntryKind, LoggedHeader, LoggedHeaders, ServiceSettings};

const YES: Support = Support::Supported;

/// The type of the HTTP log.
pub const HTTP: &str = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
/// The type of the TCP log.
pub const TCP: &str = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (HTTP, &[("*", YES)]),
    (TCP, &[("*", YES)]),
    ("envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig", &[("*", YES)]),
];

/// A log of HTTP entries.
pub fn http(any: &Any, at: &Scope<'_>) -> Option<(ServiceSettings, EntryFormat)> {
    let proto: HttpGrpcAccessLogConfig = value::payload(any, at)?;
    let headers = LoggedHeaders {
        request: logged(&proto.additional_request_headers_to_log),
        response: logged(&proto.additional_response_headers_to_log),
        trailers: logged(&proto.additional_response_trailers_to_log),
    };
    common(proto.common_config.as_ref(), EntryKind::Http, headers, &at.field("common_config"))
}

/// A log of TCP entries.
pub fn tcp(any: &Any, at: &Scope<'_>) -> Option<(ServiceSettings, EntryFormat)> {
    let proto: TcpGrpcAccessLogConfig = value::payload(any, at)?;
    let at = at.field("common_config");
    common(proto.common_config.as_ref(), EntryKind::Tcp, LoggedHeaders::default(), &at)
}

/// Headers to log. As in Envoy, a text that names no header is accepted and never found.
fn logged(names: &[String]) -> Vec<LoggedHeader> {
    let each = names.iter().filter_map(|name| {
        Some(LoggedHeader { key: name.to_ascii_lowercase().into(), name: HeaderName::parse(name)? })
    });
    each.collect()
}

fn common(
    proto: Option<&CommonGrpcAccessLogConfig>,
    kind: EntryKind,
    headers: LoggedHeaders,
    at: &Scope<'_>,
) -> Option<(ServiceSettings, EntryFormat)> {
    let Some(proto) = proto else { return at.reject("is required") };
    let before = at.rejects().len();
    let target = match &proto.grpc_service {
        Some(service) => source::grpc_target(service, &at.field("grpc_service")),
        None => at.field("grpc_service").reject("is required"),
    };
    let tags = custom_tag::all(&proto.custom_tags, &at.field("custom_tags"));
    let interval = value::duration(proto.buffer_flush_interval.as_ref(), &at.field("buffer_flush_interval"));
    let full = value::number(proto.buffer_size_bytes.as_ref());
    let policy = &at.field("grpc_stream_retry_policy");
    let back_off = proto.grpc_stream_retry_policy.as_ref().and_then(|proto| source::back_off(proto, policy));
    let settings = ServiceSettings {
        kind,
        log_name: proto.log_name.as_str().into(),
        target: target?,
        interval: interval.unwrap_or(ServiceSettings::INTERVAL).max(Duration::from_millis(1)),
        full: full.map_or(ServiceSettings::FULL, |size| size as usize).min(ServiceSettings::FULLEST),
        back_off: back_off.unwrap_or(ServiceSettings::BACK_OFF),
    };
    let filter_state = proto.filter_state_objects_to_log.iter().map(|key| key.as_str().into()).collect();
    let format = EntryFormat { kind, tags, filter_state, headers };
    (at.rejects().len() == before).then_some((settings, format))
}

#[cfg(test)]
mod tests;
