//! The immutable tables that all workers read, and how a new set of them reaches the workers.
//!
//! The control thread builds a [`Snapshot`], shares what did not change with the one before, and stores it in
//! [`Published`]: one pointer swap and one generation number. A worker compares the number before it uses its own
//! `Rc` of the snapshot; nothing is locked, and a stream keeps only what it chose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwap;
use sampan_filters_api::http::HttpFilterFactory;
use sampan_filters_api::network::NetworkFilterFactory;
use sampan_model::cluster::{CircuitBreakers, Cluster, HostSet};
use sampan_model::route::Slot;
use tokio::sync::watch;

use crate::http::route::{ClusterNames, RouteConfig, Scopes};
use crate::listener::bind::ActiveListener;
use crate::net::own::OwnAddresses;
use crate::runtime::Runtime;
use crate::upstream::filters::UpstreamFilters;
use crate::upstream::immediate_fail::ImmediateFail;
use crate::upstream::original_dst::OriginalHosts;
use crate::upstream::outlier::Outliers;
use crate::upstream::transport::Transports;
use crate::upstream::watched::Watched;

/// Everything that workers need to serve.
#[derive(Default)]
pub struct Snapshot {
    /// Counts up with each publication.
    pub generation: u64,
    /// Active listeners; the same list in two snapshots means that no listener changed in between.
    pub listeners: Arc<[Arc<ActiveListener>]>,
    /// Where those listen, and the admin server.
    pub own: Arc<OwnAddresses>,
    /// Clusters by slot.
    pub clusters: ClusterTable,
    /// Discovered route configurations by slot.
    pub routes: Table<RouteConfig>,
    /// Scopes of routes by slot.
    pub scopes: Table<Scopes>,
    /// Discovered filters by slot.
    pub extensions: Table<Extension>,
    /// Runtime values.
    pub runtime: Arc<Runtime>,
    /// Downstream connections that were accepted under this generation of the configuration and are open.
    pub connections: Arc<AtomicU64>,
}

/// Resources by slot; the slot of one that is unknown, or not there yet, is empty.
pub struct Table<T> {
    entries: Vec<Option<Arc<T>>>,
}

/// A filter whose configuration was discovered.
pub enum Extension {
    /// An HTTP filter.
    Http(Arc<dyn HttpFilterFactory>),
    /// A network filter.
    Network(Arc<dyn NetworkFilterFactory>),
}

/// Clusters by slot.
pub type ClusterTable = Table<ClusterEntry>;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

impl<T> Table<T> {
    /// What a slot holds.
    #[inline]
    pub fn entry(&self, slot: Slot) -> Option<&Arc<T>> {
        self.entries.get(slot.index()?)?.as_ref()
    }

    /// Sets or empties a slot.
    pub fn set(&mut self, slot: Slot, entry: Option<Arc<T>>) {
        let Some(index) = slot.index() else { return };
        if index >= self.entries.len() {
            self.entries.resize(index + 1, None);
        }
        self.entries[index] = entry;
    }

    /// Everything there is.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.iter().flatten()
    }

    /// The number of filled slots.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether every slot is empty.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Makes the runtime form of a cluster from what [`ClusterEntry`] keeps of it.
pub trait ClusterSource: Send + Sync {
    /// Compiles it; it was compiled once before to validate it, so it cannot fail. Hosts and breakers of the version before
    /// are taken over, if that is still in use.
    fn build(&self, previous: Option<&ClusterParts>) -> ClusterParts;
}

/// One cluster of a snapshot. Until a request needs it, it is only its name and its source.
pub struct ClusterEntry {
    /// `name`
    pub name: Arc<str>,
    source: Option<Box<dyn ClusterSource>>,
    /// The version before; alive only while a worker uses it or an older snapshot is in use.
    previous: Weak<ClusterEntry>,
    built: OnceLock<Arc<ClusterParts>>,
}

impl ClusterEntry {
    /// A cluster that is built on first use, in place of `previous`.
    pub fn lazy(
        name: Arc<str>,
        source: Box<dyn ClusterSource>,
        previous: Option<&Arc<ClusterEntry>>,
    ) -> Self {
        let previous = previous.map(Arc::downgrade).unwrap_or_default();
        Self { name, source: Some(source), previous, built: OnceLock::new() }
    }

    /// A cluster that is built already.
    pub fn built(parts: ClusterParts) -> Self {
        Self {
            name: parts.config.name.clone(),
            source: None,
            previous: Weak::new(),
            built: OnceLock::from(Arc::new(parts)),
        }
    }

    /// The cluster, built now if it has not been.
    pub fn parts(&self) -> &Arc<ClusterParts> {
        self.built.get_or_init(|| {
            let previous = self.previous.upgrade();
            let previous = previous.as_ref().and_then(|entry| entry.built.get());
            Arc::new(match &self.source {
                Some(source) => source.build(previous.map(|parts| &**parts)),
                None => ClusterParts::empty(Cluster::new(&self.name)),
            })
        })
    }

    /// The cluster as it is, or as it would be: looking at it does not count as using it.
    pub fn peek(&self) -> Arc<ClusterParts> {
        match (self.built.get(), &self.source) {
            (Some(parts), _) => parts.clone(),
            (None, Some(source)) => Arc::new(source.build(None)),
            (None, None) => Arc::new(ClusterParts::empty(Cluster::new(&self.name))),
        }
    }

    /// Whether it has been used.
    pub fn is_built(&self) -> bool {
        self.built.get().is_some()
    }
}

/// A cluster's settings, hosts and breakers.
#[derive(Clone, Debug)]
pub struct ClusterParts {
    /// The settings.
    pub config: Arc<Cluster>,
    /// The hosts; a new set replaces it, in a new entry.
    pub hosts: Arc<HostSet>,
    /// Shared by all workers and by all versions of the entry.
    pub breakers: Arc<CircuitBreakers>,
    /// How the hosts are spoken to.
    pub transports: Arc<Transports>,
    /// The hosts of a cluster that has one for each destination; shared by all versions of the entry.
    pub originals: Option<Arc<OriginalHosts>>,
    /// `outlier_detection`; shared as the breakers are.
    pub outliers: Option<Arc<Outliers>>,
    /// Wakes the checks, where there are any; shared as the breakers are.
    pub immediate_fail: Option<ImmediateFail>,
    /// `filters`
    pub filters: UpstreamFilters,
}

impl ClusterParts {
    /// A cluster without hosts.
    pub fn empty(config: Cluster) -> Self {
        let breakers = CircuitBreakers::new(&config.breakers_default, &config.breakers_high);
        Self {
            outliers: config.outlier.clone().map(|config| Arc::new(Outliers::new(config))),
            immediate_fail: config.health_check.as_ref().map(|_| ImmediateFail::default()),
            config: Arc::new(config),
            hosts: Arc::default(),
            breakers: Arc::new(breakers),
            transports: Arc::default(),
            originals: None,
            filters: UpstreamFilters::default(),
        }
    }
}

/// Names to slots. A name that was ever mentioned keeps its slot, so routes stay linked while clusters come and go.
///
/// Names are added one by one and read by requests, so there are two tables: the one that grows, behind a lock, and a copy of it that
/// is made once per publication ([`SlotNames::share`]).
#[derive(Debug, Default)]
pub struct SlotNames {
    shared: ArcSwap<HashMap<Arc<str>, Slot>>,
    /// Whether there are names that the copy has not.
    ahead: AtomicBool,
    all: Mutex<HashMap<Arc<str>, Slot>>,
}

impl SlotNames {
    /// The slot of a name, a new one if need be.
    pub fn intern(&self, name: &str) -> Slot {
        self.intern_all([name])[0]
    }

    /// The slots of several names.
    pub fn intern_all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Slot> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = Vec::new();
        for name in names {
            if let Some(slot) = all.get(name) {
                slots.push(*slot);
                continue;
            }
            let slot = Slot(all.len() as u32);
            all.insert(name.into(), slot);
            self.ahead.store(true, Ordering::Release);
            slots.push(slot);
        }
        slots
    }

    /// Lets requests find every name without the lock.
    pub fn share(&self) {
        if self.ahead.load(Ordering::Acquire) {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.store(Arc::new(all.clone()));
            self.ahead.store(false, Ordering::Release);
        }
    }
}

impl ClusterNames for SlotNames {
    fn slot(&self, name: &[u8]) -> Option<(Arc<str>, Slot)> {
        let name = std::str::from_utf8(name).ok()?;
        let entry = |(name, slot): (&Arc<str>, &Slot)| (name.clone(), *slot);
        let found = self.shared.load().get_key_value(name).map(entry);
        if found.is_some() || !self.ahead.load(Ordering::Acquire) {
            return found;
        }
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_key_value(name).map(entry)
    }
}

/// The current snapshot, where workers find it.
pub struct Published {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    changed: watch::Sender<u64>,
    watched: Watched,
}

impl Published {
    /// Publishes a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        let generation = first.generation;
        Self {
            current: ArcSwap::from_pointee(first),
            generation: AtomicU64::new(generation),
            changed: watch::Sender::new(generation),
            watched: Watched::default(),
        }
    }

    /// Replaces the snapshot; the generation must be new.
    pub fn publish(&self, next: Snapshot) {
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.generation.store(generation, Ordering::Release);
        self.changed.send_replace(generation);
    }

    /// The generation of the current snapshot.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The clusters whose hosts are watched.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Tells of each publication.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot() {
        let names = SlotNames::default();
        let first = names.intern_all(["a", "b", "a"]);
        assert_eq!(first, [Slot(0), Slot(1), Slot(0)]);
        assert_eq!(names.intern("b"), Slot(1));
        assert_eq!(names.slot(b"b").map(|(_, s)| s), Some(Slot(1)), "before it is shared");
        names.share();
        assert_eq!(names.slot(b"b").map(|(_, s)| s), Some(Slot(1)));
        assert_eq!(names.slot(b"c").map(|(_, s)| s), None);
    }

    #[test]
    fn publishing_moves_the_generation() {
        let published = Published::new(Snapshot::default());
        let mut watcher = published.subscribe();
        published.publish(Snapshot { generation: 7, ..Snapshot::default() });
        assert_eq!((published.generation(), published.load().generation), (7, 7));
        assert!(watcher.has_changed().unwrap());
        assert_eq!(*watcher.borrow_and_update(), 7);
    }

    #[test]
    fn a_cluster_is_built_once_and_late() {
        struct Source;
        impl ClusterSource for Source {
            fn build(&self, previous: Option<&ClusterParts>) -> ClusterParts {
                previous.cloned().unwrap_or_else(|| ClusterParts::empty(Cluster::new("lazy")))
            }
        }
        let entry = Arc::new(ClusterEntry::lazy("lazy".into(), Box::new(Source), None));
        assert!(!entry.is_built());
        assert!(Arc::ptr_eq(entry.parts(), entry.parts()));
        let mut table = ClusterTable::default();
        let next = ClusterEntry::lazy("lazy".into(), Box::new(Source), Some(&entry));
        assert!(Arc::ptr_eq(&entry.parts().breakers, &next.parts().breakers), "breakers go on");
        table.set(Slot(3), Some(entry));
        assert_eq!(
            (table.len(), table.entry(Slot(3)).is_some(), table.entry(Slot(9)).is_none()),
            (1, true, true)
        );
    }
}
