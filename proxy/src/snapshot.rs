//! The immutable tables that all workers read, and how a new set of them reaches the workers.
//!
//! The control thread builds a [`Snapshot`], shares what did not change with the one before, and stores it in
//! [`Published`]: one pointer swap and one generation number. A worker compares the number before it uses its own
//! `Rc` of the snapshot; nothing is locked, and a stream keeps only what it chose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use sampan_model::cluster::{CircuitBreakers, Cluster, HostSet};
use sampan_model::route::Slot;
use tokio::sync::watch;

use crate::http::route::ClusterNames;
use crate::listener::bind::ActiveListener;
use crate::runtime::Runtime;

/// Everything that workers need to serve.
#[derive(Default)]
pub struct Snapshot {
    /// Counts up with each publication.
    pub generation: u64,
    /// Active listeners.
    pub listeners: Vec<Arc<ActiveListener>>,
    /// Clusters by slot.
    pub clusters: ClusterTable,
    /// Runtime values.
    pub runtime: Arc<Runtime>,
}

/// Clusters by slot; a slot whose cluster is unknown is empty.
#[derive(Clone, Default)]
pub struct ClusterTable {
    entries: Vec<Option<Arc<ClusterEntry>>>,
}

impl ClusterTable {
    /// The cluster of a slot.
    #[inline]
    pub fn entry(&self, slot: Slot) -> Option<&Arc<ClusterEntry>> {
        self.entries.get(slot.index()?)?.as_ref()
    }

    /// Sets or empties a slot.
    pub fn set(&mut self, slot: Slot, entry: Option<Arc<ClusterEntry>>) {
        let Some(index) = slot.index() else { return };
        if index >= self.entries.len() {
            self.entries.resize(index + 1, None);
        }
        self.entries[index] = entry;
    }

    /// Every cluster there is.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClusterEntry>> {
        self.entries.iter().flatten()
    }

    /// The number of clusters.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no cluster.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Makes the runtime form of a cluster from what [`ClusterEntry`] keeps of it.
pub trait ClusterSource: Send + Sync {
    /// Compiles it; it was compiled once before to validate it, so it cannot fail.
    fn build(&self) -> ClusterParts;
}

/// One cluster of a snapshot. Until a request needs it, it is only its name and its source.
pub struct ClusterEntry {
    /// `name`
    pub name: Arc<str>,
    source: Option<Box<dyn ClusterSource>>,
    built: OnceLock<Arc<ClusterParts>>,
}

impl ClusterEntry {
    /// A cluster that is built on first use.
    pub fn lazy(name: Arc<str>, source: Box<dyn ClusterSource>) -> Self {
        Self { name, source: Some(source), built: OnceLock::new() }
    }

    /// A cluster that is built already.
    pub fn built(parts: ClusterParts) -> Self {
        Self { name: parts.config.name.clone(), source: None, built: OnceLock::from(Arc::new(parts)) }
    }

    /// The cluster, built now if it has not been.
    pub fn parts(&self) -> &Arc<ClusterParts> {
        self.built.get_or_init(|| {
            Arc::new(match &self.source {
                Some(source) => source.build(),
                None => ClusterParts::empty(Cluster::new(&self.name)),
            })
        })
    }

    /// Whether it has been used.
    pub fn is_built(&self) -> bool {
        self.built.get().is_some()
    }
}

/// A cluster's settings, hosts and breakers.
#[derive(Clone)]
pub struct ClusterParts {
    /// The settings.
    pub config: Arc<Cluster>,
    /// The hosts; a new set replaces it, in a new entry.
    pub hosts: Arc<HostSet>,
    /// Shared by all workers and by all versions of the entry.
    pub breakers: Arc<CircuitBreakers>,
}

impl ClusterParts {
    /// A cluster without hosts.
    pub fn empty(config: Cluster) -> Self {
        let breakers = CircuitBreakers::new(&config.breakers_default, &config.breakers_high);
        Self { config: Arc::new(config), hosts: Arc::new(HostSet::default()), breakers: Arc::new(breakers) }
    }
}

/// Names to slots. A name that was ever mentioned keeps its slot, so routes stay linked while clusters come and go.
#[derive(Default)]
pub struct SlotNames {
    names: ArcSwap<HashMap<Arc<str>, Slot>>,
    adding: Mutex<()>,
}

impl SlotNames {
    /// The slot of a name, a new one if need be.
    pub fn intern(&self, name: &str) -> Slot {
        self.intern_all([name])[0]
    }

    /// The slots of several names; copies the table once.
    pub fn intern_all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Slot> {
        let _guard = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.names.load_full();
        let mut next: Option<HashMap<Arc<str>, Slot>> = None;
        let mut slots = Vec::new();
        for name in names {
            let table = next.as_ref().unwrap_or(&known);
            if let Some(slot) = table.get(name) {
                slots.push(*slot);
                continue;
            }
            let table = next.get_or_insert_with(|| (*known).clone());
            let slot = Slot(table.len() as u32);
            table.insert(name.into(), slot);
            slots.push(slot);
        }
        if let Some(next) = next {
            self.names.store(Arc::new(next));
        }
        slots
    }
}

impl ClusterNames for SlotNames {
    fn slot(&self, name: &[u8]) -> Option<(Arc<str>, Slot)> {
        let name = std::str::from_utf8(name).ok()?;
        let names = self.names.load();
        names.get_key_value(name).map(|(name, slot)| (name.clone(), *slot))
    }
}

/// The current snapshot, where workers find it.
pub struct Published {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    changed: watch::Sender<u64>,
}

impl Published {
    /// Publishes a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        let generation = first.generation;
        Self {
            current: ArcSwap::from_pointee(first),
            generation: AtomicU64::new(generation),
            changed: watch::Sender::new(generation),
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
            fn build(&self) -> ClusterParts {
                ClusterParts::empty(Cluster::new("lazy"))
            }
        }
        let entry = ClusterEntry::lazy("lazy".into(), Box::new(Source));
        assert!(!entry.is_built());
        assert!(Arc::ptr_eq(entry.parts(), entry.parts()));
        let mut table = ClusterTable::default();
        table.set(Slot(3), Some(Arc::new(entry)));
        assert_eq!(
            (table.len(), table.entry(Slot(3)).is_some(), table.entry(Slot(9)).is_none()),
            (1, true, true)
        );
    }
}
