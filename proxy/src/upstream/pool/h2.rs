//! HTTP/2 connections: shared by as many requests as the peer and the configuration allow.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::h2::client::{self, SendRequest};
use bytes::{Bytes, BytesMut};
use sampan_model::cluster::{Cluster, Resource};
use sampan_model::route::Priority;

use super::HostPool;
use super::h1::Pending;
use super::preconnect::{Kind as PoolKind, Load, consider};
use super::waiters::Waiters;
use crate::failure::{Failure, Kind};
use crate::http::h2::keepalive::KeepAlive;
use crate::http::h2::transport::{Transport, Watch};
use crate::net::io::Io;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{self, ClusterCounter, Http2Counter};
use crate::upstream::cluster::WorkerCluster;
use crate::upstream::connect::{self, Connection, Guard};
use crate::upstream::transport::Offer;

/// What `h2` may hold of a request that the upstream does not take, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// The streams that a connection is presumed to take while its peer has not said.
const PRESUMED_STREAMS: usize = 100;

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
    keepalive: RefCell<Option<KeepAlive>>,
    /// `connection_idle_interval`, and when the peer was heard last.
    quiet: Option<(Duration, Rc<Cell<Instant>>)>,
    /// `max_concurrent_streams` when it was opened.
    most: u32,
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
            connection.check_silence();
            consider(cluster, pool, PoolKind::H2);
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

/// Opens a connection ahead of a request; false if one is being opened, or the breaker does not allow it.
pub(super) fn preconnect(cluster: &Rc<WorkerCluster>, pool: &Rc<HostPool>) -> bool {
    if pool.h2.connecting.get() {
        return false;
    }
    let Ok(permit) = cluster.try_acquire(Priority::Default, Resource::Connections) else { return false };
    pool.h2.connecting.set(true);
    let (cluster, pool) = (cluster.clone(), pool.clone());
    tokio::task::spawn_local(async move {
        let connecting = Connecting(&pool);
        // A failure was counted; the request to come will make its own attempt.
        let _ = open(&cluster, &pool, permit).await;
        drop(connecting);
    });
    true
}

/// Reads along: counts bytes, and notes when the peer was heard.
struct Traffic {
    cluster: Rc<WorkerCluster>,
    heard: Option<Rc<Cell<Instant>>>,
}

impl Watch for Traffic {
    fn received(&mut self, bytes: &[u8]) -> bool {
        self.cluster.stats().add(ClusterCounter::UpstreamCxRxBytesTotal, bytes.len() as u64);
        if let Some(heard) = &self.heard {
            heard.set(Instant::now());
        }
        true
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.cluster.stats().add(ClusterCounter::UpstreamCxTxBytesTotal, bytes.len() as u64);
    }

    fn blocked(&mut self, _: bool) {}
}

type Driver = client::Connection<Transport<Traffic>, Bytes>;

async fn open(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    permit: crate::upstream::cluster::BreakerPermit,
) -> Result<(), Failure> {
    let connection = connect::connect(cluster, pool, permit, Offer::Http2).await.inspect_err(|_| {
        // The host may have changed its mind about protocols.
        pool.settled.set(None);
    })?;
    adopt(cluster, pool, connection).await
}

/// Takes in a connection that is open.
pub(super) async fn adopt(
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HostPool>,
    connection: Connection,
) -> Result<(), Failure> {
    let (builder, settings) = {
        let config = cluster.config();
        let options = &config.http.http2;
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(options.initial_stream_window)
            .initial_connection_window_size(options.initial_connection_window)
            .header_table_size(options.hpack_table_size)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(config.http.common.max_response_headers_kb.saturating_mul(1024))
            .enable_push(false);
        (builder, options.keepalive)
    };
    let silence = settings.and_then(|keepalive| keepalive.connection_idle_interval);
    let heard = silence.map(|_| Rc::new(Cell::new(Instant::now())));
    let io = Rc::new(connection.io);
    let watch = Traffic { cluster: cluster.clone(), heard: heard.clone() };
    let (send, mut driver) = builder
        .handshake::<_, Bytes>(Transport::new(io.clone(), BytesMut::new(), watch))
        .await
        .map_err(|_| Failure::from(Kind::UpstreamProtocol("HTTP/2 handshake")))?;
    cluster.stats().inc(ClusterCounter::UpstreamCxHttp2Total);
    let pings = settings.and_then(|_| driver.ping_pong());
    let keepalive =
        settings.zip(pings).map(|(settings, pings)| KeepAlive::new(pings, settings, fastrand::u64(..)));
    let shared = Rc::new(Shared {
        guard: connection.guard,
        send,
        keepalive: RefCell::new(keepalive),
        quiet: silence.zip(heard),
        most: cluster.config().http.http2.max_concurrent_streams,
        active: Cell::new(0),
        requests: Cell::new(0),
        last_used: Cell::new(Instant::now()),
        draining: Cell::new(false),
    });
    pool.h2.connections.borrow_mut().push(shared.clone());
    tokio::task::spawn_local(drive(cluster.clone(), pool.clone(), shared, io, driver));
    Ok(())
}

/// Moves a connection's frames until it ends or does not answer a PING.
async fn drive(
    cluster: Rc<WorkerCluster>,
    pool: Rc<HostPool>,
    shared: Rc<Shared>,
    io: Rc<Io>,
    mut driver: Driver,
) {
    let answered = poll_fn(|cx| {
        io.cork();
        let moved = Pin::new(&mut driver).poll(cx);
        // What was written goes at once. A failure shows again with the next read or write.
        let _ = io.uncork(cx);
        if let Poll::Ready(ended) = moved {
            if let Err(error) = ended {
                tracing::debug!(target: "http2", %error, "upstream connection ended");
            }
            return Poll::Ready(true);
        }
        let mut keepalive = shared.keepalive.borrow_mut();
        let Some(keepalive) = keepalive.as_mut() else { return Poll::Pending };
        keepalive.poll_dead(cx, || fastrand::u64(..)).map(|()| false)
    })
    .await;
    if !answered {
        cluster.http2_stats().inc(Http2Counter::KeepaliveTimeout);
    }
    shared.draining.set(true);
    // Ends the streams that are left.
    drop(driver);
    pool.h2.forget(&shared);
    pool.h2.waiters.call_all();
}

impl Pool {
    /// Whether no connection is open and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.connections.borrow().is_empty() && self.waiters.is_empty()
    }

    pub(super) fn load(&self) -> Load {
        let connections = self.connections.borrow();
        let usable = connections.iter().filter(|c| !c.draining.get());
        let room = |c: &Rc<Shared>| (c.most.min(c.peer_limit())).saturating_sub(c.active.get()) as usize;
        let opening = if self.connecting.get() { PRESUMED_STREAMS } else { 0 };
        Load {
            pending: self.waiters.len() + usize::from(self.connecting.get()),
            active: connections.iter().map(|c| c.active.get() as usize).sum(),
            capacity: usable.map(room).sum::<usize>() + opening,
        }
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
    /// Whether it has had a request before the one that holds it.
    pub fn has_served(&self) -> bool {
        self.requests.get() > 1
    }

    /// Sends a PING ahead of a request where nothing was heard for long, so that a dead connection is noticed soon.
    fn check_silence(&self) {
        if let Some((limit, heard)) = &self.quiet
            && heard.get().elapsed() >= *limit
            && let Some(keepalive) = self.keepalive.borrow_mut().as_mut()
        {
            keepalive.ask();
        }
    }

    /// How many streams the peer allows at once.
    fn peer_limit(&self) -> u32 {
        u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX)
    }
}
