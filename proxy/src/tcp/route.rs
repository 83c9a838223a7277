//! Where a connection goes: its cluster, a host of it, and an upstream connection of its own.
//!
//! A connection takes one "request" of its cluster's counters and breakers: pending while it connects, active afterwards.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::info::{TCP_CLUSTER, UPSTREAM_SERVER_NAME, UpstreamInfo};
use sampan_filters_api::{Flag, StreamInfo};
use sampan_model::cluster::{Host, Resource};
use sampan_model::lb::Criteria;
use sampan_model::lb::hashing::xx_hash;
use sampan_model::outlier::Outcome;
use sampan_model::route::{ClusterRef, Priority, WeightedTarget};

use super::config::{TcpCluster, TcpConfig};
use crate::failure::Kind;
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge};
use crate::upstream::cluster::{BreakerPermit, Wants, WorkerCluster};
use crate::upstream::connect::{self, Connection};
use crate::upstream::named_host;
use crate::upstream::original_dst::Destination;
use crate::upstream::pool::HostPool;
use crate::upstream::transport::Offer;
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
    let Some((reference, criteria, cluster)) = choose(worker, config, stream) else {
        stream.flags.set(Flag::NoClusterFound);
        return Err(Unrouted::NoCluster);
    };
    stream.upstream.cluster = Some(reference.name);
    stream.upstream.cluster_alt.clone_from(&cluster.config().alt_stat_name);
    stream.upstream.facts = Some(cluster.facts());
    let wants = Wants { hash: config.hash_source_ip.then(|| hash(stream)).flatten(), criteria, within: None };
    for _ in 0..config.max_connect_attempts.max(1) {
        match attempt(worker, &cluster, wants, stream).await {
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

type Chosen<'c> = (ClusterRef, Option<&'c Criteria>, Rc<WorkerCluster>);

fn choose<'c>(worker: &Worker, config: &'c TcpConfig, stream: &StreamInfo) -> Option<Chosen<'c>> {
    // A filter's word goes before the configuration's.
    if let Some(name) = stream.state(TCP_CLUSTER) {
        let (name, slot) = config.clusters_by_name.slot(name.plain().as_bytes())?;
        return Some((ClusterRef { name, slot }, config.criteria.as_ref(), worker.cluster(slot)?));
    }
    let (reference, criteria) = match &config.cluster {
        TcpCluster::Single(reference) => (reference, config.criteria.as_ref()),
        TcpCluster::Weighted(weighted) => {
            let random = worker.with_rng(|rng| rng.u64(..));
            let entry = weighted.entry(weighted.choose(random, &*worker.snapshot_ref().runtime));
            match &entry.target {
                WeightedTarget::Cluster(reference) => (reference, entry.payload.as_ref()),
                // There is no header to name it.
                WeightedTarget::Header(_) => return None,
            }
        }
    };
    Some((reference.clone(), criteria, worker.cluster(reference.slot)?))
}

/// The hash of the client's IP address.
fn hash(stream: &StreamInfo) -> Option<u64> {
    stream.remote().socket().map(|address| xx_hash(address.ip().to_string().as_bytes(), 0))
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
    mut wants: Wants<'_>,
    stream: &mut StreamInfo,
) -> Result<Upstream, Attempt> {
    let member = worker.member(cluster).ok_or(Attempt::Refused(Flag::NoHealthyUpstream))?;
    let cluster = &member.0;
    wants.within = member.1;
    // Unlike a request, a connection cannot wait for another one to become free: it may be held for days.
    let permit =
        connect::permit(cluster, Priority::Default, true).ok_or(Attempt::Refused(Flag::UpstreamOverflow))?;
    let mut pool = match named(worker, cluster, wants, stream)? {
        Some(pool) => pool,
        None => original(worker, cluster, stream)?,
    };
    if let Some(source) = stream.connection.original_source() {
        pool = cluster.for_source(&pool, source);
    }
    if let Some(name) = stream.state(UPSTREAM_SERVER_NAME) {
        pool = cluster.for_chosen_name(pool, name.plain());
    }
    let host = pool.host();
    stream.upstream.attempts += 1;
    let pending = Pending::new(cluster).ok_or(Attempt::Failed)?;
    let address = connect::address_of(host);
    let facts = &mut stream.upstream;
    facts.host = Some(pool.facts().clone());
    facts.attempted.push(address.clone());
    facts.address = Some(address);
    facts.hostname = (!host.hostname.is_empty()).then(|| host.hostname.clone());
    let asked = Instant::now();
    facts.pool_requested = Some(asked);
    match connect::connect(cluster, &pool, permit, Offer::Nothing).await {
        Ok(connection) => {
            pending.ended();
            cluster.note(host, Outcome::ConnectedFinally);
            opened(facts, &connection, asked);
            let active = Active::new(cluster, host);
            Ok(Upstream { connection, cluster: cluster.clone(), _active: active })
        }
        Err(failure) => {
            pending.ended();
            let late = failure.kind == Kind::ConnectTimeout;
            cluster.note(host, if late { Outcome::TimedOut } else { Outcome::Failed });
            cluster.stats().inc(ClusterCounter::UpstreamRqPendingFailureEject);
            stream.flags.set(Flag::UpstreamConnectionFailure);
            if let Kind::ConnectFailed(why) | Kind::BindFailed(why) = failure.kind {
                stream.upstream.transport_failure = Some(why);
            }
            Err(Attempt::Failed)
        }
    }
}

/// The pool of the host that is named, or of one that the policy picks.
fn named(
    worker: &Worker,
    cluster: &WorkerCluster,
    wants: Wants<'_>,
    stream: &mut StreamInfo,
) -> Result<Option<Rc<HostPool>>, Attempt> {
    let pick = || worker.with_rng(|rng| cluster.pick(rng, wants));
    if !named_host::is_possible(cluster, stream) {
        return Ok(pick());
    }
    let named = named_host::find(cluster, None, stream, stream.upstream.attempts);
    let pool = named.map_err(|_| Attempt::Refused(Flag::NoHealthyUpstream))?.or_else(pick);
    if let Some(pool) = &pool {
        named_host::tell(cluster, pool, stream);
    }
    Ok(pool)
}

/// The pool of where the connection was going.
fn original(
    worker: &Worker,
    cluster: &WorkerCluster,
    stream: &mut StreamInfo,
) -> Result<Rc<HostPool>, Attempt> {
    let from = Destination {
        connection: &stream.connection,
        request: None,
        metadata: &stream.metadata,
        state: &stream.filter_state,
    };
    let refused = match cluster.original(&from, &worker.snapshot_ref().own) {
        Ok(pool) => return Ok(pool),
        Err(failure) => failure,
    };
    match refused.kind {
        Kind::Overflow => Err(Attempt::Refused(Flag::UpstreamOverflow)),
        Kind::SelfConnect => {
            stream.termination_details = refused.verdict().details;
            Err(Attempt::Refused(Flag::NoHealthyUpstream))
        }
        _ => Err(Attempt::Refused(Flag::NoHealthyUpstream)),
    }
}

fn opened(facts: &mut UpstreamInfo, connection: &Connection, asked: Instant) {
    facts.transport_failure = None;
    facts.local.clone_from(&connection.guard.local);
    facts.tls.clone_from(&connection.guard.tls);
    facts.state.clone_from(&connection.guard.state);
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
