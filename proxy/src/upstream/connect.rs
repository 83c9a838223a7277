//! Opens one upstream connection: breaker, counters, time limit.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::Address;
use sampan_model::cluster::{Cluster, Host, HostAddress, Resource};
use sampan_model::route::Priority;

use super::cluster::{BreakerPermit, WorkerCluster};
use crate::failure::{Failure, Kind};
use crate::net::io::Io;
use crate::net::socket::{self, ConnectOptions, KeepAlive, SocketOption};
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge, ClusterHistogram};

/// An open upstream connection.
pub struct Connection {
    /// The transport.
    pub io: Io,
    /// Facts and counts.
    pub guard: Guard,
}

/// What is known of an open upstream connection. Dropping it gives the counts back.
pub struct Guard {
    /// Counts up per process.
    pub id: u64,
    /// When it was opened.
    pub opened: Instant,
    /// The local end.
    pub local: Option<Address>,
    host: Arc<Host>,
    cluster: Rc<WorkerCluster>,
    _permit: BreakerPermit,
}

impl Connection {
    /// Adds what went through the connection to the cluster's counters; called once, at its end.
    pub fn count_bytes(&self) {
        let stats = self.guard.cluster.stats();
        stats.add(ClusterCounter::UpstreamCxRxBytesTotal, self.io.received());
        stats.add(ClusterCounter::UpstreamCxTxBytesTotal, self.io.sent());
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

/// Connects to a host of a cluster within `connect_timeout`.
pub async fn connect(
    cluster: &Rc<WorkerCluster>,
    host: &Arc<Host>,
    permit: BreakerPermit,
) -> Result<Connection, Failure> {
    // Read now: the cluster may take a new version over while the connect is under way.
    let (timeout, options) = (cluster.config().connect_timeout, options(&cluster.config()));
    let stats = cluster.stats();
    let started = Instant::now();
    stats.inc(ClusterCounter::UpstreamCxTotal);
    host.counters.cx_total.fetch_add(1, Relaxed);
    let address = address_of(host);
    let attempt = tokio::time::timeout(timeout, socket::connect(&address, &options));
    let io = match attempt.await {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => {
            count_failure(cluster, host, started);
            stats.inc(ClusterCounter::UpstreamCxDestroyRemote);
            return Err(Kind::ConnectFailed(describe(&error)).into());
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
        host: host.clone(),
        cluster: cluster.clone(),
        _permit: permit,
    };
    Ok(Connection { io, guard })
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
fn describe(error: &io::Error) -> Cow<'static, str> {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("delayed connect error: {text}").into()
}

/// A host's address as filters and logs have it.
pub fn address_of(host: &Host) -> Address {
    match &host.address {
        HostAddress::Socket(addr) => Address::Socket(*addr),
        HostAddress::Pipe(path) => Address::Pipe(path.to_string_lossy().into()),
    }
}

fn options(config: &Cluster) -> ConnectOptions {
    let bind = config.bind.as_ref();
    ConnectOptions {
        bind: bind.and_then(|b| b.source),
        freebind: bind.is_some_and(|b| b.freebind),
        keepalive: config.tcp_keepalive.map(|k| KeepAlive {
            probes: k.probes,
            time: k.time,
            interval: k.interval,
        }),
        options: bind
            .map(|b| b.socket_options.as_slice())
            .unwrap_or_default()
            .iter()
            .filter_map(|o| match o.value {
                sampan_model::cluster::SocketOptionValue::Int(value) => {
                    SocketOption::from_numbers(i64::from(o.level), i64::from(o.name), i64::from(value))
                }
                sampan_model::cluster::SocketOptionValue::Bytes(_) => None,
            })
            .collect(),
    }
}
