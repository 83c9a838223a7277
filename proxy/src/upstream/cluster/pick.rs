//! The choice of a host, and of its pool.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sampan_filters_api::Headers;
use sampan_model::cluster::{Host, Member, PriorityHosts};
use sampan_model::lb::{Criteria, LbPolicy, Notes, PickContext, SubsetUse, Within};

use super::WorkerCluster;
use sampan_model::retry::untried;

use crate::net::clock;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::kinds::ClusterCounter;
use crate::upstream::orca;
use crate::upstream::pool::{HostPool, preconnect};

/// What a request wants of its host.
#[derive(Clone, Copy, Default)]
pub struct Wants<'w> {
    /// The hash of the request; see [`WorkerCluster::hashes`].
    pub hash: Option<u64>,
    /// What its route asks of the host's metadata.
    pub criteria: Option<&'w Criteria>,
    /// The part of the cluster that an aggregate cluster has chosen.
    pub within: Option<Within>,
}

/// What a pick came to.
enum Picked {
    Pool(Rc<HostPool>),
    Nothing,
    /// A host that the request would rather not have.
    TurnedDown,
}

/// The hosts of a version by address, made when a request first names one.
#[derive(Default)]
pub(super) struct Addresses(RefCell<Option<HashMap<Box<str>, u32, ahash::RandomState>>>);

impl Addresses {
    fn find(&self, parts: &ClusterParts, address: &str) -> Option<u32> {
        let mut known = self.0.borrow_mut();
        let each = || (0..).zip(parts.hosts.members());
        let all = || each().map(|(at, member)| (member.host.address.to_string().into(), at)).collect();
        known.get_or_insert_with(all).get(address).copied()
    }

    /// There are other hosts now.
    pub(super) fn forget(&self) {
        *self.0.borrow_mut() = None;
    }
}

impl WorkerCluster {
    /// Whether the hash of a request decides where it goes.
    #[inline]
    pub fn hashes(&self) -> bool {
        self.balancer.borrow().settings().policy.hashes()
    }

    /// Whether the policy goes by what hosts answer, and how soon.
    #[inline]
    pub fn learns(&self) -> bool {
        self.others.learns.get()
    }

    /// Takes in what a host has answered, where the policy goes by that; `took` is the time to the head.
    #[inline(never)]
    pub fn learn(&self, host: &Host, answer: &Headers, took: Option<Duration>) {
        let balancer = self.balancer.borrow();
        let settings = balancer.settings();
        match (settings.policy, &settings.reports, took) {
            (LbPolicy::PeakEwma(settings), _, Some(took)) => {
                host.load.answered(took, &settings, clock::millis());
            }
            (LbPolicy::ClientWeighted, Some(reports), _) => {
                if let Some(weight) = orca::report(answer).and_then(|report| report.weight(reports)) {
                    host.load.report(weight, clock::millis());
                }
            }
            _ => {}
        }
    }

    /// Picks a host and its pool.
    #[inline]
    pub fn pick(&self, rng: &mut fastrand::Rng, wants: Wants<'_>) -> Option<Rc<HostPool>> {
        // What an aggregate cluster has chosen, a pick ahead did not know of.
        if wants.within.is_none()
            && let Some(ahead) = self.ahead.borrow_mut().pop_front()
        {
            return Some(ahead);
        }
        self.pick_now(rng, wants)
    }

    /// Picks a host for a retry: one that is not to be avoided, if that is found in so many attempts.
    pub fn pick_again(
        &self,
        rng: &mut fastrand::Rng,
        wants: Wants<'_>,
        attempts: u32,
        avoids: impl Fn(&Member) -> bool,
    ) -> Option<Rc<HostPool>> {
        for turned_down in 0..=attempts {
            let last = turned_down == attempts;
            let keep = |member: &Member| last || !avoids(member);
            match self.pick_one(rng, wants, turned_down, keep) {
                Picked::Pool(pool) => return Some(pool),
                Picked::Nothing => return None,
                Picked::TurnedDown => {}
            }
        }
        None
    }

    /// A priority that none of these hosts is of, as `random` has it; `true` if there is none left, and all count again.
    pub fn untried_priority(&self, tried: &[Arc<Host>], random: u64) -> (Option<Within>, bool) {
        let parts = self.parts.borrow();
        let hosts = &parts.hosts;
        let of = |host: &Arc<Host>| hosts.members().iter().find(|member| Arc::ptr_eq(&member.host, host));
        let tried: Vec<usize> = tried.iter().filter_map(of).map(|member| member.priority as usize).collect();
        let states: Vec<_> = hosts.priorities().iter().map(PriorityHosts::state).collect();
        let options = hosts.options();
        let (loads, again) =
            untried(&states, &tried, options.overprovisioning_factor, options.panic_threshold);
        (loads.draw(random), again)
    }

    /// The host of a request yet to come, which the next picks will honour; so far ahead that the next ones go to as many hosts
    /// as there are, and no further. Policies that look at the moment's load or at the request do not know.
    pub fn peek(&self) -> Option<Rc<HostPool>> {
        let ahead = self.ahead.borrow().len() + 1;
        let hosts = self.parts.borrow().hosts.members().len();
        let config = self.config();
        let foreseeable = matches!(config.lb_policy, LbPolicy::RoundRobin | LbPolicy::Random);
        if !foreseeable || config.subsets.is_some() || ahead >= hosts {
            return None;
        }
        drop(config);
        let picked = self.pick_now(&mut fastrand::Rng::new(), Wants::default())?;
        self.ahead.borrow_mut().push_back(picked.clone());
        Some(picked)
    }

    /// How busy its pools of a kind are, together.
    pub fn load(&self, kind: preconnect::Kind) -> preconnect::Load {
        let pools = self.pools.borrow();
        pools.values().map(|pool| pool.load(kind)).fold(preconnect::Load::default(), std::ops::Add::add)
    }

    #[inline]
    fn pick_now(&self, rng: &mut fastrand::Rng, wants: Wants<'_>) -> Option<Rc<HostPool>> {
        match self.pick_one(rng, wants, 0, |_| true) {
            Picked::Pool(pool) => Some(pool),
            Picked::Nothing | Picked::TurnedDown => None,
        }
    }

    #[inline]
    fn pick_one(
        &self,
        rng: &mut fastrand::Rng,
        wants: Wants<'_>,
        turned_down: u32,
        keep: impl FnOnce(&Member) -> bool,
    ) -> Picked {
        let parts = self.parts.borrow();
        let mut balancer = self.balancer.borrow_mut();
        let now = if balancer.reads_clock() { clock::millis() } else { 0 };
        let Wants { hash, criteria, within } = wants;
        let local = self.others.local.borrow();
        let mut context = PickContext {
            hash,
            criteria,
            turned_down,
            now,
            within,
            local: local.as_deref(),
            ..PickContext::new(rng)
        };
        let picked = balancer.pick(&parts.hosts, &mut context);
        if !context.notes.is_empty() {
            self.count(context.notes);
        }
        let Some(pick) = picked else {
            if parts.originals.is_none() {
                self.stats().inc(ClusterCounter::UpstreamCxNoneHealthy);
            }
            return Picked::Nothing;
        };
        if !keep(pick.member) {
            return Picked::TurnedDown;
        }
        if pick.panic {
            self.stats().inc(ClusterCounter::LbHealthyPanic);
        }
        match pick.subset {
            SubsetUse::None => {}
            SubsetUse::Selected => self.stats().inc(ClusterCounter::LbSubsetsSelected),
            SubsetUse::Fallback => self.stats().inc(ClusterCounter::LbSubsetsFallback),
            SubsetUse::Panic => self.stats().inc(ClusterCounter::LbSubsetsFallbackPanic),
        }
        Picked::Pool(self.pool(&parts, pick.member))
    }

    /// The pool of a host; a new one if this worker has none.
    fn pool(&self, parts: &ClusterParts, member: &Member) -> Rc<HostPool> {
        let at = Arc::as_ptr(&member.host);
        if let Some(pool) = self.pools.borrow().get(&at) {
            return pool.clone();
        }
        let pool = Rc::new(HostPool::new(member, &parts.transports));
        self.pools.borrow_mut().insert(at, pool.clone());
        pool
    }

    #[inline(never)]
    fn count(&self, notes: Notes) {
        use ClusterCounter as Counter;
        for (note, counter) in [
            (Notes::RECALCULATED, Counter::LbRecalculateZoneStructures),
            (Notes::LOCAL_NOT_OK, Counter::LbLocalClusterNotOk),
            (Notes::TOO_SMALL, Counter::LbZoneClusterTooSmall),
            (Notes::ALL_DIRECTLY, Counter::LbZoneRoutingAllDirectly),
            (Notes::SAMPLED, Counter::LbZoneRoutingSampled),
            (Notes::CROSS_ZONE, Counter::LbZoneRoutingCrossZone),
            (Notes::NO_CAPACITY, Counter::LbZoneNoCapacityLeft),
        ] {
            if notes.has(note) {
                self.stats().inc(counter);
            }
        }
    }

    /// Whether requests may name their host (the policy `override_host`).
    #[inline]
    pub fn is_overridden(&self) -> bool {
        self.others.overridden.get()
    }

    /// The pool of the host with an address, if it is one of the cluster's. `checked`: its health is to be one of
    /// `override_host_status`.
    #[inline(never)]
    pub fn pool_at(&self, address: &str, checked: bool) -> Option<Rc<HostPool>> {
        let parts = self.parts.borrow();
        let at = self.addresses.find(&parts, address)?;
        let member = parts.hosts.members().get(at as usize)?;
        if checked && !parts.config.common_lb.override_status.allows(member.host.health()) {
            return None;
        }
        Some(self.pool(&parts, member))
    }
}
