//! From checked resources to the snapshot that workers read, and every change of it after.
//!
//! A [`Publisher`] is the only writer of [`Published`]. A change takes what is there, replaces its own part and shares
//! the rest, so a DNS answer costs a copy of the table of pointers and one cluster entry.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster as ClusterProto;
use sampan_model::cluster::{CircuitBreakers, Cluster, HostSet};
use sampan_model::route::Slot;

use super::compile::cluster::{self, Compiled};
use super::compile::scope::{Rejects, Scope};
use crate::bootstrap::Resource;
use crate::listener::bind::ActiveListener;
use crate::runtime::Runtime;
use crate::snapshot::{
    ClusterEntry, ClusterParts, ClusterSource, ClusterTable, Published, SlotNames, Snapshot,
};

/// Writes snapshots.
pub struct Publisher {
    published: Arc<Published>,
    slots: Arc<SlotNames>,
    /// Held while a snapshot is built from the one before.
    changing: Mutex<()>,
}

impl Publisher {
    /// Publishes the clusters of the bootstrap; there are no listeners yet.
    pub fn new(clusters: &[Resource], slots: Arc<SlotNames>, runtime: Arc<Runtime>) -> Self {
        let names = slots.intern_all(clusters.iter().map(|cluster| &*cluster.name));
        let mut table = ClusterTable::default();
        for (slot, cluster) in names.into_iter().zip(clusters) {
            table.set(slot, Some(Arc::new(lazy(cluster))));
        }
        let first = Snapshot { generation: 1, clusters: table, runtime, ..Snapshot::default() };
        Self { published: Arc::new(Published::new(first)), slots, changing: Mutex::default() }
    }

    /// Where workers find the snapshot.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The slot of a cluster.
    pub fn slot(&self, name: &str) -> Slot {
        self.slots.intern(name)
    }

    /// Replaces the listeners.
    pub fn listeners(&self, listeners: Vec<Arc<ActiveListener>>) {
        self.change(|snapshot| snapshot.listeners = listeners);
    }

    /// Replaces the runtime.
    pub fn runtime(&self, runtime: Runtime) {
        self.change(|snapshot| snapshot.runtime = Arc::new(runtime));
    }

    /// Replaces one cluster.
    pub fn cluster(&self, slot: Slot, parts: ClusterParts) {
        self.change(|snapshot| snapshot.clusters.set(slot, Some(Arc::new(ClusterEntry::built(parts)))));
    }

    fn change(&self, edit: impl FnOnce(&mut Snapshot)) {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.published.load();
        let mut next = Snapshot {
            generation: current.generation + 1,
            listeners: current.listeners.clone(),
            clusters: current.clusters.clone(),
            runtime: current.runtime.clone(),
        };
        edit(&mut next);
        self.published.publish(next);
    }
}

/// The runtime form of a compiled cluster.
pub fn parts(compiled: &Compiled, hosts: HostSet) -> ClusterParts {
    let config = compiled.config.clone();
    let breakers = CircuitBreakers::new(&config.breakers_default, &config.breakers_high);
    ClusterParts { config: Arc::new(config), hosts: Arc::new(hosts), breakers: Arc::new(breakers) }
}

/// Compiles a kept cluster again. `None` only if it never was valid.
pub fn recompile(wire: &Bytes) -> Option<Compiled> {
    let proto = ClusterProto::decode(wire.clone()).ok()?;
    let rejects = Rejects::default();
    cluster::compile(&proto, &Scope::root(&proto.name, &rejects))
}

fn lazy(cluster: &Resource) -> ClusterEntry {
    let source = Kept { name: cluster.name.clone(), wire: cluster.wire.clone() };
    ClusterEntry::lazy(cluster.name.clone(), Box::new(source))
}

/// A cluster as bytes.
struct Kept {
    name: Arc<str>,
    wire: Bytes,
}

impl ClusterSource for Kept {
    fn build(&self) -> ClusterParts {
        match recompile(&self.wire) {
            Some(compiled) => parts(&compiled, compiled.fixed_hosts(None)),
            None => ClusterParts::empty(Cluster::new(&self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Resource {
        let proto = ClusterProto { name: name.to_owned(), ..ClusterProto::default() };
        Resource { name: name.into(), wire: proto.encode_to_vec().into() }
    }

    #[test]
    fn clusters_are_built_when_first_used_and_replaced_alone() {
        let slots = Arc::new(SlotNames::default());
        let publisher = Publisher::new(&[resource("a"), resource("b")], slots, Arc::default());
        let (a, b) = (publisher.slot("a"), publisher.slot("b"));
        let before = publisher.published().load();
        assert!(!before.clusters.entry(a).unwrap().is_built());
        assert_eq!(&*before.clusters.entry(a).unwrap().parts().config.name, "a");
        publisher.cluster(a, ClusterParts::empty(Cluster::new("a")));
        let after = publisher.published().load();
        assert_eq!(after.generation, before.generation + 1);
        assert!(Arc::ptr_eq(before.clusters.entry(b).unwrap(), after.clusters.entry(b).unwrap()));
        assert!(!Arc::ptr_eq(before.clusters.entry(a).unwrap(), after.clusters.entry(a).unwrap()));
    }

    #[test]
    fn the_runtime_is_replaced_and_the_rest_kept() {
        let publisher = Publisher::new(&[resource("a")], Arc::default(), Arc::default());
        publisher.runtime(Runtime { layers: vec![crate::runtime::Layer::default()] });
        let now = publisher.published().load();
        assert_eq!((now.runtime.layers.len(), now.clusters.len()), (1, 1));
    }
}
