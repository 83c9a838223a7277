//! From checked resources to the snapshot that workers read, and every change of it after.
//!
//! A [`Publisher`] is the only writer of [`Published`]. A change takes what is there, replaces its own part and shares
//! the rest, so a DNS answer costs a copy of the table of pointers and one cluster entry.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster as ClusterProto;
use sampan_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use sampan_model::cluster::{CircuitBreakers, Cluster, Discovery, HostSet};
use sampan_model::route::Slot;

use super::compile::cluster::{self, Compiled};
use super::compile::scope::{Rejects, Scope};
use super::compile::tls::Inputs;
use crate::bootstrap::Resource;
use crate::http::route::{RouteConfig, Scopes};
use crate::listener::bind::{ActiveListener, BoundAddress};
use crate::net::own::OwnAddresses;
use crate::runtime::Runtime;
use crate::snapshot::{
    ClusterEntry, ClusterParts, ClusterSource, ClusterTable, Extension, Published, SlotNames, Snapshot,
};
use crate::upstream::outlier::Outliers;

/// Writes snapshots.
pub struct Publisher {
    published: Arc<Published>,
    slots: Arc<SlotNames>,
    /// Where the admin server listens, if by IP.
    admin: OnceLock<SocketAddr>,
    /// Held while a snapshot is built from the one before.
    changing: Mutex<()>,
}

impl Publisher {
    /// Publishes the clusters of the bootstrap; there are no listeners yet.
    pub fn new(clusters: &[Resource], slots: Arc<SlotNames>, runtime: Arc<Runtime>, inputs: &Inputs) -> Self {
        let names = slots.intern_all(clusters.iter().map(|cluster| &*cluster.name));
        let mut table = ClusterTable::default();
        for (slot, cluster) in names.into_iter().zip(clusters) {
            table.set(slot, Some(Kept::fixed(cluster, inputs).entry(None)));
        }
        slots.share();
        let first = Snapshot { generation: 1, clusters: table, runtime, ..Snapshot::default() };
        Self {
            published: Arc::new(Published::new(first)),
            slots,
            admin: OnceLock::new(),
            changing: Mutex::default(),
        }
    }

    /// Tells where the admin server listens, before there are listeners.
    pub fn admin_at(&self, address: SocketAddr) {
        self.admin.get_or_init(|| address);
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
        self.apply(Edits { listeners: Some(listeners), ..Edits::default() });
    }

    /// Replaces the runtime.
    pub fn runtime(&self, runtime: Runtime) {
        self.apply(Edits { runtime: Some(Arc::new(runtime)), ..Edits::default() });
    }

    /// Replaces one cluster.
    pub fn cluster(&self, slot: Slot, parts: ClusterParts) {
        let checked = parts.config.health_check.is_some();
        self.change(|snapshot| snapshot.clusters.set(slot, Some(Arc::new(ClusterEntry::built(parts)))));
        if checked {
            self.published.watched().add(slot);
        }
    }

    /// Has the hosts of a cluster checked from now on, whether it is used or not.
    pub fn check(&self, slot: Slot) {
        if let Some(entry) = self.published.load().clusters.entry(slot) {
            entry.parts();
            self.published.watched().add(slot);
        }
    }

    /// Publishes a cluster's hosts as their health is now.
    pub fn refresh(&self, slot: Slot) {
        self.change(|snapshot| {
            let Some(entry) = snapshot.clusters.entry(slot).filter(|entry| entry.is_built()) else { return };
            let parts = entry.parts();
            let hosts = Arc::new(parts.hosts.refreshed());
            let fresh = ClusterEntry::built(ClusterParts { hosts, ..ClusterParts::clone(parts) });
            snapshot.clusters.set(slot, Some(Arc::new(fresh)));
        });
    }

    /// Publishes a burst of changes at once; the generation that has them.
    pub fn apply(&self, edits: Edits) -> u64 {
        let kept = edits.clusters.iter();
        let checked = kept.filter(|(_, kept)| kept.as_ref().is_some_and(|kept| kept.checked));
        let checked: Vec<Slot> = checked.map(|(slot, _)| *slot).collect();
        let generation = self.change(|snapshot| {
            for (slot, kept) in edits.clusters {
                let previous = snapshot.clusters.entry(slot).cloned();
                snapshot.clusters.set(slot, kept.map(|kept| kept.entry(previous.as_ref())));
            }
            for (slot, routes) in edits.routes {
                snapshot.routes.set(slot, routes);
            }
            for (slot, scopes) in edits.scopes {
                snapshot.scopes.set(slot, scopes);
            }
            for (slot, extension) in edits.extensions {
                snapshot.extensions.set(slot, extension);
            }
            if let Some(listeners) = edits.listeners {
                snapshot.own = Arc::new(self.own(&listeners));
                snapshot.listeners = listeners.into();
            }
            if let Some(runtime) = edits.runtime {
                snapshot.runtime = runtime;
            }
            if let Some(connections) = edits.connections {
                snapshot.connections = connections;
            }
        });
        for slot in checked {
            self.check(slot);
        }
        generation
    }

    /// Where the process listens.
    fn own(&self, listeners: &[Arc<ActiveListener>]) -> OwnAddresses {
        let bound = listeners.iter().flat_map(|listener| &listener.bound);
        let address =
            |bound: &Arc<BoundAddress>| Some((bound.address.socket()?, bound.wanted.options.ipv4_compat));
        let admin = self.admin.get().map(|address| (*address, false));
        OwnAddresses::new(bound.filter_map(address).chain(admin))
    }

    fn change(&self, edit: impl FnOnce(&mut Snapshot)) -> u64 {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.slots.share();
        let current = self.published.load();
        let mut next = Snapshot {
            generation: current.generation + 1,
            listeners: current.listeners.clone(),
            own: current.own.clone(),
            clusters: current.clusters.clone(),
            routes: current.routes.clone(),
            scopes: current.scopes.clone(),
            extensions: current.extensions.clone(),
            runtime: current.runtime.clone(),
            connections: current.connections.clone(),
        };
        edit(&mut next);
        let generation = next.generation;
        self.published.publish(next);
        generation
    }
}

/// The runtime form of a compiled cluster. Breakers with the same limits go on from the version before, and so does outlier
/// detection with the same settings.
pub fn parts(compiled: &Compiled, hosts: HostSet, previous: Option<&ClusterParts>) -> ClusterParts {
    let config = compiled.config.clone();
    let limits = |config: &Cluster| (config.breakers_default, config.breakers_high);
    let breakers = match previous {
        Some(previous) if limits(&previous.config) == limits(&config) => previous.breakers.clone(),
        _ => Arc::new(CircuitBreakers::new(&config.breakers_default, &config.breakers_high)),
    };
    let transports = compiled.transports.clone();
    let outliers = config.outlier.as_ref().map(|config| {
        let known = previous.and_then(|previous| previous.outliers.as_ref());
        let same = known.filter(|known| known.config() == config);
        same.cloned().unwrap_or_else(|| Arc::new(Outliers::new(config.clone())))
    });
    let immediate_fail = config
        .health_check
        .as_ref()
        .map(|_| previous.and_then(|previous| previous.immediate_fail.clone()).unwrap_or_default());
    let originals = matches!(config.discovery, Discovery::OriginalDst(_))
        .then(|| previous.and_then(|previous| previous.originals.clone()).unwrap_or_default());
    ClusterParts {
        config: Arc::new(config),
        hosts: Arc::new(hosts),
        breakers,
        transports,
        originals,
        outliers,
        immediate_fail,
        filters: compiled.filters.clone(),
    }
}

/// Changes that are published together.
#[derive(Default)]
pub struct Edits {
    /// Clusters by slot; `None` for one that is gone.
    pub clusters: HashMap<Slot, Option<Kept>>,
    /// Route configurations by slot; `None` for one that is gone.
    pub routes: HashMap<Slot, Option<Arc<RouteConfig>>>,
    /// Scopes of routes by slot.
    pub scopes: HashMap<Slot, Option<Arc<Scopes>>>,
    /// Discovered filters by slot.
    pub extensions: HashMap<Slot, Option<Arc<Extension>>>,
    /// All listeners, if any changed.
    pub listeners: Option<Vec<Arc<ActiveListener>>>,
    /// The runtime, if it changed.
    pub runtime: Option<Arc<Runtime>>,
    /// The count of connections, for a new generation of the configuration.
    pub connections: Option<Arc<AtomicU64>>,
}

impl Edits {
    /// Whether there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
            && self.routes.is_empty()
            && self.scopes.is_empty()
            && self.extensions.is_empty()
            && self.listeners.is_none()
            && self.runtime.is_none()
    }
}

/// A cluster as bytes.
#[derive(Clone)]
pub struct Kept {
    /// `name`
    pub name: Arc<str>,
    /// The cluster.
    pub wire: Bytes,
    /// Its discovered assignment.
    pub assignment: Option<Bytes>,
    /// The files and secrets that it was compiled with on arrival.
    pub inputs: Inputs,
    /// Its hosts are checked, so that it is built at once.
    pub checked: bool,
    /// The cluster with its hosts checked, for one that was not in force before.
    pub warmed: Option<Arc<ClusterParts>>,
}

impl Kept {
    /// A cluster of the bootstrap.
    fn fixed(cluster: &Resource, inputs: &Inputs) -> Self {
        let (name, wire) = (cluster.name.clone(), cluster.wire.clone());
        Self { name, wire, assignment: None, inputs: inputs.clone(), checked: false, warmed: None }
    }

    /// An entry of the snapshot. One whose predecessor is in use is built at once, here and not by a worker.
    fn entry(self, previous: Option<&Arc<ClusterEntry>>) -> Arc<ClusterEntry> {
        let in_use = previous.is_some_and(|entry| entry.is_built());
        let entry = Arc::new(ClusterEntry::lazy(self.name.clone(), Box::new(self), previous));
        if in_use {
            entry.parts();
        }
        entry
    }

    /// Compiles it again. `None` only if it never was valid.
    fn compile(&self) -> Option<Compiled> {
        let api = sampan_api::Descriptors::load();
        // What it may not hold was judged on arrival.
        let policy = sampan_api::UnknownFields::Collect;
        let read = sampan_api::decode_wire::<ClusterProto>(api, &self.wire, policy);
        let proto = read.ok()?.value;
        let rejects = Rejects::default();
        let mut compiled = cluster::compile(&proto, &self.inputs, &Scope::root(&proto.name, &rejects))?;
        if let Some(assignment) = &self.assignment {
            compiled.assign(&ClusterLoadAssignment::decode(assignment.clone()).ok()?);
        }
        Some(compiled)
    }
}

impl ClusterSource for Kept {
    fn build(&self, previous: Option<&ClusterParts>) -> ClusterParts {
        match self.compile() {
            Some(compiled) => {
                let before = self.warmed.as_deref().or(previous);
                let hosts = compiled.fixed_hosts(before.map(|parts| &*parts.hosts));
                parts(&compiled, hosts, previous)
            }
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
        let publisher =
            Publisher::new(&[resource("a"), resource("b")], slots, Arc::default(), &Inputs::default());
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
        let publisher = Publisher::new(&[resource("a")], Arc::default(), Arc::default(), &Inputs::default());
        publisher.runtime(Runtime { layers: vec![crate::runtime::Layer::default()] });
        let now = publisher.published().load();
        assert_eq!((now.runtime.layers.len(), now.clusters.len()), (1, 1));
    }
}
