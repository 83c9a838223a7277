//! Circuit breakers: how much of a cluster may be in use at once, per priority, over all workers.
//!
//! The counters are shared atomics; a [`Permit`] holds one unit and gives it back when dropped. A permit keeps whatever
//! handle it was taken through, so a worker can pass an `Rc` of its own and spare the shared reference count.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::route::Priority;

/// `CircuitBreakers.Thresholds`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Upstream connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way, when there is no budget.
    pub max_retries: u32,
    /// Connection pools.
    pub max_connection_pools: u32,
    /// Retries as a share of the requests under way.
    pub retry_budget: Option<RetryBudget>,
    /// Whether the `remaining_*` gauges are published.
    pub track_remaining: bool,
}

/// `CircuitBreakers.Thresholds.RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Percentage of active and pending requests.
    pub percent: f64,
    /// Retries that are always allowed.
    pub min_concurrency: u32,
}

/// What a breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Upstream connections (`cx`).
    Connections,
    /// Requests that wait for a connection (`rq_pending`).
    PendingRequests,
    /// Requests under way (`rq`).
    Requests,
    /// Retries under way (`rq_retry`).
    Retries,
    /// Connection pools (`cx_pool`).
    ConnectionPools,
}

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker open: {0:?}")]
pub struct Overflow(pub Resource);

/// The circuit breakers of a cluster.
#[derive(Debug)]
pub struct CircuitBreakers {
    default: Tier,
    high: Tier,
}

/// One priority's counters.
#[derive(Debug)]
#[repr(align(64))]
struct Tier {
    in_use: [AtomicU32; 5],
    limits: [AtomicU32; 5],
}

/// One unit in use, given back on drop.
#[derive(Debug)]
#[must_use = "dropping the permit gives the unit back"]
pub struct Permit<H: AsRef<CircuitBreakers>> {
    breakers: H,
    priority: Priority,
    resource: Resource,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            max_connection_pools: u32::MAX,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3 }
    }
}

impl Resource {
    /// All of them, with the names that the `circuit_breakers.*` gauges are made of.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Connections, "cx"),
        (Self::PendingRequests, "rq_pending"),
        (Self::Requests, "rq"),
        (Self::Retries, "rq_retry"),
        (Self::ConnectionPools, "cx_pool"),
    ];
}

impl CircuitBreakers {
    /// Breakers with these thresholds, nothing in use.
    pub fn new(default: &Thresholds, high: &Thresholds) -> Self {
        Self { default: Tier::new(default), high: Tier::new(high) }
    }

    /// Takes new thresholds over; what is in use stays counted.
    pub fn update(&self, default: &Thresholds, high: &Thresholds) {
        self.default.set_limits(default);
        self.high.set_limits(high);
    }

    /// Takes a unit, unless the limit is reached.
    #[inline]
    pub fn try_acquire<H: AsRef<Self>>(
        handle: H,
        priority: Priority,
        resource: Resource,
    ) -> Result<Permit<H>, Overflow> {
        let tier = handle.as_ref().tier(priority);
        // Optimistic: one atomic operation in the usual case, and the limit is never exceeded.
        let before = tier.in_use[resource as usize].fetch_add(1, Relaxed);
        if before >= tier.limits[resource as usize].load(Relaxed) {
            tier.in_use[resource as usize].fetch_sub(1, Relaxed);
            return Err(Overflow(resource));
        }
        Ok(Permit { breakers: handle, priority, resource })
    }

    /// Takes a unit whatever the limit: a pool may always have its first connection, so that a low limit cannot starve a
    /// worker.
    #[inline]
    pub fn acquire<H: AsRef<Self>>(handle: H, priority: Priority, resource: Resource) -> Permit<H> {
        handle.as_ref().tier(priority).in_use[resource as usize].fetch_add(1, Relaxed);
        Permit { breakers: handle, priority, resource }
    }

    /// Takes a retry: within the budget if `thresholds` have one, else within `max_retries`.
    pub fn try_acquire_retry<H: AsRef<Self>>(
        handle: H,
        priority: Priority,
        thresholds: &Thresholds,
    ) -> Result<Permit<H>, Overflow> {
        let Some(budget) = thresholds.retry_budget else {
            return Self::try_acquire(handle, priority, Resource::Retries);
        };
        let breakers = handle.as_ref();
        let active = breakers.in_use(priority, Resource::Requests)
            + breakers.in_use(priority, Resource::PendingRequests);
        let allowed = ((f64::from(active) * budget.percent / 100.0) as u32).max(budget.min_concurrency);
        if breakers.in_use(priority, Resource::Retries) >= allowed {
            return Err(Overflow(Resource::Retries));
        }
        Ok(Self::acquire(handle, priority, Resource::Retries))
    }

    /// How many units are in use.
    pub fn in_use(&self, priority: Priority, resource: Resource) -> u32 {
        self.tier(priority).in_use[resource as usize].load(Relaxed)
    }

    /// Whether the limit is reached: the `*_open` gauge.
    pub fn is_open(&self, priority: Priority, resource: Resource) -> bool {
        self.remaining(priority, resource) == 0
    }

    /// How many units are left: the `remaining_*` gauge.
    pub fn remaining(&self, priority: Priority, resource: Resource) -> u32 {
        let limit = self.tier(priority).limits[resource as usize].load(Relaxed);
        limit.saturating_sub(self.in_use(priority, resource))
    }

    fn tier(&self, priority: Priority) -> &Tier {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self::new(&Thresholds::default(), &Thresholds::default())
    }
}

impl AsRef<Self> for CircuitBreakers {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Tier {
    fn new(thresholds: &Thresholds) -> Self {
        let tier = Self { in_use: Default::default(), limits: Default::default() };
        tier.set_limits(thresholds);
        tier
    }

    fn set_limits(&self, thresholds: &Thresholds) {
        let limits = [
            (Resource::Connections, thresholds.max_connections),
            (Resource::PendingRequests, thresholds.max_pending_requests),
            (Resource::Requests, thresholds.max_requests),
            (Resource::Retries, thresholds.max_retries),
            (Resource::ConnectionPools, thresholds.max_connection_pools),
        ];
        for (resource, limit) in limits {
            self.limits[resource as usize].store(limit, Relaxed);
        }
    }
}

impl<H: AsRef<CircuitBreakers>> Drop for Permit<H> {
    fn drop(&mut self) {
        self.breakers.as_ref().tier(self.priority).in_use[self.resource as usize].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ONE: Thresholds = Thresholds {
        max_connections: 1,
        max_pending_requests: 1,
        max_requests: 1,
        max_retries: 1,
        max_connection_pools: 1,
        retry_budget: None,
        track_remaining: true,
    };

    #[test]
    fn a_permit_gives_its_unit_back() {
        let breakers = Arc::new(CircuitBreakers::new(&ONE, &Thresholds::default()));
        let take = || CircuitBreakers::try_acquire(breakers.clone(), Priority::Default, Resource::Requests);
        let first = take().unwrap();
        assert_eq!(take().unwrap_err(), Overflow(Resource::Requests));
        assert!(breakers.is_open(Priority::Default, Resource::Requests));
        drop(first);
        assert!(take().is_ok());
        assert_eq!(breakers.in_use(Priority::Default, Resource::Requests), 0);
    }

    #[test]
    fn priorities_and_resources_are_apart() {
        let breakers = CircuitBreakers::new(&ONE, &ONE);
        let _permits: Vec<_> = [Priority::Default, Priority::High]
            .into_iter()
            .flat_map(|priority| Resource::NAMES.map(|(resource, _)| (priority, resource)))
            .map(|(priority, resource)| CircuitBreakers::try_acquire(&breakers, priority, resource).unwrap())
            .collect();
        assert!(breakers.is_open(Priority::High, Resource::ConnectionPools));
    }

    #[test]
    fn an_unconditional_permit_may_exceed_the_limit() {
        let breakers = CircuitBreakers::new(&ONE, &ONE);
        let _a = CircuitBreakers::acquire(&breakers, Priority::Default, Resource::Connections);
        let _b = CircuitBreakers::acquire(&breakers, Priority::Default, Resource::Connections);
        assert_eq!(breakers.in_use(Priority::Default, Resource::Connections), 2);
        assert_eq!(breakers.remaining(Priority::Default, Resource::Connections), 0);
    }

    #[test]
    fn an_update_keeps_what_is_in_use() {
        let breakers = CircuitBreakers::default();
        let _held = CircuitBreakers::acquire(&breakers, Priority::Default, Resource::Requests);
        breakers.update(&ONE, &ONE);
        assert!(CircuitBreakers::try_acquire(&breakers, Priority::Default, Resource::Requests).is_err());
    }

    #[test]
    fn a_budget_follows_the_active_requests() {
        let thresholds = Thresholds {
            retry_budget: Some(RetryBudget { percent: 50.0, min_concurrency: 1 }),
            ..Thresholds::default()
        };
        let breakers = CircuitBreakers::new(&thresholds, &thresholds);
        let take = || CircuitBreakers::try_acquire_retry(&breakers, Priority::Default, &thresholds);
        let _first = take().unwrap();
        assert!(take().is_err());
        let requests =
            [(); 4].map(|()| CircuitBreakers::acquire(&breakers, Priority::Default, Resource::Requests));
        let _second = take().unwrap();
        assert!(take().is_err());
        drop(requests);
    }
}
