//! The policies and their settings, as the compile step makes them.

use std::sync::Arc;
use std::time::Duration;

use super::load::{LoadReports, PeakEwma};
use super::subset::SubsetConfig;
use super::zone::ZoneAware;

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
    /// The host whose point on a ring follows the request's hash.
    RingHash(RingHash),
    /// The host at the request's hash in a table that all hosts share evenly.
    Maglev(Maglev),
    /// In proportion to weights that follow from what hosts report of their load ([`Settings::reports`]).
    ClientWeighted,
    /// The cheaper of two by how long they take to answer and how much is under way.
    PeakEwma(PeakEwma),
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

/// What stands for a host when it is hashed, unless its metadata has a `hash_key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// Its address.
    #[default]
    Address,
    /// Its name (`use_hostname_for_hashing`).
    Hostname,
}

/// Settings of RING_HASH.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RingHash {
    /// `minimum_ring_size`
    pub minimum: u64,
    /// `maximum_ring_size`
    pub maximum: u64,
    /// `hash_function: MURMUR_HASH_2`, where xxHash64 is usual.
    pub murmur: bool,
    /// What is hashed of a host.
    pub key: HashKey,
    /// `hash_balance_factor`: how much of the average load a host may have, in percent.
    pub balance_factor: Option<u32>,
}

/// Settings of MAGLEV.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Maglev {
    /// `table_size`: a prime.
    pub table_size: u64,
    /// What is hashed of a host.
    pub key: HashKey,
    /// `hash_balance_factor`: how much of the average load a host may have, in percent.
    pub balance_factor: Option<u32>,
}

/// `SlowStartConfig`: hosts that are new or healthy again get their full share little by little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// For how long.
    pub window: Duration,
    /// The exponent's reciprocal: 1 is linear, more is faster at first.
    pub aggression: f64,
    /// The least share, of one.
    pub least: f64,
}

/// Everything that a balancer is made with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The policy.
    pub policy: LbPolicy,
    /// `slow_start_config`
    pub slow_start: Option<SlowStart>,
    /// Localities get requests by their weights.
    pub locality_weighted: bool,
    /// `lb_subset_config`
    pub subsets: Option<Arc<SubsetConfig>>,
    /// `zone_aware_lb_config`, where there is a local cluster.
    pub zone: Option<Arc<ZoneAware>>,
    /// What becomes of load reports, for [`LbPolicy::ClientWeighted`].
    pub reports: Option<Arc<LoadReports>>,
}

impl LbPolicy {
    /// Whether it looks at the request's hash.
    pub fn hashes(&self) -> bool {
        matches!(self, Self::RingHash(_) | Self::Maglev(_))
    }

    /// Whether it looks at what is known of hosts by their answers.
    pub fn learns(&self) -> bool {
        matches!(self, Self::ClientWeighted | Self::PeakEwma(_))
    }
}

impl Settings {
    /// Whether a pick takes more than a rotation over a priority's hosts.
    pub fn is_special(&self) -> bool {
        self.policy.hashes()
            || self.policy.learns()
            || self.slow_start.is_some()
            || self.locality_weighted
            || self.subsets.is_some()
            || self.zone.is_some()
    }

    /// Whether a pick looks at the clock.
    pub fn reads_clock(&self) -> bool {
        self.slow_start.is_some() || self.policy.learns()
    }
}

impl From<LbPolicy> for Settings {
    fn from(policy: LbPolicy) -> Self {
        Self { policy, ..Self::default() }
    }
}

impl SlowStart {
    /// The share of a host's weight that it has after `age` milliseconds.
    pub(super) fn share(&self, age: u64) -> f64 {
        let window = self.window.as_millis() as u64;
        if age >= window {
            return 1.0;
        }
        let time = age.max(1) as f64 / window as f64;
        // The default needs no power function.
        let linear = (self.aggression - 1.0).abs() < f64::EPSILON || self.aggression <= 0.0;
        let share = if linear { time } else { time.powf(1.0 / self.aggression) };
        share.max(self.least)
    }
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0, full_scan: false }
    }
}

impl Default for RingHash {
    fn default() -> Self {
        Self {
            minimum: 1024,
            maximum: 8 * 1024 * 1024,
            murmur: false,
            key: HashKey::Address,
            balance_factor: None,
        }
    }
}

impl Default for Maglev {
    fn default() -> Self {
        Self { table_size: 65_537, key: HashKey::Address, balance_factor: None }
    }
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::ZERO, aggression: 1.0, least: 0.1 }
    }
}
