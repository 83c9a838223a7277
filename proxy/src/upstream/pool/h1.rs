//! HTTP/1.1 connections: lent to one request at a time, most recently used first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use sampan_model::cluster::{Cluster, Resource};
use sampan_model::route::Priority;

use super::HostPool;
use super::preconnect::{Kind as PoolKind, Load, consider};
use super::waiters::Waiters;
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{self, ClusterCounter, ClusterGauge};
use crate::upstream::cluster::WorkerCluster;
use crate::upstream::connect::{self, Connection};
use crate::upstream::transport::Offer;

/// The HTTP/1.1 side of a [`HostPool`].
#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Open connections, lent ones and those being opened included.
    open: Cell<usize>,
    /// Connections being opened, and those of them that a request waits for.
    opening: Cell<usize>,
    awaited: Cell<usize>,
    waiters: Waiters,
    /// The host is gone: connections are not kept.
    retired: Cell<bool>,
}

struct Idle {
    connection: Box<Upstream>,
    since: Instant,
}

/// An HTTP/1.1 connection with its buffers. Boxed, for it is lent and given back with each request.
pub struct Upstream {
    /// The connection.
    pub connection: Connection,
    /// Bytes read and not yet used.
    pub read: BytesMut,
    /// Bytes to be written.
    pub write: Vec<u8>,
    requests: u32,
    slot: OpenSlot,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.connection.count_bytes();
    }
}

impl Upstream {
    fn new(connection: Connection, slot: OpenSlot) -> Box<Self> {
        Box::new(Self { connection, read: BytesMut::new(), write: Vec::new(), requests: 0, slot })
    }

    /// The number of requests it has been lent to.
    pub fn requests(&self) -> u32 {
        self.requests
    }
}

/// Counts an open connection of a pool.
struct OpenSlot(Rc<HostPool>);

impl OpenSlot {
    fn new(pool: &Rc<HostPool>) -> Self {
        pool.h1.open.set(pool.h1.open.get() + 1);
        Self(pool.clone())
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        let pool = &self.0.h1;
        pool.open.set(pool.open.get() - 1);
        // The place that became free is worth a turn.
        pool.waiters.call_next();
    }
}

/// Counts a connection that is being opened, for a request or ahead of one.
struct Opening<'p> {
    pool: &'p Pool,
    awaited: bool,
}

impl<'p> Opening<'p> {
    fn new(pool: &'p Pool, awaited: bool) -> Self {
        pool.opening.set(pool.opening.get() + 1);
        pool.awaited.set(pool.awaited.get() + usize::from(awaited));
        Self { pool, awaited }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.pool.opening.set(self.pool.opening.get() - 1);
        self.pool.awaited.set(self.pool.awaited.get() - usize::from(self.awaited));
    }
}

/// Opens a connection ahead of a request; false if the breaker does not allow one.
pub(super) fn preconnect(cluster: &Rc<WorkerCluster>, pool: &Rc<HostPool>) -> bool {
    let Ok(permit) = cluster.try_acquire(Priority::Default, Resource::Connections) else { return false };
    let (cluster, pool) = (cluster.clone(), pool.clone());
    let slot = OpenSlot::new(&pool);
    // Counted from now on, not from the task's first turn.
    pool.h1.opening.set(pool.h1.opening.get() + 1);
    tokio::task::spawn_local(async move {
        let opening = Opening { pool: &pool.h1, awaited: false };
        let connected = connect::connect(&cluster, &pool, permit, Offer::Http1).await;
        drop(opening);
        // A failure was counted; the request to come will make its own attempt.
        if let Ok(connection) = connected {
            cluster.stats().inc(ClusterCounter::UpstreamCxHttp1Total);
            give_back(&cluster, Upstream::new(connection, slot));
        }
    });
    true
}

/// Takes a connection to the pool's host.
pub async fn take(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    priority: Priority,
) -> Result<Box<Upstream>, Failure> {
    let mut pending = None;
    loop {
        if let Some(connection) = pool.h1.take_idle(cluster) {
            consider(cluster, pool, PoolKind::H1);
            return Ok(connection);
        }
        if let Some(permit) = connect::permit(cluster, priority, pool.h1.open.get() > 0) {
            let _pending = pending.take().map_or_else(|| Pending::new(cluster, priority), Ok)?;
            let slot = OpenSlot::new(pool);
            let _opening = Opening::new(&pool.h1, true);
            consider(cluster, pool, PoolKind::H1);
            let connection =
                connect::connect(cluster, pool, permit, Offer::Http1).await.inspect_err(|_| {
                    // The host may have changed its mind about protocols.
                    pool.settled.set(None);
                })?;
            cluster.stats().inc(ClusterCounter::UpstreamCxHttp1Total);
            let mut connection = Upstream::new(connection, slot);
            connection.requests = 1;
            return Ok(connection);
        }
        if pending.is_none() {
            pending = Some(Pending::new(cluster, priority)?);
        }
        pool.h1.waiters.wait().await;
    }
}

/// Takes in a connection that was opened to settle the protocol.
pub(super) fn adopt(cluster: &Rc<WorkerCluster>, pool: &Rc<HostPool>, connection: Connection) {
    cluster.stats().inc(ClusterCounter::UpstreamCxHttp1Total);
    let slot = OpenSlot::new(pool);
    give_back(cluster, Upstream::new(connection, slot));
}

/// Gives a connection back after a complete exchange.
pub fn give_back(cluster: &Rc<WorkerCluster>, mut connection: Box<Upstream>) {
    let pool = connection.slot.0.clone();
    let config = cluster.config();
    let common = &config.http.common;
    let stats = cluster.stats();
    if common.max_requests_per_connection.is_some_and(|max| connection.requests >= max) {
        stats.inc(ClusterCounter::UpstreamCxMaxRequests);
        return;
    }
    // Bytes that nobody asked for would be taken for the next response.
    if pool.h1.retired.get() || !connection.read.is_empty() {
        return;
    }
    if common.max_connection_duration.is_some_and(|max| connection.connection.guard.opened.elapsed() >= max) {
        stats.inc(ClusterCounter::UpstreamCxMaxDurationReached);
        return;
    }
    connection.write.clear();
    connection.connection.count_bytes();
    pool.h1.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
    pool.h1.waiters.call_next();
}

impl Pool {
    /// Whether no connection is open and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.open.get() == 0 && self.waiters.is_empty()
    }

    pub(super) fn load(&self) -> Load {
        let (idle, opening) = (self.idle_count(), self.opening.get());
        Load {
            pending: self.awaited.get() + self.waiters.len(),
            active: self.open.get().saturating_sub(idle + opening),
            capacity: idle + opening,
        }
    }

    /// Closes idle connections and keeps no others.
    pub fn retire(&self) {
        self.retired.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// The number of idle connections.
    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    fn take_idle(&self, cluster: &WorkerCluster) -> Option<Box<Upstream>> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            let mut connection = idle.connection;
            if is_open(&mut connection) {
                connection.requests += 1;
                return Some(connection);
            }
            cluster.stats().inc(ClusterCounter::UpstreamCxDestroyRemote);
        }
    }

    pub(super) fn sweep(&self, config: &Cluster, stats: &Block<kinds::Cluster>) {
        let now = Instant::now();
        let common = &config.http.common;
        let closed: Vec<Idle> = self
            .idle
            .borrow_mut()
            .extract_if(.., |idle| {
                if common.idle_timeout.is_some_and(|limit| now - idle.since >= limit) {
                    stats.inc(ClusterCounter::UpstreamCxIdleTimeout);
                    return true;
                }
                if common
                    .max_connection_duration
                    .is_some_and(|max| now - idle.connection.connection.guard.opened >= max)
                {
                    stats.inc(ClusterCounter::UpstreamCxMaxDurationReached);
                    return true;
                }
                let dead = !is_open(&mut idle.connection);
                if dead {
                    stats.inc(ClusterCounter::UpstreamCxDestroyRemote);
                }
                dead
            })
            .collect();
        // Dropped here, outside of the borrow: closing gives waiters a turn.
        drop(closed);
    }
}

/// Whether an idle connection is silent and open. Costs no system call unless something happened on it.
fn is_open(upstream: &mut Upstream) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let io = &upstream.connection.io;
    // Ready is the end, an error, or bytes that nobody asked for.
    io.poll_readable(&mut cx).is_pending() || io.poll_read(&mut cx, &mut upstream.read, 64).is_pending()
}

/// A request that waits for a connection; counted by breaker and gauge.
pub(super) struct Pending {
    cluster: Rc<WorkerCluster>,
    _permit: crate::upstream::cluster::BreakerPermit,
}

impl Pending {
    pub(super) fn new(cluster: &Rc<WorkerCluster>, priority: Priority) -> Result<Self, Failure> {
        let Ok(permit) = cluster.try_acquire(priority, Resource::PendingRequests) else {
            cluster.stats().inc(ClusterCounter::UpstreamRqPendingOverflow);
            return Err(Kind::Overflow.into());
        };
        cluster.stats().inc(ClusterCounter::UpstreamRqPendingTotal);
        cluster.stats().raise(ClusterGauge::UpstreamRqPendingActive);
        Ok(Self { cluster: cluster.clone(), _permit: permit })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cluster.stats().lower(ClusterGauge::UpstreamRqPendingActive);
    }
}
