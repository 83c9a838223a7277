//! HTTP towards a cluster: `typed_extension_protocol_options`, or the deprecated fields of the cluster itself.

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::ClusterProtocolSelection;
use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;
use sampan_api::envoy::extensions::upstreams::http::v3 as upstreams;
use sampan_api::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use sampan_api::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{
    CommonHttpOptions, Http1Options, Http2Options, UpstreamHttpOptions, UpstreamProtocol,
};

use super::super::{Scope, extension, value};

const YES: Support = Support::Supported;
const SERVER_ONLY: Support = Support::Ignored("it is for servers only");
const REFUSED: Support = Support::Later("a cluster that sets it is refused");
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const PRESERVE_CASE: &str =
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        &[
            ("common_http_protocol_options", YES),
            ("upstream_http_protocol_options", YES),
            ("explicit_http_config", YES),
            ("use_downstream_protocol_config", YES),
            ("auto_config", YES),
            ("http_filters", Support::Later("only upstream_codec is accepted")),
            ("header_validation_config", Support::Later("headers are always validated")),
            ("outlier_detection", Support::Later("no host is ejected")),
            ("request_mirror_policies", REFUSED),
            ("hash_policy", REFUSED),
            ("retry_policy", Support::Later("there are no retries yet")),
        ],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig",
        &[
            ("http_protocol_options", YES),
            ("http2_protocol_options", YES),
            ("http3_protocol_options", REFUSED),
        ],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig",
        &[
            ("http_protocol_options", YES),
            ("http2_protocol_options", YES),
            ("http3_protocol_options", REFUSED),
        ],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig",
        &[
            ("http_protocol_options", YES),
            ("http2_protocol_options", YES),
            ("http3_protocol_options", REFUSED),
            ("alternate_protocols_cache_options", Support::Later("it is for HTTP/3")),
        ],
    ),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            ("idle_timeout", YES),
            ("max_connection_duration", YES),
            ("max_stream_duration", YES),
            ("max_requests_per_connection", YES),
            ("max_headers_count", YES),
            ("max_response_headers_kb", YES),
        ],
    ),
    (
        "envoy.config.core.v3.UpstreamHttpProtocolOptions",
        &[
            ("auto_sni", YES),
            ("auto_san_validation", YES),
            ("override_auto_sni_header", Support::Later("the server name is the request's host")),
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            ("header_key_format", YES),
            ("enable_trailers", YES),
            ("allow_chunked_length", YES),
            ("override_stream_error_on_invalid_http_message", YES),
            ("use_balsa_parser", Support::Ignored("there is one HTTP/1 codec")),
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
        &[("proper_case_words", YES), ("stateful_formatter", YES)],
    ),
    ("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords", &[("*", YES)]),
    (
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        &[
            ("forward_reason_phrase", Support::Later("the reason phrase is always forwarded")),
            (
                "formatter_type_on_envoy_headers",
                Support::Later("headers that the proxy adds are in lower case"),
            ),
        ],
    ),
    (
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            ("hpack_table_size", YES),
            ("max_concurrent_streams", YES),
            ("initial_stream_window_size", YES),
            ("initial_connection_window_size", YES),
            ("allow_connect", YES),
            ("connection_keepalive", YES),
            ("max_outbound_frames", SERVER_ONLY),
            ("max_outbound_control_frames", SERVER_ONLY),
            ("max_consecutive_inbound_frames_with_empty_payload", SERVER_ONLY),
            ("max_inbound_priority_frames_per_stream", SERVER_ONLY),
            ("max_inbound_window_update_frames_per_data_frame_sent", SERVER_ONLY),
            ("stream_error_on_invalid_http_messaging", Support::Later("a bad message ends its stream")),
            (
                "override_stream_error_on_invalid_http_message",
                Support::Later("a bad message ends its stream"),
            ),
            ("use_oghttp2_codec", Support::Ignored("there is one HTTP/2 codec")),
        ],
    ),
    (
        "envoy.config.core.v3.KeepaliveSettings",
        &[("interval", YES), ("timeout", YES), ("interval_jitter", YES), ("connection_idle_interval", YES)],
    ),
];

/// The HTTP options of a cluster.
pub(super) fn compile(proto: &pb::Cluster, at: &Scope<'_>) -> Option<UpstreamHttpOptions> {
    let map = at.field("typed_extension_protocol_options");
    let mut typed = None;
    let mut names: Vec<_> = proto.typed_extension_protocol_options.iter().collect();
    names.sort_by_key(|(name, _)| name.as_str());
    for (name, any) in names {
        let at = map.key(name);
        if name == HTTP_OPTIONS && extension::is(any, HTTP_OPTIONS) {
            typed = Some((value::payload::<upstreams::HttpProtocolOptions>(any, &at)?, at));
        } else {
            let hint = "only envoy.extensions.upstreams.http.v3.HttpProtocolOptions is supported";
            at.reject_value::<()>(
                &any.type_url,
                "there is no extension of this name with protocol options",
                hint,
            );
        }
    }
    match typed {
        Some((options, at)) => from_typed(&options, proto, &at),
        None => from_cluster(proto, at),
    }
}

#[allow(deprecated)] // `max_requests_per_connection` of the cluster
fn from_typed(
    proto: &upstreams::HttpProtocolOptions,
    cluster: &pb::Cluster,
    at: &Scope<'_>,
) -> Option<UpstreamHttpOptions> {
    let mut options = UpstreamHttpOptions::default();
    if let Some(common) = &proto.common_http_protocol_options {
        options.common = common_options(common, &at.field("common_http_protocol_options"));
    }
    match (
        value::number(cluster.max_requests_per_connection.as_ref()),
        options.common.max_requests_per_connection,
    ) {
        (Some(_), Some(_)) => {
            return at.reject("Only one of max_requests_per_connection from Cluster or HttpProtocolOptions can be specified");
        }
        (Some(most), None) => options.common.max_requests_per_connection = Some(most),
        _ => {}
    }
    if let Some(upstream) = &proto.upstream_http_protocol_options {
        sni(upstream, &mut options);
    }
    refuse_filters(proto, at);
    match &proto.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            let at = at.field("explicit_http_config");
            explicit_protocol(explicit.protocol_config.as_ref(), &mut options, &at)?;
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(use_downstream)) => {
            let at = at.field("use_downstream_protocol_config");
            options.protocol = UpstreamProtocol::UseDownstream;
            both(
                use_downstream.http_protocol_options.as_ref(),
                use_downstream.http2_protocol_options.as_ref(),
                &mut options,
                &at,
            );
            if use_downstream.http3_protocol_options.is_some() {
                at.field("http3_protocol_options").reject::<()>("HTTP/3 is not supported");
            }
        }
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => {
            let at = at.field("auto_config");
            options.protocol = UpstreamProtocol::Auto;
            both(
                auto.http_protocol_options.as_ref(),
                auto.http2_protocol_options.as_ref(),
                &mut options,
                &at,
            );
            if auto.http3_protocol_options.is_some() {
                at.field("http3_protocol_options").reject::<()>("HTTP/3 is not supported");
            }
        }
        None => return at.reject("upstream_protocol_options is required"),
    }
    Some(options)
}

fn explicit_protocol(
    config: Option<&ProtocolConfig>,
    options: &mut UpstreamHttpOptions,
    at: &Scope<'_>,
) -> Option<()> {
    match config {
        Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
            options.protocol = UpstreamProtocol::Http1;
            both(Some(http1), None, options, at);
        }
        Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
            options.protocol = UpstreamProtocol::Http2;
            both(None, Some(http2), options, at);
        }
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            return at.field("http3_protocol_options").reject("HTTP/3 is not supported");
        }
        None => return at.reject("protocol_config is required"),
    }
    Some(())
}

/// The deprecated fields of the cluster.
#[allow(deprecated)] // they are what this is about
fn from_cluster(proto: &pb::Cluster, at: &Scope<'_>) -> Option<UpstreamHttpOptions> {
    let mut options = UpstreamHttpOptions::default();
    let http1 = proto.http_protocol_options.as_ref();
    let http2 = proto.http2_protocol_options.as_ref();
    options.protocol = match proto.protocol_selection() {
        ClusterProtocolSelection::UseDownstreamProtocol => UpstreamProtocol::UseDownstream,
        ClusterProtocolSelection::UseConfiguredProtocol if http1.is_some() && http2.is_some() => {
            return at.field("http2_protocol_options").reject(
                "Both HTTP1 and HTTP2 options may only be configured with non-default 'protocol_selection' values",
            );
        }
        ClusterProtocolSelection::UseConfiguredProtocol if http2.is_some() => UpstreamProtocol::Http2,
        ClusterProtocolSelection::UseConfiguredProtocol => UpstreamProtocol::Http1,
    };
    if let Some(common) = &proto.common_http_protocol_options {
        options.common = common_options(common, &at.field("common_http_protocol_options"));
    }
    if let Some(most) = value::number(proto.max_requests_per_connection.as_ref()) {
        options.common.max_requests_per_connection = Some(most);
    }
    if let Some(upstream) = &proto.upstream_http_protocol_options {
        sni(upstream, &mut options);
    }
    both(http1, http2, &mut options, at);
    Some(options)
}

fn sni(proto: &core::UpstreamHttpProtocolOptions, options: &mut UpstreamHttpOptions) {
    options.auto_sni = proto.auto_sni;
    options.auto_san_validation = proto.auto_san_validation;
}

fn refuse_filters(proto: &upstreams::HttpProtocolOptions, at: &Scope<'_>) {
    let filters = at.field("http_filters");
    for (index, filter) in proto.http_filters.iter().enumerate() {
        if filter.name != "envoy.filters.http.upstream_codec" {
            filters.index(index).reject_value::<()>(
                &filter.name,
                "upstream HTTP filters are not supported",
                "",
            );
        }
    }
    if !proto.request_mirror_policies.is_empty() {
        at.field("request_mirror_policies").reject::<()>("mirroring is not supported yet");
    }
    if !proto.hash_policy.is_empty() {
        at.field("hash_policy").reject::<()>("hash policies are not supported yet");
    }
}

fn both(
    http1: Option<&core::Http1ProtocolOptions>,
    http2: Option<&core::Http2ProtocolOptions>,
    options: &mut UpstreamHttpOptions,
    at: &Scope<'_>,
) {
    if let Some(proto) = http1 {
        options.http1 = http1_options(proto, &at.field("http_protocol_options"));
    }
    if let Some(proto) = http2 {
        options.http2 = http2_options(proto, &at.field("http2_protocol_options"));
    }
}

fn common_options(proto: &core::HttpProtocolOptions, at: &Scope<'_>) -> CommonHttpOptions {
    let standard = CommonHttpOptions::default();
    CommonHttpOptions {
        idle_timeout: value::timeout(
            proto.idle_timeout.as_ref(),
            standard.idle_timeout,
            &at.field("idle_timeout"),
        ),
        max_connection_duration: value::timeout(
            proto.max_connection_duration.as_ref(),
            None,
            &at.field("max_connection_duration"),
        ),
        max_stream_duration: value::timeout(
            proto.max_stream_duration.as_ref(),
            None,
            &at.field("max_stream_duration"),
        ),
        max_requests_per_connection: value::number(proto.max_requests_per_connection.as_ref())
            .filter(|n| *n > 0),
        max_headers_count: value::number(proto.max_headers_count.as_ref())
            .unwrap_or(standard.max_headers_count),
        max_response_headers_kb: value::number(proto.max_response_headers_kb.as_ref())
            .unwrap_or(standard.max_response_headers_kb),
    }
}

fn http1_options(proto: &core::Http1ProtocolOptions, at: &Scope<'_>) -> Http1Options {
    let mut options = Http1Options {
        enable_trailers: proto.enable_trailers,
        allow_chunked_length: proto.allow_chunked_length,
        override_stream_error_on_invalid_http_message: value::switch(
            proto.override_stream_error_on_invalid_http_message.as_ref(),
        )
        .unwrap_or(false),
        ..Http1Options::default()
    };
    match proto.header_key_format.as_ref().and_then(|format| format.header_format.as_ref()) {
        Some(HeaderFormat::ProperCaseWords(_)) => options.proper_case = true,
        Some(HeaderFormat::StatefulFormatter(formatter)) => {
            let any = formatter.typed_config.as_ref();
            if any.is_some_and(|any| extension::is(any, PRESERVE_CASE)) {
                options.preserve_case = true;
            } else {
                let at = at.field("header_key_format");
                at.field("stateful_formatter").reject_value::<()>(
                    extension::shown(formatter),
                    "there is no such header formatter",
                    "preserve_case is supported",
                );
            }
        }
        None => {}
    }
    options
}

fn http2_options(proto: &core::Http2ProtocolOptions, at: &Scope<'_>) -> Http2Options {
    let standard = Http2Options::default();
    Http2Options {
        hpack_table_size: value::number_or(proto.hpack_table_size.as_ref(), standard.hpack_table_size),
        max_concurrent_streams: value::number_or(
            proto.max_concurrent_streams.as_ref(),
            standard.max_concurrent_streams,
        ),
        initial_stream_window: value::number_or(
            proto.initial_stream_window_size.as_ref(),
            standard.initial_stream_window,
        ),
        initial_connection_window: value::number_or(
            proto.initial_connection_window_size.as_ref(),
            standard.initial_connection_window,
        ),
        allow_connect: proto.allow_connect,
        keepalive: proto
            .connection_keepalive
            .as_ref()
            .and_then(|k| value::http2_keepalive(k, &at.field("connection_keepalive"))),
    }
}
