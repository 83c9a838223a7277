//! How the control thread reaches a server by way of a cluster: for xDS streams, and for whatever else it calls.
//!
//! Each connect looks the cluster up in the snapshot of the moment, so that a control plane may itself be discovered or
//! resolved. Hosts are taken by the cluster's own balancing policy.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use sampan_model::cluster::{Host, HostAddress, UpstreamProtocol};
use sampan_model::lb::{LoadBalancer, PickContext};
use sampan_model::route::Slot;
use sampan_xds::RestTarget;
use sampan_xds::transport::{Connector, GrpcTarget as Target, IoStream};
use tokio::net::{TcpStream, UnixStream};

use crate::control::publish::Publisher;
use crate::logging::target;
use crate::reference::{GrpcPeer, GrpcTarget};
use crate::snapshot::Published;
use crate::tls::context::Peer;
use crate::tls::handshake;
use crate::upstream::transport::{Offer, Transport};

/// The way to a gRPC service.
pub fn target(publisher: &Publisher, target: &GrpcTarget) -> Target {
    let connector: Arc<dyn Connector> = match &target.peer {
        GrpcPeer::Cluster(name) => cluster(publisher, name, &target.authority),
        GrpcPeer::Address(address) => Arc::new(AddressConnector(address.clone())),
    };
    let mut metadata = HeaderMap::new();
    for (name, value) in &target.metadata {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(metadata.append(name, value)),
            _ => {
                tracing::warn!(target: target::CONFIG, "initial_metadata {name:?} cannot be sent as a header");
            }
        }
    }
    Target { metadata, timeout: target.timeout, ..Target::new(connector) }
}

/// The way to a cluster. An empty `authority` stands for its name.
pub fn cluster(publisher: &Publisher, name: &Arc<str>, authority: &Arc<str>) -> Arc<dyn Connector> {
    let published = publisher.published().clone();
    Arc::new(ClusterConnector::new(published, name.clone(), publisher.slot(name), authority))
}

/// As [`cluster`], for a server of HTTP, in the cluster's protocol. None if there is no such cluster at the moment.
pub fn http(publisher: &Publisher, name: &Arc<str>, authority: &Arc<str>) -> Option<RestTarget> {
    let (published, slot) = (publisher.published().clone(), publisher.slot(name));
    let is_http2 = {
        let snapshot = published.load();
        snapshot.clusters.entry(slot)?.parts().config.http.protocol == UpstreamProtocol::Http2
    };
    let mut connector = ClusterConnector::new(published, name.clone(), slot, authority);
    connector.offer = if is_http2 { Offer::Http2 } else { Offer::Http1 };
    Some(RestTarget { connector: Arc::new(connector), is_http2 })
}

/// Connects to the hosts of a cluster.
pub struct ClusterConnector {
    published: Arc<Published>,
    name: Arc<str>,
    slot: Slot,
    authority: Arc<str>,
    /// What is spoken: what ALPN offers.
    offer: Offer,
    balancer: Mutex<Option<LoadBalancer>>,
}

impl ClusterConnector {
    /// A way to the cluster of a slot. An empty `authority` stands for the cluster's name.
    pub fn new(published: Arc<Published>, name: Arc<str>, slot: Slot, authority: &Arc<str>) -> Self {
        let authority = if authority.is_empty() { name.clone() } else { authority.clone() };
        Self { published, name, slot, authority, offer: Offer::Http2, balancer: Mutex::default() }
    }

    /// A host, its transport, and how long a connect may take.
    fn pick(&self) -> io::Result<(Arc<Host>, Transport, Duration)> {
        let snapshot = self.published.load();
        let missing = || io::Error::other(format!("there is no cluster {:?}", &*self.name));
        let parts = snapshot.clusters.entry(self.slot).ok_or_else(missing)?.parts().clone();
        let mut balancer = self.balancer.lock().unwrap_or_else(PoisonError::into_inner);
        let balancer = balancer.get_or_insert_with(|| LoadBalancer::new(parts.config.lb_settings()));
        let mut rng = fastrand::Rng::new();
        let picked = balancer.pick(&parts.hosts, &mut PickContext::new(&mut rng));
        let none = || io::Error::other(format!("cluster {:?} has no host to connect to", &*self.name));
        let member = picked.map(|pick| pick.member).ok_or_else(none)?;
        let transport = parts.transports.choose(member.metadata.as_ref());
        let transport = parts.transports.transport(transport).clone();
        Ok((member.host.clone(), transport, parts.config.connect_timeout))
    }
}

impl Connector for ClusterConnector {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn IoStream>>> {
        let picked = self.pick();
        let offer = self.offer;
        async move {
            let (host, transport, timeout) = picked?;
            let late = || timed_out(&host.address.to_string());
            tokio::time::timeout(timeout, open(&host, &host.address, &transport, offer))
                .await
                .map_err(|_| late())?
        }
        .boxed()
    }

    fn authority(&self) -> String {
        self.authority.to_string()
    }
}

/// Connects to a host and port, whose name the system resolves.
pub struct AddressConnector(pub Arc<str>);

/// How long a connect to a bare address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Connector for AddressConnector {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn IoStream>>> {
        let target = self.0.clone();
        async move {
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&*target)).await;
            let stream = stream.map_err(|_| timed_out(&target))??;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn IoStream>)
        }
        .boxed()
    }

    fn authority(&self) -> String {
        self.0.to_string()
    }
}

/// Connects to a host, or to another address in its place, by the host's transport.
pub(in crate::control) async fn open(
    host: &Host,
    address: &HostAddress,
    transport: &Transport,
    offer: Offer,
) -> io::Result<Box<dyn IoStream>> {
    let stream: Box<dyn IoStream> = match address {
        HostAddress::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        HostAddress::Pipe(path) => Box::new(UnixStream::connect(path).await?),
    };
    let Transport::Tls(context) = transport else { return Ok(stream) };
    let address = match &host.address {
        HostAddress::Socket(address) => Some(address.ip()),
        HostAddress::Pipe(_) => None,
    };
    let peer = Peer { hostname: &host.hostname, address, ..Peer::default() };
    let asked = handshake::ask(context, stream, &peer, offer.protocols()).await;
    match asked.outcome {
        Ok((stream, _)) => Ok(Box::new(stream)),
        Err(fault) => Err(io::Error::other(format!("TLS handshake with {}: {fault}", host.address))),
    }
}

fn timed_out(address: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("connecting to {address} took too long"))
}
