//! One HTTP exchange with a server that takes POST: a REST control plane (`POST /v3/discovery:<type>` with a JSON body, called by the
//! REST driver), or a collector of traces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::connect::Connector;

/// An HTTP server.
#[derive(Clone)]
pub struct RestTarget {
    /// Where it is.
    pub connector: Arc<dyn Connector>,
    /// Whether the connector gives HTTP/2.
    pub is_http2: bool,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// The server is late.
    #[error("no answer within {0:?} (request_timeout)")]
    Timeout(Duration),
    /// The connection ended, or what came is not HTTP.
    #[error("{0}")]
    Http(hyper::Error),
    /// Path or host cannot be sent.
    #[error("the request cannot be written: {0}")]
    Request(http::Error),
    /// The answer's body.
    #[error("the body cannot be read or is longer than {cap} bytes: {reason}")]
    Body {
        /// The most that is read.
        cap: usize,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is none.
    #[error("the server answered {0}")]
    Status(StatusCode),
}

/// Posts a JSON body. `None` is 304: nothing has changed.
pub(crate) async fn post(
    target: &RestTarget,
    path: &str,
    body: String,
    timeout: Duration,
    cap: usize,
) -> Result<Option<Bytes>, RestError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match send(target, path, headers, body.into(), timeout, cap).await? {
        (StatusCode::NOT_MODIFIED, _) => Ok(None),
        (StatusCode::OK, body) => Ok(Some(body)),
        (other, _) => Err(RestError::Status(other)),
    }
}

/// Posts a body with these headers, beside `Host`: the status and the body of the answer, of which no more than `cap` bytes are read.
///
/// # Errors
/// There is no answer, or one whose body is too long.
pub async fn send(
    target: &RestTarget,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
    cap: usize,
) -> Result<(StatusCode, Bytes), RestError> {
    let exchange = Box::pin(exchange(target, path, headers, body, cap));
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(RestError::Timeout(timeout)))
}

async fn exchange(
    target: &RestTarget,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
    cap: usize,
) -> Result<(StatusCode, Bytes), RestError> {
    let io = TokioIo::new(target.connector.connect().await.map_err(RestError::Connect)?);
    let host = target.connector.authority();
    let request =
        Request::post(if target.is_http2 { format!("http://{host}{path}") } else { path.to_owned() });
    let request = if target.is_http2 { request } else { request.header(header::HOST, host) };
    let mut request = request.body(Full::new(body)).map_err(RestError::Request)?;
    request.headers_mut().extend(headers);
    // The connection's task ends with the exchange, however that ends.
    let mut connections = tokio::task::JoinSet::new();
    let response = if target.is_http2 {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) =
            builder.timer(TokioTimer::new()).handshake(io).await.map_err(RestError::Http)?;
        connections.spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(RestError::Http)?;
        connections.spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    };
    let response = response.map_err(RestError::Http)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), cap).collect().await;
    let body = body.map_err(|error| RestError::Body { cap, reason: error.to_string() })?;
    Ok((status, body.to_bytes()))
}
