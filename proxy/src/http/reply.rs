//! The proxy's own answers: made from a [`LocalReply`], shaped by `local_reply_config`, sent.
//!
//! Called by [`super::stream`] and [`super::attempt`] for redirects, direct responses, refusals and failures. A gRPC client
//! gets a gRPC status in a response of headers alone; everyone else a text. Envoy's order is kept:
//!
//! ```text
//! reply's headers -> route's header changes -> mapper (body, headers, status, format) -> body_format
//!   -> text or gRPC -> filters (unless they saw a response already) -> date, server, ... -> client
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::time::Instant;

use bytes::Bytes;
use sampan_filters_api::format::FormatContext;
use sampan_filters_api::http::Phases;
use sampan_filters_api::reply::{grpc_status, percent_encoded};
use sampan_filters_api::{Headers, Known, LocalReply, Protocol, RequestHead};
use sampan_model::route::{DirectResponse, PathMatch, Redirect, RedirectRequest, RouteMatch};

use super::body::{BodyError, BodyWriter, Frame};
use super::chain::{self, Direction, Interrupt, Shared};
use super::config::HeaderOps;
use super::connection::HttpContext;
use super::exchange::Responder;
use super::h1::Framing;
use super::header_changes;
use super::header_ops;
use super::held_response;
use super::local_reply::{Body, BodyFormat, Mapper};
use super::stream::Ended;
use super::tail::{self, Ending};
use crate::telemetry::access_log::LogEvent;

/// The answer to a request without a host.
pub fn missing_host() -> LocalReply {
    LocalReply::new(400, "missing_host_header")
}

/// The answer of a virtual host with `require_tls`.
pub fn https_redirect(request: &RequestHead) -> LocalReply {
    let any = RouteMatch::new(PathMatch::Prefix("/".into()));
    redirect(&Redirect::to_https(), &any, request)
}

/// The answer of a route with `redirect`.
pub fn redirect(redirect: &Redirect, matcher: &RouteMatch, request: &RequestHead) -> LocalReply {
    let view = RedirectRequest {
        scheme: request.scheme(),
        forwarded_proto: request.headers.known(Known::XForwardedProto).unwrap_or_default(),
        authority: request.authority(),
        path: request.path(),
    };
    let mut reply = LocalReply::new(redirect.status, DIRECT_RESPONSE);
    reply.headers.append_known(Known::Location, redirect.location(view, matcher));
    reply
}

/// The answer of a route with `direct_response`.
pub fn direct(response: &DirectResponse) -> LocalReply {
    LocalReply::new(response.status, DIRECT_RESPONSE).body(Bytes::copy_from_slice(&response.body))
}

const DIRECT_RESPONSE: &str = "direct_response";

/// The header changes of a reply's route.
#[derive(Clone, Copy)]
pub enum Levels<'l> {
    /// The route asked for the reply: they come after the reply's own headers.
    After(&'l [&'l HeaderOps]),
    /// Something went wrong on the way of a route: they come before.
    Before(&'l [&'l HeaderOps]),
}

/// Sends a reply.
pub async fn send<'c>(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'c>,
    reply: LocalReply,
    levels: Levels<'_>,
) -> Ended<'c> {
    let mut close =
        closes(context, shared.borrow().info.protocol, &reply) || context.should_close(Instant::now());
    // Filters that saw a response already do not see another one in its place.
    let filtered = !shared.borrow().has_response;
    let body = render(context, &mut shared.borrow_mut(), reply, levels);
    let mut ending = Ending { data: body, trailers: Headers::new() };
    if filtered {
        match pass_filters(context, shared, &mut ending).await {
            Ok(()) => {}
            Err(Interrupt::Reply(second)) => {
                close |= second.close;
                ending = Ending {
                    data: render(context, &mut shared.borrow_mut(), *second, levels),
                    trailers: Headers::new(),
                };
            }
            Err(Interrupt::Anew) => return Ended { keep: false, anew: Some(Box::new(responder)) },
        }
    }
    let started = {
        let mut shared = shared.borrow_mut();
        let shared = &mut *shared;
        header_ops::finish_response(context, shared);
        let response = &*shared.response;
        shared.info.response_code = response.status;
        shared.info.bytes.response_headers = response.headers.byte_size() as u64;
        if shared.request.is_head() || matches!(response.status, 204 | 304) {
            ending = Ending::default();
        }
        let length = ending.data.len() as u64;
        shared.info.bytes.sent += length;
        if context.config.needs_facts {
            let now = Some(std::time::Instant::now());
            shared.info.response_sent = (now, now);
        }
        let framing = if shared.request.is_head() {
            Framing::None
        } else if length > 0 && !response.headers.has(Known::ContentLength) {
            // A filter has changed the body on its way.
            Framing::Chunked
        } else {
            Framing::Length(length)
        };
        responder.start(response, framing, ending.is_empty(), close)
    };
    let Ok(mut started) = started else { return Ended::closed() };
    let sent = ending.is_empty() || send_body(&mut started.body, ending).await.is_ok();
    let sent = sent && poll_fn(|cx| started.body.poll_flush(cx)).await.is_ok();
    Ended { keep: started.keep && sent, anew: None }
}

async fn send_body(writer: &mut BodyWriter<'_>, ending: Ending) -> Result<(), BodyError> {
    let (first, last) = ending.into_frames();
    if !first.is_empty() {
        writer.start(Frame::Data(first, false))?;
        poll_fn(|cx| writer.poll_ready(cx)).await?;
    }
    writer.start(last)
}

/// Whether the connection ends with a reply. A 400 says that the client does not speak HTTP well, so what follows it on an
/// HTTP/1 connection is not trusted.
fn closes(context: &HttpContext, protocol: Option<Protocol>, reply: &LocalReply) -> bool {
    let bad = reply.status == 400 && protocol != Some(Protocol::Http2);
    reply.close || (bad && !context.config.stream_error_on_invalid)
}

async fn pass_filters(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    ending: &mut Ending,
) -> Result<(), Interrupt> {
    let empty = ending.data.is_empty() || shared.borrow().request.is_head();
    let wants_head = shared.borrow().wants(Phases::RESPONSE_HEAD);
    let hold = if wants_head { chain::response_head(context, shared, 0, empty).await? } else { None };
    if empty {
        return Ok(());
    }
    if let Some(hold) = hold {
        tail::pass(shared, Direction::Response, 0..hold.0, ending).await?;
        *ending = held_response::go_on(context, shared, hold, std::mem::take(ending)).await?;
    } else {
        let wants_body = shared.borrow().wants(Phases::RESPONSE_DATA.and(Phases::TAIL));
        if wants_body {
            let count = shared.borrow().filters();
            tail::pass(shared, Direction::Response, 0..count, ending).await?;
        }
    }
    let length = ending.data.len();
    let mut shared = shared.borrow_mut();
    let headers = &mut shared.response.headers;
    if headers.has(Known::ContentLength) {
        set_length(headers, length);
    }
    Ok(())
}

/// Makes the response head; returns the body.
fn render(context: &HttpContext, shared: &mut Shared<'_>, reply: LocalReply, levels: Levels<'_>) -> Bytes {
    // A head that could not be parsed does not tell whether it was gRPC.
    let asks_grpc = shared.grpc.unwrap_or_else(|| shared.request.is_grpc());
    let grpc = !reply.as_is && asks_grpc && !reply.details.starts_with("http1.");
    shared.info.flags.merge(reply.flags);
    shared.info.details = reply.details;
    shared.late = reply.late;
    shared.info.response_code = 0;
    shared.response.clear();
    shared.response.status = reply.status;
    shared.has_response = true;
    let levels = if reply.as_is { Levels::After(&[]) } else { levels };
    if let Levels::Before(levels) = levels {
        header_changes::response(levels, shared.request, shared.response, shared.info);
    }
    shared.response.headers.extend_from(&reply.headers);
    if let Levels::After(levels) = levels {
        header_changes::response(levels, shared.request, shared.response, shared.info);
    }
    shared.info.response_code = reply.status;
    let (body, content_type) =
        if reply.as_is { (reply.body, None) } else { rewrite(context, shared, reply.body) };
    let response = &mut *shared.response;
    if grpc {
        let status = reply.grpc_status.unwrap_or_else(|| grpc_status(response.status));
        response.status = 200;
        // The line end that ends a JSON body is not part of the message.
        let message = match content_type {
            Some(JSON) => body.trim_ascii_end(),
            _ => &body,
        };
        as_grpc(status, message, &mut response.headers);
        Bytes::new()
    } else {
        as_text(&body, content_type, &mut response.headers);
        body
    }
}

/// `local_reply_config`: the body, and its type where a format decides it.
fn rewrite<'c>(context: &'c HttpContext, shared: &mut Shared<'_>, body: Bytes) -> (Bytes, Option<&'c str>) {
    let config = &context.config.local_reply;
    let mut body = body;
    let mut format = config.format.as_ref();
    if let Some(mapper) = config.mappers.iter().find(|mapper| matches(context, mapper, shared)) {
        if let Some(other) = &mapper.body {
            body = Bytes::copy_from_slice(other);
        }
        header_changes::add_to_response(&mapper.headers, shared.request, shared.response, shared.info);
        if let Some(status) = mapper.status {
            shared.response.status = status;
            shared.info.response_code = status;
        }
        format = mapper.format.as_ref().or(format);
    }
    match format {
        None => (body, None),
        Some(format) => (formatted(format, &body, shared), Some(content_type(format))),
    }
}

fn matches(context: &HttpContext, mapper: &Mapper, shared: &Shared<'_>) -> bool {
    let snapshot = context.worker.snapshot_ref();
    let runtime: &crate::runtime::Runtime = &snapshot.runtime;
    let random = context.worker.with_rng(|rng| rng.u64(..));
    mapper.filter.wants(&LogEvent { context: view(shared, b""), runtime, random })
}

fn view<'v>(shared: &'v Shared<'_>, body: &'v [u8]) -> FormatContext<'v> {
    FormatContext {
        request: Some(shared.request),
        response: Some(shared.response),
        local_reply_body: body,
        ..header_changes::moment(shared.info)
    }
}

fn formatted(format: &BodyFormat, body: &[u8], shared: &Shared<'_>) -> Bytes {
    let context = view(shared, body);
    let mut out = Vec::with_capacity(body.len() + 128);
    match &format.body {
        Body::Text(template) => template.render(&context, &mut out),
        Body::Json(tree) => {
            tree.render_json(&context, &mut out);
            if !out.ends_with(b"\n") {
                out.push(b'\n');
            }
        }
    }
    out.into()
}

fn content_type(format: &BodyFormat) -> &str {
    match (&format.content_type, &format.body) {
        (Some(configured), _) => configured,
        (None, Body::Text(_)) => TEXT,
        (None, Body::Json(_)) => JSON,
    }
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

fn as_text(body: &[u8], content_type: Option<&str>, headers: &mut Headers) {
    if body.is_empty() {
        headers.remove_known(Known::ContentLength);
        headers.remove_known(Known::ContentType);
        return;
    }
    set_length(headers, body.len());
    match content_type {
        Some(configured) => headers.set_known(Known::ContentType, configured),
        None if headers.has(Known::ContentType) => {}
        None => headers.append_known(Known::ContentType, TEXT),
    }
}

fn set_length(headers: &mut Headers, length: usize) {
    headers.set_known(Known::ContentLength, itoa::Buffer::new().format(length));
}

/// A response of gRPC that consists of headers ("Trailers-Only").
fn as_grpc(status: u32, message: &[u8], headers: &mut Headers) {
    headers.set_known(Known::ContentType, "application/grpc");
    if !headers.has(Known::GrpcStatus) {
        headers.append_known(Known::GrpcStatus, itoa::Buffer::new().format(status));
    }
    if !message.is_empty() {
        headers.set_known(Known::GrpcMessage, percent_encoded(message));
    }
    headers.remove_known(Known::ContentLength);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: &Headers) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn text_replies() {
        let mut headers = Headers::new();
        as_text(b"hello", None, &mut headers);
        assert_eq!(lines(&headers), ["content-length: 5", "content-type: text/plain"]);
        as_text(b"", None, &mut headers);
        assert!(headers.is_empty());
        headers.append("content-type", "application/json");
        as_text(b"{}", None, &mut headers);
        assert_eq!(lines(&headers), ["content-type: application/json", "content-length: 2"]);
        as_text(b"<p>", Some("text/html"), &mut headers);
        assert_eq!(lines(&headers), ["content-type: text/html", "content-length: 3"]);
    }

    #[test]
    fn grpc_replies() {
        let mut headers = Headers::new();
        as_grpc(14, "hello wörld %\n".as_bytes(), &mut headers);
        let expected =
            ["content-type: application/grpc", "grpc-status: 14", "grpc-message: hello w%C3%B6rld %25%0A"];
        assert_eq!(lines(&headers), expected);
        let mut headers = Headers::new();
        as_grpc(12, b"", &mut headers);
        assert_eq!(lines(&headers), ["content-type: application/grpc", "grpc-status: 12"]);
    }

    #[test]
    fn redirects_say_where() {
        let mut request = RequestHead::default();
        request.set_scheme(b"http");
        request.set_authority(b"h.com:80");
        request.set_path(b"/p?q");
        request.headers.append("x-forwarded-proto", "http");
        let reply = https_redirect(&request);
        assert_eq!((reply.status, &*reply.details), (301, "direct_response"));
        assert_eq!(lines(&reply.headers), ["location: https://h.com/p?q"]);
    }
}
