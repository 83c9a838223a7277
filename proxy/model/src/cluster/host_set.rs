//! The hosts of a cluster at one moment: immutable, shared by `Arc`, replaced as a whole.
//!
//! The control thread builds one for every discovery update, and again when a host's health changes
//! ([`HostSet::refreshed`]); everything that a pick needs is computed here, once, instead of per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::{HashMap, HashSet};

use super::host::{Health, HealthFlag, Host, HostAddress, Locality};
use super::member::{HostSpec, Member};
use super::priority::{PriorityLoads, PriorityState};
use crate::lb::{HashTable, LbPolicy, SubsetConfig, Subsets};

/// Numbers host sets, so that a balancer can tell a new one from the one it knows.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The hosts of one priority, as positions in [`HostSet::members`].
#[derive(Clone, Debug, Default)]
pub struct PriorityHosts {
    /// All of them.
    pub all: Vec<u32>,
    /// Those to be used.
    pub healthy: Vec<u32>,
    /// Those to be used when the healthy ones do not suffice.
    pub degraded: Vec<u32>,
    /// The same hosts by locality, in the order in which localities first occur.
    pub localities: Vec<LocalityHosts>,
    /// How many are left out of the panic and load arithmetic.
    pub excluded: u32,
    /// Whether weights differ among them.
    pub weighted: bool,
}

/// The hosts of one locality within a priority.
#[derive(Clone, Debug)]
pub struct LocalityHosts {
    /// Which locality.
    pub locality: Arc<Locality>,
    /// Its weight, when configured.
    pub weight: Option<u32>,
    /// Its hosts, as positions in [`HostSet::members`].
    pub hosts: Vec<u32>,
    /// Those to be used.
    pub healthy: Vec<u32>,
    /// Those to be used when the healthy ones do not suffice.
    pub degraded: Vec<u32>,
    /// How many are left out of the arithmetic.
    pub excluded: u32,
}

/// What priority load is computed with, and what else is computed from the hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSetOptions {
    /// `overprovisioning_factor` of the assignment's policy, in percent.
    pub overprovisioning_factor: u32,
    /// `common_lb_config.healthy_panic_threshold`, in percent; zero turns panic off.
    pub panic_threshold: f64,
    /// `fail_traffic_on_panic`: in panic no host is used, instead of all.
    pub fail_traffic_on_panic: bool,
    /// Localities get requests by their weights.
    pub locality_weighted: bool,
    /// The policy: one that hashes needs tables.
    pub policy: LbPolicy,
    /// `lb_subset_config`
    pub subsets: Option<Arc<SubsetConfig>>,
    /// How hosts that are checked actively come and go; `None` if none are.
    pub checks: Option<CheckedHosts>,
}

/// How hosts that are checked actively come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHosts {
    /// One that is gone from discovery stays while it passes its checks (not `ignore_health_on_host_removal`).
    pub keep_removed: bool,
    /// One that was not checked yet is left out of the arithmetic of load (`ignore_new_hosts_until_first_hc`).
    pub ignore_new: bool,
}

/// The hosts of a cluster.
#[derive(Clone, Debug)]
pub struct HostSet {
    id: u64,
    options: HostSetOptions,
    members: Arc<[Member]>,
    priorities: Vec<PriorityHosts>,
    loads: PriorityLoads,
    /// Of policies that hash, by priority.
    tables: Arc<[Option<HashTable>]>,
    subsets: Option<Arc<Subsets>>,
}

impl Default for HostSetOptions {
    fn default() -> Self {
        Self {
            overprovisioning_factor: 140,
            panic_threshold: 50.0,
            fail_traffic_on_panic: false,
            locality_weighted: false,
            policy: LbPolicy::RoundRobin,
            subsets: None,
            checks: None,
        }
    }
}

impl Default for HostSet {
    fn default() -> Self {
        Self::new([], None, HostSetOptions::default())
    }
}

impl HostSet {
    /// A set of `specs`. Hosts of `previous` with the same address and name are taken over, so that their pools,
    /// counters and health survive. An address that occurs twice is one host with two memberships.
    pub fn new(
        specs: impl IntoIterator<Item = HostSpec>,
        previous: Option<&Self>,
        options: HostSetOptions,
    ) -> Self {
        let mut known = HashMap::<(HostAddress, Arc<str>), Arc<Host>, ahash::RandomState>::default();
        for member in previous.iter().flat_map(|set| set.members.iter()) {
            known.insert((member.host.address.clone(), member.host.hostname.clone()), member.host.clone());
        }
        let mut locality_weights = Vec::new();
        let mut members = Vec::new();
        for mut spec in specs {
            let checked = options.checks.filter(|_| !spec.check.as_ref().is_some_and(|check| check.disabled));
            let host = known
                .entry((spec.address.clone(), std::mem::take(&mut spec.hostname)))
                .or_insert_with_key(|(address, name)| Arc::new(new_host(address, name, checked)))
                .clone();
            host.set_eds_health(spec.health);
            host.set_flag(HealthFlag::PendingDynamicRemoval, false);
            if let Some(weight) = spec.locality_weight {
                locality_weights.push(((spec.priority, spec.locality.clone()), weight));
            }
            members.push(Member::new(host, spec));
        }
        if options.checks.is_some_and(|checks| checks.keep_removed) {
            let gone = previous.iter().flat_map(|set| set.members.iter());
            let gone: Vec<Member> = gone.filter(|member| outlives(member, &members)).cloned().collect();
            members.extend(gone);
        }
        let subsets = previous.and_then(Self::subsets);
        Self::assemble(members.into(), &locality_weights.into_iter().collect(), options, subsets)
    }

    /// The same hosts, with lists and loads computed from their health of now; without those that were only kept for passing
    /// their checks and no longer do.
    pub fn refreshed(&self) -> Self {
        let over = |member: &Member| {
            let host = &member.host;
            host.has_flag(HealthFlag::PendingDynamicRemoval) && host.has_flag(HealthFlag::FailedActiveHc)
        };
        let members = if self.members.iter().any(over) {
            self.members.iter().filter(|member| !over(member)).cloned().collect()
        } else {
            self.members.clone()
        };
        Self::assemble(members, &self.locality_weights().collect(), self.options.clone(), self.subsets())
    }

    /// The hosts that `fits` chooses, as a set of their own. `scale` lowers the weights of localities by the hosts they lose.
    pub(crate) fn subset(
        &self,
        fits: &dyn Fn(u32, &Member) -> bool,
        options: HostSetOptions,
        scale: bool,
    ) -> Self {
        let chosen = self.members.iter().enumerate().filter(|(at, member)| fits(*at as u32, member));
        let members: Arc<[Member]> = chosen.map(|(_, member)| member.clone()).collect();
        let mut weights: LocalityWeights = self.locality_weights().collect();
        if scale {
            let count = |members: &[Member], (priority, locality): &(u32, Arc<Locality>)| {
                members.iter().filter(|m| m.priority == *priority && m.locality == *locality).count() as f64
            };
            for (key, weight) in &mut weights {
                let left = count(&members, key) / count(&self.members, key).max(1.0);
                *weight = ((f64::from(*weight) * left).round() as u32).max(1);
            }
        }
        Self::assemble(members, &weights, options, None)
    }

    fn locality_weights(&self) -> impl Iterator<Item = ((u32, Arc<Locality>), u32)> {
        self.priorities.iter().enumerate().flat_map(|(priority, hosts)| {
            let known = hosts
                .localities
                .iter()
                .filter_map(|locality| Some((locality.locality.clone(), locality.weight?)));
            known.map(move |(locality, weight)| ((priority as u32, locality), weight))
        })
    }

    /// A number that no other set has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// All members, in the order of discovery.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether the hosts are those of another set, whatever is said about them.
    pub fn has_hosts_of(&self, other: &Self) -> bool {
        let hosts = |set: &Self| set.members.iter().map(|m| Arc::as_ptr(&m.host)).collect::<HashSet<_>>();
        hosts(self) == hosts(other)
    }

    /// The priorities, from 0.
    pub fn priorities(&self) -> &[PriorityHosts] {
        &self.priorities
    }

    /// How requests spread over priorities.
    pub fn loads(&self) -> &PriorityLoads {
        &self.loads
    }

    /// The table of a priority, for a policy that hashes.
    pub fn hash_table(&self, priority: usize) -> Option<&HashTable> {
        self.tables.get(priority)?.as_ref()
    }

    /// The subsets, where those are configured.
    pub fn subsets(&self) -> Option<&Subsets> {
        self.subsets.as_deref()
    }

    /// What the set was built with.
    pub fn options(&self) -> &HostSetOptions {
        &self.options
    }

    fn assemble(
        members: Arc<[Member]>,
        weights: &LocalityWeights,
        options: HostSetOptions,
        before: Option<&Subsets>,
    ) -> Self {
        let mut priorities: Vec<PriorityHosts> = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let priority = (member.priority.min(MAX_PRIORITY)) as usize;
            if priorities.len() <= priority {
                priorities.resize_with(priority + 1, PriorityHosts::default);
            }
            priorities[priority].add(at as u32, member, weights);
        }
        for hosts in &mut priorities {
            let weight = |at: &u32| members.get(*at as usize).map(|member| member.weight);
            hosts.weighted = hosts.all.windows(2).any(|pair| weight(&pair[0]) != weight(&pair[1]));
        }
        let states: Vec<_> = priorities.iter().map(PriorityHosts::state).collect();
        let loads = PriorityLoads::new(&states, options.overprovisioning_factor, options.panic_threshold);
        let tables = match options.subsets {
            // With subsets, each of them has its tables.
            None if options.policy.hashes() => tables(&options, &members, &priorities, &loads),
            _ => Arc::default(),
        };
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let mut set = Self { id, options, members, priorities, loads, tables, subsets: None };
        let subsets = set.options.subsets.clone();
        set.subsets = subsets.map(|config| Arc::new(Subsets::build(config, &set, before)));
        set
    }
}

/// A host that is checked is not used before it has passed.
fn new_host(address: &HostAddress, name: &str, checked: Option<CheckedHosts>) -> Host {
    let host = Host::new(address.clone(), name);
    if let Some(checks) = checked {
        host.set_flag(HealthFlag::FailedActiveHc, true);
        host.set_flag(HealthFlag::PendingActiveHc, checks.ignore_new);
    }
    host
}

/// Whether a host that is not among `members` is to stay with them, and is marked as such.
fn outlives(member: &Member, members: &[Member]) -> bool {
    let host = &member.host;
    let gone = !members.iter().any(|other| Arc::ptr_eq(&other.host, host));
    let passes = !host.has_flag(HealthFlag::FailedActiveHc) && !host.has_flag(HealthFlag::FailedEdsHealth);
    let disabled = member.check.as_ref().is_some_and(|check| check.disabled);
    let stays = gone && passes && !disabled;
    if stays {
        host.set_flag(HealthFlag::PendingDynamicRemoval, true);
    }
    stays
}

fn tables(
    options: &HostSetOptions,
    members: &[Member],
    priorities: &[PriorityHosts],
    loads: &PriorityLoads,
) -> Arc<[Option<HashTable>]> {
    let table = |(at, hosts): (usize, &PriorityHosts)| {
        HashTable::build(&options.policy, members, hosts, loads.in_panic(at), options.locality_weighted)
    };
    priorities.iter().enumerate().map(table).collect()
}

/// The highest priority number that the API allows.
const MAX_PRIORITY: u32 = 128;

type LocalityWeights = HashMap<(u32, Arc<Locality>), u32, ahash::RandomState>;

impl PriorityHosts {
    /// Whether any locality has a weight.
    pub fn has_locality_weights(&self) -> bool {
        self.localities.iter().any(|locality| locality.weight.is_some_and(|weight| weight > 0))
    }

    /// How many there are.
    pub fn state(&self) -> PriorityState {
        PriorityState {
            all: self.all.len() as u32,
            healthy: self.healthy.len() as u32,
            degraded: self.degraded.len() as u32,
            excluded: self.excluded,
        }
    }

    fn add(&mut self, at: u32, member: &Member, weights: &LocalityWeights) {
        let (health, excluded) = (member.host.health(), u32::from(member.host.is_excluded()));
        self.all.push(at);
        self.excluded += excluded;
        let known = self.localities.iter().position(|known| known.locality == member.locality);
        let place = known.unwrap_or_else(|| {
            let weight = weights.get(&(member.priority, member.locality.clone())).copied();
            self.localities.push(LocalityHosts::new(member.locality.clone(), weight));
            self.localities.len() - 1
        });
        let Some(locality) = self.localities.get_mut(place) else { return };
        locality.hosts.push(at);
        locality.excluded += excluded;
        match health {
            Health::Healthy => {
                self.healthy.push(at);
                locality.healthy.push(at);
            }
            Health::Degraded => {
                self.degraded.push(at);
                locality.degraded.push(at);
            }
            Health::Unhealthy => {}
        }
    }
}

impl LocalityHosts {
    fn new(locality: Arc<Locality>, weight: Option<u32>) -> Self {
        Self { locality, weight, hosts: Vec::new(), healthy: Vec::new(), degraded: Vec::new(), excluded: 0 }
    }
}

#[cfg(test)]
mod tests;
