//! A host with what is said about it: as discovery reports it, and as a member of a set.
//!
//! What an update may change is here; what outlives updates is in [`super::host`].

use std::sync::Arc;

use super::host::{EdsHealth, Host, HostAddress, Locality, Metadata};
use crate::health_check::CheckTarget;
use crate::lb::Labels;

/// A host as discovery reports it.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Where it listens.
    pub address: HostAddress,
    /// Its name; may be empty.
    pub hostname: Arc<str>,
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
    /// Its `envoy.lb` metadata, which load balancing reads.
    pub labels: Option<Arc<Labels>>,
    /// What is particular about checking it.
    pub check: Option<Arc<CheckTarget>>,
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
    /// Its `envoy.lb` metadata, which load balancing reads.
    pub labels: Option<Arc<Labels>>,
    /// What is particular about checking it.
    pub check: Option<Arc<CheckTarget>>,
}

impl Member {
    /// A host with what is said about it.
    pub fn new(host: Arc<Host>, spec: HostSpec) -> Self {
        Self {
            host,
            weight: spec.weight.max(1),
            locality: spec.locality,
            priority: spec.priority,
            canary: spec.canary,
            metadata: spec.metadata,
            labels: spec.labels,
            check: spec.check,
        }
    }
}

impl HostSpec {
    /// A host of weight 1 at priority 0, with nothing else said about it.
    pub fn new(address: HostAddress) -> Self {
        Self {
            address,
            hostname: Arc::default(),
            weight: 1,
            locality: Arc::default(),
            locality_weight: None,
            priority: 0,
            canary: false,
            health: EdsHealth::Unknown,
            metadata: None,
            labels: None,
            check: None,
        }
    }
}
