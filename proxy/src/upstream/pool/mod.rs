//! The connections of one worker to one host.
//!
//! HTTP/1.1 connections are lent to one request at a time; HTTP/2 connections are shared. When the connection
//! breaker is open, requests wait in line ([`Waiters`]) for a connection that another request gives back; the line is
//! bounded by the pending breaker.
//!
//! ```text
//!  take: idle connection that is still open --> lend
//!        else breaker allows one more        --> connect, lend
//!        else pending breaker allows         --> wait in line --> lend / the connection's place
//!        else overflow
//! ```

pub mod h1;
pub mod h2;
pub mod preconnect;
mod waiters;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use preconnect::{Kind, Load};

use sampan_filters_api::Protocol;
use sampan_filters_api::info::{HostFacts, LocalityFacts, MetadataValue, OriginalSource};
use sampan_model::cluster::{Cluster, Host, Locality, Member};
use sampan_model::route::Priority;

use super::cluster::{Distinction, WorkerCluster};
use super::connect;
use super::transport::{Index, Offer, Transport, Transports};
use crate::failure::{self, Failure};
use crate::telemetry::stats::{Block, kinds};

/// One worker's connections to one host.
pub struct HostPool {
    host: Arc<Host>,
    transports: Arc<Transports>,
    transport: Index,
    /// What its connections have to themselves.
    distinction: Distinction,
    /// What the configuration says of the host.
    facts: Rc<HostFacts>,
    /// The protocol that ALPN settled on last.
    settled: Cell<Option<Protocol>>,
    /// HTTP/1.1 connections.
    pub h1: h1::Pool,
    /// HTTP/2 connections.
    pub h2: h2::Pool,
}

impl HostPool {
    /// No connection yet.
    pub fn new(member: &Member, transports: &Arc<Transports>) -> Self {
        Self {
            host: member.host.clone(),
            transport: transports.choose(member.metadata.as_ref()),
            transports: transports.clone(),
            distinction: Distinction::default(),
            facts: Rc::new(facts(member)),
            settled: Cell::new(None),
            h1: h1::Pool::default(),
            h2: h2::Pool::default(),
        }
    }

    /// The same host by the same transport, with connections that are kept apart from the others; no connection yet.
    pub fn apart(&self, distinction: &Distinction) -> Self {
        Self {
            host: self.host.clone(),
            transports: self.transports.clone(),
            transport: self.transport,
            distinction: distinction.clone(),
            facts: self.facts.clone(),
            settled: Cell::new(None),
            h1: h1::Pool::default(),
            h2: h2::Pool::default(),
        }
    }

    /// How the host is spoken to.
    pub fn transport(&self) -> &Transport {
        self.transports.transport(self.transport)
    }

    /// Whether a member of a newer version is still spoken to in this way.
    pub fn fits(&self, member: &Member, transports: &Arc<Transports>) -> bool {
        self.transports.is_like(transports) && self.transport == transports.choose(member.metadata.as_ref())
    }

    /// Whether the same configuration makes its transport in a newer version.
    pub fn is_like(&self, transports: &Transports) -> bool {
        self.transports.is_like(transports)
    }

    /// Where its connections come from, where that is the client's address.
    pub fn source(&self) -> Option<OriginalSource> {
        self.distinction.source
    }

    /// What its connections have to themselves.
    pub fn distinction(&self) -> &Distinction {
        &self.distinction
    }

    /// What the configuration says of the host.
    pub fn facts(&self) -> &Rc<HostFacts> {
        &self.facts
    }

    /// The server name that its requests ask for, and whether the certificate must have it.
    pub fn server_name(&self) -> (Option<&str>, bool) {
        (self.distinction.name.as_deref(), self.transports.must_match())
    }

    /// The protocol that ALPN settled on, where a cluster leaves it to that.
    pub fn settled(&self) -> Option<Protocol> {
        self.settled.get()
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Stops lending what is idle; tells whether the pool is still needed because requests are under way.
    pub fn retire(&self) -> bool {
        self.h1.retire();
        self.h2.retire();
        !self.is_idle()
    }

    /// Whether no connection is open.
    pub fn is_idle(&self) -> bool {
        self.h1.is_idle() && self.h2.is_idle()
    }

    /// How busy one of its pools is.
    pub fn load(&self, kind: Kind) -> Load {
        match kind {
            Kind::H1 => self.h1.load(),
            Kind::H2 => self.h2.load(),
        }
    }

    /// Closes connections that are dead, too old, or idle for too long.
    pub fn sweep(&self, config: &Cluster, stats: &Block<kinds::Cluster>) {
        self.h1.sweep(config, stats);
        self.h2.sweep(config, stats);
    }
}

fn facts(member: &Member) -> HostFacts {
    let metadata = member.metadata.as_ref().map(|metadata| metadata.0.clone());
    let Locality { region, zone, sub_zone } = &*member.locality;
    HostFacts {
        metadata: metadata.and_then(|metadata| metadata.downcast::<MetadataValue>().ok()),
        locality: LocalityFacts { region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() },
    }
}

/// Settles the protocol by a first connection, which joins the pool of its protocol.
pub async fn settle(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    priority: Priority,
) -> Result<Protocol, Failure> {
    if matches!(pool.transport(), Transport::Plain) {
        // There is nothing to settle it by.
        pool.settled.set(Some(Protocol::Http11));
        return Ok(Protocol::Http11);
    }
    let permit = connect::permit(cluster, priority, false).ok_or(Failure::from(failure::Kind::Overflow))?;
    let connection = connect::connect(cluster, pool, permit, Offer::Both).await?;
    let chosen = connection.guard.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    if chosen == Some(b"h2") {
        h2::adopt(cluster, pool, connection).await?;
        pool.settled.set(Some(Protocol::Http2));
        return Ok(Protocol::Http2);
    }
    h1::adopt(cluster, pool, connection);
    pool.settled.set(Some(Protocol::Http11));
    Ok(Protocol::Http11)
}
