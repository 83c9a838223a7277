//! `envoy.filters.http.grpc_web`: lets browsers, which see no trailers, call gRPC services.
//!
//! ```text
//! application/grpc-web[-text][+proto] -> application/grpc  -> upstream
//! body, trailers                      <- the trailers as a last message of the body, in base64 where the client wants text
//! ```
//! A response that is no gRPC (an error page, a local reply) is told in `grpc-status` and `grpc-message`.

pub mod config;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use bytes::Bytes;
use sampan_filters_api::head::is_grpc_content_type;
use sampan_filters_api::http::{
    Flow, HeldResponse, Hold, HttpFilter, HttpFilterFactory, Phases, Start, Stream,
};
use sampan_filters_api::reply::{grpc_status, percent_encoded};
use sampan_filters_api::{CounterStore, Counters, Headers, Known, LocalReply, ResponseHead};
use sampan_model::route::path_without_query;

use self::text::{Reader, Writer};
use crate::http::grpc::{self, CALLS, MOST_HELD};

/// The factory.
#[derive(Debug)]
pub struct GrpcWeb {
    /// Where counters are kept.
    pub store: Arc<CounterStore>,
}

const BINARY: &[&[u8]] = &[b"application/grpc-web", b"application/grpc-web+proto"];
const TEXT: &[&[u8]] = &[b"application/grpc-web-text", b"application/grpc-web-text+proto"];

/// What is left of an answer that is no gRPC, in bytes.
const LONGEST_MESSAGE: usize = 16 * 1024;

/// One call.
struct Instance {
    counters: Option<Arc<Counters>>,
    /// The request's body, where it is text.
    request: Option<Reader>,
    /// The response's body, where it is to be text.
    response: Option<Writer>,
}

impl HttpFilterFactory for GrpcWeb {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
            .and(Phases::REQUEST_DATA)
            .and(Phases::RESPONSE_HEAD)
            .and(Phases::RESPONSE_DATA)
            .and(Phases::TAIL)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let headers = &start.request.headers;
        let is = |known, kinds: &[&[u8]]| headers.known(known).is_some_and(|value| kinds.contains(&value));
        let text = is(Known::ContentType, TEXT);
        if !start.request.has_path() || !(text || is(Known::ContentType, BINARY)) {
            return None;
        }
        let counters = start.cluster.and_then(|cluster| {
            let (service, method) = grpc::names(path_without_query(start.request.path()))?;
            self.store.kept(&format!("cluster.{cluster}.grpc-web.{service}.{method}."), CALLS)
        });
        Some(Box::new(Instance {
            counters,
            request: text.then(Reader::default),
            response: is(Known::Accept, TEXT).then(Writer::default),
        }))
    }
}

impl Instance {
    fn charge(&self, fields: &Headers) {
        if let Some(counters) = &self.counters {
            grpc::charge(counters, fields);
        }
    }
}

/// Whether a response is gRPC, or gRPC-Web already.
fn speaks_grpc(response: &ResponseHead, end: bool) -> bool {
    if end {
        // Trailers alone.
        return response.headers.has(Known::GrpcStatus);
    }
    let value = response.headers.known(Known::ContentType);
    let kind =
        value.map(|value| value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end());
    let web = kind.is_some_and(|kind| BINARY.iter().any(|known| known.eq_ignore_ascii_case(kind)));
    response.status == 200 && (is_grpc_content_type(value) || web)
}

fn malformed(details: &'static str) -> Flow {
    let reply = LocalReply::new(400, details).body("Bad gRPC-web request, invalid base64 data.");
    Flow::Reply(Box::new(reply))
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let headers = &mut stream.request.headers;
        // It is the length of the coded body, and HTTP/2 would compare it.
        headers.remove_known(Known::ContentLength);
        headers.set_known(Known::ContentType, "application/grpc");
        headers.set_known(Known::Te, "trailers");
        if headers.value("grpc-accept-encoding").is_none() {
            headers.append("grpc-accept-encoding", "identity");
        }
        Flow::Continue
    }

    fn on_request_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
        let Some(reader) = &mut self.request else { return Flow::Continue };
        let Some(decoded) = reader.read(data) else { return malformed("grpc_base_64_decode_failed") };
        if end && reader.is_within() {
            return malformed("grpc_base_64_decode_failed_bad_size");
        }
        *data = decoded;
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, end: bool) -> Flow {
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        self.charge(&response.headers);
        let grpc = speaks_grpc(response, end);
        response.headers.remove_known(Known::ContentLength);
        let kind = match self.response {
            Some(_) => "application/grpc-web-text+proto",
            None => "application/grpc-web+proto",
        };
        response.headers.set_known(Known::ContentType, kind);
        if grpc || end { Flow::Continue } else { Flow::Hold(Hold { most: MOST_HELD, partial: false }) }
    }

    fn on_response_held(&mut self, stream: &mut Stream<'_>, held: HeldResponse<'_>) -> Flow {
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        self.charge(held.trailers);
        let message = held.body.slice(..held.body.len().min(LONGEST_MESSAGE));
        response.headers.set_known(Known::GrpcMessage, percent_encoded(&message));
        response.headers.set_known(Known::GrpcStatus, grpc_status(response.status).to_string());
        response.headers.set_known(Known::ContentLength, "0");
        *held.body = Bytes::new();
        Flow::Continue
    }

    fn on_response_data(&mut self, _stream: &mut Stream<'_>, data: &mut Bytes, _end: bool) -> Flow {
        if let Some(writer) = &mut self.response {
            *data = writer.messages(data);
        }
        Flow::Continue
    }

    fn on_response_tail(&mut self, _stream: &mut Stream<'_>, trailers: &mut Headers) -> Bytes {
        if trailers.is_empty() {
            return Bytes::new();
        }
        self.charge(trailers);
        let told = in_body(trailers);
        trailers.clear();
        match &self.response {
            Some(_) => text::encoded(&told),
            None => told.into(),
        }
    }
}

/// Trailers as the last message of a body.
fn in_body(trailers: &Headers) -> Vec<u8> {
    /// Marks the message of the trailers.
    const TRAILERS: u8 = 0x80;
    let mut fields = Vec::with_capacity(trailers.byte_size() + trailers.len() * 3);
    for (name, value) in trailers.iter() {
        fields.extend(name.iter().map(u8::to_ascii_lowercase));
        fields.push(b':');
        fields.extend_from_slice(value);
        fields.extend_from_slice(b"\r\n");
    }
    let mut out = vec![TRAILERS];
    out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    out.append(&mut fields);
    out
}
