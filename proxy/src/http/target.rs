//! The choice of a cluster and a host for a request, and what is counted of it there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::{Headers, Known, Protocol, RequestHead};
use sampan_model::cluster::{Host, Resource, UpstreamProtocol};
use sampan_model::lb::Within;
use sampan_model::outlier::Outcome;
use sampan_model::route::{ClusterRef, ClusterSpecifier, Priority, WeightedTarget};

use super::chain::Shared;
use super::connection::HttpContext;
use super::hashing;
use super::relay::Plan;
use super::retries::Retries;
use super::route::{RouteConfig, WeightedPayload};
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::Origin;
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge, ClusterHistogram, HttpRouterCounter};
use crate::upstream::cluster::{BreakerPermit, Wants, WorkerCluster};
use crate::upstream::connect::address_of;
use crate::upstream::named_host;
use crate::upstream::original_dst::Destination;
use crate::upstream::pool::HostPool;
use crate::worker::Worker;

/// The cluster and host for a request, counted.
pub(super) struct Target<'p> {
    /// The cluster, as this worker has it; of an aggregate cluster, the one that was chosen.
    pub cluster: Rc<WorkerCluster>,
    /// The aggregate cluster that the route named, which counts the responses.
    front: Option<Rc<WorkerCluster>>,
    /// The connections to the chosen host.
    pub pool: Rc<HostPool>,
    /// What the weighted cluster carries, where one was chosen.
    pub weighted: Option<&'p WeightedPayload>,
    /// Which breakers count.
    pub priority: Priority,
    /// When it was chosen.
    pub since: Instant,
    /// Cookies that the response is to set, for the sake of hash policies.
    pub cookies: Vec<String>,
    /// Whom responses are counted for.
    origin: Origin,
    attached: Cell<bool>,
    _permit: BreakerPermit,
}

type Resolved = (Option<Rc<WorkerCluster>>, (Rc<WorkerCluster>, Option<Within>));

impl<'p> Target<'p> {
    /// Chooses cluster and host, within the circuit breakers; for a retry, a host that it would rather have.
    pub fn find(
        context: &HttpContext,
        shared: &RefCell<Shared<'_>>,
        plan: &Plan<'p>,
        again: Option<&Retries<'_>>,
    ) -> Result<Self, Failure> {
        let action = &plan.forward.action;
        let missing = || {
            context.stats.router.inc(HttpRouterCounter::NoCluster);
            Failure::from(Kind::NoCluster(action.cluster_not_found_status))
        };
        let mut weighted = None;
        let named;
        let reference: &ClusterRef = match &action.cluster {
            ClusterSpecifier::Cluster(reference) => reference,
            ClusterSpecifier::Header(name) => {
                named = by_header(shared, plan.routes, name.as_bytes()).ok_or_else(missing)?;
                &named
            }
            ClusterSpecifier::Weighted(clusters) => {
                let chosen = clusters.entry(plan.share);
                weighted = Some(&chosen.payload);
                match &chosen.target {
                    WeightedTarget::Cluster(reference) => reference,
                    WeightedTarget::Header(name) => {
                        named = by_header(shared, plan.routes, name.as_bytes()).ok_or_else(missing)?;
                        &named
                    }
                }
            }
        };
        let cluster = context.worker.cluster(reference.slot).ok_or_else(missing)?;
        if context.config.needs_facts {
            shared.borrow_mut().info.upstream.cluster = Some(reference.name.clone());
            shared.borrow_mut().info.upstream.cluster_alt.clone_from(&cluster.config().alt_stat_name);
            shared.borrow_mut().info.upstream.facts = Some(cluster.facts());
        }
        let priority = action.priority;
        shared.borrow_mut().info.upstream.attempts += 1;
        let own = weighted.and_then(|weighted| weighted.criteria.as_ref());
        let (front, (cluster, within)) = Self::resolve(&context.worker, cluster)?;
        let criteria = own.or(plan.forward.criteria.as_ref());
        let mut wants = Wants { hash: None, criteria, within };
        let mut cookies = Vec::new();
        if !plan.forward.hash_policies.is_empty() && cluster.hashes() {
            wants.hash =
                hashing::hash(context, &shared.borrow(), &plan.forward.hash_policies, Some(&mut cookies));
        }
        let pick = |rng: &mut fastrand::Rng| match again {
            None => cluster.pick(rng, wants),
            Some(retries) => {
                let within = wants.within.or_else(|| retries.priority(&cluster, rng));
                let wants = Wants { within, ..wants };
                cluster.pick_again(rng, wants, retries.host_attempts(), |member| retries.avoids(member))
            }
        };
        let named = if named_host::is_possible(&cluster, shared.borrow().info) {
            let shared = shared.borrow();
            let before = again.map_or(0, |_| shared.info.upstream.attempts.saturating_sub(1));
            named_host::find(&cluster, Some(&shared.request.headers), shared.info, before)?
        } else {
            None
        };
        let picked = named.or_else(|| context.worker.with_rng(pick));
        let pool = match picked {
            Some(pool) => pool,
            None => original(context, &cluster, &shared.borrow())?,
        };
        if cluster.is_overridden() {
            named_host::tell(&cluster, &pool, shared.borrow_mut().info);
        }
        let mut pool = cluster.for_name(pool, || server_name(shared.borrow().request));
        if let Some(source) = context.info.original_source() {
            pool = cluster.for_source(&pool, source);
        }
        let protocols = shared.borrow().info.upstream.protocols;
        pool = cluster.for_protocols(pool, protocols);
        if context.config.needs_facts {
            shared.borrow_mut().info.upstream.host = Some(pool.facts().clone());
        }
        let internal = shared.borrow().request.headers.has(Known::XEnvoyInternal);
        let origin = if internal { Origin::Internal } else { Origin::External };
        let mut target = Self::at(cluster, pool, priority, origin).inspect_err(|full| {
            shared.borrow_mut().info.upstream.address = Some(address_of(full.0.host()));
        })?;
        target.front = front;
        target.weighted = weighted;
        target.cookies = cookies;
        Ok(target)
    }

    /// The cluster that a request goes to, and which of its hosts; before it, the aggregate cluster that it was chosen by.
    #[inline]
    fn resolve(worker: &Worker, cluster: Rc<WorkerCluster>) -> Result<Resolved, Failure> {
        let chosen = worker.member(&cluster).ok_or(Kind::NoHost)?;
        Ok((Some(cluster).filter(|cluster| cluster.is_aggregate()), chosen))
    }

    /// Chooses a host for a request of this proxy's own; see [`super::call`] and [`super::mirror`].
    pub fn for_call(
        worker: &Worker,
        cluster: Rc<WorkerCluster>,
        request: &RequestHead,
    ) -> Result<Self, Failure> {
        let (front, (cluster, within)) = Self::resolve(worker, cluster)?;
        let wants = Wants { within, ..Wants::default() };
        let picked = worker.with_rng(|rng| cluster.pick(rng, wants));
        let pool = cluster.for_name(picked.ok_or(Kind::NoHost)?, || server_name(request));
        let mut target = Self::at(cluster, pool, Priority::Default, Origin::Internal)?;
        target.front = front;
        Ok(target)
    }

    /// A place in the circuit breaker of requests.
    fn at(
        cluster: Rc<WorkerCluster>,
        pool: Rc<HostPool>,
        priority: Priority,
        origin: Origin,
    ) -> Result<Self, Full> {
        let Ok(permit) = cluster.try_acquire(priority, Resource::Requests) else {
            cluster.stats().inc(ClusterCounter::UpstreamRqActiveOverflow);
            return Err(Full(pool));
        };
        let counters = &pool.host().counters;
        counters.rq_total.fetch_add(1, Relaxed);
        counters.rq_active.fetch_add(1, Relaxed);
        Ok(Self {
            cluster,
            front: None,
            pool,
            weighted: None,
            priority,
            since: Instant::now(),
            cookies: Vec::new(),
            origin,
            attached: Cell::new(false),
            _permit: permit,
        })
    }

    /// The chosen host.
    pub fn host(&self) -> &Arc<Host> {
        self.pool.host()
    }

    /// The protocol to speak with it; `None` if ALPN is to settle that.
    pub fn protocol(&self, downstream: Protocol) -> Option<Protocol> {
        match self.cluster.config().http.protocol {
            UpstreamProtocol::Http2 => Some(Protocol::Http2),
            UpstreamProtocol::UseDownstream if downstream == Protocol::Http2 => Some(Protocol::Http2),
            UpstreamProtocol::Http1 | UpstreamProtocol::UseDownstream => Some(Protocol::Http11),
            UpstreamProtocol::Auto => self.pool.settled(),
        }
    }

    /// Counts a request that got a connection. One that is sent again on another connection is the same request.
    pub fn attach(&self) {
        if self.attached.replace(true) {
            return;
        }
        self.cluster.note(self.host(), Outcome::Connected);
        self.cluster.stats().inc(ClusterCounter::UpstreamRqTotal);
        self.cluster.stats().raise(ClusterGauge::UpstreamRqActive);
    }

    /// Counts a response that the upstream gave. Outlier detection goes by the gRPC status, where the head has one.
    pub fn responded(&self, status: u16, grpc: impl FnOnce() -> Option<u16>) {
        if self.cluster.notes_outcomes() {
            self.cluster.note(self.host(), Outcome::Response(grpc().unwrap_or(status)));
        }
        self.front().stats().response(status, self.origin);
        let counters = &self.host().counters;
        if status >= 500 {
            counters.rq_error.fetch_add(1, Relaxed)
        } else {
            counters.rq_success.fetch_add(1, Relaxed)
        };
    }

    /// The cluster that the route named.
    fn front(&self) -> &WorkerCluster {
        self.front.as_deref().unwrap_or(&self.cluster)
    }

    /// Takes in the head or the trailers of an answer, for checks and policies that go by that.
    pub fn heard(&self, answer: &Headers, head: bool) {
        if head {
            self.cluster.hear(self.host(), answer);
        }
        if self.cluster.learns() {
            self.cluster.learn(self.host(), answer, head.then(|| self.since.elapsed()));
        }
    }

    /// Whether it got a connection.
    pub fn is_attached(&self) -> bool {
        self.attached.get()
    }

    /// Counts a response that is thrown away for another attempt.
    pub fn retried(&self, status: u16, grpc: Option<u16>) {
        self.outdone(status, grpc);
        self.cluster.stats().response(status, Origin::Retry);
    }

    /// Counts a response that is thrown away since another attempt may do better.
    pub fn outdone(&self, status: u16, grpc: Option<u16>) {
        self.cluster.note(self.host(), Outcome::Response(grpc.unwrap_or(status)));
        self.host().counters.rq_error.fetch_add(1, Relaxed);
    }

    /// Counts a redirect that is followed here.
    pub fn redirected(&self, status: u16, grpc: Option<u16>) {
        if self.cluster.notes_outcomes() {
            self.cluster.note(self.host(), Outcome::Response(grpc.unwrap_or(status)));
        }
        self.cluster.stats().inc(ClusterCounter::UpstreamInternalRedirectSucceededTotal);
    }

    /// Notes an attempt that takes too long, and goes on.
    pub fn late(&self) {
        self.cluster.note(self.host(), Outcome::TimedOut);
    }

    /// Counts a request that failed.
    pub fn failed(&self, failure: &Failure, status: u16) {
        if let Some(outcome) = outcome(failure) {
            self.cluster.note(self.host(), outcome);
        }
        let (stats, front) = (self.cluster.stats(), self.front().stats());
        let counters = &self.host().counters;
        match failure.kind {
            Kind::ResponseTimeout => {
                front.inc(ClusterCounter::UpstreamRqTimeout);
                counters.rq_timeout.fetch_add(1, Relaxed);
            }
            Kind::PerTryTimeout => {
                front.inc(ClusterCounter::UpstreamRqPerTryTimeout);
                counters.rq_timeout.fetch_add(1, Relaxed);
            }
            Kind::PerTryIdleTimeout => {
                front.inc(ClusterCounter::UpstreamRqPerTryIdleTimeout);
                counters.rq_timeout.fetch_add(1, Relaxed);
            }
            Kind::UpstreamMaxDuration => front.inc(ClusterCounter::UpstreamRqMaxDurationReached),
            Kind::BindFailed(_) | Kind::ConnectFailed(_) | Kind::ConnectTimeout => {
                stats.inc(ClusterCounter::UpstreamRqPendingFailureEject);
            }
            Kind::UpstreamReset { .. } => stats.inc(ClusterCounter::UpstreamRqRxReset),
            _ if failure.is_departure() => {
                stats.inc(ClusterCounter::UpstreamRqCancelled);
                return;
            }
            _ => {}
        }
        counters.rq_error.fetch_add(1, Relaxed);
        if status > 0 && !failure.after_head {
            front.response(status, self.origin);
        }
    }
}

/// A circuit breaker without room.
struct Full(Rc<HostPool>);

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Kind::Overflow.into()
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.attached.get() {
            self.cluster.stats().lower(ClusterGauge::UpstreamRqActive);
        }
        let took = self.since.elapsed().as_millis() as u64;
        self.front().stats().record(ClusterHistogram::UpstreamRqTime, took);
        self.host().counters.rq_active.fetch_sub(1, Relaxed);
    }
}

/// The pool of where the request, or its connection, was going.
#[inline(never)]
fn original(
    context: &HttpContext,
    cluster: &WorkerCluster,
    shared: &Shared<'_>,
) -> Result<Rc<HostPool>, Failure> {
    let from = Destination {
        connection: &context.info,
        request: Some(shared.request),
        metadata: &shared.info.metadata,
        state: &shared.info.filter_state,
    };
    cluster.original(&from, &context.worker.snapshot_ref().own)
}

/// What a failure says about its host; nothing if it is not the host's.
fn outcome(failure: &Failure) -> Option<Outcome> {
    match failure.kind {
        Kind::ResponseTimeout | Kind::PerTryTimeout | Kind::PerTryIdleTimeout => Some(Outcome::TimedOut),
        Kind::BindFailed(_)
        | Kind::ConnectFailed(_)
        | Kind::ConnectTimeout
        | Kind::UpstreamClosed
        | Kind::UpstreamReset { .. }
        | Kind::UpstreamProtocol(_) => Some(Outcome::Failed),
        _ => None,
    }
}

/// The host that a request names, without its port: what `auto_sni` sends and `auto_san_validation` checks.
fn server_name(request: &RequestHead) -> Option<Box<str>> {
    let authority = std::str::from_utf8(request.authority()).ok()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.into())
}

fn by_header(shared: &RefCell<Shared<'_>>, routes: &RouteConfig, name: &[u8]) -> Option<ClusterRef> {
    let shared = shared.borrow();
    let value = shared.request.field(name)?;
    let (name, slot) = routes.clusters_by_name.slot(value)?;
    Some(ClusterRef { name, slot })
}
