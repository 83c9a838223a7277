//! Where a connection goes: its cluster, a host of it, and an upstream connection of its own.
//!
//! A connection takes one "request" of its cluster's counters and breakers: pending while it connects, active afterwards.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::info::UpstreamInfo;
use sampan_filters_api::{Flag, StreamInfo};
use sampan_model::cluster::{Host, Resource};
use sampan_model::route::{ClusterRef, Priority, WeightedTarget};

use super::config::{TcpCluster, TcpConfig};
use crate::failure::Kind;
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge};
use crate::upstream::cluster::{BreakerPermit, WorkerCluster};
use crate::upstream::connect::{self, Connection};
use crate::worker::Worker;

/// An open upstream connection that serves one downstream connection.
pub(super) struct Upstream {
    /// The connection.
    pub(super) connection: Connection,
    /// Its cluster.
    pub(super) cluster: Rc<WorkerCluster>,
    _active: Active,
}

/// No upstream connection was to be had; the stream's flags say why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unrouted {
    /// The cluster does not exist.
    NoCluster,
    /// No host, no room, or no success.
    NoConnection,
}

/// Connects to a host of the configured cluster, another one for each of `max_connect_attempts`.
pub(super) async fn connect(
    worker: &Rc<Worker>,
    config: &TcpConfig,
    stream: &mut StreamInfo,
) -> Result<Upstream, Unrouted> {
    let Some((reference, cluster)) = choose(worker, config) else {
        stream.flags.set(Flag::NoClusterFound);
        return Err(Unrouted::NoCluster);
    };
    stream.upstream.cluster = Some(reference.name.clone());
    stream.upstream.cluster_alt.clone_from(&cluster.config().alt_stat_name);
    for _ in 0..config.max_connect_attempts.max(1) {
        match attempt(worker, &cluster, stream).await {
            Ok(upstream) => return Ok(upstream),
            Err(Attempt::Failed) => {}
            Err(Attempt::Refused(flag)) => {
                stream.flags.set(flag);
                return Err(Unrouted::NoConnection);
            }
        }
    }
    cluster.stats().inc(ClusterCounter::UpstreamCxConnectAttemptsExceeded);
    stream.flags.set(Flag::UpstreamRetryLimitExceeded);
    Err(Unrouted::NoConnection)
}

fn choose<'c>(worker: &Worker, config: &'c TcpConfig) -> Option<(&'c ClusterRef, Rc<WorkerCluster>)> {
    let reference = match &config.cluster {
        TcpCluster::Single(reference) => reference,
        TcpCluster::Weighted(weighted) => match &weighted.choose(worker.with_rng(|rng| rng.u64(..))).target {
            WeightedTarget::Cluster(reference) => reference,
            // There is no header to name it.
            WeightedTarget::Header(_) => return None,
        },
    };
    Some((reference, worker.cluster(reference.slot)?))
}

/// Why an attempt gave no connection.
enum Attempt {
    /// Another one may succeed.
    Failed,
    /// There is no use in trying again.
    Refused(Flag),
}

async fn attempt(
    worker: &Rc<Worker>,
    cluster: &Rc<WorkerCluster>,
    stream: &mut StreamInfo,
) -> Result<Upstream, Attempt> {
    // Unlike a request, a connection cannot wait for another one to become free: it may be held for days.
    let permit =
        connect::permit(cluster, Priority::Default, true).ok_or(Attempt::Refused(Flag::UpstreamOverflow))?;
    let pool = worker.with_rng(|rng| cluster.pick(rng)).ok_or(Attempt::Refused(Flag::NoHealthyUpstream))?;
    let host = pool.host();
    stream.upstream.attempts += 1;
    let pending = Pending::new(cluster).ok_or(Attempt::Failed)?;
    let address = connect::address_of(host);
    let facts = &mut stream.upstream;
    facts.attempted.push(address.clone());
    facts.address = Some(address);
    facts.hostname = (!host.hostname.is_empty()).then(|| (&*host.hostname).into());
    let asked = Instant::now();
    facts.pool_requested = Some(asked);
    match connect::connect(cluster, host, permit).await {
        Ok(connection) => {
            pending.ended();
            opened(facts, &connection, asked);
            let active = Active::new(cluster, host);
            Ok(Upstream { connection, cluster: cluster.clone(), _active: active })
        }
        Err(failure) => {
            pending.ended();
            cluster.stats().inc(ClusterCounter::UpstreamRqPendingFailureEject);
            stream.flags.set(Flag::UpstreamConnectionFailure);
            if let Kind::ConnectFailed(why) = failure.kind {
                stream.upstream.transport_failure = Some(why);
            }
            Err(Attempt::Failed)
        }
    }
}

fn opened(facts: &mut UpstreamInfo, connection: &Connection, asked: Instant) {
    facts.transport_failure = None;
    facts.local.clone_from(&connection.guard.local);
    facts.connection_id = Some(connection.guard.id);
    facts.connect = (Some(asked), Some(connection.guard.opened));
    facts.pool_ready = Some(connection.guard.opened);
}

/// A connection that waits for its upstream connection. Dropped before it [`ended`](Pending::ended), it was cancelled.
struct Pending {
    cluster: Rc<WorkerCluster>,
    ended: bool,
    _permit: BreakerPermit,
}

impl Pending {
    fn new(cluster: &Rc<WorkerCluster>) -> Option<Self> {
        let stats = cluster.stats();
        let Ok(permit) = cluster.try_acquire(Priority::Default, Resource::PendingRequests) else {
            stats.inc(ClusterCounter::UpstreamRqPendingOverflow);
            return None;
        };
        stats.inc(ClusterCounter::UpstreamRqPendingTotal);
        stats.raise(ClusterGauge::UpstreamRqPendingActive);
        Some(Self { cluster: cluster.clone(), ended: false, _permit: permit })
    }

    fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let stats = self.cluster.stats();
        stats.lower(ClusterGauge::UpstreamRqPendingActive);
        if !self.ended {
            stats.inc(ClusterCounter::UpstreamRqCancelled);
        }
    }
}

/// A connection that its host serves.
struct Active {
    cluster: Rc<WorkerCluster>,
    host: Arc<Host>,
    _permit: BreakerPermit,
}

impl Active {
    fn new(cluster: &Rc<WorkerCluster>, host: &Arc<Host>) -> Self {
        let stats = cluster.stats();
        stats.inc(ClusterCounter::UpstreamRqTotal);
        stats.raise(ClusterGauge::UpstreamRqActive);
        host.counters.rq_total.fetch_add(1, Relaxed);
        host.counters.rq_active.fetch_add(1, Relaxed);
        // Counted, but not limited: the connection breaker has decided.
        let permit = cluster.acquire(Priority::Default, Resource::Requests);
        Self { cluster: cluster.clone(), host: host.clone(), _permit: permit }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cluster.stats().lower(ClusterGauge::UpstreamRqActive);
        self.host.counters.rq_active.fetch_sub(1, Relaxed);
    }
}
