//! One check of one host: HTTP by hyper, gRPC by the xDS client's channel, TCP by itself.
//!
//! A prober belongs to one host and keeps its connection, where that may be reused.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sampan_model::health_check::config::in_order;
use sampan_model::health_check::{CheckKind, CheckResult, GrpcCheck, HealthCheck, HttpCheck, TcpCheck};
use sampan_xds::{CallError, Channel, GrpcTarget, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::Dial;

/// Checks one host.
pub(super) struct Prober {
    check: Arc<HealthCheck>,
    dial: Dial,
    kept: Option<Kept>,
    status: u16,
}

/// A connection that the next check may use.
enum Kept {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
    Grpc(Channel),
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const WRONG: CheckResult = CheckResult::Wrong { retriable: false, immediate: false };
const GOOD: CheckResult = CheckResult::Good { degraded: false };

impl Prober {
    pub(super) fn new(check: Arc<HealthCheck>, dial: Dial) -> Self {
        Self { check, dial, kept: None, status: 0 }
    }

    /// The HTTP status of the last answer; 0 if there was none.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Makes the check, within its timeout.
    pub(super) async fn probe(&mut self) -> CheckResult {
        self.status = 0;
        let check = self.check.clone();
        let probing = async {
            match &check.kind {
                CheckKind::Http(http) => self.http(http).await.unwrap_or(CheckResult::NoAnswer),
                CheckKind::Tcp(tcp) => self.tcp(tcp).await.map_or(CheckResult::NoAnswer, |()| GOOD),
                CheckKind::Grpc(grpc) => self.grpc(grpc).await,
            }
        };
        let result = tokio::time::timeout(check.timing.timeout, probing).await;
        let result = result.unwrap_or(CheckResult::TimedOut);
        if matches!(result, CheckResult::NoAnswer | CheckResult::TimedOut) || !check.reuse_connection {
            self.kept = None;
        }
        result
    }

    async fn http(
        &mut self,
        check: &HttpCheck,
    ) -> Result<CheckResult, Box<dyn std::error::Error + Send + Sync>> {
        let request = self.request(check)?;
        // A connection that its peer has closed since is replaced.
        let mut kept = match self.kept.take() {
            Some(Kept::Http1(sender)) if !sender.is_closed() => Kept::Http1(sender),
            Some(Kept::Http2(sender)) if !sender.is_closed() => Kept::Http2(sender),
            _ => self.connect(check.http2).await?,
        };
        let response = match &mut kept {
            Kept::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Kept::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Kept::Grpc(_) => return Ok(CheckResult::NoAnswer),
        };
        self.status = response.status().as_u16();
        let closes = response.headers().get(CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        let result = judge(check, response).await?;
        if !closes {
            self.kept = Some(kept);
        }
        Ok(result)
    }

    async fn connect(&self, two: bool) -> Result<Kept, Box<dyn std::error::Error + Send + Sync>> {
        let io = TokioIo::new(self.dial.open().await?);
        // The connection's task ends with its sender.
        if two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Kept::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(Kept::Http1(sender))
        }
    }

    fn request(&self, check: &HttpCheck) -> Result<Request<Empty<Bytes>>, http::Error> {
        let uri = if check.http2 {
            format!("http://{}{}", self.dial.name(), check.path)
        } else {
            check.path.to_string()
        };
        let mut request = Request::builder().method(check.method).uri(uri).body(Empty::new())?;
        let headers = request.headers_mut();
        if !check.http2 {
            headers.insert(HOST, HeaderValue::try_from(self.dial.name())?);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
        for (name, value, append) in &check.add {
            let (name, value) = (HeaderName::try_from(&**name)?, HeaderValue::try_from(&**value)?);
            if *append {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
        for name in &check.remove {
            headers.remove(&**name);
        }
        Ok(request)
    }

    /// Connects, and where bytes are to be sent, waits for those that are to come.
    async fn tcp(&self, check: &TcpCheck) -> io::Result<()> {
        const MOST: usize = 64 * 1024;
        let mut stream = self.dial.open().await?;
        if check.send.is_empty() && check.receive.is_empty() {
            return Ok(());
        }
        stream.write_all(&check.send).await?;
        let mut seen = Vec::new();
        while !in_order(&seen, &check.receive) {
            let mut chunk = [0; 1024];
            let count = stream.read(&mut chunk).await?;
            if count == 0 || seen.len() + count > MOST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            seen.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }

    async fn grpc(&mut self, check: &GrpcCheck) -> CheckResult {
        const SERVING: i32 = 1;
        const UNAVAILABLE: i32 = 14;
        let channel = match self.kept.take() {
            Some(Kept::Grpc(channel)) => channel,
            _ => Channel::new(self.target(check), Limits::default()),
        };
        let asked = HealthCheckRequest { service: check.service.to_string() };
        let answer: Result<HealthCheckResponse, CallError> =
            channel.unary("/grpc.health.v1.Health/Check", asked, &HeaderMap::new()).await;
        self.kept = Some(Kept::Grpc(channel));
        match answer {
            Ok(HealthCheckResponse { status: SERVING }) => GOOD,
            Err(CallError { code: UNAVAILABLE, .. }) => CheckResult::NoAnswer,
            Ok(_) | Err(_) => WRONG,
        }
    }

    fn target(&self, check: &GrpcCheck) -> GrpcTarget {
        let mut target = GrpcTarget::new(Arc::new(self.dial.clone()));
        for (name, value) in &check.metadata {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::try_from(&**value)) {
                target.metadata.append(name, value);
            }
        }
        target
    }
}

/// What a response means. Its body is read, so that the connection can serve the next check.
async fn judge(
    check: &HttpCheck,
    response: Response<Incoming>,
) -> Result<CheckResult, Box<dyn std::error::Error + Send + Sync>> {
    /// How much of a body is read for the sake of its connection.
    const MOST: usize = 1 << 20;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MOST).collect().await?.to_bytes();
    let status = head.status.as_u16();
    if !check.expects(status) {
        // With a right status the header says nothing.
        let immediate = head.headers.contains_key("x-envoy-immediate-health-check-fail");
        return Ok(CheckResult::Wrong { retriable: check.is_retriable(status), immediate });
    }
    let seen = &body[..body.len().min(check.body_limit)];
    let cluster = head.headers.get("x-envoy-upstream-healthchecked-cluster");
    let service = cluster.map_or(&b""[..], |name| name.as_bytes());
    let right = check.service.as_ref().is_none_or(|wanted| wanted.is_match(service));
    if !right || !in_order(seen, &check.receive) {
        return Ok(WRONG);
    }
    Ok(CheckResult::Good { degraded: head.headers.contains_key("x-envoy-degraded") })
}
