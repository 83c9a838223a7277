//! What a route does with a request: the pure parts of `RouteAction`, and `DirectResponseAction`.
//!
//! The proxy composes these into its own action type beside header operations and filter configuration. Redirects are in
//! [`super::redirect`], rewrites in [`super::rewrite`].

use std::sync::Arc;
use std::time::Duration;

use super::request::HeaderName;
use super::rewrite::{HostRewrite, PathRewrite};
use crate::fraction::RuntimeValues;

/// The stable number of a cluster in the snapshot's cluster table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// Not linked: no cluster of that name is known.
    pub const UNLINKED: Self = Self(u32::MAX);

    /// The number as an index, when linked.
    pub fn index(self) -> Option<usize> {
        (self != Self::UNLINKED).then_some(self.0 as usize)
    }
}

/// A cluster by name, with the slot that the link step found for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRef {
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its slot; [`Slot::UNLINKED`] before linking or when there is no such cluster.
    pub slot: Slot,
}

impl ClusterRef {
    /// A reference that is not linked yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), slot: Slot::UNLINKED }
    }
}

/// `RouteAction.cluster_specifier`; `W` is what the proxy keeps with each weighted cluster.
#[derive(Clone, Debug)]
pub enum ClusterSpecifier<W> {
    /// This cluster.
    Cluster(ClusterRef),
    /// The cluster named by this request header.
    Header(HeaderName),
    /// One of several, by weight.
    Weighted(WeightedClusters<W>),
}

/// One entry of `WeightedCluster.clusters`.
#[derive(Clone, Debug)]
pub struct WeightedCluster<W> {
    /// Where to: never `Weighted` itself.
    pub target: WeightedTarget,
    /// Its share of the total.
    pub weight: u32,
    /// What the proxy keeps with it.
    pub payload: W,
}

/// How a weighted entry names its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightedTarget {
    /// By name.
    Cluster(ClusterRef),
    /// By the value of a request header.
    Header(HeaderName),
}

/// Why a set of weighted clusters was refused.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum WeightError {
    /// Nothing to choose from.
    #[error("Sum of weights in the weighted_cluster must be greater than 0.")]
    Zero,
    /// The sum does not fit.
    #[error("The sum of weights of all weighted clusters exceeds 4294967295")]
    TooLarge,
}

/// Clusters that share a route's requests by weight.
#[derive(Clone, Debug)]
pub struct WeightedClusters<W> {
    entries: Vec<WeightedCluster<W>>,
    /// Sum of the weights up to and including each entry.
    ends: Vec<u32>,
    draw: Option<Box<Draw>>,
}

/// What weighted clusters are chosen by, where that is not their own weights and the stream's random value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draw {
    /// `runtime_key_prefix`: where the runtime may have another weight of each entry; empty if there is no such prefix.
    pub keys: Vec<Box<str>>,
    /// `header_name`: a header with a number in place of the random value.
    pub header: Option<HeaderName>,
    /// `use_hash_policy`: the hash of the request is in place of the random value, where the header is not.
    pub by_hash: bool,
}

impl<W> WeightedClusters<W> {
    /// Checks the weights and sums them up.
    pub fn new(entries: Vec<WeightedCluster<W>>) -> Result<Self, WeightError> {
        let mut total = 0u32;
        let mut ends = Vec::with_capacity(entries.len());
        for entry in &entries {
            total = total.checked_add(entry.weight).ok_or(WeightError::TooLarge)?;
            ends.push(total);
        }
        if total == 0 { Err(WeightError::Zero) } else { Ok(Self { entries, ends, draw: None }) }
    }

    /// The same, chosen in another way.
    #[must_use]
    pub fn drawn_by(mut self, draw: Draw) -> Self {
        self.draw = Some(Box::new(draw)).filter(|draw| **draw != Draw::default());
        self
    }

    /// How they are chosen, where that is not by their own weights and the stream's random value.
    pub fn draw(&self) -> Option<&Draw> {
        self.draw.as_deref()
    }

    /// The number of the entry that `random` (the stream's value, uniform over `u64`) falls on.
    #[inline]
    pub fn choose(&self, random: u64, runtime: &dyn RuntimeValues) -> usize {
        let by_runtime = match &self.draw {
            Some(draw) if !draw.keys.is_empty() => self.choose_by_runtime(&draw.keys, random, runtime),
            _ => None,
        };
        by_runtime.unwrap_or_else(|| {
            let value = (random % u64::from(self.total())) as u32;
            let at = self.ends.partition_point(|end| *end <= value);
            at.min(self.entries.len() - 1)
        })
    }

    /// By the weights that the runtime has; `None` if their sum is zero or too large.
    #[cold]
    fn choose_by_runtime(
        &self,
        keys: &[Box<str>],
        random: u64,
        runtime: &dyn RuntimeValues,
    ) -> Option<usize> {
        let weights = || {
            let each = keys.iter().zip(&self.entries);
            each.map(|(key, entry)| runtime.integer(key).unwrap_or_else(|| u64::from(entry.weight)))
        };
        let total = weights().try_fold(0u64, u64::checked_add)?;
        let mut value = random % u64::from(u32::try_from(total).ok().filter(|total| *total > 0)?);
        weights().position(|weight| match value.checked_sub(weight) {
            None => true,
            Some(left) => {
                value = left;
                false
            }
        })
    }

    /// An entry by its number.
    #[inline]
    pub fn entry(&self, number: usize) -> &WeightedCluster<W> {
        &self.entries[number.min(self.entries.len() - 1)]
    }

    /// The sum of the weights; never zero.
    pub fn total(&self) -> u32 {
        self.ends.last().copied().unwrap_or(1)
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[WeightedCluster<W>] {
        &self.entries
    }

    /// The entries, for linking. Changing a weight here has no effect.
    pub fn entries_mut(&mut self) -> &mut [WeightedCluster<W>] {
        &mut self.entries
    }
}

impl<W> ClusterSpecifier<W> {
    /// Every cluster named outright, for the link step.
    pub fn references_mut(&mut self) -> impl Iterator<Item = &mut ClusterRef> {
        let (one, many) = match self {
            Self::Cluster(cluster) => (Some(cluster), None),
            Self::Header(_) => (None, None),
            Self::Weighted(weighted) => (None, Some(weighted.entries.iter_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten().filter_map(|entry| match &mut entry.target {
            WeightedTarget::Cluster(cluster) => Some(cluster),
            WeightedTarget::Header(_) => None,
        }))
    }
}

/// `RoutingPriority`: which circuit-breaker thresholds count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// The usual.
    #[default]
    Default,
    /// For traffic that is to get through.
    High,
}

/// Timeouts of a route. `None` is "not configured"; zero is "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// `timeout`: the whole response, from the end of the request.
    pub request: Option<Duration>,
    /// `idle_timeout`: no bytes either way.
    pub idle: Option<Duration>,
    /// `flush_timeout`: bytes that the peer does not take.
    pub flush: Option<Duration>,
    /// `max_stream_duration.max_stream_duration`.
    pub max_stream_duration: Option<Duration>,
    /// `max_stream_duration.grpc_timeout_header_max`.
    pub grpc_timeout_header_max: Option<Duration>,
    /// `max_stream_duration.grpc_timeout_header_offset`.
    pub grpc_timeout_header_offset: Option<Duration>,
    /// `max_stream_duration` is there, in place of the other limits of the response.
    pub has_max_stream: bool,
    /// `max_grpc_timeout`
    pub max_grpc_timeout: Option<Duration>,
    /// `grpc_timeout_offset`
    pub grpc_timeout_offset: Option<Duration>,
}

impl RouteTimeouts {
    /// `timeout` where the configuration says nothing.
    pub const DEFAULT_REQUEST: Duration = Duration::from_secs(15);

    /// The request timeout in force; `None` is without limit.
    pub fn effective_request(&self) -> Option<Duration> {
        if self.has_max_stream {
            return None;
        }
        let timeout = self.request.unwrap_or(Self::DEFAULT_REQUEST);
        (!timeout.is_zero()).then_some(timeout)
    }

    /// What takes its place for gRPC with `max_grpc_timeout`: what the client asks for, less the offset where that leaves
    /// something, within the bound. Zero is without limit.
    pub fn legacy_grpc(&self, wished: Option<Duration>) -> Option<Duration> {
        let bound = self.max_grpc_timeout.filter(|_| !self.has_max_stream)?;
        let mut limit = wished.unwrap_or_default();
        if let Some(offset) = self.grpc_timeout_offset.filter(|offset| *offset < limit) {
            limit -= offset;
        }
        if !bound.is_zero() && (limit.is_zero() || limit > bound) {
            limit = bound;
        }
        Some(limit)
    }
}

/// `RouteAction`, its pure part.
#[derive(Clone, Debug)]
pub struct RouteAction<W> {
    /// Which cluster.
    pub cluster: ClusterSpecifier<W>,
    /// Status of the reply when the cluster does not exist: 503, 404 or 500.
    pub cluster_not_found_status: u16,
    /// What becomes of the path.
    pub path_rewrite: PathRewrite,
    /// What becomes of the host.
    pub host_rewrite: HostRewrite,
    /// Whether a rewritten host is kept in `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// How long things may take.
    pub timeouts: RouteTimeouts,
    /// Which thresholds count.
    pub priority: Priority,
}

impl<W> RouteAction<W> {
    /// An action with Envoy's defaults.
    pub fn new(cluster: ClusterSpecifier<W>) -> Self {
        Self {
            cluster,
            cluster_not_found_status: 503,
            path_rewrite: PathRewrite::None,
            host_rewrite: HostRewrite::None,
            append_x_forwarded_host: false,
            timeouts: RouteTimeouts::default(),
            priority: Priority::Default,
        }
    }
}

/// `DirectResponseAction`: an answer without an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status.
    pub status: u16,
    /// The body; may be empty.
    pub body: Arc<[u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fraction::{FractionalPercent, NoRuntime};

    fn weighted(weights: &[u32]) -> Result<WeightedClusters<usize>, WeightError> {
        let entry = |(payload, weight): (usize, &u32)| WeightedCluster {
            target: WeightedTarget::Cluster(ClusterRef::new("c")),
            weight: *weight,
            payload,
        };
        WeightedClusters::new(weights.iter().enumerate().map(entry).collect())
    }

    #[test]
    fn weights_are_exact_over_a_period() {
        let clusters = weighted(&[0, 90, 0, 10, 0]).unwrap();
        let mut counts = [0; 5];
        for random in 0..1000 {
            counts[clusters.choose(random, &NoRuntime)] += 1;
        }
        assert_eq!(counts, [0, 900, 0, 100, 0]);
        assert_eq!(clusters.total(), 100);
    }

    #[test]
    fn the_runtime_may_have_other_weights() {
        struct Weights([Option<u64>; 3]);
        impl RuntimeValues for Weights {
            fn fraction(&self, _: &str) -> Option<FractionalPercent> {
                None
            }

            fn integer(&self, key: &str) -> Option<u64> {
                self.0[key.strip_prefix("w.")?.parse::<usize>().ok()?]
            }
        }
        let keys = ["w.0", "w.1", "w.2"].map(Into::into).to_vec();
        let clusters = weighted(&[5, 3, 2]).unwrap().drawn_by(Draw { keys, ..Draw::default() });
        let counts = |weights: [Option<u64>; 3]| {
            let mut counts = [0; 3];
            (0..120).for_each(|random| counts[clusters.choose(random, &Weights(weights))] += 1);
            counts
        };
        assert_eq!(counts([None; 3]), [60, 36, 24]);
        assert_eq!(counts([Some(0), None, Some(1)]), [0, 90, 30]);
        assert_eq!(counts([Some(0), Some(0), Some(7)]), [0, 0, 120]);
        let bad =
            [[Some(0); 3], [Some(u64::MAX), Some(u64::MAX), None], [Some(u64::from(u32::MAX)), None, None]];
        for weights in bad {
            assert_eq!(counts(weights), [60, 36, 24], "the configured ones count");
        }
        assert_eq!(weighted(&[1]).unwrap().drawn_by(Draw::default()).draw(), None);
    }

    #[test]
    fn bad_sums_are_refused() {
        assert_eq!(weighted(&[]).unwrap_err(), WeightError::Zero);
        assert_eq!(weighted(&[0, 0]).unwrap_err(), WeightError::Zero);
        assert_eq!(weighted(&[u32::MAX, 1]).unwrap_err(), WeightError::TooLarge);
    }

    #[test]
    fn every_named_cluster_can_be_linked() {
        let mut specifier = ClusterSpecifier::Weighted(weighted(&[1, 2]).unwrap());
        specifier.references_mut().for_each(|cluster| cluster.slot = Slot(7));
        assert!(specifier.references_mut().all(|cluster| cluster.slot.index() == Some(7)));
        let mut header = ClusterSpecifier::<()>::Header(HeaderName::new("X"));
        assert_eq!(header.references_mut().count(), 0);
    }

    #[test]
    fn timeout_zero_is_off() {
        let mut timeouts = RouteTimeouts::default();
        assert_eq!(timeouts.effective_request(), Some(Duration::from_secs(15)));
        timeouts.request = Some(Duration::ZERO);
        assert_eq!(timeouts.effective_request(), None);
    }
}
