//! Opens one upstream connection: breaker, counters, time limit.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::Address;
use sampan_filters_api::info::TlsInfo;
use sampan_filters_api::network::UpstreamState;
use sampan_model::cluster::{Cluster, Host, HostAddress, Resource, SocketOptionValue};
use sampan_model::route::Priority;

use super::cluster::{BreakerPermit, WorkerCluster};
use super::pool::HostPool;
use super::transport::{Offer, Transport};
use crate::failure::{Failure, Kind};
use crate::net::io::Io;
use crate::net::socket::{self, ConnectError, ConnectOptions, KeepAlive, SocketOption};
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge, ClusterHistogram};
use crate::tls::context::{ClientContext, Peer};
use crate::tls::handshake::{self, Fault};

/// An open upstream connection.
pub struct Connection {
    /// The transport.
    pub io: Io,
    /// Facts and counts.
    pub guard: Guard,
    /// Bytes that are in the cluster's counters already.
    counted: Cell<(u64, u64)>,
}

/// What is known of an open upstream connection. Dropping it gives the counts back.
pub struct Guard {
    /// Counts up per process.
    pub id: u64,
    /// When it was opened.
    pub opened: Instant,
    /// The local end.
    pub local: Option<Address>,
    /// The TLS session, where there is one.
    pub tls: Option<Arc<TlsInfo>>,
    /// What filters of the cluster learn of it, where it has such.
    pub state: Option<UpstreamState>,
    host: Arc<Host>,
    cluster: Rc<WorkerCluster>,
    _permit: BreakerPermit,
}

impl Connection {
    /// Adds what went through the connection since the last call to the cluster's counters.
    pub fn count_bytes(&self) {
        let now = (self.io.received(), self.io.sent());
        let before = self.counted.replace(now);
        if now != before {
            let stats = self.guard.cluster.stats();
            stats.add(ClusterCounter::UpstreamCxRxBytesTotal, now.0 - before.0);
            stats.add(ClusterCounter::UpstreamCxTxBytesTotal, now.1 - before.1);
        }
    }
}

impl Guard {
    /// The host at the other end.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.host.counters.cx_active.fetch_sub(1, Relaxed);
        let stats = self.cluster.stats();
        stats.lower(ClusterGauge::UpstreamCxActive);
        stats.inc(ClusterCounter::UpstreamCxDestroy);
        stats.record(ClusterHistogram::UpstreamCxLengthMs, self.opened.elapsed().as_millis() as u64);
    }
}

/// Connects to the host of a pool within `connect_timeout`, by the pool's transport. Where the configuration names no protocols
/// for ALPN, `offer` does.
pub async fn connect(
    cluster: &Rc<WorkerCluster>,
    pool: &HostPool,
    permit: BreakerPermit,
    offer: Offer,
) -> Result<Connection, Failure> {
    let host = pool.host();
    // Read now: the cluster may take a new version over while the connect is under way.
    let (timeout, options) = (cluster.config().connect_timeout, options(&cluster.config(), pool));
    let filters = cluster.filters();
    let stats = cluster.stats();
    let started = Instant::now();
    stats.inc(ClusterCounter::UpstreamCxTotal);
    host.counters.cx_total.fetch_add(1, Relaxed);
    let address = address_of(host);
    // Boxed: most requests find a connection, and would carry the room for making one.
    let attempt = Box::pin(tokio::time::timeout(timeout, async {
        let io = socket::connect(&address, &options).await.map_err(refused)?;
        let (io, tls) = match pool.transport() {
            Transport::Plain => (io, None),
            Transport::Tls(context) => {
                encrypt(context, cluster, pool, io, &address, offer).await.map_err(Kind::ConnectFailed)?
            }
        };
        let begun = filters.begin(&io, tls.as_deref()).await;
        let state = begun.map_err(|error| refused(ConnectError::Connect(error)))?;
        Ok((io, tls, state))
    }));
    let (io, tls, state) = match attempt.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(kind)) => {
            count_failure(cluster, host, started);
            if matches!(kind, Kind::BindFailed(_)) {
                stats.inc(ClusterCounter::BindErrors);
                stats.inc(ClusterCounter::UpstreamCxDestroyLocal);
            } else {
                stats.inc(ClusterCounter::UpstreamCxDestroyRemote);
            }
            return Err(kind.into());
        }
        Err(_) => {
            stats.inc(ClusterCounter::UpstreamCxConnectTimeout);
            count_failure(cluster, host, started);
            stats.inc(ClusterCounter::UpstreamCxDestroyLocal);
            return Err(Kind::ConnectTimeout.into());
        }
    };
    stats.raise(ClusterGauge::UpstreamCxActive);
    stats.record(ClusterHistogram::UpstreamCxConnectMs, started.elapsed().as_millis() as u64);
    host.counters.cx_active.fetch_add(1, Relaxed);
    let local = io.local_address();
    let id = crate::worker::next_connection_id();
    let guard = Guard {
        id,
        opened: Instant::now(),
        local,
        tls,
        state,
        host: host.clone(),
        cluster: cluster.clone(),
        _permit: permit,
    };
    Ok(Connection { io, guard, counted: Cell::default() })
}

/// Makes a connection one that encrypts; why it cannot, in Envoy's form.
async fn encrypt(
    context: &ClientContext,
    cluster: &Rc<WorkerCluster>,
    pool: &HostPool,
    io: Io,
    address: &Address,
    offer: Offer,
) -> Result<(Io, Option<Arc<TlsInfo>>), Cow<'static, str>> {
    let (requested, must_match) = pool.server_name();
    let peer = Peer {
        requested,
        must_match,
        hostname: &pool.host().hostname,
        address: address.socket().map(|address| address.ip()),
        protocols: pool.distinction().protocols,
    };
    match handshake::connect(context, io, &peer, address, offer.protocols(), cluster.tls_stats()).await {
        Ok(established) => Ok((established.io, Some(Arc::new(established.tls)))),
        Err(Fault::NotReady(_)) => Err("TLS error: Secret is not supplied by SDS".into()),
        Err(fault) => Err(format!("TLS_error: {fault}").into()),
    }
}

/// A permit for one more connection, or none: the breaker is open and the host has a connection on this worker already.
pub fn permit(cluster: &Rc<WorkerCluster>, priority: Priority, has_one: bool) -> Option<BreakerPermit> {
    if let Ok(permit) = cluster.try_acquire(priority, Resource::Connections) {
        return Some(permit);
    }
    cluster.stats().inc(ClusterCounter::UpstreamCxOverflow);
    // A worker may always have one, so that a low limit cannot starve it.
    (!has_one).then(|| cluster.acquire(priority, Resource::Connections))
}

/// A connection that never opened counts as destroyed all the same.
fn count_failure(cluster: &Rc<WorkerCluster>, host: &Host, started: Instant) {
    let stats = cluster.stats();
    stats.inc(ClusterCounter::UpstreamCxConnectFail);
    stats.inc(ClusterCounter::UpstreamCxDestroy);
    stats.record(ClusterHistogram::UpstreamCxLengthMs, started.elapsed().as_millis() as u64);
    host.counters.cx_connect_fail.fetch_add(1, Relaxed);
}

/// The operating system's words, as Envoy reports them.
fn refused(error: ConnectError) -> Kind {
    let words = |error: &io::Error| {
        let text = error.to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    };
    match error {
        ConnectError::Bind(address, error) => {
            Kind::BindFailed(format!("failed to bind to {address}: {}", words(&error)).into())
        }
        ConnectError::Connect(error) => {
            Kind::ConnectFailed(format!("delayed connect error: {}", words(&error)).into())
        }
    }
}

/// A host's address as filters and logs have it.
pub fn address_of(host: &Host) -> Address {
    match &host.address {
        HostAddress::Socket(addr) => Address::Socket(*addr),
        HostAddress::Pipe(path) => Address::Pipe(path.to_string_lossy().into()),
    }
}

fn options(config: &Cluster, pool: &HostPool) -> ConnectOptions {
    let keepalive =
        config.tcp_keepalive.map(|k| KeepAlive { probes: k.probes, time: k.time, interval: k.interval });
    if let Some(source) = pool.source() {
        // The client's own address, which is not this machine's; it goes before what is configured, as in Envoy.
        return ConnectOptions {
            bind: Some(source.address),
            transparent: true,
            keepalive,
            options: (source.mark != 0).then_some(SocketOption::Mark(source.mark)).into_iter().collect(),
            ..ConnectOptions::default()
        };
    }
    let Some(bind) = &config.bind else { return ConnectOptions { keepalive, ..ConnectOptions::default() } };
    let source = match &pool.host().address {
        HostAddress::Socket(host) => bind.towards(host.ip()),
        HostAddress::Pipe(_) => None,
    };
    let options = source.and_then(|source| source.socket_options.as_ref()).unwrap_or(&bind.socket_options);
    ConnectOptions {
        bind: source.map(|source| source.address),
        freebind: bind.freebind,
        transparent: false,
        keepalive,
        options: options.iter().filter_map(known).collect(),
    }
}

fn known(option: &sampan_model::cluster::SocketOption) -> Option<SocketOption> {
    match option.value {
        SocketOptionValue::Int(value) => {
            SocketOption::from_numbers(option.level.into(), option.name.into(), value.into())
        }
        SocketOptionValue::Bytes(_) => None,
    }
}
