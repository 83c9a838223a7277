//! A gRPC client over a [`Connector`]: any method by its path, any prost message.
//!
//! One HTTP/2 connection, opened when a call needs it and opened again by the first call after it ended; calls run beside one
//! another on it. Beside `serve.rs` the only file that names tonic. Called by the xDS drivers, and meant for every gRPC service that the proxy
//! calls (access logs, authorization, rate limits, telemetry).

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tonic::client::GrpcService;
use tonic::metadata::MetadataMap;
use tonic_prost::ProstCodec;

use super::connect::GrpcTarget;

/// What a channel takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of a message that is received. A larger one ends its call.
    pub message_cap: usize,
}

impl Default for Limits {
    /// 64 MiB.
    fn default() -> Self {
        Self { message_cap: 64 << 20 }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CallError {
    /// The gRPC status code (0 is never an error; 14 is "unavailable", which connection failures count as).
    pub code: i32,
    /// Code, message and causes, in words.
    pub reason: String,
}

impl CallError {
    fn unavailable(reason: String) -> Self {
        Self { code: tonic::Code::Unavailable as i32, reason }
    }

    pub(super) fn of(status: &tonic::Status) -> Self {
        let mut reason = format!("gRPC status {:?}", status.code());
        if !status.message().is_empty() {
            let _ = write!(reason, ": {}", status.message());
        }
        let mut cause = std::error::Error::source(status);
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                let _ = write!(reason, ": {text}");
            }
            cause = error.source();
        }
        Self { code: status.code() as i32, reason }
    }
}

/// A gRPC server to call. Clones share the connection.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    target: GrpcTarget,
    limits: Limits,
    origin: Uri,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

type Connection = http2::SendRequest<tonic::body::Body>;

impl Channel {
    /// A channel; nothing is connected yet.
    pub fn new(target: GrpcTarget, limits: Limits) -> Self {
        let origin = origin_of(&target.connector.authority());
        Self { inner: Arc::new(Inner { target, limits, origin, connection: tokio::sync::Mutex::new(None) }) }
    }

    /// Connects, if there is no connection.
    ///
    /// # Errors
    /// The connector failed, or the peer does not speak HTTP/2.
    pub async fn ready(&self) -> Result<(), CallError> {
        self.connection().await.map(drop)
    }

    /// One request, one answer, within the target's timeout.
    ///
    /// # Errors
    /// No connection, the timeout, or the status of the server.
    pub async fn unary<Q, R>(&self, path: &str, message: Q, metadata: &HeaderMap) -> Result<R, CallError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let call = async {
            let (mut grpc, path) = self.call(path).await?;
            let mut request = self.request(message, metadata);
            if let Some(timeout) = self.inner.target.timeout {
                request.set_timeout(timeout);
            }
            let answer = grpc.unary(request, path, ProstCodec::default()).await;
            answer.map(tonic::Response::into_inner).map_err(|status| CallError::of(&status))
        };
        self.within_timeout(call).await
    }

    /// Many requests, one answer when they have ended. No timeout holds.
    ///
    /// # Errors
    /// No connection, or the status of the server.
    pub async fn client_streaming<Q, R, S>(&self, path: &str, requests: S) -> Result<R, CallError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        let (mut grpc, path) = self.call(path).await?;
        let request = self.request(requests, &HeaderMap::new());
        let answer = grpc.client_streaming(request, path, ProstCodec::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| CallError::of(&status))
    }

    /// Many requests, many answers. Resolves when the server's headers arrive, which for many servers is with the first answer: the
    /// requests are sent meanwhile.
    ///
    /// # Errors
    /// No connection, or the status of the server.
    pub async fn streaming<Q, R, S>(&self, path: &str, requests: S) -> Result<Responses<R>, CallError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        let (mut grpc, path) = self.call(path).await?;
        let request = self.request(requests, &HeaderMap::new());
        let answer = grpc.streaming(request, path, ProstCodec::default()).await;
        let stream = answer.map_err(|status| CallError::of(&status))?;
        Ok(Responses { stream: stream.into_inner() })
    }

    async fn call(&self, path: &str) -> Result<(tonic::client::Grpc<Service>, PathAndQuery), CallError> {
        let path = PathAndQuery::try_from(path)
            .map_err(|error| CallError::unavailable(format!("{path:?} is no method path: {error}")))?;
        let service = Service { connection: self.connection().await? };
        let grpc = tonic::client::Grpc::with_origin(service, self.inner.origin.clone())
            .max_decoding_message_size(self.inner.limits.message_cap);
        Ok((grpc, path))
    }

    fn request<T>(&self, message: T, metadata: &HeaderMap) -> tonic::Request<T> {
        let mut headers = self.inner.target.metadata.clone();
        for (name, value) in metadata {
            headers.append(name, value.clone());
        }
        tonic::Request::from_parts(MetadataMap::from_headers(headers), tonic::Extensions::new(), message)
    }

    async fn within_timeout<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match self.inner.target.timeout {
            None => call.await,
            Some(timeout) => tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
                let reason = format!("no answer within {timeout:?}");
                Err(CallError { code: tonic::Code::DeadlineExceeded as i32, reason })
            }),
        }
    }

    /// The connection, or a new one. Callers that come meanwhile wait for the same.
    async fn connection(&self) -> Result<Connection, CallError> {
        let mut held = self.inner.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *held = None;
        let connection = self.connect().await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        const WINDOW: u32 = 1 << 20;
        let target = &self.inner.target;
        let authority = self.inner.origin.authority().map_or("", |authority| authority.as_str());
        let io = target.connector.connect().await;
        let io =
            io.map_err(|error| CallError::unavailable(format!("cannot connect to {authority}: {error}")))?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if let Some(keepalive) = target.keepalive {
            builder
                .keep_alive_interval(keepalive.interval)
                .keep_alive_timeout(keepalive.timeout)
                .keep_alive_while_idle(true);
        }
        let opened = builder.handshake(TokioIo::new(io)).await;
        let (sender, connection) = opened.map_err(|error| {
            CallError::unavailable(format!("no HTTP/2 connection to {authority}: {error}"))
        })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to a gRPC server ended");
            }
        });
        Ok(sender)
    }
}

/// The answers of a streaming call.
pub struct Responses<R> {
    stream: tonic::Streaming<R>,
}

impl<R> Responses<R> {
    /// The next answer; `None` when the server has ended the call with success. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The status with which the server, or the connection, ended the call, or a message over the limit.
    pub async fn message(&mut self) -> Result<Option<R>, CallError> {
        self.stream.message().await.map_err(|status| CallError::of(&status))
    }
}

/// The connection, in the form in which tonic wants to have it.
struct Service {
    connection: Connection,
}

impl GrpcService<tonic::body::Body> for Service {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<http::Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.connection.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.connection.send_request(request))
    }
}

/// Scheme and authority of all requests.
fn origin_of(authority: &str) -> Uri {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~[]:%!$&'()*+,;=".contains(c);
    let clean: String = authority.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let build =
        |authority: &str| Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
    build(&clean).unwrap_or_else(|_| build("unknown").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_can_be_sent() {
        let of = |text| origin_of(text).authority().unwrap().to_string();
        assert_eq!(of("xds-grpc"), "xds-grpc");
        assert_eq!(of("istiod.istio-system.svc:15012"), "istiod.istio-system.svc:15012");
        assert_eq!(of("[::1]:80"), "[::1]:80");
        assert_eq!(of("outbound|80||als.ns.svc"), "outbound_80__als.ns.svc");
        for odd in ["", "a:b:c", "[", "user@host", "ü/?#"] {
            let _ = of(odd);
        }
    }
}
