//! Consistent hashing: the tables that ring hash and Maglev look a request's hash up in.
//!
//! The control thread builds a table per priority with the host set, over the hosts to be used (all of them in panic), each with
//! its share of the weight. Tables are the same as Envoy's, so a key goes to the same host whichever proxy it meets.

use twox_hash::XxHash64;

use super::bounded::Bounded;
use super::policy::{HashKey, LbPolicy};
use super::{maglev, ring};
use crate::cluster::{Member, PriorityHosts};

/// A host's share of all requests; the shares of a table add up to one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Position in the members of the set.
    pub member: u32,
    /// Its share.
    pub weight: f64,
}

/// The table of one priority.
#[derive(Clone, Debug)]
pub struct HashTable {
    places: Places,
    bounded: Option<Bounded>,
}

#[derive(Clone, Debug)]
enum Places {
    /// Points on a circle.
    Ring(Vec<ring::Point>),
    /// One member for each remainder of a hash.
    Maglev(Vec<u32>),
}

/// xxHash64 as Envoy uses it.
pub fn xx_hash(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

impl HashTable {
    /// The table over one priority; `None` for a policy that does not hash, or without hosts.
    pub(crate) fn build(
        policy: &LbPolicy,
        members: &[Member],
        hosts: &PriorityHosts,
        panic: bool,
        by_locality: bool,
    ) -> Option<Self> {
        let factor = match policy {
            LbPolicy::RingHash(settings) => settings.balance_factor,
            LbPolicy::Maglev(settings) => settings.balance_factor,
            _ => return None,
        };
        let shares = shares(members, hosts, panic, by_locality);
        if shares.is_empty() {
            return None;
        }
        let places = match policy {
            LbPolicy::RingHash(settings) => Places::Ring(ring::build(settings, members, &shares)),
            LbPolicy::Maglev(settings) => Places::Maglev(maglev::build(settings, members, &shares)),
            _ => return None,
        };
        Some(Self { places, bounded: factor.map(|factor| Bounded::new(factor, shares)) })
    }

    /// The member for a hash. One that turned hosts down already is shown another place.
    pub fn pick(&self, members: &[Member], hash: u64, turned_down: u32) -> Option<u32> {
        let first = match &self.places {
            Places::Ring(points) => ring::pick(points, hash, turned_down),
            Places::Maglev(table) => maglev::pick(table, hash, turned_down),
        }?;
        Some(self.bounded.as_ref().map_or(first, |bounded| bounded.pick(members, first, hash)))
    }
}

/// What is hashed of a host.
pub(super) fn key(member: &Member, key: HashKey) -> String {
    if let Some(own) = member.labels.as_ref().and_then(|labels| labels.hash_key()) {
        return own.to_owned();
    }
    match key {
        HashKey::Hostname if !member.host.hostname.is_empty() => member.host.hostname.to_string(),
        _ => member.host.address.to_string(),
    }
}

/// The shares of the hosts of a priority: by weight, within localities by the locality's weight where those count.
fn shares(members: &[Member], hosts: &PriorityHosts, panic: bool, by_locality: bool) -> Vec<Share> {
    let weight = |at: &u32| members.get(*at as usize).map_or(0, |member| u64::from(member.weight));
    let mut out = Vec::new();
    let mut spread = |list: &[u32], part: f64| {
        let sum: u64 = list.iter().map(weight).sum();
        out.extend(
            list.iter().map(|at| Share { member: *at, weight: weight(at) as f64 * part / sum as f64 }),
        );
    };
    if !(by_locality && hosts.has_locality_weights()) {
        spread(if panic { &hosts.all } else { &hosts.healthy }, 1.0);
        return out;
    }
    let total: u64 = hosts.localities.iter().map(|locality| u64::from(locality.weight.unwrap_or(0))).sum();
    for locality in &hosts.localities {
        let part = f64::from(locality.weight.unwrap_or(0)) / total as f64;
        if part > 0.0 {
            spread(if panic { &locality.hosts } else { &locality.healthy }, part);
        }
    }
    out
}
