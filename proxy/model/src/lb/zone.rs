//! Zone-aware routing: requests stay in this proxy's locality as far as its hosts can carry them.
//!
//! The proxies like this one (the local cluster) and the upstream's healthy hosts are compared by locality. Where the upstream has
//! at least our share here, all requests stay; else as many as it can carry, and the rest goes to localities with more hosts than
//! proxies, in proportion to what they have to spare. By Envoy's arithmetic, and in priority 0 only.
//!
//! ```text
//! local cluster, hosts --plan, when either changes--> none | all stay | a part stays, the rest by residual capacity
//! ```

use std::sync::Arc;

use super::Notes;
use crate::cluster::{HostSet, Locality, LocalityHosts};
use crate::route::Slot;

/// `ZoneAwareLbConfig`, for a proxy with a local cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneAware {
    /// The slot of the proxies like this one (`local_cluster_name`).
    pub local: Slot,
    /// Where this proxy is (`node.locality`).
    pub here: Arc<Locality>,
    /// `routing_enabled`, in whole percent.
    pub enabled: u32,
    /// `min_cluster_size`: of healthy hosts.
    pub min_cluster_size: u64,
    /// `force_local_zone`: with so many healthy hosts here, all requests stay.
    pub force_local: Option<u32>,
    /// `locality_basis: HEALTHY_HOSTS_WEIGHT`
    pub by_weight: bool,
}

/// Where requests go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Routing {
    /// Anywhere.
    #[default]
    None,
    /// To this locality.
    Direct(u32),
    /// Some stay, others go where there is room.
    Residual {
        /// Our locality and the share that stays, in hundredths of a percent.
        local: Option<(u32, u64)>,
        /// The capacity to spare, summed up, by locality.
        residual: Vec<(u32, u64)>,
    },
}

/// The shares of a locality, in hundredths of a percent.
struct Shares {
    local: u64,
    upstream: u64,
}

/// Plans for the hosts of now. `local` are the proxies like this one.
pub(super) fn plan(zone: &ZoneAware, hosts: &HostSet, local: &HostSet, notes: &mut Notes) -> Routing {
    notes.add(Notes::RECALCULATED);
    let Some(priority) = hosts.priorities().first().filter(|priority| priority.localities.len() > 1) else {
        return Routing::None;
    };
    let peers = local.priorities().first().map_or(&[][..], |priority| &priority.localities);
    if peers.len() < 2 && zone.force_local.is_none() {
        return Routing::None;
    }
    if !peers.iter().any(|locality| locality.locality == zone.here) {
        notes.add(Notes::LOCAL_NOT_OK);
        return Routing::None;
    }
    if (priority.healthy.len() as u64) < zone.min_cluster_size {
        notes.add(Notes::TOO_SMALL);
        return Routing::None;
    }
    let shares = shares(zone, hosts, &priority.localities, local, peers);
    let here = priority.localities.iter().position(|locality| locality.locality == zone.here);
    if let Some(at) = here {
        let own = &shares[at];
        let forced = zone
            .force_local
            .is_some_and(|least| priority.localities[at].healthy.len() as u64 >= u64::from(least));
        if own.upstream > 0 && own.upstream >= own.local || forced {
            return Routing::Direct(at as u32);
        }
    }
    let part = |own: &Shares| (own.upstream * 10_000).checked_div(own.local).unwrap_or(0);
    let mut sum = 0;
    // Ours is done with: what it can carry it carries already.
    let others = shares.iter().enumerate().filter(|(at, _)| Some(*at) != here);
    let residual = others.map(|(at, shares)| {
        sum += shares.upstream.saturating_sub(shares.local);
        (at as u32, sum)
    });
    Routing::Residual { residual: residual.collect(), local: here.map(|at| (at as u32, part(&shares[at]))) }
}

fn shares(
    zone: &ZoneAware,
    hosts: &HostSet,
    upstream: &[LocalityHosts],
    local: &HostSet,
    peers: &[LocalityHosts],
) -> Vec<Shares> {
    let size = |set: &HostSet, locality: &LocalityHosts| -> u64 {
        if !zone.by_weight {
            return locality.healthy.len() as u64;
        }
        let weight = |at: &u32| set.members().get(*at as usize).map_or(0, |member| u64::from(member.weight));
        locality.healthy.iter().map(weight).sum()
    };
    let total = |set: &HostSet, all: &[LocalityHosts]| -> u64 { all.iter().map(|one| size(set, one)).sum() };
    let (of_peers, of_hosts) = (total(local, peers), total(hosts, upstream));
    let share = |part: u64, whole: u64| (10_000 * part).checked_div(whole).unwrap_or(0);
    let shares = |locality: &LocalityHosts| {
        let own = size(hosts, locality);
        if own == 0 {
            return Shares { local: 0, upstream: 0 };
        }
        let peers = peers.iter().find(|peers| peers.locality == locality.locality);
        Shares {
            local: share(peers.map_or(0, |peers| size(local, peers)), of_peers),
            upstream: share(own, of_hosts),
        }
    };
    upstream.iter().map(shares).collect()
}

/// Whether the proxies like this one are in panic themselves, so that their number says nothing.
pub(super) fn in_panic(local: &HostSet, threshold: f64) -> bool {
    let Some(priority) = local.priorities().first() else { return true };
    let counted = priority.all.len().saturating_sub(priority.excluded as usize);
    let usable = priority.healthy.len() + priority.degraded.len();
    let percent = if counted == 0 { 0.0 } else { 100.0 * usable as f64 / counted as f64 };
    percent < threshold.clamp(0.0, 100.0)
}

impl Routing {
    /// The locality for a request; `None` for any.
    pub(super) fn choose(&self, rng: &mut fastrand::Rng, notes: &mut Notes) -> Option<u32> {
        let (local, residual) = match self {
            Self::None => return None,
            Self::Direct(locality) => {
                notes.add(Notes::ALL_DIRECTLY);
                return Some(*locality);
            }
            Self::Residual { local, residual } => (local, residual),
        };
        if let Some((locality, part)) = local
            && rng.u64(0..10_000) < *part
        {
            notes.add(Notes::SAMPLED);
            return Some(*locality);
        }
        notes.add(Notes::CROSS_ZONE);
        let all = residual.last().map_or(0, |(_, sum)| *sum);
        if all == 0 {
            // Rounding left nothing over: any locality will do.
            notes.add(Notes::NO_CAPACITY);
            let count = residual.len() + usize::from(local.is_some());
            return Some(rng.usize(0..count.max(1)) as u32);
        }
        let drawn = rng.u64(0..all);
        residual.iter().find(|(_, sum)| drawn < *sum).map(|(locality, _)| *locality)
    }
}

#[cfg(test)]
mod tests;
