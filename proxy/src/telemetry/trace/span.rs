//! A span that is recorded, and the names of its tags.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use sampan_model::trace::Context;

/// One operation of a trace.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its ids.
    pub context: Context,
    /// The parent is another process's span.
    pub remote_parent: bool,
    /// `tracestate`, passed on.
    pub state: Option<Box<str>>,
    /// What was done.
    pub name: String,
    /// Whose side of the call it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// In the order in which they were set; each name once.
    pub tags: Vec<(Cow<'static, str>, String)>,
    /// `verbose`: moments of the stream.
    pub events: Vec<(SystemTime, &'static str)>,
}

/// The side of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// The one that was called.
    Server,
    /// The caller.
    Client,
}

impl Span {
    /// Sets a tag that is not there yet.
    pub fn tag(&mut self, name: &'static str, value: impl Into<String>) {
        self.tags.push((Cow::Borrowed(name), value.into()));
    }

    /// Sets a tag, in place of one of the same name.
    pub fn replace(&mut self, name: &str, value: String) {
        match self.tags.iter_mut().find(|(known, _)| known == name) {
            Some((_, slot)) => *slot = value,
            None => self.tags.push((Cow::Owned(name.to_owned()), value)),
        }
    }

    /// The value of a tag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the HTTP or gRPC status counts as an error of this side (OpenTelemetry's conventions for HTTP and gRPC spans).
    pub fn is_error(&self) -> bool {
        let client = self.kind == SpanKind::Client;
        let code = |name| self.value(name).and_then(|code| code.parse::<u32>().ok());
        code(tag::STATUS_CODE).is_some_and(|code| code >= if client { 400 } else { 500 })
            || code(tag::GRPC_STATUS)
                .is_some_and(|code| if client { code != 0 } else { is_server_fault(code) })
    }
}

/// Whether a gRPC status is the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
pub fn is_server_fault(code: u32) -> bool {
    matches!(code, 2 | 4 | 12..=15)
}

/// Envoy's tag names.
pub mod tag {
    /// Always `proxy`.
    pub const COMPONENT: &str = "component";
    /// `node.id`
    pub const NODE_ID: &str = "node_id";
    /// `node.locality.zone`
    pub const ZONE: &str = "zone";
    /// `x-request-id`
    pub const REQUEST_ID: &str = "guid:x-request-id";
    /// `x-client-trace-id`
    pub const CLIENT_TRACE_ID: &str = "guid:x-client-trace-id";
    /// The request's URL, its path shortened.
    pub const URL: &str = "http.url";
    /// The request's method.
    pub const METHOD: &str = "http.method";
    /// The protocol spoken.
    pub const PROTOCOL: &str = "http.protocol";
    /// The response's status; 0 if there was none.
    pub const STATUS_CODE: &str = "http.status_code";
    /// `x-envoy-downstream-service-cluster`
    pub const DOWNSTREAM_CLUSTER: &str = "downstream_cluster";
    /// `user-agent`
    pub const USER_AGENT: &str = "user_agent";
    /// The other end.
    pub const PEER_ADDRESS: &str = "peer.address";
    /// The host of a try.
    pub const UPSTREAM_ADDRESS: &str = "upstream_address";
    /// The cluster.
    pub const CLUSTER: &str = "upstream_cluster";
    /// The cluster, as stats call it.
    pub const CLUSTER_NAME: &str = "upstream_cluster.name";
    /// Bytes of the request's body.
    pub const REQUEST_SIZE: &str = "request_size";
    /// Bytes of the response's body.
    pub const RESPONSE_SIZE: &str = "response_size";
    /// `%RESPONSE_FLAGS%`
    pub const FLAGS: &str = "response_flags";
    /// `true` where something went wrong.
    pub const ERROR: &str = "error";
    /// Why a try failed.
    pub const ERROR_REASON: &str = "error.reason";
    /// `true` for a try that was given up.
    pub const CANCELED: &str = "canceled";
    /// Which try it is, for all but the first.
    pub const RETRY_COUNT: &str = "retry.count";
    /// The path of a gRPC request.
    pub const GRPC_PATH: &str = "grpc.path";
    /// The authority of a gRPC request.
    pub const GRPC_AUTHORITY: &str = "grpc.authority";
    /// The content type of a gRPC request.
    pub const GRPC_CONTENT_TYPE: &str = "grpc.content_type";
    /// `grpc-timeout`
    pub const GRPC_TIMEOUT: &str = "grpc.timeout";
    /// `grpc-status`
    pub const GRPC_STATUS: &str = "grpc.status_code";
    /// `grpc-message`
    pub const GRPC_MESSAGE: &str = "grpc.message";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: SpanKind) -> Span {
        Span {
            context: Context::default(),
            remote_parent: false,
            state: None,
            name: String::new(),
            kind,
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            tags: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_tag_of_the_same_name_is_replaced() {
        let mut span = span(SpanKind::Server);
        span.tag(tag::ERROR, "true");
        span.replace("error", "no".to_owned());
        span.replace("mine", "1".to_owned());
        assert_eq!((span.value("error"), span.value("mine"), span.tags.len()), (Some("no"), Some("1"), 2));
    }

    #[test]
    fn errors_depend_on_the_side() {
        for (kind, code, error) in [
            (SpanKind::Server, "404", false),
            (SpanKind::Client, "404", true),
            (SpanKind::Server, "503", true),
            (SpanKind::Client, "0", false),
        ] {
            let mut span = span(kind);
            span.tag(tag::STATUS_CODE, code);
            assert_eq!(span.is_error(), error, "{kind:?} {code}");
        }
    }
}
