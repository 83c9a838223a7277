//! Aggregate clusters: the priorities of several clusters, one after the other, as if they were those of one.
//!
//! A request goes to a priority of the joined list by the usual arithmetic ([`PriorityLoads`]); then the cluster that it belongs to
//! picks one of its hosts there. Priorities without hosts are left out of the list.

use super::{HostSet, PriorityLoads};
use crate::lb::Within;

/// The joined priorities of some clusters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    loads: PriorityLoads,
    /// Which cluster, and which of its priorities.
    places: Vec<(usize, usize)>,
}

impl Aggregate {
    /// Joins clusters in their order; one that is not there has no hosts. `threshold` is the panic threshold in percent.
    pub fn new<'h>(clusters: impl IntoIterator<Item = Option<&'h HostSet>>, threshold: f64) -> Self {
        let (mut states, mut factors, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (cluster, hosts) in clusters.into_iter().enumerate() {
            let Some(hosts) = hosts else { continue };
            for (priority, own) in hosts.priorities().iter().enumerate() {
                if own.all.is_empty() {
                    continue;
                }
                states.push(own.state());
                factors.push(hosts.options().overprovisioning_factor);
                places.push((cluster, priority));
            }
        }
        let factor = |at: usize| factors.get(at).copied().unwrap_or(100);
        Self { loads: PriorityLoads::with_factors(&states, factor, threshold), places }
    }

    /// The cluster for a request with this random value, by its place among them, and which of its hosts.
    pub fn choose(&self, random: u64) -> Option<(usize, Within)> {
        let Within { priority, degraded } = self.loads.draw(random)?;
        let (cluster, priority) = *self.places.get(priority)?;
        Some((cluster, Within { priority, degraded }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::{EdsHealth, HostSetOptions, HostSpec};
    use super::*;

    /// A cluster by the priority and health of each host.
    fn cluster(hosts: &[(u32, EdsHealth)]) -> HostSet {
        let spec = |(port, (priority, health)): (u16, &(u32, EdsHealth))| HostSpec {
            priority: *priority,
            health: *health,
            ..HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into())
        };
        HostSet::new((1..).zip(hosts).map(spec), None, HostSetOptions::default())
    }

    /// How many of a hundred values go to each cluster and priority.
    fn shares(clusters: &[Option<&HostSet>], threshold: f64) -> Vec<((usize, usize, bool), u32)> {
        let joined = Aggregate::new(clusters.iter().copied(), threshold);
        let mut shares: Vec<((usize, usize, bool), u32)> = Vec::new();
        for random in 0..100 {
            let Some((cluster, within)) = joined.choose(random) else { continue };
            let place = (cluster, within.priority, within.degraded);
            match shares.iter_mut().find(|(known, _)| *known == place) {
                Some((_, count)) => *count += 1,
                None => shares.push((place, 1)),
            }
        }
        shares
    }

    use EdsHealth::{Degraded as D, Healthy as H, Unhealthy as U};

    #[test]
    fn the_first_cluster_carries_what_it_can() {
        let (good, half, bad) = (cluster(&[(0, H), (0, H)]), cluster(&[(0, H), (0, U)]), cluster(&[(0, U)]));
        assert_eq!(shares(&[Some(&good), Some(&half)], 50.0), [((0, 0, false), 100)]);
        assert_eq!(shares(&[Some(&half), Some(&good)], 50.0), [((0, 0, false), 70), ((1, 0, false), 30)]);
        assert_eq!(shares(&[Some(&bad), None, Some(&good)], 50.0), [((2, 0, false), 100)]);
        assert_eq!(shares(&[], 50.0), []);
        assert_eq!(shares(&[None, Some(&HostSet::default())], 50.0), []);
    }

    #[test]
    fn priorities_follow_each_other() {
        // Its priority 1 has no hosts, and so no place.
        let first = cluster(&[(0, U), (2, H), (2, U)]);
        let second = cluster(&[(0, D)]);
        assert_eq!(shares(&[Some(&first), Some(&second)], 50.0), [((0, 2, false), 70), ((1, 0, true), 30)]);
    }

    #[test]
    fn in_panic_load_follows_the_number_of_hosts() {
        let (one, three) = (cluster(&[(0, U)]), cluster(&[(0, U), (0, U), (0, U)]));
        assert_eq!(shares(&[Some(&one), Some(&three)], 50.0), [((0, 0, false), 25), ((1, 0, false), 75)]);
    }
}
