//! A cluster as one worker has it: its balancer, its pools, its block of stats. [`pick`] has the choice of a host, [`others`] what
//! follows from other clusters.
//!
//! Made when the worker first sends something there. When a new snapshot brings a new version, the worker's cluster
//! stays and takes the version over ([`WorkerCluster::update`]): pools of hosts that are still there live on, those of
//! hosts that are gone stop lending connections and close as requests finish.

mod others;
mod pick;

use std::cell::{OnceCell, Ref, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::call::Membership;
use sampan_filters_api::info::{ClusterFacts, HttpChoice, MetadataValue, OriginalSource};
use sampan_filters_api::{Headers, ProtocolSet};
use sampan_model::cluster::{
    CircuitBreakers, Cluster, Discovery, Health, Host, Member, Overflow, Permit, Resource, UpstreamProtocol,
};
use sampan_model::lb::LoadBalancer;
use sampan_model::outlier::Outcome;
use sampan_model::route::Priority;

use self::others::Others;
use self::pick::Addresses;
pub use self::pick::Wants;
use super::filters::UpstreamFilters;
use super::original_dst::{Destination, OriginalPools};
use super::pool::HostPool;
use super::transport::Transport;
use crate::failure::{Failure, Kind};
use crate::logging::target;
use crate::net::own::OwnAddresses;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::kinds::{self, ClusterCounter};
use crate::telemetry::stats::{Block, Stats, Writer};
use crate::tls::stats::TlsStats;

/// Pools by server name or source address at most.
const MOST_NAMED: usize = 1024;

/// Gives a unit of a circuit breaker back when dropped.
pub type BreakerPermit = Permit<BreakerHandle>;

/// Reaches a cluster's breakers without touching a shared reference count.
#[derive(Clone)]
#[expect(clippy::redundant_allocation)]
pub struct BreakerHandle(Rc<Arc<CircuitBreakers>>);

impl AsRef<CircuitBreakers> for BreakerHandle {
    fn as_ref(&self) -> &CircuitBreakers {
        &self.0
    }
}

/// Pools by host and what their connections have to themselves.
type NamedPools = HashMap<(*const Host, Distinction), Rc<HostPool>, ahash::RandomState>;

/// What keeps connections of some requests apart from those of others to the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Distinction {
    /// The server name is the request's (`auto_sni`).
    pub name: Option<Box<str>>,
    /// They come from the client's address (`original_src`).
    pub source: Option<OriginalSource>,
    /// They offer these application protocols in place of the configured ones.
    pub protocols: Option<ProtocolSet>,
}

/// One worker's side of a cluster.
pub struct WorkerCluster {
    parts: RefCell<Arc<ClusterParts>>,
    facts: RefCell<Rc<ClusterFacts>>,
    balancer: RefCell<LoadBalancer>,
    breakers: RefCell<BreakerHandle>,
    /// By the address of the shared host, which stays the same while the host does.
    pools: RefCell<HashMap<*const Host, Rc<HostPool>, ahash::RandomState>>,
    /// Picks made ahead of their request, to connect early.
    ahead: RefCell<VecDeque<Rc<HostPool>>>,
    /// Pools of one host that are kept apart.
    named: RefCell<NamedPools>,
    /// Of a cluster whose hosts are the destinations of connections.
    originals: OriginalPools,
    /// What follows from other clusters.
    others: Others,
    /// Its hosts by address, for requests that name one.
    addresses: Addresses,
    /// Pools whose host is spoken to in another way now, until their requests are over.
    retired: RefCell<Vec<Rc<HostPool>>>,
    tls: OnceCell<TlsStats>,
    block: OnceCell<Arc<Block<kinds::Cluster>>>,
    registry: Arc<Stats>,
    writer: Writer,
}

impl WorkerCluster {
    /// A worker's side of a cluster that nothing was sent to yet.
    pub fn new(parts: Arc<ClusterParts>, registry: Arc<Stats>, writer: Writer) -> Self {
        Self {
            balancer: RefCell::new(LoadBalancer::new(parts.config.lb_settings())),
            breakers: RefCell::new(BreakerHandle(Rc::new(parts.breakers.clone()))),
            facts: RefCell::new(Rc::new(facts(&parts))),
            pools: RefCell::default(),
            ahead: RefCell::default(),
            named: RefCell::default(),
            originals: OriginalPools::default(),
            others: Others::new(&parts.config),
            addresses: Addresses::default(),
            retired: RefCell::default(),
            parts: RefCell::new(parts),
            tls: OnceCell::new(),
            block: OnceCell::new(),
            registry,
            writer,
        }
    }

    /// The settings in force.
    pub fn config(&self) -> Ref<'_, Cluster> {
        Ref::map(self.parts.borrow(), |parts| &*parts.config)
    }

    /// The version in force.
    pub fn parts(&self) -> Arc<ClusterParts> {
        self.parts.borrow().clone()
    }

    /// Its filters.
    pub fn filters(&self) -> UpstreamFilters {
        self.parts.borrow().filters.clone()
    }

    /// What filters may know of it.
    #[inline]
    pub fn facts(&self) -> Rc<ClusterFacts> {
        self.facts.borrow().clone()
    }

    /// Its hosts by number.
    pub fn membership(&self) -> Membership {
        let parts = self.parts.borrow();
        let originals = parts.originals.as_ref().map(|originals| originals.members());
        let members = originals.as_deref().unwrap_or(parts.hosts.members());
        let available = |member: &&Member| member.host.health() != Health::Unhealthy;
        Membership { total: members.len() as u64, available: members.iter().filter(available).count() as u64 }
    }

    /// The cluster's counters; created with the first of them.
    #[inline]
    pub fn stats(&self) -> &Block<kinds::Cluster> {
        self.block.get_or_init(|| {
            let scope = self.config().observability_name().clone();
            self.registry.block::<kinds::Cluster>(&scope, self.writer)
        })
    }

    /// `cluster.<name>.http2.`, the codec's counters. Takes a lock: for what is rare.
    pub fn http2_stats(&self) -> Arc<Block<kinds::Http2>> {
        let scope = format!("cluster.{}.http2", self.config().observability_name());
        self.registry.block(&scope, self.writer)
    }

    /// Notes how something ended that was sent to a host, for outlier detection.
    #[inline]
    pub fn note(&self, host: &Host, outcome: Outcome) {
        if let Some(outliers) = &self.parts.borrow().outliers {
            outliers.note(host, outcome);
        }
    }

    /// Takes in the head of a host's response, for the checks of the cluster.
    #[inline]
    pub fn hear(&self, host: &Host, answer: &Headers) {
        if let Some(checks) = &self.parts.borrow().immediate_fail {
            checks.hear(host, answer);
        }
    }

    /// Whether anyone wants to know how requests end.
    #[inline]
    pub fn notes_outcomes(&self) -> bool {
        self.parts.borrow().outliers.is_some()
    }

    /// The pool for a destination, after [`Self::pick`] found no host: that of a cluster whose hosts are the destinations.
    ///
    /// # Errors
    /// It is another cluster's; no destination is known; it is this process itself; there are too many.
    #[inline(never)]
    pub fn original(&self, from: &Destination<'_>, own: &OwnAddresses) -> Result<Rc<HostPool>, Failure> {
        let parts = self.parts.borrow();
        let (Some(hosts), Discovery::OriginalDst(settings)) = (&parts.originals, &parts.config.discovery)
        else {
            return Err(Kind::NoHost.into());
        };
        let named = from.named(settings);
        let stats = self.stats();
        if named.invalid > 0 {
            stats.add(ClusterCounter::OriginalDstHostInvalid, named.invalid);
        }
        let name = parts.config.observability_name();
        let Some(address) = named.address else {
            stats.inc(ClusterCounter::UpstreamCxNoneHealthy);
            if self.originals.may_warn() {
                tracing::warn!(target: target::UPSTREAM, "cluster {name}: no original destination is known for connection {}", from.connection.id);
            }
            return Err(Kind::NoHost.into());
        };
        if own.contains(address) {
            stats.inc(ClusterCounter::OriginalDstSelfConnect);
            if self.originals.may_warn() {
                tracing::warn!(target: target::UPSTREAM, "cluster {name}: connection {} from {} was going to {address}, where this proxy listens; refused", from.connection.id, from.connection.direct_remote);
            }
            return Err(Kind::SelfConnect.into());
        }
        self.originals.pool(&parts, hosts, address).ok_or_else(|| {
            stats.inc(ClusterCounter::UpstreamCxPoolOverflow);
            if self.originals.may_warn() {
                tracing::warn!(target: target::UPSTREAM, "cluster {name}: too many destinations at once; {address} is refused");
            }
            Kind::Overflow.into()
        })
    }

    /// The pool for connections that are to come from a client's address.
    #[inline(never)]
    pub fn for_source(&self, pool: &Rc<HostPool>, source: OriginalSource) -> Rc<HostPool> {
        self.apart(pool, Distinction { source: Some(source), ..pool.distinction().clone() })
    }

    /// The pool for connections that offer these application protocols: `pool` itself, where it does not encrypt.
    #[inline]
    pub fn for_protocols(&self, pool: Rc<HostPool>, protocols: Option<ProtocolSet>) -> Rc<HostPool> {
        match protocols {
            Some(_) if matches!(pool.transport(), Transport::Tls(_)) => {
                self.apart(&pool, Distinction { protocols, ..pool.distinction().clone() })
            }
            _ => pool,
        }
    }

    /// The pool for a connection whose server name a filter has chosen.
    #[inline(never)]
    pub fn for_chosen_name(&self, pool: Rc<HostPool>, name: String) -> Rc<HostPool> {
        if name.is_empty() || matches!(pool.transport(), Transport::Plain) {
            return pool;
        }
        self.apart(&pool, Distinction { name: Some(name.into()), ..pool.distinction().clone() })
    }

    /// The pool for a request to `name`, which the host's certificate may have to bear: `pool` itself, unless the
    /// cluster's server name is the request's.
    #[inline]
    pub fn for_name(&self, pool: Rc<HostPool>, name: impl FnOnce() -> Option<Box<str>>) -> Rc<HostPool> {
        if !self.parts.borrow().transports.by_host() || matches!(pool.transport(), Transport::Plain) {
            return pool;
        }
        match name() {
            Some(name) => self.apart(&pool, Distinction { name: Some(name), ..Distinction::default() }),
            None => pool,
        }
    }

    /// Names and addresses come from clients, so the number of pools is bounded: beyond it, a pool keeps no connection.
    fn apart(&self, pool: &Rc<HostPool>, distinction: Distinction) -> Rc<HostPool> {
        let mut named = self.named.borrow_mut();
        let key = (Arc::as_ptr(pool.host()), distinction);
        if let Some(known) = named.get(&key) {
            return known.clone();
        }
        // Lists of protocols are the configuration's: there are as many pools as hosts, and no client can make more of them.
        let bounded = key.1.name.is_some() || key.1.source.is_some();
        if bounded && named.len() >= MOST_NAMED {
            named.retain(|_, pool| !pool.is_idle());
        }
        let fresh = Rc::new(pool.apart(&key.1));
        if !bounded || named.len() < MOST_NAMED {
            named.insert(key, fresh.clone());
        } else {
            fresh.retire();
        }
        fresh
    }

    /// The counters of TLS.
    pub fn tls_stats(&self) -> &TlsStats {
        self.tls.get_or_init(|| {
            let scope = format!("cluster.{}", self.config().observability_name());
            TlsStats::new(&scope, &self.registry, self.writer)
        })
    }

    /// Takes a new version over.
    pub fn update(&self, next: Arc<ClusterParts>) {
        let settings = next.config.lb_settings();
        if settings != *self.balancer.borrow().settings() {
            *self.balancer.borrow_mut() = LoadBalancer::new(settings);
        }
        if !Arc::ptr_eq(&next.breakers, &self.breakers.borrow().0) {
            // What is under way gives back to the breakers that it was counted by.
            *self.breakers.borrow_mut() = BreakerHandle(Rc::new(next.breakers.clone()));
        }
        self.ahead.borrow_mut().clear();
        self.addresses.forget();
        self.others.renew(&next.config);
        let begins_anew = next.config.common_lb.close_connections_on_host_set_change
            && !next.hosts.has_hosts_of(&self.parts.borrow().hosts);
        let members = next.hosts.members();
        let kept: HashMap<*const Host, &Member> =
            members.iter().map(|member| (Arc::as_ptr(&member.host), member)).collect();
        let mut retired = self.retired.borrow_mut();
        let fits = |host: &*const Host, pool: &HostPool| {
            !begins_anew && kept.get(host).is_some_and(|member| pool.fits(member, &next.transports))
        };
        // A destination has no membership that could change.
        let goes_on = |pool: &HostPool| next.originals.is_some() && pool.is_like(&next.transports);
        let mut stays = |fits: bool, pool: &Rc<HostPool>| {
            if !fits && pool.retire() {
                retired.push(pool.clone());
            }
            fits
        };
        self.pools.borrow_mut().retain(|host, pool| stays(fits(host, pool), pool));
        self.named.borrow_mut().retain(|(host, _), pool| stays(fits(host, pool) || goes_on(pool), pool));
        self.originals.retain(|pool| stays(goes_on(pool), pool));
        *self.facts.borrow_mut() = Rc::new(facts(&next));
        *self.parts.borrow_mut() = next;
    }

    /// Closes pooled connections that their peer has closed or that are too old or idle for too long.
    pub fn sweep(&self) {
        let config = self.config();
        let (pools, named, retired) = (self.pools.borrow(), self.named.borrow(), self.retired.borrow());
        for pool in pools.values().chain(named.values()).chain(retired.iter()) {
            pool.sweep(&config, self.stats());
        }
        drop((named, retired));
        self.named.borrow_mut().retain(|_, pool| !pool.is_idle());
        self.retired.borrow_mut().retain(|pool| !pool.is_idle());
        if let Some(hosts) = &self.parts.borrow().originals {
            self.originals.for_each(|pool| pool.sweep(&config, self.stats()));
            self.originals.clean(hosts, config.cleanup_interval);
        }
    }

    /// Whether nothing is pooled and nothing under way.
    pub fn is_idle(&self) -> bool {
        let (pools, named, retired) = (self.pools.borrow(), self.named.borrow(), self.retired.borrow());
        let others = pools.values().chain(named.values()).chain(retired.iter());
        others.into_iter().all(|pool| pool.is_idle()) && self.originals.is_idle()
    }

    /// Takes a unit of a breaker, unless it is open.
    #[inline]
    pub fn try_acquire(&self, priority: Priority, resource: Resource) -> Result<BreakerPermit, Overflow> {
        CircuitBreakers::try_acquire(self.breakers.borrow().clone(), priority, resource)
    }

    /// Takes a retry, within the budget or `max_retries`.
    pub fn try_acquire_retry(&self, priority: Priority) -> Result<BreakerPermit, Overflow> {
        let config = self.config();
        let thresholds = match priority {
            Priority::Default => &config.breakers_default,
            Priority::High => &config.breakers_high,
        };
        CircuitBreakers::try_acquire_retry(self.breakers.borrow().clone(), priority, thresholds)
    }

    /// Takes a unit of a breaker whatever its limit.
    pub fn acquire(&self, priority: Priority, resource: Resource) -> BreakerPermit {
        CircuitBreakers::acquire(self.breakers.borrow().clone(), priority, resource)
    }
}

/// What filters may know of a cluster.
fn facts(parts: &ClusterParts) -> ClusterFacts {
    let config = &parts.config;
    let metadata = config.metadata.as_ref().map(|metadata| metadata.0.clone());
    ClusterFacts {
        name: config.name.clone(),
        metadata: metadata.and_then(|metadata| metadata.downcast::<MetadataValue>().ok()),
        tls: parts.transports.any_tls(),
        http: match config.http.protocol {
            UpstreamProtocol::Http1 => HttpChoice::Http1,
            UpstreamProtocol::Http2 => HttpChoice::Http2,
            UpstreamProtocol::UseDownstream => HttpChoice::Downstream,
            UpstreamProtocol::Auto => HttpChoice::Settled,
        },
    }
}
