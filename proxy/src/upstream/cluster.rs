//! A cluster as one worker has it: its balancer, its pools, its block of stats.
//!
//! Made when the worker first sends something there. When a new snapshot brings a new version, the worker's cluster
//! stays and takes the version over ([`WorkerCluster::update`]): pools of hosts that are still there live on, those of
//! hosts that are gone stop lending connections and close as requests finish.

use std::cell::{OnceCell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use sampan_model::cluster::{CircuitBreakers, Cluster, Host, Overflow, Permit, Resource};
use sampan_model::lb::{LoadBalancer, PickContext};
use sampan_model::route::Priority;

use super::pool::HostPool;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::kinds::{self, ClusterCounter};
use crate::telemetry::stats::{Block, Stats, Writer};

/// Gives a unit of a circuit breaker back when dropped.
pub type BreakerPermit = Permit<BreakerHandle>;

/// Reaches a cluster's breakers without touching a shared reference count.
#[derive(Clone)]
#[expect(clippy::redundant_allocation)]
pub struct BreakerHandle(Rc<Arc<CircuitBreakers>>);

impl AsRef<CircuitBreakers> for BreakerHandle {
    fn as_ref(&self) -> &CircuitBreakers {
        &self.0
    }
}

/// One worker's side of a cluster.
pub struct WorkerCluster {
    parts: RefCell<Arc<ClusterParts>>,
    balancer: RefCell<LoadBalancer>,
    breakers: BreakerHandle,
    /// By the address of the shared host, which stays the same while the host does.
    pools: RefCell<HashMap<*const Host, Rc<HostPool>, ahash::RandomState>>,
    block: OnceCell<Arc<Block<kinds::Cluster>>>,
    registry: Arc<Stats>,
    writer: Writer,
}

impl WorkerCluster {
    /// A worker's side of a cluster that nothing was sent to yet.
    pub fn new(parts: Arc<ClusterParts>, registry: Arc<Stats>, writer: Writer) -> Self {
        Self {
            balancer: RefCell::new(LoadBalancer::new(parts.config.lb_policy)),
            breakers: BreakerHandle(Rc::new(parts.breakers.clone())),
            parts: RefCell::new(parts),
            pools: RefCell::default(),
            block: OnceCell::new(),
            registry,
            writer,
        }
    }

    /// The settings in force.
    pub fn config(&self) -> Ref<'_, Cluster> {
        Ref::map(self.parts.borrow(), |parts| &*parts.config)
    }

    /// The version in force.
    pub fn parts(&self) -> Arc<ClusterParts> {
        self.parts.borrow().clone()
    }

    /// The cluster's counters; created with the first of them.
    #[inline]
    pub fn stats(&self) -> &Block<kinds::Cluster> {
        self.block.get_or_init(|| {
            let scope = self.config().observability_name().clone();
            self.registry.block::<kinds::Cluster>(&scope, self.writer)
        })
    }

    /// Picks a host and its pool.
    #[inline]
    pub fn pick(&self, rng: &mut fastrand::Rng) -> Option<Rc<HostPool>> {
        let parts = self.parts.borrow();
        let picked = self.balancer.borrow_mut().pick(&parts.hosts, &mut PickContext { rng });
        let Some(pick) = picked else {
            self.stats().inc(ClusterCounter::UpstreamCxNoneHealthy);
            return None;
        };
        if pick.panic {
            self.stats().inc(ClusterCounter::LbHealthyPanic);
        }
        let host = &pick.member.host;
        if let Some(pool) = self.pools.borrow().get(&Arc::as_ptr(host)) {
            return Some(pool.clone());
        }
        let pool = Rc::new(HostPool::new(host.clone()));
        self.pools.borrow_mut().insert(Arc::as_ptr(host), pool.clone());
        Some(pool)
    }

    /// Takes a new version over.
    pub fn update(&self, next: Arc<ClusterParts>) {
        if next.config.lb_policy != self.config().lb_policy {
            *self.balancer.borrow_mut() = LoadBalancer::new(next.config.lb_policy);
        }
        let members = next.hosts.members();
        let kept: std::collections::HashSet<*const Host> =
            members.iter().map(|m| Arc::as_ptr(&m.host)).collect();
        self.pools.borrow_mut().retain(|host, pool| kept.contains(host) || pool.retire());
        *self.parts.borrow_mut() = next;
    }

    /// Closes pooled connections that their peer has closed or that are too old or idle for too long.
    pub fn sweep(&self) {
        let config = self.config();
        for pool in self.pools.borrow().values() {
            pool.sweep(&config, self.stats());
        }
    }

    /// Whether nothing is pooled and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.pools.borrow().values().all(|pool| pool.is_idle())
    }

    /// Takes a unit of a breaker, unless it is open.
    #[inline]
    pub fn try_acquire(&self, priority: Priority, resource: Resource) -> Result<BreakerPermit, Overflow> {
        CircuitBreakers::try_acquire(self.breakers.clone(), priority, resource)
    }

    /// Takes a unit of a breaker whatever its limit.
    pub fn acquire(&self, priority: Priority, resource: Resource) -> BreakerPermit {
        CircuitBreakers::acquire(self.breakers.clone(), priority, resource)
    }
}
