//! Load balancing: which host serves a request.
//!
//! A [`LoadBalancer`] is one worker's state for one cluster. It is asked once per request, allocates nothing unless the
//! host set has changed, and touches nothing shared but the active-request counters that LEAST_REQUEST compares.
//!
//! A pick goes in two steps: [`crate::cluster::PriorityLoads`] gives the priority and which of its lists is used (healthy,
//! degraded, or all of them in panic), then the policy picks from that list.

mod bounded;
mod edf;
pub mod hashing;
pub mod load;
mod maglev;
mod murmur;
mod policy;
mod ring;
mod special;
pub mod subset;
mod zone;

use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::priority::{HostSource, PriorityChoice};
use crate::cluster::{HostSet, Member};
use edf::Edf;
pub use hashing::HashTable;
pub use load::{HostLoad, LoadReport, LoadReports, PeakEwma};
pub use policy::{HashKey, LbPolicy, LeastRequest, Maglev, RingHash, Settings, SlowStart};
use special::Special;
pub use subset::{Criteria, Label, Labels, SubsetConfig, Subsets};
pub use zone::ZoneAware;

/// What a pick depends on besides the hosts.
pub struct PickContext<'a> {
    /// The worker's source of random numbers.
    pub rng: &'a mut fastrand::Rng,
    /// What the request's hash policies came to; a random value takes its place.
    pub hash: Option<u64>,
    /// What the request's route wants of the host's metadata.
    pub criteria: Option<&'a Criteria>,
    /// How many hosts this request has turned down so far: hashing policies look elsewhere each time.
    pub turned_down: u32,
    /// Milliseconds of a clock that does not go back; read by slow start and by policies that learn.
    pub now: u64,
    /// The priority, where an aggregate cluster has chosen it.
    pub within: Option<Within>,
    /// The proxies like this one, for zone-aware routing.
    pub local: Option<&'a HostSet>,
    /// What the pick came by.
    pub notes: Notes,
}

/// A part of a cluster's hosts that was chosen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The priority.
    pub priority: usize,
    /// Its degraded hosts.
    pub degraded: bool,
}

/// What a pick came by, to be counted: a set of the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u16);

impl Notes {
    /// `lb_recalculate_zone_structures`
    pub const RECALCULATED: Self = Self(1);
    /// `lb_local_cluster_not_ok`
    pub const LOCAL_NOT_OK: Self = Self(1 << 1);
    /// `lb_zone_cluster_too_small`
    pub const TOO_SMALL: Self = Self(1 << 2);
    /// `lb_zone_routing_all_directly`
    pub const ALL_DIRECTLY: Self = Self(1 << 3);
    /// `lb_zone_routing_sampled`
    pub const SAMPLED: Self = Self(1 << 4);
    /// `lb_zone_routing_cross_zone`
    pub const CROSS_ZONE: Self = Self(1 << 5);
    /// `lb_zone_no_capacity_left`
    pub const NO_CAPACITY: Self = Self(1 << 6);

    /// Takes a note.
    pub fn add(&mut self, note: Self) {
        self.0 |= note.0;
    }

    /// Whether a note was taken.
    pub fn has(self, note: Self) -> bool {
        self.0 & note.0 != 0
    }

    /// Whether none was.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<'a> PickContext<'a> {
    /// The context of a request that wants any host.
    pub fn new(rng: &'a mut fastrand::Rng) -> Self {
        Self {
            rng,
            hash: None,
            criteria: None,
            turned_down: 0,
            now: 0,
            within: None,
            local: None,
            notes: Notes::default(),
        }
    }

    /// The priority for this pick, and which of its hosts.
    #[inline]
    fn choose(&mut self, hosts: &HostSet) -> Option<PriorityChoice> {
        match self.within {
            None => hosts.loads().choose_with(|| self.rng.u64(..)),
            Some(within) => Some(hosts.loads().within(within)),
        }
    }
}

/// How a request came to a subset of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubsetUse {
    /// There are no subsets.
    None,
    /// Its criteria chose one (`lb_subsets_selected`).
    Selected,
    /// The fallback policy did (`lb_subsets_fallback`).
    Fallback,
    /// The fallback had no host, and any will do (`lb_subsets_fallback_panic`).
    Panic,
}

/// A picked host.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'h> {
    /// The host and its place in the set.
    pub member: &'h Member,
    /// Whether its priority is in panic (`lb_healthy_panic`).
    pub panic: bool,
    /// The way to its subset.
    pub subset: SubsetUse,
}

/// One worker's balancer for one cluster.
#[derive(Debug)]
pub struct LoadBalancer {
    settings: Settings,
    /// The host set that `turns` belongs to.
    known: u64,
    /// Per priority and source; built when first used.
    turns: Vec<Turn>,
    /// What more than a list of hosts needs: hashing, subsets, localities, slow start.
    special: Option<Box<Special>>,
}

/// Where the rotation over one list of hosts stands.
#[derive(Debug, Default)]
enum Turn {
    #[default]
    Unused,
    /// Weights are the same: an index.
    Even(u32),
    /// Weights differ: earliest deadline first.
    Weighted(Edf),
}

impl LoadBalancer {
    /// A balancer that has seen no hosts yet.
    pub fn new(settings: impl Into<Settings>) -> Self {
        let settings = settings.into();
        let special = settings.is_special().then(Box::default);
        Self { settings, known: 0, turns: Vec::new(), special }
    }

    /// Whether a pick looks at the clock.
    #[inline]
    pub fn reads_clock(&self) -> bool {
        self.special.is_some() && self.settings.reads_clock()
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Picks a host; `None` if there is none to use.
    #[inline]
    pub fn pick<'h>(&mut self, hosts: &'h HostSet, context: &mut PickContext<'_>) -> Option<Pick<'h>> {
        if self.special.is_some() {
            return self.pick_special(hosts, context);
        }
        let choice = context.choose(hosts)?;
        let priority = hosts.priorities().get(choice.priority)?;
        let panic = choice.source == HostSource::All;
        let list = match choice.source {
            HostSource::Healthy => &priority.healthy,
            HostSource::Degraded => &priority.degraded,
            HostSource::All if hosts.options().fail_traffic_on_panic => return None,
            HostSource::All => &priority.all,
        };
        let at = match list.as_slice() {
            [] => return None,
            [only] => *only,
            _ => *list.get(self.position(hosts, list, priority.weighted, choice, context.rng))?,
        };
        Some(Pick { member: hosts.members().get(at as usize)?, panic, subset: SubsetUse::None })
    }

    /// The position in `list`, which has two hosts or more.
    #[inline]
    fn position(
        &mut self,
        hosts: &HostSet,
        list: &[u32],
        weighted: bool,
        choice: PriorityChoice,
        rng: &mut fastrand::Rng,
    ) -> usize {
        match self.settings.policy {
            LbPolicy::Random => below(rng, list.len()),
            LbPolicy::LeastRequest(settings) if settings.full_scan && !weighted => {
                least_of_all(hosts, list, rng)
            }
            LbPolicy::LeastRequest(settings) if !weighted => {
                least_of_some(hosts, list, settings.choice_count, rng)
            }
            LbPolicy::LeastRequest(LeastRequest { active_request_bias, .. }) => {
                let weight = |at: usize| biased_weight(hosts, list[at], active_request_bias);
                self.turn(hosts, list, weighted, choice, rng).advance(list.len(), weight)
            }
            LbPolicy::RoundRobin
            | LbPolicy::RingHash(_)
            | LbPolicy::Maglev(_)
            | LbPolicy::ClientWeighted
            | LbPolicy::PeakEwma(_) => {
                let weight = |at: usize| weight(hosts, list[at]);
                self.turn(hosts, list, weighted, choice, rng).advance(list.len(), weight)
            }
        }
    }

    /// The rotation over `list`, made anew if the host set has changed.
    #[inline]
    fn turn(
        &mut self,
        hosts: &HostSet,
        list: &[u32],
        weighted: bool,
        choice: PriorityChoice,
        rng: &mut fastrand::Rng,
    ) -> &mut Turn {
        if self.known != hosts.id() {
            self.known = hosts.id();
            self.turns.clear();
            self.turns.resize_with(hosts.priorities().len() * 3, Turn::default);
        }
        let turn = &mut self.turns[choice.priority * 3 + choice.source as usize];
        if matches!(turn, Turn::Unused) {
            *turn = Turn::new(hosts, list, weighted, rng);
        }
        turn
    }
}

impl Turn {
    fn new(hosts: &HostSet, list: &[u32], weighted: bool, rng: &mut fastrand::Rng) -> Self {
        if weighted {
            Self::Weighted(Edf::new(list.len(), |at| weight(hosts, list[at]), rng))
        } else {
            Self::Even(below(rng, list.len()) as u32)
        }
    }

    #[inline]
    fn advance(&mut self, len: usize, weight: impl Fn(usize) -> f64) -> usize {
        match self {
            Self::Unused => 0,
            Self::Even(next) => {
                let at = *next as usize;
                *next = if at + 1 < len { *next + 1 } else { 0 };
                at
            }
            Self::Weighted(edf) => edf.pick(weight),
        }
    }
}

fn weight(hosts: &HostSet, member: u32) -> f64 {
    hosts.members().get(member as usize).map_or(1.0, |member| f64::from(member.weight))
}

fn active(hosts: &HostSet, member: u32) -> u64 {
    hosts
        .members()
        .get(member as usize)
        .map_or(u64::MAX, |member| member.host.counters.rq_active.load(Relaxed))
}

fn biased_weight(hosts: &HostSet, member: u32, bias: f64) -> f64 {
    let busy = (active(hosts, member) + 1) as f64;
    // The default needs no power function.
    let divisor = if (bias - 1.0).abs() < f64::EPSILON { busy } else { busy.powf(bias) };
    weight(hosts, member) / divisor
}

/// The least busy of `count` hosts drawn at random, the first drawn on a tie.
fn least_of_some(hosts: &HostSet, list: &[u32], count: u32, rng: &mut fastrand::Rng) -> usize {
    let mut best = below(rng, list.len());
    let mut least = active(hosts, list[best]);
    for _ in 1..count {
        let drawn = below(rng, list.len());
        let busy = active(hosts, list[drawn]);
        if busy < least {
            (best, least) = (drawn, busy);
        }
    }
    best
}

/// The least busy of all hosts, any of them on a tie.
fn least_of_all(hosts: &HostSet, list: &[u32], rng: &mut fastrand::Rng) -> usize {
    let (mut best, mut least, mut ties) = (0, u64::MAX, 0);
    for (at, member) in list.iter().enumerate() {
        let busy = active(hosts, *member);
        if busy < least {
            (best, least, ties) = (at, busy, 1);
        } else if busy == least {
            ties += 1;
            if below(rng, ties) == 0 {
                best = at;
            }
        }
    }
    best
}

/// A number below `end`, uniform enough: the bias is under one in 2^32 of the range.
#[inline]
fn below(rng: &mut fastrand::Rng, end: usize) -> usize {
    ((u128::from(rng.u64(..)) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;
