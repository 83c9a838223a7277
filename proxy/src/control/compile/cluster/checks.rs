//! `health_checks`, of which there may be one, and `health_check_config` of endpoints.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use sampan_api::envoy::config::core::v3::health_check::payload::Payload as Bytes;
use sampan_api::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck,
};
use sampan_api::envoy::config::core::v3::{HeaderValueOption, HealthCheck as Proto, RequestMethod};
use sampan_api::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use sampan_api::envoy::r#type::v3::{CodecClientType, Int64Range};
use sampan_api::{MessageSupport, Support};
use sampan_model::health_check::{CheckKind, CheckTiming, GrpcCheck, HealthCheck, HttpCheck, TcpCheck};

use super::super::{Scope, extension, headers, matcher, value};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a cluster that sets it is refused");
const FILE_SINK: &str = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink";

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.HealthCheck",
        &[
            ("timeout", YES),
            ("interval", YES),
            ("initial_jitter", YES),
            ("interval_jitter", YES),
            ("interval_jitter_percent", YES),
            ("unhealthy_threshold", YES),
            ("healthy_threshold", YES),
            ("alt_port", YES),
            ("reuse_connection", YES),
            ("http_health_check", YES),
            ("tcp_health_check", YES),
            ("grpc_health_check", YES),
            ("custom_health_check", REFUSED),
            ("no_traffic_interval", YES),
            ("no_traffic_healthy_interval", YES),
            ("unhealthy_interval", YES),
            ("unhealthy_edge_interval", YES),
            ("healthy_edge_interval", YES),
            ("always_log_health_check_failures", YES),
            ("always_log_health_check_success", YES),
            ("event_log_path", YES),
            ("event_logger", YES),
            ("event_service", Support::Later("events go to files only")),
            ("tls_options", Support::Later("ALPN follows from the kind of check")),
            (
                "transport_socket_match_criteria",
                Support::Later("a check uses the transport socket of its host"),
            ),
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        &[
            ("host", YES),
            ("path", YES),
            ("send", Support::Ignored("it has no effect in Envoy either")),
            ("receive", YES),
            ("response_buffer_size", YES),
            ("request_headers_to_add", YES),
            ("request_headers_to_remove", YES),
            ("expected_statuses", YES),
            ("retriable_statuses", YES),
            ("codec_client_type", YES),
            ("service_name_matcher", YES),
            ("method", YES),
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck.TcpHealthCheck",
        &[("send", YES), ("receive", YES), ("proxy_protocol_config", REFUSED)],
    ),
    (
        "envoy.config.core.v3.HealthCheck.GrpcHealthCheck",
        &[("service_name", YES), ("authority", YES), ("initial_metadata", YES)],
    ),
    (FILE_SINK, &[("event_log_path", YES)]),
    ("envoy.config.core.v3.HealthCheck.Payload", &[("text", YES), ("binary", YES)]),
    ("envoy.type.v3.Int64Range", &[("start", YES), ("end", YES)]),
];

/// The check of a cluster of this name.
pub(super) fn compile(protos: &[Proto], cluster: &str, at: &Scope<'_>) -> Option<Arc<HealthCheck>> {
    let proto = match protos {
        [] => return None,
        [one] => one,
        _ => return at.reject("Multiple health checks not supported"),
    };
    let at = at.index(0);
    let kind = match &proto.health_checker {
        Some(HealthChecker::HttpHealthCheck(http)) => {
            CheckKind::Http(self::http(http, cluster, &at.field("http_health_check"))?)
        }
        Some(HealthChecker::TcpHealthCheck(tcp)) => {
            CheckKind::Tcp(self::tcp(tcp, &at.field("tcp_health_check"))?)
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => {
            CheckKind::Grpc(self::grpc(grpc, cluster, &at.field("grpc_health_check"))?)
        }
        Some(HealthChecker::CustomHealthCheck(custom)) => {
            return at.field("custom_health_check").field("name").reject_value(
                &custom.name,
                "there is no such health checker",
                "http_health_check, tcp_health_check and grpc_health_check are",
            );
        }
        None => return at.reject("says not how hosts are checked"),
    };
    let port = proto.alt_port.as_ref().map(|port| port.value);
    Some(Arc::new(HealthCheck {
        timing: timing(proto, &at)?,
        reuse_connection: value::switch(proto.reuse_connection.as_ref()).unwrap_or(true),
        port: port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
        log_failures: proto.always_log_health_check_failures,
        log_successes: proto.always_log_health_check_success,
        event_logs: event_logs(proto, &at)?,
        kind,
    }))
}

/// The files that changes of health are told in.
#[allow(deprecated)] // `event_log_path` has become a sink of `event_logger`
fn event_logs(proto: &Proto, at: &Scope<'_>) -> Option<Vec<Box<str>>> {
    let mut paths: Vec<Box<str>> = Vec::new();
    if !proto.event_log_path.is_empty() {
        paths.push(proto.event_log_path.as_str().into());
    }
    let at = at.field("event_logger");
    for (index, sink) in proto.event_logger.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_config");
        let Some(any) = sink.typed_config.as_ref().filter(|any| extension::is(any, FILE_SINK)) else {
            return at.reject_value(
                extension::shown(sink),
                "there is no such event sink",
                "envoy.health_check.event_sink.file is",
            );
        };
        let file: HealthCheckEventFileSink = value::payload(any, &at)?;
        paths.push(file.event_log_path.into());
    }
    Some(paths)
}

fn timing(proto: &Proto, at: &Scope<'_>) -> Option<CheckTiming> {
    let standard = CheckTiming::default();
    let time = |field: Option<&_>, name: &str| value::duration(field, &at.field(name));
    let (timeout, interval) =
        (time(proto.timeout.as_ref(), "timeout"), time(proto.interval.as_ref(), "interval"));
    let (Some(timeout), Some(interval)) = (timeout, interval) else {
        return at.reject("timeout and interval are required");
    };
    let idle = time(proto.no_traffic_interval.as_ref(), "no_traffic_interval")
        .unwrap_or(standard.no_traffic_interval);
    let unhealthy = time(proto.unhealthy_interval.as_ref(), "unhealthy_interval").unwrap_or(interval);
    Some(CheckTiming {
        timeout,
        interval,
        initial_jitter: time(proto.initial_jitter.as_ref(), "initial_jitter").unwrap_or_default(),
        interval_jitter: time(proto.interval_jitter.as_ref(), "interval_jitter").unwrap_or_default(),
        interval_jitter_percent: proto.interval_jitter_percent,
        unhealthy_threshold: value::number_or(proto.unhealthy_threshold.as_ref(), 1),
        healthy_threshold: value::number_or(proto.healthy_threshold.as_ref(), 1),
        no_traffic_interval: idle,
        no_traffic_healthy_interval: time(
            proto.no_traffic_healthy_interval.as_ref(),
            "no_traffic_healthy_interval",
        )
        .unwrap_or(idle),
        unhealthy_interval: unhealthy,
        unhealthy_edge_interval: time(proto.unhealthy_edge_interval.as_ref(), "unhealthy_edge_interval")
            .unwrap_or(unhealthy),
        healthy_edge_interval: time(proto.healthy_edge_interval.as_ref(), "healthy_edge_interval")
            .unwrap_or(interval),
    })
}

fn http(proto: &HttpHealthCheck, cluster: &str, at: &Scope<'_>) -> Option<HttpCheck> {
    let method = match proto.method() {
        RequestMethod::MethodUnspecified | RequestMethod::Get => "GET",
        RequestMethod::Head => "HEAD",
        RequestMethod::Post => "POST",
        RequestMethod::Put => "PUT",
        RequestMethod::Delete => "DELETE",
        RequestMethod::Options => "OPTIONS",
        RequestMethod::Trace => "TRACE",
        RequestMethod::Patch => "PATCH",
        RequestMethod::Connect => return at.field("method").reject_value("CONNECT", "cannot be a check", ""),
    };
    let http2 = match proto.codec_client_type() {
        CodecClientType::Http1 => false,
        CodecClientType::Http2 => true,
        CodecClientType::Http3 => {
            return at.field("codec_client_type").reject_value(
                "HTTP3",
                "is not supported",
                "HTTP1 and HTTP2 are",
            );
        }
    };
    let expected = ranges(&proto.expected_statuses, &at.field("expected_statuses"))?;
    let service = match &proto.service_name_matcher {
        Some(proto) => Some(matcher::string(proto, &at.field("service_name_matcher"))?),
        None => None,
    };
    Some(HttpCheck {
        host: if proto.host.is_empty() { cluster.into() } else { proto.host.as_str().into() },
        path: proto.path.as_str().into(),
        method,
        expected: if expected.is_empty() { vec![(200, 201)] } else { expected },
        retriable: ranges(&proto.retriable_statuses, &at.field("retriable_statuses"))?,
        http2,
        add: added(&proto.request_headers_to_add, &at.field("request_headers_to_add"))?,
        remove: proto.request_headers_to_remove.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
        service,
        receive: payloads(&proto.receive, &at.field("receive"))?,
        body_limit: proto.response_buffer_size.as_ref().map_or(1024, |size| size.value.min(1 << 20) as usize),
    })
}

fn ranges(protos: &[Int64Range], at: &Scope<'_>) -> Option<Vec<(u16, u16)>> {
    let each = protos.iter().enumerate().map(|(index, range)| {
        let (start, end) = (u16::try_from(range.start).ok(), u16::try_from(range.end).ok());
        match (start, end) {
            (Some(start), Some(end)) if (100..600).contains(&start) && start < end && end <= 600 => {
                Some((start, end))
            }
            _ => at.index(index).reject_value(
                format!("[{}, {})", range.start, range.end),
                "Invalid http status range: expecting start >= 100, start < end and end <= 600",
                "",
            ),
        }
    });
    each.collect()
}

/// Name, value, and whether it is added beside what is there.
type Added = (Box<str>, Box<str>, bool);

/// Headers to add; formats are refused, as a check has nothing to format.
fn added(protos: &[HeaderValueOption], at: &Scope<'_>) -> Option<Vec<Added>> {
    let each = protos.iter().enumerate().map(|(index, option)| {
        let at = at.index(index);
        let Some(header) = &option.header else { return at.field("header").reject("is required") };
        let value = headers::literal(&header.value, &at.field("header"))?;
        let append = option.append_action() == HeaderAppendAction::AppendIfExistsOrAdd;
        let valid = http::HeaderName::try_from(header.key.as_str()).is_ok()
            && http::HeaderValue::try_from(&*value).is_ok();
        if valid {
            Some((header.key.to_ascii_lowercase().into(), value, append))
        } else {
            at.field("header").reject_value(&header.key, "is not a valid header", "")
        }
    });
    each.collect()
}

fn tcp(proto: &TcpHealthCheck, at: &Scope<'_>) -> Option<TcpCheck> {
    if proto.proxy_protocol_config.is_some() {
        return at.field("proxy_protocol_config").reject("the PROXY protocol is not supported yet");
    }
    let send = match &proto.send {
        Some(payload) => bytes(payload, &at.field("send"))?,
        None => Box::default(),
    };
    Some(TcpCheck { send, receive: payloads(&proto.receive, &at.field("receive"))? })
}

fn payloads(protos: &[Payload], at: &Scope<'_>) -> Option<Vec<Box<[u8]>>> {
    protos.iter().enumerate().map(|(index, payload)| bytes(payload, &at.index(index))).collect()
}

/// A payload; text is in hexadecimal.
fn bytes(proto: &Payload, at: &Scope<'_>) -> Option<Box<[u8]>> {
    match &proto.payload {
        Some(Bytes::Binary(bytes)) => Some(bytes.as_slice().into()),
        Some(Bytes::Text(text)) => {
            let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let decoded: Option<Box<[u8]>> = text.as_bytes().chunks(2).map(pair).collect();
            let even = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            match decoded.filter(|_| even) {
                Some(bytes) => Some(bytes),
                None => at.field("text").reject_value(text, format!("invalid hex string '{text}'"), ""),
            }
        }
        None => at.reject("the payload is missing"),
    }
}

fn grpc(proto: &GrpcHealthCheck, cluster: &str, at: &Scope<'_>) -> Option<GrpcCheck> {
    let metadata = added(&proto.initial_metadata, &at.field("initial_metadata"))?;
    Some(GrpcCheck {
        service: proto.service_name.as_str().into(),
        authority: if proto.authority.is_empty() { cluster.into() } else { proto.authority.as_str().into() },
        metadata: metadata.into_iter().map(|(name, value, _)| (name, value)).collect(),
    })
}
