//! What a cluster takes from others: the hosts of the local cluster, for zone-aware routing; and the clusters that an aggregate
//! cluster is made of.
//!
//! A worker hands both over when a snapshot comes, so that a request looks at nothing but its own cluster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sampan_model::cluster::{Aggregate, Cluster, Discovery, HostSet};
use sampan_model::lb::Within;
use sampan_model::route::{ClusterRef, Slot};

use super::WorkerCluster;
use crate::telemetry::stats::kinds::ClusterCounter;

/// What a cluster has of others, and what is asked of it for each request.
#[derive(Default)]
pub(super) struct Others {
    /// The proxies like this one.
    pub(super) local: RefCell<Option<Arc<HostSet>>>,
    /// Its hosts are those of other clusters.
    aggregate: Cell<bool>,
    /// Requests may name their host (the policy `override_host`).
    pub(super) overridden: Cell<bool>,
    /// Its policy goes by what hosts answer.
    pub(super) learns: Cell<bool>,
    joined: RefCell<Option<Box<Joined>>>,
}

/// The clusters that an aggregate cluster is made of, as this worker has them.
struct Joined {
    clusters: Vec<Option<Rc<WorkerCluster>>>,
    priorities: Aggregate,
}

impl Others {
    pub(super) fn new(config: &Cluster) -> Self {
        let others = Self::default();
        others.renew(config);
        others
    }

    /// There is a new version of the cluster.
    pub(super) fn renew(&self, config: &Cluster) {
        self.aggregate.set(matches!(config.discovery, Discovery::Aggregate(_)));
        self.overridden.set(config.override_host.is_some());
        self.learns.set(config.lb_policy.learns());
    }
}

impl WorkerCluster {
    /// Whether its hosts are those of other clusters.
    #[inline]
    pub fn is_aggregate(&self) -> bool {
        self.others.aggregate.get()
    }

    /// The slot of the local cluster, if it looks at that.
    pub fn local_slot(&self) -> Option<Slot> {
        self.parts.borrow().config.zone.as_ref().map(|zone| zone.local)
    }

    /// Takes the hosts of the local cluster over.
    pub fn set_local(&self, hosts: Option<Arc<HostSet>>) {
        *self.others.local.borrow_mut() = hosts;
    }

    /// Forgets the clusters that it is made of, as others may be there now.
    pub fn part(&self) {
        *self.others.joined.borrow_mut() = None;
    }

    /// The cluster for a request to an aggregate cluster, and which of its hosts; `None` if there are no hosts. `find` knows the
    /// clusters by slot.
    #[inline(never)]
    pub fn choose(
        &self,
        random: u64,
        find: impl Fn(Slot) -> Option<Rc<WorkerCluster>>,
    ) -> Option<(Rc<WorkerCluster>, Within)> {
        let mut joined = self.others.joined.borrow_mut();
        let joined = joined.get_or_insert_with(|| Box::new(self.join(find)));
        let chosen = joined.priorities.choose(random).and_then(|(at, within)| {
            let cluster = joined.clusters.get(at)?.clone()?;
            Some((cluster, within))
        });
        if chosen.is_none() {
            self.stats().inc(ClusterCounter::UpstreamCxNoneHealthy);
        }
        chosen
    }

    fn join(&self, find: impl Fn(Slot) -> Option<Rc<WorkerCluster>>) -> Joined {
        let config = self.config();
        let references: &[ClusterRef] = match &config.discovery {
            Discovery::Aggregate(clusters) => clusters,
            _ => &[],
        };
        // One that is an aggregate itself has no hosts of its own, and is not held: it may hold this one.
        let one = |reference: &ClusterRef| find(reference.slot).filter(|cluster| !cluster.is_aggregate());
        let clusters: Vec<_> = references.iter().map(one).collect();
        let hosts: Vec<Option<Arc<HostSet>>> =
            clusters.iter().map(|cluster| Some(cluster.as_ref()?.parts.borrow().hosts.clone())).collect();
        let threshold = config.common_lb.healthy_panic_threshold;
        let priorities = Aggregate::new(hosts.iter().map(Option::as_deref), threshold);
        Joined { clusters, priorities }
    }
}
