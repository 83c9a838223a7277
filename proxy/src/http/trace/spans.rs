//! What a span says of a stream or of a try: Envoy's tags, in its order.

use std::time::{Instant, SystemTime};

use sampan_filters_api::format::FormatContext;
use sampan_filters_api::{Address, Flags, Headers, Known, Protocol, RequestHead, ResponseHead, StreamInfo};
use sampan_model::trace::Context;

use super::Own;
use crate::failure::{Failure, Kind};
use crate::http::chain::Shared;
use crate::http::relay::End;
use crate::http::target::Target;
use crate::telemetry::trace::{Dialect, RouteTracing, Span, SpanKind, Tracing, is_server_fault, tag};
use crate::upstream::connect::address_of;

/// How a stream's span is called where nothing says otherwise.
pub(super) fn default_name(dialect: &Dialect, outbound: bool, request: &RequestHead) -> String {
    let host = String::from_utf8_lossy(request.authority());
    match dialect {
        Dialect::Zipkin(_) => host.into_owned(),
        Dialect::OpenTelemetry(_) if outbound => format!("egress {host}"),
        Dialect::OpenTelemetry(_) => "ingress".to_owned(),
    }
}

/// The span of a stream that is over.
pub(super) fn stream(
    own: Own,
    default_name: String,
    client: bool,
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    shared: &Shared<'_>,
    now: Instant,
) -> Box<Span> {
    let info = &*shared.info;
    let mut span = Box::new(Span {
        context: own.context,
        remote_parent: own.remote_parent,
        state: own.state,
        name: own.name.map_or(default_name, String::from),
        kind: if client { SpanKind::Client } else { SpanKind::Server },
        start: info.start_time,
        duration: now.saturating_duration_since(info.start),
        tags: Vec::with_capacity(24),
        events: Vec::new(),
    });
    span.tag(tag::NODE_ID, &*tracing.node_id);
    span.tag(tag::ZONE, &*tracing.zone);
    request_tags(&mut span, shared.request, info, tracing.max_path);
    span.tag(tag::REQUEST_SIZE, info.bytes.received.to_string());
    span.tag(tag::RESPONSE_SIZE, info.bytes.sent.to_string());
    cluster_tags(&mut span, info);
    result_tags(&mut span, info.response_code, info.flags);
    let response = shared.has_response.then_some(&*shared.response);
    let trailers = shared.trailers.as_ref().filter(|trailers| trailers.has(Known::GrpcStatus));
    if let Some(headers) = trailers.or(response.map(|head| &head.headers)) {
        grpc_result(&mut span, headers);
    }
    if tracing.verbose {
        span.events = moments(info, true);
    }
    let base = FormatContext::new(info, now, SystemTime::now());
    let trailers = shared.trailers.as_ref();
    let context = FormatContext { request: Some(shared.request), response, trailers, ..base };
    custom_tags(&mut span, tracing, route, &context);
    let own = route.and_then(|route| route.tags.operation.as_ref());
    if let Some(operation) = own.or(tracing.tags.operation.as_ref()) {
        span.name = rendered(|text| operation.render(&context, text));
    }
    span
}

/// The span of a try that begins.
pub(super) fn attempt(context: Context, own: &Own, target: &Target<'_>, attempt: u32) -> Box<Span> {
    let config = target.cluster.config();
    let cluster = config.alt_stat_name.as_deref().unwrap_or(&config.name);
    let mut span = Box::new(Span {
        context,
        remote_parent: false,
        state: own.state.clone(),
        name: format!("router {cluster} egress"),
        kind: SpanKind::Client,
        start: SystemTime::now(),
        duration: std::time::Duration::ZERO,
        tags: Vec::with_capacity(12),
        events: Vec::new(),
    });
    if attempt > 1 {
        span.tag(tag::RETRY_COUNT, (attempt - 1).to_string());
    }
    span
}

/// The span of a try that is over.
pub(super) fn end_attempt(
    mut span: Box<Span>,
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    target: &Target<'_>,
    shared: &Shared<'_>,
    answer: &ResponseHead,
    end: Option<&End>,
) -> Box<Span> {
    // A head that was accepted is the stream's; one that is thrown away is still the codec's.
    let (status, headers) = match end {
        Some(End::Again(_) | End::Outdone | End::Redirected) => (answer.status, Some(&answer.headers)),
        Some(End::Failure(failure)) if !failure.after_head => (0, None),
        _ => (shared.info.response_code, Some(&shared.response.headers)),
    };
    let mut flags = Flags::NONE;
    let mut thrown_away = None;
    match end {
        Some(End::Failure(failure)) => flags = failure_tags(&mut span, failure),
        Some(End::Again(_) | End::Outdone | End::Redirected) => {
            thrown_away = Some(SystemTime::now());
            // Its body is not waited for.
            if answer.headers.known(Known::ContentLength) != Some(b"0") {
                span.tag(tag::CANCELED, "true");
            }
        }
        _ => {}
    }
    if let Some(headers) = headers {
        let trailers = shared.trailers.as_ref().filter(|trailers| trailers.has(Known::GrpcStatus));
        grpc_result(&mut span, trailers.unwrap_or(headers));
    }
    let attached = target.is_attached();
    let protocol = shared.info.upstream.protocol.filter(|_| attached);
    span.tag(tag::PROTOCOL, protocol.map_or("-", Protocol::name));
    let address = address_of(target.host()).to_string();
    span.tag(tag::UPSTREAM_ADDRESS, address.as_str());
    span.tag(tag::PEER_ADDRESS, address);
    cluster_tags(&mut span, shared.info);
    result_tags(&mut span, status, flags);
    span.duration = span.start.elapsed().unwrap_or_default();
    if tracing.verbose {
        span.events = moments(shared.info, false);
        span.events.extend(thrown_away.map(|at| (at, "first_upstream_rx_byte_received")));
    }
    // As in Envoy, what formats show is the stream's.
    let base = FormatContext::new(shared.info, Instant::now(), SystemTime::now());
    let context = FormatContext { request: Some(shared.request), ..base };
    custom_tags(&mut span, tracing, route, &context);
    let own = route.and_then(|route| route.tags.upstream_operation.as_ref());
    if let Some(operation) = own.or(tracing.tags.upstream_operation.as_ref()) {
        span.name = rendered(|text| operation.render(&context, text));
    }
    span
}

fn request_tags(span: &mut Span, request: &RequestHead, info: &StreamInfo, max_path: usize) {
    let headers = &request.headers;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let known = |known| headers.known(known).map(text);
    if let Some(id) = known(Known::XRequestId) {
        span.tag(tag::REQUEST_ID, id);
    }
    span.tag(tag::URL, url(request, max_path));
    span.tag(tag::METHOD, text(request.method()));
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    span.tag(tag::DOWNSTREAM_CLUSTER, or_dash(known(Known::XEnvoyDownstreamServiceCluster)));
    span.tag(tag::USER_AGENT, or_dash(known(Known::UserAgent)));
    span.tag(tag::PROTOCOL, info.protocol.map_or("-", Protocol::name));
    span.tag(
        tag::PEER_ADDRESS,
        match &info.connection.direct_remote {
            Address::Socket(address) => address.ip().to_string(),
            Address::Pipe(path) => path.to_string(),
        },
    );
    if let Some(id) = known(Known::XClientTraceId) {
        span.tag(tag::CLIENT_TRACE_ID, id);
    }
    if request.is_grpc() {
        span.tag(tag::GRPC_PATH, text(request.path()));
        span.tag(tag::GRPC_AUTHORITY, text(request.authority()));
        if let Some(kind) = known(Known::ContentType) {
            span.tag(tag::GRPC_CONTENT_TYPE, kind);
        }
        if let Some(timeout) = known(Known::GrpcTimeout) {
            span.tag(tag::GRPC_TIMEOUT, timeout);
        }
    }
}

/// The URL that the client asked for.
fn url(request: &RequestHead, max_path: usize) -> String {
    let original = request.headers.known(Known::XEnvoyOriginalPath).unwrap_or(request.path());
    if original.is_empty() {
        return String::new();
    }
    let mut url = request.headers.known(Known::XForwardedProto).unwrap_or_default().to_vec();
    url.extend_from_slice(b"://");
    url.extend_from_slice(request.authority());
    url.extend_from_slice(&original[..original.len().min(max_path)]);
    String::from_utf8_lossy(&url).into_owned()
}

fn cluster_tags(span: &mut Span, info: &StreamInfo) {
    span.tag(tag::COMPONENT, "proxy");
    if let Some(cluster) = &info.upstream.cluster {
        span.tag(tag::CLUSTER, &**cluster);
        span.tag(tag::CLUSTER_NAME, info.upstream.cluster_alt.as_deref().unwrap_or(cluster));
    }
}

fn result_tags(span: &mut Span, status: u16, flags: Flags) {
    span.tag(tag::STATUS_CODE, status.to_string());
    let words: Vec<_> = flags.iter().map(sampan_filters_api::Flag::short).collect();
    span.tag(tag::FLAGS, if words.is_empty() { "-".to_owned() } else { words.join(",") });
    if status == 0 || status >= 500 {
        span.replace(tag::ERROR, "true".to_owned());
    }
}

/// Why a try failed; its response flags.
fn failure_tags(span: &mut Span, failure: &Failure) -> Flags {
    let verdict = failure.verdict();
    let given_up = failure.is_departure()
        || matches!(failure.kind, Kind::ResponseTimeout | Kind::PerTryTimeout | Kind::MaxDuration { .. })
        || matches!(failure.kind, Kind::StreamIdle { .. } | Kind::UpstreamMaxDuration);
    if given_up {
        span.tag(tag::CANCELED, "true");
        return Flags::NONE;
    }
    span.tag(tag::ERROR, "true");
    if let Some(reason) = failure.reset_reason() {
        span.tag(tag::ERROR_REASON, reason);
    }
    verdict.flags
}

fn grpc_result(span: &mut Span, headers: &Headers) {
    let Some(status) = headers.known(Known::GrpcStatus) else { return };
    span.tag(tag::GRPC_STATUS, String::from_utf8_lossy(status));
    if let Some(message) = headers.known(Known::GrpcMessage) {
        span.tag(tag::GRPC_MESSAGE, String::from_utf8_lossy(message));
    }
    let code = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok());
    if code.is_some_and(is_server_fault) {
        span.replace(tag::ERROR, "true".to_owned());
    }
}

/// The route's tags, and those of the connection manager that it does not replace.
fn custom_tags(
    span: &mut Span,
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    context: &FormatContext<'_>,
) {
    let own = route.map_or(&[][..], |route| &route.tags.custom);
    let inherited = tracing.tags.custom.iter().filter(|tag| own.iter().all(|own| own.name != tag.name));
    for tag in own.iter().chain(inherited) {
        let mut value = Vec::new();
        if tag.write(context, &mut value) {
            span.replace(&tag.name, String::from_utf8_lossy(&value).into_owned());
        }
    }
}

fn rendered(render: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    render(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The moments of a stream that `verbose` adds; those of the client's side only to its own span.
fn moments(info: &StreamInfo, with_downstream: bool) -> Vec<(SystemTime, &'static str)> {
    let upstream = &info.upstream;
    let downstream = |moment: Option<Instant>| moment.filter(|_| with_downstream);
    let all = [
        (downstream(info.request_complete), "last_downstream_rx_byte_received"),
        (upstream.request_sent.0, "first_upstream_tx_byte_sent"),
        (upstream.request_sent.1, "last_upstream_tx_byte_sent"),
        (upstream.response_received.0, "first_upstream_rx_byte_received"),
        (upstream.response_received.1, "last_upstream_rx_byte_received"),
        (downstream(info.response_sent.0), "first_downstream_tx_byte_sent"),
        (downstream(info.response_sent.1), "last_downstream_tx_byte_sent"),
    ];
    let at = |moment: Instant| info.start_time + moment.saturating_duration_since(info.start);
    all.into_iter().filter_map(|(moment, name)| moment.map(|moment| (at(moment), name))).collect()
}
