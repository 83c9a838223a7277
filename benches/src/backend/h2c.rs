//! HTTP/2 with prior knowledge, on the `h2` crate.

use super::{LARGE_BODY, LARGE_PATH, SMALL_BODY, SMALL_PATH};
use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use std::sync::LazyLock;
use tokio::net::TcpStream;

static SMALL: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; SMALL_BODY].into());
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; LARGE_BODY].into());

/// Serves one connection until the peer closes it. Bodies are handed to `h2` whole; it sends them as the
/// peer's windows allow.
pub async fn serve(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(1024)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let (response, body) = answer(&request)?;
        // A stream the peer has reset meanwhile is not the connection's end.
        if let Ok(mut send) = respond.send_response(response, false) {
            let _ = send.send_data(body, true);
        }
    }
    Ok(())
}

fn answer<B>(request: &Request<B>) -> Result<(Response<()>, Bytes)> {
    let (status, body) = match request.uri().path() {
        SMALL_PATH => (StatusCode::OK, SMALL.clone()),
        LARGE_PATH => (StatusCode::OK, LARGE.clone()),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    let response = Response::builder()
        .status(status)
        .header("server", "bench")
        .header("content-type", "text/plain")
        .header("content-length", body.len())
        .body(())?;
    Ok((response, body))
}
