//! `preconnect_policy`: connections that are opened before a request needs them.
//!
//! Called whenever a request has taken its place in a pool. The rule is Envoy's: with `r` the ratio, there should be room for
//! `r` times the requests that are served or wait. `per_upstream_preconnect_ratio` looks at one host,
//! `predictive_preconnect_ratio` at the whole cluster, and opens towards the hosts whose turn comes next.

use std::ops::Add;
use std::rc::Rc;

use super::HostPool;
use super::{h1, h2};
use crate::upstream::cluster::WorkerCluster;

/// Connections opened at most for one request, so that a burst does not become a storm.
const MOST_AT_ONCE: usize = 3;

/// Which of a host's pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1
    H1,
    /// HTTP/2
    H2,
}

/// The requests of a pool, and the room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests without a connection.
    pub pending: usize,
    /// Requests that are served.
    pub active: usize,
    /// Requests that open connections, and those being opened, could take in addition.
    pub capacity: usize,
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pending: self.pending + other.pending,
            active: self.active + other.active,
            capacity: self.capacity + other.capacity,
        }
    }
}

impl Load {
    /// Whether one more connection is wanted; `ahead` counts a request that is yet to come.
    fn wants_more(self, ratio: f64, ahead: bool) -> bool {
        let requests = self.pending + self.active + usize::from(ahead);
        requests as f64 * ratio > (self.capacity + self.active) as f64
    }
}

/// Opens what the policy asks for after a request has come to `pool`.
#[inline]
pub fn consider(cluster: &Rc<WorkerCluster>, pool: &Rc<HostPool>, kind: Kind) {
    let policy = cluster.config().preconnect;
    if policy.per_upstream_ratio > 1.0 {
        for _ in 0..MOST_AT_ONCE {
            if !pool.load(kind).wants_more(policy.per_upstream_ratio, false) || !open(cluster, pool, kind) {
                break;
            }
        }
    }
    if policy.predictive_ratio > 1.0 {
        predict(cluster, policy.predictive_ratio, kind);
    }
}

fn predict(cluster: &Rc<WorkerCluster>, ratio: f64, kind: Kind) {
    for _ in 0..MOST_AT_ONCE {
        if !cluster.load(kind).wants_more(ratio, true) {
            return;
        }
        let Some(next) = cluster.peek() else { return };
        if !next.load(kind).wants_more(ratio, true) || !open(cluster, &next, kind) {
            return;
        }
    }
}

/// Begins to connect; false if the circuit breaker is open.
fn open(cluster: &Rc<WorkerCluster>, pool: &Rc<HostPool>, kind: Kind) -> bool {
    match kind {
        Kind::H1 => h1::preconnect(cluster, pool),
        Kind::H2 => h2::preconnect(cluster, pool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_in_proportion() {
        let load = |pending, active, capacity| Load { pending, active, capacity };
        for (load, ratio, ahead, expected) in [
            (load(1, 0, 1), 1.5, false, true),
            (load(1, 0, 2), 1.5, false, false),
            (load(0, 2, 1), 1.5, false, false),
            (load(0, 3, 1), 1.5, false, true),
            (load(0, 0, 0), 1.5, true, true),
            (load(0, 1, 1), 1.0, false, false),
            (load(0, 1, 1), 1.5, true, true),
        ] {
            assert_eq!(load.wants_more(ratio, ahead), expected, "{load:?} x {ratio}");
        }
        assert_eq!(load(1, 2, 3) + load(1, 1, 1), load(2, 3, 4));
    }
}
