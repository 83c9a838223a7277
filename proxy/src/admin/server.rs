//! The sockets of the admin server, and HTTP/1.1 around the table.
//!
//! Bounded: so many connections at a time, so long for a request to arrive, so long idle, so much body. The
//! data plane's connection limits do not apply here, so that an overloaded proxy can still be asked why.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SERVER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admin, Reply, Request, table};
use crate::logging::target;

/// Connections at a time; more wait in the backlog.
const MAX_CONNECTIONS: usize = 256;
/// For a request's head, the wait for its first byte included: scrapers keep their connection for a minute.
const HEAD_TIME: Duration = Duration::from_mins(2);
/// For a body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// A connection whose last request was answered this long ago is closed, read or not.
const IDLE_TIME: Duration = Duration::from_mins(2);
/// The most a body may hold; only `/runtime_modify` takes one.
const MAX_BODY: usize = 64 * 1024;
/// The pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the admin server listens (`bootstrap.admin.address`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A unix socket; a path that begins with `@` is in the abstract namespace.
    Unix {
        /// The path.
        path: String,
        /// The permissions of the socket's file; 0 leaves what the umask gives.
        mode: u32,
    },
}

/// The bound socket.
#[derive(Debug)]
pub struct AdminListener {
    socket: Socket,
    address: String,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the admin server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("admin: cannot bind '{address}': {source}")]
    Bind {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// `--admin-address-path` cannot be written.
    #[error("cannot open admin address output file {path} for writing: {source}")]
    AddressFile {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
}

impl AdminListener {
    /// Binds. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: &AdminAddress) -> Result<Self, AdminError> {
        let shown = match address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix { path, .. } => path.clone(),
        };
        Self::open(address, &shown).map_err(|source| AdminError::Bind { address: shown, source })
    }

    /// Where it listens, if by IP.
    pub fn ip_address(&self) -> Option<std::net::SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    fn open(address: &AdminAddress, shown: &str) -> io::Result<Self> {
        match address {
            AdminAddress::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                let bound = socket.local_addr()?.to_string();
                Ok(Self { socket: Socket::Tcp(TcpListener::from_std(socket)?), address: bound })
            }
            AdminAddress::Unix { path, mode } => {
                let socket = bind_unix(path, *mode)?;
                socket.set_nonblocking(true)?;
                Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?), address: shown.to_owned() })
            }
        }
    }

    /// The address in use, with the port that the kernel chose: `127.0.0.1:15000`, or a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes the address to the file of `--admin-address-path`, as launchers expect it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_address(&self, path: &str) -> Result<(), AdminError> {
        std::fs::write(path, &self.address)
            .map_err(|source| AdminError::AddressFile { path: path.to_owned(), source })
    }
}

fn bind_unix(path: &str, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(name) = path.strip_prefix('@') {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return std::os::unix::net::UnixListener::bind_addr(&address);
    }
    // The socket of a process that is gone would make the bind fail. Anything else at that path is not ours to
    // remove, and the bind says so.
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    if mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(socket)
}

/// Serves for as long as it is polled. Connections are tasks of the same runtime.
pub async fn serve(listener: AdminListener, admin: Admin) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tracing::info!(target: target::ADMIN, "admin address: {}", listener.address);
    loop {
        // The semaphore is never closed, so this only waits.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = match &listener.socket {
            Socket::Tcp(socket) => socket.accept().await.map(|(stream, _)| spawn(stream, &admin, permit)),
            Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| spawn(stream, &admin, permit)),
        };
        if let Err(error) = accepted {
            tracing::warn!(target: target::ADMIN, "admin: accept failed: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn spawn<S>(stream: S, admin: &Admin, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let admin = admin.clone();
    tokio::spawn(async move {
        connection(stream, admin).await;
        drop(permit);
    });
}

async fn connection<S>(stream: S, admin: Admin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let started = Instant::now();
    // Milliseconds since `started` at which the last request ended.
    let last = Arc::new(AtomicU64::new(0));
    let ended = Arc::clone(&last);
    let service = service_fn(move |request| {
        let (admin, ended) = (admin.clone(), Arc::clone(&ended));
        async move {
            let response = exchange(&admin, request).await;
            ended.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    loop {
        let idle_at = started + Duration::from_millis(last.load(Ordering::Relaxed)) + IDLE_TIME;
        tokio::select! {
            // A connection that fails is the client's affair.
            _ = &mut served => return,
            () = tokio::time::sleep_until(idle_at.into()) => {
                let last = Duration::from_millis(last.load(Ordering::Relaxed));
                if started.elapsed().saturating_sub(last) >= IDLE_TIME {
                    served.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(IDLE_TIME, &mut served).await;
                    return;
                }
            }
        }
    }
}

async fn exchange(admin: &Admin, request: http::Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await;
    let reply = match collected {
        Ok(Ok(body)) => table::answer(admin, &Request::new(head.method, target, &body.to_bytes())),
        Ok(Err(_)) => Reply::status(http::StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broken\n"),
        Err(_) => Reply::status(http::StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
    };
    response(reply)
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(SERVER, HeaderValue::from_static("envoy"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock").display().to_string();
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
        let address = AdminAddress::Unix { path: path.clone(), mode: 0o600 };
        block_on(async {
            let listener = AdminListener::bind(&address).expect("a listener");
            assert_eq!(listener.address(), path);
            let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            tokio::spawn(serve(listener, super::super::tests::admin()));
            let mut stream = UnixStream::connect(&path).await.expect("a connection");
            let request = "POST /runtime_modify HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 70000\r\n\r\n";
            stream.write_all(request.as_bytes()).await.expect("a request");
            stream.write_all(&vec![b'a'; 70_000]).await.ok();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("a reply");
            assert_eq!(&head, b"HTTP/1.1 413");
        });
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").expect("a file");
        let address = AdminAddress::Unix { path: path.display().to_string(), mode: 0 };
        let error =
            block_on(async { AdminListener::bind(&address) }).expect_err("it is not a socket").to_string();
        assert!(error.starts_with("admin: cannot bind '"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "data");
    }

    #[test]
    fn an_abstract_socket_needs_no_file() {
        let name = format!("@sampan-admin-{}", std::process::id());
        let address = AdminAddress::Unix { path: name.clone(), mode: 0o600 };
        assert_eq!(block_on(async { AdminListener::bind(&address) }).expect("a listener").address(), name);
    }
}
