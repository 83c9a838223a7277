//! The seam to the proxy's upstreams: how to get a byte stream to a control plane. Whether that is `envoy_grpc` (a cluster of the
//! bootstrap, with its TLS) or `google_grpc` (a target URI) is the proxy's business.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection.
pub trait IoStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> IoStream for T {}

/// Opens connections to one place.
pub trait Connector: Send + Sync + 'static {
    /// Opens one, TLS included. It must end by itself when the peer does not answer (`connect_timeout`). For gRPC it must speak HTTP/2.
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn IoStream>>>;

    /// The `:authority` of requests. Characters that an authority cannot have are replaced by `_`.
    fn authority(&self) -> String;
}

/// A gRPC server.
#[derive(Clone)]
pub struct GrpcTarget {
    /// Where it is.
    pub connector: Arc<dyn Connector>,
    /// `initial_metadata`: headers of each call.
    pub metadata: HeaderMap,
    /// `timeout` of calls that have one answer. Streams live as long as they like.
    pub timeout: Option<Duration>,
    /// HTTP/2 pings.
    pub keepalive: Option<Keepalive>,
}

impl GrpcTarget {
    /// A target without metadata, timeout or pings.
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connector, metadata: HeaderMap::new(), timeout: None, keepalive: None }
    }
}

/// `connection_keepalive` of a cluster's HTTP/2 options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between pings.
    pub interval: Duration,
    /// How long to wait for the answer before the connection is given up.
    pub timeout: Duration,
}
