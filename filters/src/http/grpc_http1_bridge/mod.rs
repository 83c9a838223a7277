//! `envoy.filters.http.grpc_http1_bridge`: lets HTTP/1.1 clients, which see no trailers, call gRPC services.
//!
//! The response is held until its trailers have come; their status and message go into its head. With `upgrade_protobuf_to_grpc`, a
//! plain protobuf message becomes a gRPC message on its way up, and the answer a plain one on its way down.

pub mod config;
#[cfg(test)]
mod tests;

use sampan_filters_api::Known;
use sampan_filters_api::Protocol;
use sampan_filters_api::http::{
    Flow, HeldBody, HeldResponse, Hold, HttpFilter, HttpFilterFactory, Phases, Start, Stream,
};
use sampan_model::route::path_without_query;

use crate::http::grpc::{MOST_HELD, PREFIX};

/// The factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// `upgrade_protobuf_to_grpc`
    pub upgrades: bool,
    /// `ignore_query_parameters`
    pub ignores_query: bool,
}

/// One call.
struct Instance {
    ignores_query: bool,
    /// The client speaks plain protobuf.
    plain: bool,
}

const HOLD: Flow = Flow::Hold(Hold { most: MOST_HELD, partial: false });

impl HttpFilterFactory for Bridge {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        if start.info.protocol == Some(Protocol::Http2) {
            return None;
        }
        let kind = start.request.headers.known(Known::ContentType);
        let plain = self.upgrades && kind == Some(b"application/x-protobuf");
        let own = Instance { ignores_query: self.ignores_query, plain };
        (plain || start.request.is_grpc()).then(|| Box::new(own) as Box<dyn HttpFilter>)
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        if self.ignores_query {
            let path = path_without_query(stream.request.path()).to_vec();
            if path.len() != stream.request.path().len() {
                stream.request.set_path(&path);
            }
        }
        if !self.plain {
            return Flow::Continue;
        }
        let headers = &mut stream.request.headers;
        headers.set_known(Known::ContentType, "application/grpc");
        headers.remove_known(Known::ContentLength);
        *stream.clear_route = true;
        HOLD
    }

    fn on_held(&mut self, _stream: &mut Stream<'_>, body: &mut HeldBody) -> Flow {
        let message = body.bytes(MOST_HELD);
        let mut framed = Vec::with_capacity(PREFIX + message.len());
        framed.push(0);
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(&message);
        body.replace(framed.into());
        Flow::Continue
    }

    fn on_response_head(&mut self, _stream: &mut Stream<'_>, end: bool) -> Flow {
        if end { Flow::Continue } else { HOLD }
    }

    fn on_response_held(&mut self, stream: &mut Stream<'_>, held: HeldResponse<'_>) -> Flow {
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        if self.plain {
            *held.body = held.body.slice(held.body.len().min(PREFIX)..);
        }
        if held.trailers.is_empty() {
            return Flow::Continue;
        }
        if let Some(status) = held.trailers.known(Known::GrpcStatus) {
            if std::str::from_utf8(status).ok().and_then(|text| text.parse::<u64>().ok()) != Some(0) {
                response.status = 503;
            }
            response.headers.set_known(Known::GrpcStatus, status);
        }
        if let Some(message) = held.trailers.known(Known::GrpcMessage) {
            response.headers.set_known(Known::GrpcMessage, message);
        }
        // The client can tell by it whether it has the whole response.
        response.headers.set_known(Known::ContentLength, held.body.len().to_string());
        held.trailers.clear();
        Flow::Continue
    }
}
