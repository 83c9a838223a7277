//! What is known of a stream: filled in as it goes by, read by filters, formatters and access logs.
//!
//! One value per request (or per TCP connection). Strings that configuration owns are shared
//! (`Arc<str>`), those of the connection are shared by its requests (`Rc<ConnectionInfo>`).

mod cluster;
mod configured;
mod connection;
mod metadata;
mod tls;

use std::any::Any;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use crate::flags::Flags;
use crate::head::Protocol;
use crate::network::UpstreamState;
use crate::protocols::ProtocolSet;

pub use self::cluster::{ClusterFacts, HostFacts, HttpChoice, LocalityFacts};
pub use self::configured::{ChainFacts, ListenerFacts, RouteFacts, VirtualHostFacts};
pub use self::connection::{ConnectionInfo, Findings, OriginalSource, ProtocolList};
pub use self::metadata::{DynamicMetadata, MetadataOf, MetadataValue};
pub use self::tls::{CertificateInfo, TlsInfo};

/// An address of either side.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Address {
    /// IP and port
    Socket(SocketAddr),
    /// A unix socket's path; empty for an unnamed peer
    Pipe(Arc<str>),
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Socket(addr) => Some(*addr),
            Address::Pipe(_) => None,
        }
    }
}

/// `10.0.0.1:80`, `[::1]:80`, or the path.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Socket(addr) => addr.fmt(f),
            Address::Pipe(path) => f.write_str(path),
        }
    }
}

/// A host that a filter wants a request to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedHost {
    /// Its address and port, as they are shown.
    pub address: Box<str>,
    /// No other host will do: without it, the request is answered with this status.
    pub strict: Option<u16>,
}

/// The upstream side of a stream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamInfo {
    /// The host that a filter wants.
    pub wanted: Option<Box<WantedHost>>,
    /// The host chosen last.
    pub address: Option<Address>,
    /// Its configured host name.
    pub hostname: Option<Arc<str>>,
    /// The local end of the upstream connection.
    pub local: Option<Address>,
    /// The upstream connection's number.
    pub connection_id: Option<u64>,
    /// Every host tried, in order.
    pub attempted: SmallVec<[Address; 1]>,
    /// The cluster, as configured.
    pub cluster: Option<Arc<str>>,
    /// Its `alt_stat_name`, where it has one.
    pub cluster_alt: Option<Arc<str>>,
    /// The protocol spoken upstream.
    pub protocol: Option<Protocol>,
    /// Why the transport failed: `delayed_connect_error: Connection refused`.
    pub transport_failure: Option<Cow<'static, str>>,
    /// The TLS session of the upstream connection.
    pub tls: Option<Arc<TlsInfo>>,
    /// Tries made.
    pub attempts: u32,
    /// When a connection was asked of the pool.
    pub pool_requested: Option<Instant>,
    /// Begin and end of the connect; of an older request's, if the connection was reused.
    pub connect: (Option<Instant>, Option<Instant>),
    /// When the pool gave a connection.
    pub pool_ready: Option<Instant>,
    /// What the configuration says of the cluster.
    pub facts: Option<Rc<ClusterFacts>>,
    /// What it says of the host chosen last.
    pub host: Option<Rc<HostFacts>>,
    /// Filter state of the upstream connection, where filters of the cluster left some.
    pub state: Option<UpstreamState>,
    /// The application protocols to offer in place of the configured ones.
    pub protocols: Option<ProtocolSet>,
    /// First and last byte of the request sent upstream.
    pub request_sent: (Option<Instant>, Option<Instant>),
    /// First and last byte of the response received.
    pub response_received: (Option<Instant>, Option<Instant>),
}

impl UpstreamInfo {
    /// The object of a key in the filter state of the upstream connection.
    pub fn object(&self, key: &str) -> Option<Rc<dyn StateObject>> {
        self.state.as_ref()?.borrow().object(key).cloned()
    }
}

/// Byte counts of a stream. Bodies only, unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// Request body bytes, after framing is removed.
    pub received: u64,
    /// Response body bytes.
    pub sent: u64,
    /// All bytes of the stream read downstream, framing included.
    pub downstream_wire_received: u64,
    /// All bytes of the stream written downstream.
    pub downstream_wire_sent: u64,
    /// All bytes of the stream read upstream.
    pub upstream_wire_received: u64,
    /// All bytes of the stream written upstream.
    pub upstream_wire_sent: u64,
    /// Bytes of the request head's fields.
    pub request_headers: u64,
    /// Bytes of the response head's fields.
    pub response_headers: u64,
    /// Bytes of the response trailers' fields.
    pub response_trailers: u64,
}

/// Which trace a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace.
    pub trace: u128,
    /// Ids of 64 bits are shown with 16 digits (B3) instead of 32.
    pub short: bool,
    /// The stream's own span, where the tracer tells it.
    pub span: Option<u64>,
}

/// `%STREAM_ID%`: a UUID, unless a client has sent something else.
pub type StreamId = SmallVec<[u8; 36]>;

/// All that is known of one stream.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// The downstream connection.
    pub connection: Rc<ConnectionInfo>,
    /// Wall clock at the first byte.
    pub start_time: SystemTime,
    /// Monotonic clock at the first byte.
    pub start: Instant,
    /// When the request was read to its end.
    pub request_complete: Option<Instant>,
    /// When the first and last byte of the response were handed to the downstream codec.
    pub response_sent: (Option<Instant>, Option<Instant>),
    /// When the stream ended.
    pub end: Option<Instant>,
    /// The client, after `x-forwarded-for` and its like were considered; the connection's client if unset.
    pub remote: Option<Address>,
    /// The downstream protocol; none for TCP.
    pub protocol: Option<Protocol>,
    /// Status of the response; 0 if none was sent.
    pub response_code: u16,
    /// `%RESPONSE_CODE_DETAILS%`, with spaces as underscores; empty if none.
    pub details: Cow<'static, str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`
    pub termination_details: Cow<'static, str>,
    /// Why it ended so.
    pub flags: Flags,
    /// Counted bytes.
    pub bytes: ByteCounts,
    /// The matched route.
    pub route: Option<Arc<RouteFacts>>,
    /// The matched virtual cluster's name.
    pub virtual_cluster: Option<Arc<str>>,
    /// `%TRACE_ID%` and `%SPAN_ID%`, where the request is part of a trace.
    pub trace: Option<TraceIds>,
    /// The upstream side.
    pub upstream: UpstreamInfo,
    /// `x-request-id`'s source, for `%STREAM_ID%`.
    pub stream_id: Option<StreamId>,
    /// The body of a local reply.
    pub local_reply_body: Option<Box<[u8]>>,
    /// Dynamic metadata by filter name; set by filters.
    pub metadata: DynamicMetadata,
    /// Filter state by key; set by filters.
    pub filter_state: FilterState,
    /// Whether `x-envoy-force-trace` made it a traced one.
    pub force_traced: bool,
    /// Whether a health check request (from the `health_check` filter).
    pub health_check: bool,
}

impl StreamInfo {
    /// A stream that begins at `start`.
    pub fn new(connection: Rc<ConnectionInfo>, start: Instant, start_time: SystemTime) -> Self {
        Self {
            connection,
            start_time,
            start,
            request_complete: None,
            response_sent: (None, None),
            end: None,
            remote: None,
            protocol: None,
            response_code: 0,
            details: Cow::Borrowed(""),
            termination_details: Cow::Borrowed(""),
            flags: Flags::NONE,
            bytes: ByteCounts::default(),
            route: None,
            virtual_cluster: None,
            trace: None,
            upstream: UpstreamInfo::default(),
            stream_id: None,
            local_reply_body: None,
            metadata: DynamicMetadata::default(),
            filter_state: FilterState::default(),
            force_traced: false,
            health_check: false,
        }
    }

    /// The client's address: the trusted one if it was worked out, else the connection's.
    pub fn remote(&self) -> &Address {
        self.remote.as_ref().unwrap_or(&self.connection.remote)
    }

    /// The object of a key of the filter state: the stream's own, or else the connection's.
    pub fn state(&self, key: &str) -> Option<Rc<dyn StateObject>> {
        let own = self.filter_state.object(key).cloned();
        own.or_else(|| self.connection.state.borrow().object(key).cloned())
    }

    /// The object of a key where it is about the host: the stream's own, or else its upstream connection's. What the client's connection has is
    /// of another peer.
    pub fn upstream_state(&self, key: &str) -> Option<Rc<dyn StateObject>> {
        let own = self.filter_state.object(key).cloned();
        own.or_else(|| self.upstream.object(key))
    }

    /// A value of some metadata: of a namespace, following struct keys.
    pub fn metadata_of(
        &self,
        of: MetadataOf,
        namespace: &str,
        keys: &[impl AsRef<str>],
    ) -> Option<&MetadataValue> {
        match of {
            MetadataOf::Stream => self.metadata.namespace(namespace)?.at(keys),
            of => self.all_metadata_of(of)?.at(&[namespace])?.at(keys),
        }
    }

    /// All metadata that the configuration gives something, by namespace; none of the stream's own.
    pub fn all_metadata_of(&self, of: MetadataOf) -> Option<&MetadataValue> {
        match of {
            MetadataOf::Stream => None,
            MetadataOf::Route => self.route.as_ref()?.metadata.as_ref(),
            MetadataOf::VirtualHost => self.route.as_ref()?.host.metadata.as_ref(),
            MetadataOf::Listener => self.connection.listener.metadata.as_ref(),
            MetadataOf::Chain => self.connection.chain.as_ref()?.metadata.as_ref(),
            MetadataOf::Cluster => self.upstream.facts.as_ref()?.metadata.as_deref(),
            MetadataOf::Host => self.upstream.host.as_ref()?.metadata.as_deref(),
        }
    }

    /// The name of the matched route, if it has one.
    pub fn route_name(&self) -> Option<&str> {
        self.route.as_ref()?.name.as_deref()
    }

    /// Time from start to end; to `now` while the stream lives.
    pub fn duration(&self, now: Instant) -> Duration {
        self.end.unwrap_or(now).saturating_duration_since(self.start)
    }
}

/// The key of the filter state whose object names the cluster of `tcp_proxy`, in place of the configured one.
pub const TCP_CLUSTER: &str = "envoy.tcp_proxy.cluster";

/// The key of the filter state whose object is the server name to ask for upstream, in place of the configured one.
pub const UPSTREAM_SERVER_NAME: &str = "envoy.network.upstream_server_name";

/// The key of the filter state whose object is where a cluster of type `ORIGINAL_DST` connects to.
pub const ORIGINAL_DESTINATION: &str = "envoy.network.transport_socket.original_dst_address";

/// An object that filters share by name.
pub trait StateObject: Any {
    /// `%FILTER_STATE(key:PLAIN)%`
    fn plain(&self) -> String;

    /// What hash policies hash of it, if it is made for that.
    fn hashed(&self) -> Option<&str> {
        None
    }

    /// `%FILTER_STATE(key)%`; a string, unless the object has more of a shape.
    fn typed(&self) -> MetadataValue {
        MetadataValue::String(self.plain().into())
    }

    /// `%FILTER_STATE(key:FIELD:name)%`
    fn field(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Filter state by key. Empty for most streams, and then allocates nothing.
///
/// Only filters set keys, and these are of their configurations or their own, so a client cannot make it grow.
#[derive(Clone, Default)]
pub struct FilterState(Vec<(Cow<'static, str>, Rc<dyn StateObject>)>);

impl FilterState {
    /// The object of a key.
    pub fn object(&self, key: &str) -> Option<&Rc<dyn StateObject>> {
        self.0.iter().find(|(k, _)| **k == *key).map(|(_, v)| v)
    }

    /// Every key with its object, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rc<dyn StateObject>)> {
        self.0.iter().map(|(key, object)| (&**key, object))
    }

    /// Sets a key's object, in place of an older one.
    pub fn set(&mut self, key: &str, object: Rc<dyn StateObject>) {
        match self.0.iter_mut().find(|(k, _)| **k == *key) {
            Some((_, slot)) => *slot = object,
            None => self.0.push((Cow::Owned(key.to_owned()), object)),
        }
    }

    /// As [`FilterState::set`], for a key that is part of the program; keeps an older object.
    pub fn add(&mut self, key: &'static str, object: Rc<dyn StateObject>) {
        if self.object(key).is_none() {
            self.0.push((Cow::Borrowed(key), object));
        }
    }
}

impl std::fmt::Debug for FilterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(k, _)| k)).finish()
    }
}
