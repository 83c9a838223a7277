//! The hosts of a cluster at one moment: immutable, shared by `Arc`, replaced as a whole.
//!
//! The control thread builds one for every discovery update, and again when a host's health changes
//! ([`HostSet::refreshed`]); everything that a pick needs is computed here, once, instead of per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::HashMap;

use super::host::{EdsHealth, Health, Host, HostAddress, Locality, Metadata};
use super::priority::{PriorityLoads, PriorityState};

/// Numbers host sets, so that a balancer can tell a new one from the one it knows.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A host as discovery reports it.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Where it listens.
    pub address: HostAddress,
    /// Its name; may be empty.
    pub hostname: Box<str>,
    /// `load_balancing_weight`, at least 1.
    pub weight: u32,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// `load_balancing_weight` of the locality, when configured.
    pub locality_weight: Option<u32>,
    /// 0 is used first.
    pub priority: u32,
    /// The `canary` mark.
    pub canary: bool,
    /// What its configuration says about its health.
    pub health: EdsHealth,
    /// Its metadata.
    pub metadata: Option<Metadata>,
}

/// A host in a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// The host, shared with earlier and later sets.
    pub host: Arc<Host>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// Its priority.
    pub priority: u32,
    /// The `canary` mark.
    pub canary: bool,
    /// Its metadata.
    pub metadata: Option<Metadata>,
}

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
}

/// What priority load is computed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostSetOptions {
    /// `overprovisioning_factor` of the assignment's policy, in percent.
    pub overprovisioning_factor: u32,
    /// `common_lb_config.healthy_panic_threshold`, in percent; zero turns panic off.
    pub panic_threshold: f64,
    /// `fail_traffic_on_panic`: in panic no host is used, instead of all.
    pub fail_traffic_on_panic: bool,
}

/// The hosts of a cluster.
#[derive(Clone, Debug)]
pub struct HostSet {
    id: u64,
    options: HostSetOptions,
    members: Arc<[Member]>,
    priorities: Vec<PriorityHosts>,
    loads: PriorityLoads,
}

impl Default for HostSetOptions {
    fn default() -> Self {
        Self { overprovisioning_factor: 140, panic_threshold: 50.0, fail_traffic_on_panic: false }
    }
}

impl HostSpec {
    /// A host of weight 1 at priority 0, with nothing else said about it.
    pub fn new(address: HostAddress) -> Self {
        Self {
            address,
            hostname: Box::default(),
            weight: 1,
            locality: Arc::default(),
            locality_weight: None,
            priority: 0,
            canary: false,
            health: EdsHealth::Unknown,
            metadata: None,
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
        let mut known = HashMap::<(HostAddress, Box<str>), Arc<Host>, ahash::RandomState>::default();
        for member in previous.iter().flat_map(|set| set.members.iter()) {
            known.insert((member.host.address.clone(), member.host.hostname.clone()), member.host.clone());
        }
        let mut locality_weights = Vec::new();
        let mut members = Vec::new();
        for spec in specs {
            let host = known
                .entry((spec.address, spec.hostname))
                .or_insert_with_key(|(address, name)| Arc::new(Host::new(address.clone(), name)))
                .clone();
            host.set_eds_health(spec.health);
            if let Some(weight) = spec.locality_weight {
                locality_weights.push(((spec.priority, spec.locality.clone()), weight));
            }
            members.push(Member {
                host,
                weight: spec.weight.max(1),
                locality: spec.locality,
                priority: spec.priority,
                canary: spec.canary,
                metadata: spec.metadata,
            });
        }
        Self::assemble(members.into(), &locality_weights.into_iter().collect(), options)
    }

    /// The same hosts, with lists and loads computed from their health of now.
    pub fn refreshed(&self) -> Self {
        let weights = self.priorities.iter().enumerate().flat_map(|(priority, hosts)| {
            let known = hosts
                .localities
                .iter()
                .filter_map(|locality| Some((locality.locality.clone(), locality.weight?)));
            known.map(move |(locality, weight)| ((priority as u32, locality), weight))
        });
        Self::assemble(self.members.clone(), &weights.collect(), self.options)
    }

    /// A number that no other set has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// All members, in the order of discovery.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The priorities, from 0.
    pub fn priorities(&self) -> &[PriorityHosts] {
        &self.priorities
    }

    /// How requests spread over priorities.
    pub fn loads(&self) -> &PriorityLoads {
        &self.loads
    }

    /// What the set was built with.
    pub fn options(&self) -> &HostSetOptions {
        &self.options
    }

    fn assemble(members: Arc<[Member]>, weights: &LocalityWeights, options: HostSetOptions) -> Self {
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
        let states: Vec<_> = priorities
            .iter()
            .map(|hosts| PriorityState {
                all: hosts.all.len() as u32,
                healthy: hosts.healthy.len() as u32,
                degraded: hosts.degraded.len() as u32,
                excluded: hosts.excluded,
            })
            .collect();
        let loads = PriorityLoads::new(&states, options.overprovisioning_factor, options.panic_threshold);
        Self { id: NEXT_ID.fetch_add(1, Relaxed), options, members, priorities, loads }
    }
}

/// The highest priority number that the API allows.
const MAX_PRIORITY: u32 = 128;

type LocalityWeights = HashMap<(u32, Arc<Locality>), u32, ahash::RandomState>;

impl PriorityHosts {
    fn add(&mut self, at: u32, member: &Member, weights: &LocalityWeights) {
        self.all.push(at);
        match member.host.health() {
            Health::Healthy => self.healthy.push(at),
            Health::Degraded => self.degraded.push(at),
            Health::Unhealthy => {}
        }
        self.excluded += u32::from(member.host.is_excluded());
        match self.localities.iter_mut().find(|known| known.locality == member.locality) {
            Some(known) => known.hosts.push(at),
            None => self.localities.push(LocalityHosts {
                locality: member.locality.clone(),
                weight: weights.get(&(member.priority, member.locality.clone())).copied(),
                hosts: vec![at],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::host::HealthFlag;
    use super::*;

    fn spec(port: u16) -> HostSpec {
        HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
    }

    #[test]
    fn unchanged_hosts_survive_an_update() {
        let first = HostSet::new([spec(1), spec(2)], None, HostSetOptions::default());
        let heavier = HostSpec { weight: 5, priority: 1, ..spec(2) };
        let second = HostSet::new([heavier, spec(3)], Some(&first), HostSetOptions::default());
        assert!(Arc::ptr_eq(&first.members()[1].host, &second.members()[0].host));
        assert_eq!(second.members()[0].weight, 5);
        assert_eq!(second.priorities()[1].all, [0]);
        assert_ne!(first.id(), second.id());
    }

    #[test]
    fn a_refresh_follows_the_flags() {
        let set = HostSet::new([spec(1), spec(2), spec(3)], None, HostSetOptions::default());
        set.members()[0].host.set_flag(HealthFlag::FailedActiveHc, true);
        set.members()[1].host.set_flag(HealthFlag::DegradedActiveHc, true);
        assert_eq!(set.priorities()[0].healthy, [0, 1, 2]);
        let set = set.refreshed();
        assert_eq!(set.priorities()[0].healthy, [2]);
        assert_eq!(set.priorities()[0].degraded, [1]);
    }

    #[test]
    fn localities_keep_their_weights() {
        let zone = |name: &str| Arc::new(Locality { zone: name.into(), ..Locality::default() });
        let at =
            |port, name, weight| HostSpec { locality: zone(name), locality_weight: weight, ..spec(port) };
        let hosts = [at(1, "a", Some(3)), at(2, "b", None), at(3, "a", Some(3))];
        let set = HostSet::new(hosts, None, HostSetOptions::default()).refreshed();
        let localities = &set.priorities()[0].localities;
        assert_eq!(localities.len(), 2);
        assert_eq!((localities[0].weight, localities[0].hosts.as_slice()), (Some(3), &[0, 2][..]));
        assert_eq!((localities[1].weight, localities[1].hosts.as_slice()), (None, &[1][..]));
    }

    #[test]
    fn weights_differ_or_not() {
        let even = HostSet::new(
            [HostSpec { weight: 3, ..spec(1) }, HostSpec { weight: 3, ..spec(2) }],
            None,
            HostSetOptions::default(),
        );
        assert!(!even.priorities()[0].weighted);
        let uneven =
            HostSet::new([HostSpec { weight: 3, ..spec(1) }, spec(2)], None, HostSetOptions::default());
        assert!(uneven.priorities()[0].weighted);
    }
}
