//! Connections for active health checks: to the host, or to the other address or port that is checked in its place.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sampan_model::cluster::{Host, HostAddress, Member};
use sampan_model::health_check::{CheckKind, CheckTarget, HealthCheck};
use sampan_xds::{Connector, IoStream};

use crate::control::discovery::connector::open;
use crate::snapshot::ClusterParts;
use crate::upstream::transport::{Offer, Transport};

/// Where a host is checked, and how.
#[derive(Clone)]
pub(super) struct Dial {
    host: Arc<Host>,
    address: HostAddress,
    transport: Transport,
    offer: Offer,
    authority: Arc<str>,
}

impl Dial {
    pub(super) fn new(parts: &ClusterParts, member: &Member, check: &HealthCheck) -> Self {
        let transport = parts.transports.choose(member.metadata.as_ref());
        let (offer, authority) = match &check.kind {
            CheckKind::Http(http) if http.http2 => (Offer::Http2, &*http.host),
            CheckKind::Http(http) => (Offer::Http1, &*http.host),
            CheckKind::Tcp(_) => (Offer::Nothing, &*member.host.hostname),
            CheckKind::Grpc(grpc) => (Offer::Http2, &*grpc.authority),
        };
        let own = member.check.as_ref().map(|target| &*target.hostname).filter(|name| !name.is_empty());
        Self {
            address: address(&member.host.address, member.check.as_deref(), check.port),
            host: member.host.clone(),
            transport: parts.transports.transport(transport).clone(),
            offer,
            authority: Arc::from(own.unwrap_or(authority)),
        }
    }

    /// The host.
    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// What a request calls it.
    pub(super) fn name(&self) -> &str {
        &self.authority
    }

    pub(super) async fn open(&self) -> io::Result<Box<dyn IoStream>> {
        open(&self.host, &self.address, &self.transport, self.offer).await
    }
}

impl Connector for Dial {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn IoStream>>> {
        let dial = self.clone();
        async move { dial.open().await }.boxed()
    }

    fn authority(&self) -> String {
        self.authority.to_string()
    }
}

/// The port of the endpoint's own configuration counts before `alt_port`.
fn address(host: &HostAddress, target: Option<&CheckTarget>, port: Option<u16>) -> HostAddress {
    let HostAddress::Socket(address) = host else { return host.clone() };
    let port = target.and_then(|target| target.port).or(port).unwrap_or(address.port());
    let ip = target.and_then(|target| target.address).unwrap_or(address.ip());
    HostAddress::Socket(SocketAddr::new(ip, port))
}
