//! HTTP/2 connections: shared by as many requests as the peer and the configuration allow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use ::h2::client::{self, SendRequest};
use bytes::Bytes;
use sampan_model::cluster::Cluster;
use sampan_model::route::Priority;

use super::HostPool;
use super::h1::Pending;
use super::waiters::Waiters;
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{self, ClusterCounter};
use crate::upstream::cluster::WorkerCluster;
use crate::upstream::connect::{self, Guard};

/// The HTTP/2 side of a [`HostPool`].
#[derive(Default)]
pub struct Pool {
    connections: RefCell<Vec<Rc<Shared>>>,
    connecting: Cell<bool>,
    waiters: Waiters,
    retired: Cell<bool>,
}

/// A connection that several requests use.
pub struct Shared {
    /// Facts of the connection; its drop gives the counts back.
    pub guard: Guard,
    send: SendRequest<Bytes>,
    active: Cell<u32>,
    requests: Cell<u32>,
    last_used: Cell<Instant>,
    /// No new requests: GOAWAY, too old, too many requests, or the host is gone.
    draining: Cell<bool>,
}

/// A request's place on a connection.
pub struct Lease {
    /// The connection.
    pub connection: Rc<Shared>,
    pool: Rc<HostPool>,
}

impl Lease {
    /// The handle to open the stream with.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.connection.send.clone()
    }

    /// Says that the connection takes no new streams.
    pub fn drain(&self) {
        self.connection.draining.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        connection.last_used.set(Instant::now());
        let pool = &self.pool.h2;
        if connection.draining.get() && connection.active.get() == 0 {
            pool.forget(connection);
        }
        pool.waiters.call_next();
    }
}

/// Takes a place on a connection to the pool's host.
pub async fn take(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    priority: Priority,
) -> Result<Lease, Failure> {
    let mut pending = None;
    loop {
        if let Some(connection) = pool.h2.find(cluster) {
            return Ok(Lease { connection, pool: pool.clone() });
        }
        if pending.is_none() {
            pending = Some(Pending::new(cluster, priority)?);
        }
        if !pool.h2.connecting.get() {
            let has_one = !pool.h2.connections.borrow().is_empty();
            if let Some(permit) = connect::permit(cluster, priority, has_one) {
                pool.h2.connecting.set(true);
                let connecting = Connecting(pool);
                open(cluster, pool, permit).await?;
                drop(connecting);
                continue;
            }
        }
        pool.h2.waiters.wait().await;
    }
}

/// While one request connects, the others wait for the outcome.
struct Connecting<'a>(&'a Rc<HostPool>);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.h2.connecting.set(false);
        self.0.h2.waiters.call_all();
    }
}

async fn open(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    permit: crate::upstream::cluster::BreakerPermit,
) -> Result<(), Failure> {
    let connection = connect::connect(cluster, pool.host(), permit).await?;
    let builder = {
        let config = cluster.config();
        let options = &config.http.http2;
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(options.initial_stream_window)
            .initial_connection_window_size(options.initial_connection_window)
            .header_table_size(options.hpack_table_size)
            .max_header_list_size(config.http.common.max_response_headers_kb.saturating_mul(1024))
            .enable_push(false);
        builder
    };
    let (send, driver) = builder
        .handshake::<_, Bytes>(connection.io)
        .await
        .map_err(|_| Failure::from(Kind::UpstreamProtocol("HTTP/2 handshake")))?;
    cluster.stats().inc(ClusterCounter::UpstreamCxHttp2Total);
    let shared = Rc::new(Shared {
        guard: connection.guard,
        send,
        active: Cell::new(0),
        requests: Cell::new(0),
        last_used: Cell::new(Instant::now()),
        draining: Cell::new(false),
    });
    pool.h2.connections.borrow_mut().push(shared.clone());
    let pool = pool.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = driver.await {
            tracing::debug!(target: "http2", %error, "upstream connection ended");
        }
        shared.draining.set(true);
        pool.h2.forget(&shared);
        pool.h2.waiters.call_all();
    });
    Ok(())
}

impl Pool {
    /// Whether no connection is open and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.connections.borrow().is_empty() && self.waiters.is_empty()
    }

    /// Lends no connection any more; those without requests close.
    pub fn retire(&self) {
        self.retired.set(true);
        let idle = self.extract(|c| {
            c.draining.set(true);
            c.active.get() == 0
        });
        drop(idle);
    }

    /// A connection with a free place, which is taken.
    fn find(&self, cluster: &WorkerCluster) -> Option<Rc<Shared>> {
        let config = cluster.config();
        let common = &config.http.common;
        let connections = self.connections.borrow();
        let found = connections.iter().find(|c| {
            let most = config.http.http2.max_concurrent_streams.min(c.peer_limit());
            !c.draining.get() && c.active.get() < most
        })?;
        found.active.set(found.active.get() + 1);
        found.requests.set(found.requests.get() + 1);
        let stats = cluster.stats();
        if common.max_requests_per_connection.is_some_and(|max| found.requests.get() >= max) {
            stats.inc(ClusterCounter::UpstreamCxMaxRequests);
            found.draining.set(true);
        }
        Some(found.clone())
    }

    fn forget(&self, connection: &Rc<Shared>) {
        let gone = self.extract(|c| Rc::ptr_eq(c, connection));
        drop(gone);
    }

    fn extract(&self, gone: impl Fn(&Rc<Shared>) -> bool) -> Vec<Rc<Shared>> {
        self.connections.borrow_mut().extract_if(.., |c| gone(c)).collect()
    }

    pub(super) fn sweep(&self, config: &Cluster, stats: &Block<kinds::Cluster>) {
        let now = Instant::now();
        let common = &config.http.common;
        let idle = self.extract(|c| {
            if common.max_connection_duration.is_some_and(|max| now - c.guard.opened >= max)
                && !c.draining.get()
            {
                stats.inc(ClusterCounter::UpstreamCxMaxDurationReached);
                c.draining.set(true);
            }
            if c.active.get() > 0 {
                return false;
            }
            let idle = common.idle_timeout.is_some_and(|limit| now - c.last_used.get() >= limit);
            if idle {
                stats.inc(ClusterCounter::UpstreamCxIdleTimeout);
            }
            idle || c.draining.get()
        });
        drop(idle);
    }
}

impl Shared {
    /// How many streams the peer allows at once.
    fn peer_limit(&self) -> u32 {
        u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX)
    }
}
