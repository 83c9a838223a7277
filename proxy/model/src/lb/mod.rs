//! Load balancing: which host serves a request.
//!
//! A [`LoadBalancer`] is one worker's state for one cluster. It is asked once per request, allocates nothing unless the
//! host set has changed, and touches nothing shared but the active-request counters that LEAST_REQUEST compares.
//!
//! A pick goes in two steps: [`crate::cluster::PriorityLoads`] gives the priority and which of its lists is used (healthy,
//! degraded, or all of them in panic), then the policy picks from that list.

mod edf;

use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::priority::{HostSource, PriorityChoice};
use crate::cluster::{HostSet, Member};
use edf::Edf;

/// Which policy, with its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LbPolicy {
    /// In turn; in proportion to weight where weights differ.
    #[default]
    RoundRobin,
    /// The least busy of a few, or of all.
    LeastRequest(LeastRequest),
    /// Any, whatever the weight.
    Random,
}

/// Settings of LEAST_REQUEST.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastRequest {
    /// How many hosts are drawn and compared.
    pub choice_count: u32,
    /// How strongly active requests lower a weight, where weights differ.
    pub active_request_bias: f64,
    /// `selection_method: FULL_SCAN`: all hosts are compared.
    pub full_scan: bool,
}

/// What a pick depends on besides the hosts.
pub struct PickContext<'a> {
    /// The worker's source of random numbers.
    pub rng: &'a mut fastrand::Rng,
}

/// A picked host.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'h> {
    /// The host and its place in the set.
    pub member: &'h Member,
    /// Whether its priority is in panic (`lb_healthy_panic`).
    pub panic: bool,
}

/// One worker's balancer for one cluster.
#[derive(Debug)]
pub struct LoadBalancer {
    policy: LbPolicy,
    /// The host set that `turns` belongs to.
    known: u64,
    /// Per priority and source; built when first used.
    turns: Vec<Turn>,
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

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0, full_scan: false }
    }
}

impl LoadBalancer {
    /// A balancer that has seen no hosts yet.
    pub fn new(policy: LbPolicy) -> Self {
        Self { policy, known: 0, turns: Vec::new() }
    }

    /// The policy.
    pub fn policy(&self) -> LbPolicy {
        self.policy
    }

    /// Picks a host; `None` if there is none to use.
    #[inline]
    pub fn pick<'h>(&mut self, hosts: &'h HostSet, context: &mut PickContext<'_>) -> Option<Pick<'h>> {
        let choice = hosts.loads().choose_with(|| context.rng.u64(..))?;
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
        Some(Pick { member: hosts.members().get(at as usize)?, panic })
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
        match self.policy {
            LbPolicy::Random => below(rng, list.len()),
            LbPolicy::LeastRequest(settings) if settings.full_scan => least_of_all(hosts, list, rng),
            LbPolicy::LeastRequest(settings) if !weighted => {
                least_of_some(hosts, list, settings.choice_count, rng)
            }
            LbPolicy::LeastRequest(LeastRequest { active_request_bias, .. }) => {
                let weight = |at: usize| biased_weight(hosts, list[at], active_request_bias);
                self.turn(hosts, list, weighted, choice, rng).advance(list.len(), weight)
            }
            LbPolicy::RoundRobin => {
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
            *turn = if weighted {
                Turn::Weighted(Edf::new(list.len(), |at| weight(hosts, list[at]), rng))
            } else {
                Turn::Even(below(rng, list.len()) as u32)
            };
        }
        turn
    }
}

impl Turn {
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
