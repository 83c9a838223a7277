//! Hosts of `ORIGINAL_DST` clusters: one for each destination that connections or requests were going to.
//!
//! [`super::cluster`] comes here when a cluster has no hosts of its own to pick from, so other clusters do not pay for this.
//!
//! ```text
//! filter state, metadata, header, restored local address --> destination --own address?--> refused
//!   this worker knows it --> its pool
//!   else the hosts that all workers share, bounded --> its host --> a pool of this worker
//! cleanup_interval: a pool nobody asked for since the last time and without connections goes; the last one takes the host along
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sampan_filters_api::info::{DynamicMetadata, FilterState, MetadataValue, ORIGINAL_DESTINATION};
use sampan_filters_api::{ConnectionInfo, RequestHead};
use sampan_model::cluster::{Cluster, Host, HostSpec, Member, OriginalDst};

use super::pool::HostPool;
use crate::snapshot::ClusterParts;

/// Hosts of a cluster at most. Each costs some hundred bytes, and destinations come from clients.
const MOST: usize = 1 << 16;
/// Dead entries are looked for when there are this many more.
const SLACK: usize = 64;
/// After all hosts were found to be in use, they are not counted again for this long.
const FULL: Duration = Duration::from_secs(1);

/// What may name a destination.
pub struct Destination<'a> {
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The request, where there is one.
    pub request: Option<&'a RequestHead>,
    /// Dynamic metadata of the stream.
    pub metadata: &'a DynamicMetadata,
    /// Filter state of the stream.
    pub state: &'a FilterState,
}

/// A destination that is to be had, or how many of what was said cannot be understood.
pub(super) struct Named {
    /// Where to go.
    pub(super) address: Option<SocketAddr>,
    /// Values that are no address and port (`original_dst_host_invalid`).
    pub(super) invalid: u64,
}

impl Destination<'_> {
    /// What is said first counts, in Envoy's order: filter state, metadata, header, the connection's restored address. What is no address is
    /// counted and passed over.
    pub(super) fn named(&self, settings: &OriginalDst) -> Named {
        let mut invalid = 0;
        let mut parsed = |text: Option<&str>| {
            let address = text?.parse::<SocketAddr>();
            invalid += u64::from(address.is_err());
            address.ok()
        };
        let by_state = || {
            let own = self.state.object(ORIGINAL_DESTINATION).cloned();
            own.or_else(|| self.connection.state.borrow().object(ORIGINAL_DESTINATION).cloned())
        };
        let by_state = by_state().map(|object| object.plain());
        let by_metadata = || {
            let (namespace, path) = settings.metadata.as_ref()?;
            let own = self.connection.facts.as_ref().map(|facts| &facts.metadata);
            // The request's, then the connection's.
            let mut found = [Some(self.metadata), own].into_iter().flatten();
            match found.find_map(|metadata| metadata.namespace(namespace)?.at(path))? {
                MetadataValue::String(text) => Some(&**text),
                _ => None,
            }
        };
        let by_header = || {
            let value = self.request?.field(settings.header.as_ref()?.as_bytes())?;
            // What is not text is no address either.
            Some(std::str::from_utf8(value).unwrap_or_default())
        };
        let restored = || self.connection.local.socket().filter(|_| self.connection.local_restored);
        let address = parsed(by_state.as_deref());
        let address =
            address.or_else(|| parsed(by_metadata())).or_else(|| parsed(by_header())).or_else(restored);
        let address = address.map(|mut address| {
            address.set_port(settings.port_override.unwrap_or(address.port()));
            address
        });
        Named { address, invalid }
    }
}

/// The hosts of a cluster over all workers. A host lives as long as a worker has a pool of it or a connection to it.
#[derive(Debug, Default)]
pub struct OriginalHosts {
    known: Mutex<Hosts>,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Hosts {
    by_address: HashMap<SocketAddr, Weak<Host>, ahash::RandomState>,
    /// How many may be there before dead ones are looked for.
    purge_at: usize,
    full: Option<Instant>,
}

impl OriginalHosts {
    /// The host of an address; `None` if there are too many. Takes a lock: for the first use by a worker.
    fn host(&self, cluster: &Cluster, address: SocketAddr) -> Option<Arc<Host>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = known.by_address.get(&address).and_then(Weak::upgrade) {
            return Some(host);
        }
        if !known.has_room() {
            return None;
        }
        // Envoy calls them so.
        let name = format!("{}{address}", cluster.name);
        let host = Arc::new(Host::new(address.into(), &name));
        known.by_address.insert(address, Arc::downgrade(&host));
        self.changes.fetch_add(1, Relaxed);
        Some(host)
    }

    /// Takes a host off the list that nobody has any more.
    fn forget(&self, address: SocketAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_address.get(&address).is_some_and(|host| host.strong_count() == 0) {
            known.by_address.remove(&address);
            self.changes.fetch_add(1, Relaxed);
        }
    }

    /// The hosts of now, by address, as members of a set.
    pub fn members(&self) -> Vec<Member> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts: Vec<_> =
            known.by_address.iter().filter_map(|(at, host)| Some((*at, host.upgrade()?))).collect();
        drop(known);
        hosts.sort_by_key(|(address, _)| *address);
        hosts.into_iter().map(|(_, host)| member(host)).collect()
    }

    /// How often a host was added or removed (`membership_change`).
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }
}

impl Hosts {
    /// Whether one more may be added; forgets dead ones now and then.
    fn has_room(&mut self) -> bool {
        if self.by_address.len() >= self.purge_at.min(MOST) {
            if self.full.is_some_and(|since| since.elapsed() < FULL) {
                return false;
            }
            self.by_address.retain(|_, host| host.strong_count() > 0);
            self.purge_at = self.by_address.len() * 2 + SLACK;
            self.full = (self.by_address.len() >= MOST).then(Instant::now);
        }
        self.by_address.len() < MOST
    }
}

fn member(host: Arc<Host>) -> Member {
    let spec = HostSpec::new(host.address.clone());
    Member::new(host, spec)
}

/// One worker's pools of such hosts.
#[derive(Default)]
pub(super) struct OriginalPools {
    known: RefCell<HashMap<SocketAddr, Known, ahash::RandomState>>,
    cleaned: Cell<Option<Instant>>,
    warned: Cell<Option<Instant>>,
}

struct Known {
    pool: Rc<HostPool>,
    /// Whether it was asked for since the last cleanup.
    used: Cell<bool>,
}

impl OriginalPools {
    /// The pool of a destination; `None` if there are too many hosts.
    pub(super) fn pool(
        &self,
        parts: &ClusterParts,
        hosts: &OriginalHosts,
        address: SocketAddr,
    ) -> Option<Rc<HostPool>> {
        if let Some(known) = self.known.borrow().get(&address) {
            known.used.set(true);
            return Some(known.pool.clone());
        }
        let member = member(hosts.host(&parts.config, address)?);
        let pool = Rc::new(HostPool::new(&member, &parts.transports));
        self.known.borrow_mut().insert(address, Known { pool: pool.clone(), used: Cell::new(true) });
        Some(pool)
    }

    /// Lets go of pools that are not in use, once per `interval`.
    pub(super) fn clean(&self, hosts: &OriginalHosts, interval: Duration) {
        let now = Instant::now();
        let Some(before) = self.cleaned.get() else { return self.cleaned.set(Some(now)) };
        if now.duration_since(before) < interval {
            return;
        }
        self.cleaned.set(Some(now));
        let gone: Vec<SocketAddr> = {
            let mut known = self.known.borrow_mut();
            known
                .extract_if(|_, known| !known.used.replace(false) && known.is_idle())
                .map(|(at, _)| at)
                .collect()
        };
        for address in gone {
            hosts.forget(address);
        }
    }

    /// Keeps the pools that `stays` wants.
    pub(super) fn retain(&self, mut stays: impl FnMut(&Rc<HostPool>) -> bool) {
        self.known.borrow_mut().retain(|_, known| stays(&known.pool));
    }

    /// Does something with each pool.
    pub(super) fn for_each(&self, act: impl FnMut(&Rc<HostPool>)) {
        self.known.borrow().values().map(|known| &known.pool).for_each(act);
    }

    /// Whether nothing is pooled and nothing under way.
    pub(super) fn is_idle(&self) -> bool {
        self.known.borrow().values().all(|known| known.pool.is_idle())
    }

    /// Whether something that happens for each connection may be told now: once a second.
    pub(super) fn may_warn(&self) -> bool {
        let now = Instant::now();
        let silent =
            self.warned.get().is_some_and(|before| now.duration_since(before) < Duration::from_secs(1));
        if !silent {
            self.warned.set(Some(now));
        }
        !silent
    }
}

impl Known {
    /// Nobody holds the pool, and nobody is connected to its host.
    fn is_idle(&self) -> bool {
        Rc::strong_count(&self.pool) == 1
            && self.pool.is_idle()
            && self.pool.host().counters.cx_active.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests;
