//! The choice of a cluster and a host for a request, and what is counted of it there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sampan_filters_api::Protocol;
use sampan_model::cluster::{Host, Resource, UpstreamProtocol};
use sampan_model::route::{ClusterRef, ClusterSpecifier, Priority, WeightedTarget};

use super::attempt::Plan;
use super::chain::Shared;
use super::connection::HttpContext;
use super::route::{RouteConfig, WeightedPayload};
use crate::failure::{Failure, Kind};
use crate::telemetry::stats::Origin;
use crate::telemetry::stats::kinds::{ClusterCounter, ClusterGauge, ClusterHistogram, HttpRouterCounter};
use crate::upstream::cluster::{BreakerPermit, WorkerCluster};
use crate::upstream::connect::address_of;
use crate::upstream::pool::HostPool;

/// The cluster and host for a request, counted.
pub(super) struct Target<'p> {
    /// The cluster, as this worker has it.
    pub cluster: Rc<WorkerCluster>,
    /// The connections to the chosen host.
    pub pool: Rc<HostPool>,
    /// What the weighted cluster carries, where one was chosen.
    pub weighted: Option<&'p WeightedPayload>,
    /// Which breakers count.
    pub priority: Priority,
    /// When it was chosen.
    pub since: Instant,
    attached: Cell<bool>,
    _permit: BreakerPermit,
}

impl<'p> Target<'p> {
    /// Chooses cluster and host, within the circuit breakers.
    pub fn find(
        context: &HttpContext,
        shared: &RefCell<Shared<'_>>,
        plan: &Plan<'p>,
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
                let chosen = clusters.choose(plan.random);
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
        }
        let priority = action.priority;
        shared.borrow_mut().info.upstream.attempts = 1;
        let picked = context.worker.with_rng(|rng| cluster.pick(rng));
        let pool = picked.ok_or(Failure::from(Kind::NoHost))?;
        let permit = cluster.try_acquire(priority, Resource::Requests).map_err(|_| {
            cluster.stats().inc(ClusterCounter::UpstreamRqPendingOverflow);
            shared.borrow_mut().info.upstream.address = Some(address_of(pool.host()));
            Failure::from(Kind::Overflow)
        })?;
        let counters = &pool.host().counters;
        counters.rq_total.fetch_add(1, Relaxed);
        counters.rq_active.fetch_add(1, Relaxed);
        Ok(Self {
            cluster,
            pool,
            weighted,
            priority,
            since: Instant::now(),
            attached: Cell::new(false),
            _permit: permit,
        })
    }

    /// The chosen host.
    pub fn host(&self) -> &Arc<Host> {
        self.pool.host()
    }

    /// The protocol to speak with it.
    pub fn protocol(&self, downstream: Protocol) -> Protocol {
        match self.cluster.config().http.protocol {
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::UseDownstream if downstream == Protocol::Http2 => Protocol::Http2,
            UpstreamProtocol::Http1 | UpstreamProtocol::UseDownstream | UpstreamProtocol::Auto => {
                Protocol::Http11
            }
        }
    }

    /// Counts a request that got a connection.
    pub fn attach(&self) {
        self.attached.set(true);
        self.cluster.stats().inc(ClusterCounter::UpstreamRqTotal);
        self.cluster.stats().raise(ClusterGauge::UpstreamRqActive);
    }

    /// Counts a response that the upstream gave.
    pub fn responded(&self, status: u16) {
        self.cluster.stats().response(status, Origin::External);
        let counters = &self.host().counters;
        if status >= 500 {
            counters.rq_error.fetch_add(1, Relaxed)
        } else {
            counters.rq_success.fetch_add(1, Relaxed)
        };
    }

    /// Counts a request that failed.
    pub fn failed(&self, failure: &Failure, status: u16) {
        let stats = self.cluster.stats();
        let counters = &self.host().counters;
        match failure.kind {
            Kind::ResponseTimeout => {
                stats.inc(ClusterCounter::UpstreamRqTimeout);
                counters.rq_timeout.fetch_add(1, Relaxed);
            }
            Kind::ConnectFailed(_) | Kind::ConnectTimeout => {
                stats.inc(ClusterCounter::UpstreamRqPendingFailureEject);
            }
            Kind::UpstreamReset { .. } => stats.inc(ClusterCounter::UpstreamRqRxReset),
            Kind::DownstreamClosed | Kind::DownstreamReset => {
                stats.inc(ClusterCounter::UpstreamRqCancelled);
                return;
            }
            _ => {}
        }
        counters.rq_error.fetch_add(1, Relaxed);
        if status > 0 && !failure.after_head {
            stats.response(status, Origin::External);
        }
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.attached.get() {
            self.cluster.stats().lower(ClusterGauge::UpstreamRqActive);
        }
        self.cluster
            .stats()
            .record(ClusterHistogram::UpstreamRqTime, self.since.elapsed().as_millis() as u64);
        self.host().counters.rq_active.fetch_sub(1, Relaxed);
    }
}

fn by_header(shared: &RefCell<Shared<'_>>, routes: &RouteConfig, name: &[u8]) -> Option<ClusterRef> {
    let shared = shared.borrow();
    let value = shared.request.field(name)?;
    let (name, slot) = routes.clusters_by_name.slot(value)?;
    Some(ClusterRef { name, slot })
}
