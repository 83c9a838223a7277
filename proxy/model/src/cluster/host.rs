//! One upstream address: its identity, and what all workers share about it.
//!
//! A [`Host`] outlives the updates that leave its address alone, so that pools, counters and health survive. What an
//! update may change (weight, locality, priority) is in [`super::host_set::Member`] instead.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::lb::HostLoad;
use crate::outlier::Monitor;

/// Where a host listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostAddress {
    /// IP address and TCP port.
    Socket(SocketAddr),
    /// A unix-domain socket; a leading `@` names the abstract space.
    Pipe(Arc<Path>),
}

/// `envoy.config.core.v3.Locality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Box<str>,
    /// Zone.
    pub zone: Box<str>,
    /// Sub-zone.
    pub sub_zone: Box<str>,
}

/// Metadata of a host or cluster, opaque here: the proxy knows the type inside.
#[derive(Clone)]
pub struct Metadata(pub Arc<dyn Any + Send + Sync>);

/// What the endpoint's configuration says about its health (`envoy.config.core.v3.HealthStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdsHealth {
    /// Nothing; counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
    /// On its way out; counts as unhealthy.
    Draining,
    /// Timed out; counts as unhealthy.
    Timeout,
    /// Working, but to be used last.
    Degraded,
}

/// A reason for a host not to be fully healthy. Several may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HealthFlag {
    /// Active health checks fail.
    FailedActiveHc = 1,
    /// Ejected by outlier detection.
    FailedOutlierCheck = 1 << 1,
    /// Unhealthy by configuration.
    FailedEdsHealth = 1 << 2,
    /// Active health checks report it degraded.
    DegradedActiveHc = 1 << 3,
    /// Degraded by configuration.
    DegradedEdsHealth = 1 << 4,
    /// Gone from the configuration, kept while it still passes health checks.
    PendingDynamicRemoval = 1 << 5,
    /// Not checked yet.
    PendingActiveHc = 1 << 6,
    /// Told us at once to stop using it; left out of the panic arithmetic.
    ExcludedViaImmediateHcFail = 1 << 7,
    /// The last active health check timed out.
    ActiveHcTimeout = 1 << 8,
    /// Draining by configuration.
    EdsStatusDraining = 1 << 9,
}

impl HealthFlag {
    /// Every flag with the name that the admin API prints.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::FailedActiveHc, "/failed_active_hc"),
        (Self::FailedOutlierCheck, "/failed_outlier_check"),
        (Self::FailedEdsHealth, "/failed_eds_health"),
        (Self::DegradedActiveHc, "/degraded_active_hc"),
        (Self::DegradedEdsHealth, "/degraded_eds_health"),
        (Self::PendingDynamicRemoval, "/pending_dynamic_removal"),
        (Self::PendingActiveHc, "/pending_active_hc"),
        (Self::ExcludedViaImmediateHcFail, "/excluded_via_immediate_hc_fail"),
        (Self::ActiveHcTimeout, "/active_hc_timeout"),
        (Self::EdsStatusDraining, "/eds_status_draining"),
    ];

    const UNHEALTHY: u32 = Self::FailedActiveHc as u32
        | Self::FailedOutlierCheck as u32
        | Self::FailedEdsHealth as u32
        | Self::EdsStatusDraining as u32;
    const DEGRADED: u32 = Self::DegradedActiveHc as u32 | Self::DegradedEdsHealth as u32;
    const EXCLUDED: u32 = Self::PendingActiveHc as u32 | Self::ExcludedViaImmediateHcFail as u32;
    const FROM_EDS: u32 =
        Self::FailedEdsHealth as u32 | Self::DegradedEdsHealth as u32 | Self::EdsStatusDraining as u32;
}

/// The sum of a host's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// To be used.
    Healthy,
    /// To be used when the healthy ones do not suffice.
    Degraded,
    /// Not to be used, unless in panic.
    Unhealthy,
}

/// Counters of one host, as `/clusters` prints them. Shared by all workers, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct HostCounters {
    /// Requests sent.
    pub rq_total: AtomicU64,
    /// Requests under way.
    pub rq_active: AtomicU64,
    /// Requests that ended with a status below 500.
    pub rq_success: AtomicU64,
    /// Requests that failed.
    pub rq_error: AtomicU64,
    /// Requests that timed out.
    pub rq_timeout: AtomicU64,
    /// Connections opened.
    pub cx_total: AtomicU64,
    /// Connections open.
    pub cx_active: AtomicU64,
    /// Connections that could not be opened.
    pub cx_connect_fail: AtomicU64,
}

/// An upstream host.
#[derive(Debug)]
pub struct Host {
    /// Where it listens.
    pub address: HostAddress,
    /// Its name, from DNS or the endpoint's `hostname`; may be empty.
    pub hostname: Arc<str>,
    /// Its counters.
    pub counters: HostCounters,
    /// What outlier detection counts of it.
    pub outlier: Monitor,
    /// What its answers say about its load.
    pub load: HostLoad,
    flags: AtomicU32,
    /// Whether an active check of it has had a result.
    checked: AtomicBool,
    /// It has said that it fails, and its checks have not taken that yet.
    fails_immediately: AtomicBool,
    /// Since when it is healthy, in milliseconds of the callers' clock; 0 until someone looks.
    healthy_since: AtomicU64,
}

impl Host {
    /// A healthy host.
    pub fn new(address: HostAddress, hostname: &str) -> Self {
        Self {
            address,
            // Most hosts have none, and then nothing is allocated.
            hostname: if hostname.is_empty() { Arc::default() } else { hostname.into() },
            counters: HostCounters::default(),
            outlier: Monitor::default(),
            load: HostLoad::default(),
            flags: AtomicU32::new(0),
            checked: AtomicBool::new(false),
            fails_immediately: AtomicBool::new(false),
            healthy_since: AtomicU64::new(0),
        }
    }

    /// Whether an active check of it has had a result.
    pub fn was_checked(&self) -> bool {
        self.checked.load(Relaxed)
    }

    pub(crate) fn mark_checked(&self) {
        self.checked.store(true, Relaxed);
    }

    /// It says in a response that it fails its checks; true if that is news to them.
    pub fn fail_immediately(&self) -> bool {
        !self.fails_immediately.swap(true, Relaxed)
    }

    /// Whether it has said so since this was last asked.
    pub fn take_immediate_fail(&self) -> bool {
        self.fails_immediately.swap(false, Relaxed)
    }

    /// Since when it is healthy, for slow start. A host that no one has looked at is healthy since `now`.
    pub fn healthy_since(&self, now: u64) -> u64 {
        let now = now.max(1);
        self.healthy_since.compare_exchange(0, now, Relaxed, Relaxed).map_or_else(|since| since, |_| now)
    }

    /// Begins its slow start: it is healthy again.
    pub fn became_healthy(&self, now: u64) {
        self.healthy_since.store(now.max(1), Relaxed);
    }

    /// Sets or clears `flag`; returns whether that changed it. The host set in force is to be built anew then
    /// ([`super::HostSet::refreshed`]).
    pub fn set_flag(&self, flag: HealthFlag, on: bool) -> bool {
        let bit = flag as u32;
        let before = if on { self.flags.fetch_or(bit, Relaxed) } else { self.flags.fetch_and(!bit, Relaxed) };
        (before & bit != 0) != on
    }

    /// Whether `flag` is set.
    pub fn has_flag(&self, flag: HealthFlag) -> bool {
        self.flags.load(Relaxed) & flag as u32 != 0
    }

    /// The health that the flags add up to.
    pub fn health(&self) -> Health {
        let flags = self.flags.load(Relaxed);
        if flags & HealthFlag::UNHEALTHY != 0 {
            Health::Unhealthy
        } else if flags & HealthFlag::DEGRADED != 0 {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// Whether the host is left out of the count that panic and priority load are computed from.
    pub fn is_excluded(&self) -> bool {
        self.flags.load(Relaxed) & HealthFlag::EXCLUDED != 0
    }

    /// The flags as the admin API prints them: `healthy`, or names each with a slash before it.
    pub fn flags_text(&self) -> String {
        let set = HealthFlag::NAMES.iter().filter(|(flag, _)| self.has_flag(*flag)).map(|(_, name)| *name);
        let text: String = set.collect();
        if text.is_empty() { "healthy".into() } else { text }
    }

    /// Takes over what the endpoint's configuration says.
    pub(crate) fn set_eds_health(&self, health: EdsHealth) {
        let bits = match health {
            EdsHealth::Unknown | EdsHealth::Healthy => 0,
            EdsHealth::Unhealthy | EdsHealth::Timeout => HealthFlag::FailedEdsHealth as u32,
            EdsHealth::Draining => HealthFlag::EdsStatusDraining as u32,
            EdsHealth::Degraded => HealthFlag::DegradedEdsHealth as u32,
        };
        // Set before clear: no reader may see the host healthy in between.
        self.flags.fetch_or(bits, Relaxed);
        self.flags.fetch_and(!(HealthFlag::FROM_EDS & !bits), Relaxed);
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metadata")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_add_up() {
        let host = Host::new(SocketAddr::from(([127, 0, 0, 1], 80)).into(), "");
        assert_eq!((host.health(), host.flags_text().as_str()), (Health::Healthy, "healthy"));
        assert!(host.set_flag(HealthFlag::DegradedActiveHc, true));
        assert!(!host.set_flag(HealthFlag::DegradedActiveHc, true));
        assert_eq!(host.health(), Health::Degraded);
        assert!(host.set_flag(HealthFlag::FailedOutlierCheck, true));
        assert_eq!(host.health(), Health::Unhealthy);
        assert_eq!(host.flags_text(), "/failed_outlier_check/degraded_active_hc");
        assert!(host.set_flag(HealthFlag::FailedOutlierCheck, false));
        assert!(!host.has_flag(HealthFlag::FailedOutlierCheck));
        assert_eq!(host.health(), Health::Degraded);
    }

    #[test]
    fn configuration_owns_its_flags_only() {
        let host = Host::new(SocketAddr::from(([127, 0, 0, 1], 80)).into(), "");
        host.set_flag(HealthFlag::FailedActiveHc, true);
        host.set_eds_health(EdsHealth::Unhealthy);
        assert_eq!(host.flags_text(), "/failed_active_hc/failed_eds_health");
        host.set_eds_health(EdsHealth::Draining);
        assert_eq!(host.flags_text(), "/failed_active_hc/eds_status_draining");
        host.set_eds_health(EdsHealth::Unknown);
        assert_eq!(host.flags_text(), "/failed_active_hc");
    }

    #[test]
    fn counters_fill_one_cache_line() {
        assert_eq!(size_of::<HostCounters>(), 64);
    }
}
