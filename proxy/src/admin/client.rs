//! A client of the admin API, for the verbs of the command line that ask a running proxy.
//!
//! One request, one answer, then the connection is closed. It blocks its thread and must not be called within a runtime.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long the whole exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 << 20;

/// Where an admin API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// TCP
    Tcp(SocketAddr),
    /// A unix socket; a path that begins with `@` is in the abstract namespace.
    Unix(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing listens there, or it may not be opened.
    #[error("cannot connect to {0}: {1}; is the proxy running, and is this its admin address?")]
    Connect(Place, io::Error),
    /// It took too long.
    #[error("{0} did not answer within {PATIENCE:?}")]
    Late(Place),
    /// What answers there does not speak HTTP as it should.
    #[error("{0} gave no answer that can be read: {1}; is this an admin address?")]
    Answer(Place, String),
    /// There is no runtime to be had.
    #[error("cannot make a request: {0}")]
    System(#[from] io::Error),
}

/// One GET; the status and the body.
///
/// # Errors
/// There is no answer; any status is one.
pub fn fetch(place: &Place, path: &str) -> Result<(StatusCode, Bytes), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let late = || FetchError::Late(place.clone());
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, open(place, path)).await.unwrap_or_else(|_| Err(late()))
    })
}

async fn open(place: &Place, path: &str) -> Result<(StatusCode, Bytes), FetchError> {
    let refused = |error| FetchError::Connect(place.clone(), error);
    let answer = match place {
        Place::Tcp(address) => exchange(TcpStream::connect(address).await.map_err(refused)?, path).await,
        Place::Unix(path_of) => exchange(connect_unix(path_of).await.map_err(refused)?, path).await,
    };
    answer.map_err(|error| FetchError::Answer(place.clone(), error))
}

async fn connect_unix(path: &str) -> io::Result<UnixStream> {
    let Some(name) = path.strip_prefix('@') else { return UnixStream::connect(path).await };
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn exchange<S>(stream: S, path: &str) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    // Its end is the end of the exchange, which tells.
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "admin").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(told)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn answer(mut stream: impl Read + Write, with: &str) {
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /page HTTP/1.1\r\n"));
        stream.write_all(with.as_bytes()).unwrap();
    }

    #[test]
    fn a_unix_socket_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            answer(listener.accept().unwrap().0, "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno");
        });
        let place = Place::Unix(path.to_string_lossy().into_owned());
        let (status, body) = fetch(&place, "/page").unwrap();
        assert_eq!((status.as_u16(), &body[..]), (404, &b"no"[..]));
        server.join().unwrap();
    }

    #[test]
    fn what_is_no_admin_api_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || answer(listener.accept().unwrap().0, "SSH-2.0-x\r\n"));
        assert!(matches!(fetch(&place, "/page"), Err(FetchError::Answer(..))));
        server.join().unwrap();
        assert!(matches!(fetch(&place, "/page"), Err(FetchError::Connect(..))));
    }
}
