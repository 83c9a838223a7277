//! Protocol options, limits and timeouts of the connection manager.

use std::time::Duration;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use sampan_api::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::super::{Scope, extension, value};
use crate::http::config::{Http1Options, Http2Options, HttpTimeouts, Underscores};
use crate::http::h1::HeadLimits;
use crate::http::h1::encode::NameCase;

const PRESERVE_CASE: &str =
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";
/// `max_request_headers_kb` where nothing is configured.
const HEAD_KIB: u32 = 60;
/// `max_headers_count` where nothing is configured.
const HEAD_FIELDS: u32 = 100;

/// `http_protocol_options`
pub fn http1(proto: Option<&core::Http1ProtocolOptions>, at: &Scope<'_>) -> Http1Options {
    let Some(proto) = proto else { return Http1Options::default() };
    if proto.allow_chunked_length {
        at.field("allow_chunked_length").reject_value::<()>(
            true,
            "a message with both Content-Length and Transfer-Encoding is always refused",
            "remove it",
        );
    }
    if proto.allow_custom_methods {
        at.field("allow_custom_methods").reject_value::<()>(
            true,
            "methods other than the registered ones are refused",
            "remove it",
        );
    }
    if proto.send_fully_qualified_url {
        at.field("send_fully_qualified_url").reject_value::<()>(true, "it is for upstream connections", "");
    }
    Http1Options {
        allow_absolute_url: value::switch(proto.allow_absolute_url.as_ref()).unwrap_or(true),
        accept_http_10: proto.accept_http_10,
        default_host_for_http_10: proto.default_host_for_http_10.as_str().into(),
        name_case: name_case(proto.header_key_format.as_ref(), &at.field("header_key_format")),
        enable_trailers: proto.enable_trailers,
    }
}

fn name_case(proto: Option<&core::http1_protocol_options::HeaderKeyFormat>, at: &Scope<'_>) -> NameCase {
    match proto.and_then(|format| format.header_format.as_ref()) {
        None => NameCase::Lower,
        Some(HeaderFormat::ProperCaseWords(_)) => NameCase::Proper,
        Some(HeaderFormat::StatefulFormatter(formatter)) => {
            if !formatter.typed_config.as_ref().is_some_and(|any| extension::is(any, PRESERVE_CASE)) {
                at.field("stateful_formatter").reject_value::<()>(
                    extension::shown(formatter),
                    "there is no such header formatter",
                    "use preserve_case",
                );
            }
            NameCase::Preserve
        }
    }
}

/// `http2_protocol_options`
pub fn http2(proto: Option<&core::Http2ProtocolOptions>, at: &Scope<'_>) -> Http2Options {
    let defaults = Http2Options::default();
    let Some(proto) = proto else { return defaults };
    if proto.allow_metadata {
        at.field("allow_metadata").reject_value::<()>(true, "METADATA frames are not supported", "remove it");
    }
    let or =
        |field: Option<&sampan_api::google::protobuf::UInt32Value>, default| value::number_or(field, default);
    Http2Options {
        max_concurrent_streams: or(proto.max_concurrent_streams.as_ref(), defaults.max_concurrent_streams),
        stream_window: or(proto.initial_stream_window_size.as_ref(), defaults.stream_window),
        connection_window: or(proto.initial_connection_window_size.as_ref(), defaults.connection_window),
        allow_connect: proto.allow_connect,
        hpack_table_size: or(proto.hpack_table_size.as_ref(), defaults.hpack_table_size),
        keepalive: proto
            .connection_keepalive
            .as_ref()
            .and_then(|keepalive| value::http2_keepalive(keepalive, &at.field("connection_keepalive"))),
        max_outbound_control_frames: or(
            proto.max_outbound_control_frames.as_ref(),
            defaults.max_outbound_control_frames,
        ),
        max_consecutive_empty_frames: or(
            proto.max_consecutive_inbound_frames_with_empty_payload.as_ref(),
            defaults.max_consecutive_empty_frames,
        ),
        max_priority_frames_per_stream: or(
            proto.max_inbound_priority_frames_per_stream.as_ref(),
            defaults.max_priority_frames_per_stream,
        ),
        max_window_updates_per_data_frame: or(
            proto.max_inbound_window_update_frames_per_data_frame_sent.as_ref(),
            defaults.max_window_updates_per_data_frame,
        ),
    }
}

/// All timeouts, of connections and of streams.
pub fn timeouts(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> HttpTimeouts {
    let defaults = HttpTimeouts::default();
    let common = proto.common_http_protocol_options.as_ref();
    let common_at = at.field("common_http_protocol_options");
    let own = |field: Option<&_>, default, name: &str| value::timeout(field, default, &at.field(name));
    let shared =
        |field: Option<&_>, default, name: &str| value::timeout(field, default, &common_at.field(name));
    let idle_configured = proto.stream_idle_timeout.is_some();
    let stream_idle = own(proto.stream_idle_timeout.as_ref(), defaults.stream_idle, "stream_idle_timeout");
    let flush = if idle_configured { stream_idle } else { defaults.stream_flush };
    HttpTimeouts {
        request_headers: own(
            proto.request_headers_timeout.as_ref(),
            defaults.request_headers,
            "request_headers_timeout",
        ),
        body_idle: defaults.body_idle.filter(|_| !idle_configured),
        stream_flush: own(proto.stream_flush_timeout.as_ref(), flush, "stream_flush_timeout"),
        stream_flush_configured: proto.stream_flush_timeout.is_some(),
        request: own(proto.request_timeout.as_ref(), None, "request_timeout"),
        stream_idle,
        connection_idle: shared(
            common.and_then(|common| common.idle_timeout.as_ref()),
            defaults.connection_idle,
            "idle_timeout",
        ),
        max_connection: shared(
            common.and_then(|common| common.max_connection_duration.as_ref()),
            None,
            "max_connection_duration",
        ),
        max_stream: shared(
            common.and_then(|common| common.max_stream_duration.as_ref()),
            None,
            "max_stream_duration",
        ),
        drain: proto
            .drain_timeout
            .as_ref()
            .map_or(Some(defaults.drain), |drain| value::duration(Some(drain), &at.field("drain_timeout")))
            .unwrap_or(Duration::ZERO),
        delayed_close: own(
            proto.delayed_close_timeout.as_ref(),
            defaults.delayed_close,
            "delayed_close_timeout",
        ),
    }
}

/// `max_request_headers_kb` and `max_headers_count`
pub fn head_limits(proto: &pb::HttpConnectionManager) -> HeadLimits {
    let common = proto.common_http_protocol_options.as_ref();
    let fields = common.and_then(|common| common.max_headers_count.as_ref());
    HeadLimits {
        bytes: value::number_or(proto.max_request_headers_kb.as_ref(), HEAD_KIB) as usize * 1024,
        fields: value::number_or(fields, HEAD_FIELDS) as usize,
    }
}

/// `max_requests_per_connection`; zero is without limit.
pub fn max_requests(proto: &pb::HttpConnectionManager) -> Option<u64> {
    let common = proto.common_http_protocol_options.as_ref()?;
    let most = value::number(common.max_requests_per_connection.as_ref())?;
    (most > 0).then_some(u64::from(most))
}

/// `headers_with_underscores_action`
pub fn underscores(proto: &pb::HttpConnectionManager) -> Underscores {
    let Some(common) = &proto.common_http_protocol_options else { return Underscores::Allow };
    match common.headers_with_underscores_action() {
        HeadersWithUnderscoresAction::Allow => Underscores::Allow,
        HeadersWithUnderscoresAction::RejectRequest => Underscores::Reject,
        HeadersWithUnderscoresAction::DropHeader => Underscores::Drop,
    }
}

/// The connection manager's own switch decides, else the one of the HTTP/2 options, whose older spelling counts too.
#[expect(deprecated, reason = "1.40 accepts the older spelling")]
pub fn stream_error_on_invalid(proto: &pb::HttpConnectionManager) -> bool {
    let http2 = proto.http2_protocol_options.as_ref();
    value::switch(proto.stream_error_on_invalid_http_message.as_ref())
        .or_else(|| value::switch(http2?.override_stream_error_on_invalid_http_message.as_ref()))
        .or_else(|| http2.map(|http2| http2.stream_error_on_invalid_http_messaging))
        .unwrap_or(false)
}
