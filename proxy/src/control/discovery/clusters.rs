//! Clusters: static and discovered ones, from arrival through warming into the snapshot.
//!
//! ```text
//! arrives --compiled--> warming --endpoints known, names resolved, or time is over; hosts checked--> active --removed--> gone
//!                          ^                                                            |
//!                          '---- a new version warms while the old one serves <---------'
//! ```
//!
//! A cluster that no request has used costs its wire bytes; see [`Kept`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use sampan_api::envoy::config::cluster::v3::Cluster as Proto;
use sampan_api::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::decode::Incoming;
use super::probation::Probation;
use super::update::Discovered;
use super::wanted::User;
use super::{Discovery, Local};
use crate::bootstrap::Resource;
use crate::control::compile::cluster::{self, Compiled};
use crate::control::compile::endpoints::{self, Names};
use crate::control::compile::scope::Rejects;
use crate::control::compile::tls::Inputs;
use crate::control::compile::{Scope, source};
use crate::control::dns::{self, Resolving};
use crate::control::publish::Kept;
use crate::control::store::{Key, Kind, Origin, Stored};
use crate::logging::target;
use crate::reference::{Source, SourceKey};
use crate::telemetry::stats::kinds::{ClusterManagerCounter, ClusterManagerGauge};

/// All clusters by name.
#[derive(Default)]
pub struct Clusters {
    pub(super) states: HashMap<Arc<str>, ClusterState>,
    /// Those with a version that waits.
    warming: BTreeSet<Arc<str>>,
}

#[derive(Default)]
pub(super) struct ClusterState {
    active: Option<Box<Version>>,
    pub(super) warming: Option<Box<Version>>,
}

/// One version of a cluster.
pub(super) struct Version {
    /// `None` for one of the bootstrap.
    key: Option<Key>,
    pub(super) wire: Bytes,
    /// Its assignment, if its endpoints are discovered.
    pub(super) assignment: Option<Key>,
    /// The tasks that resolve its names.
    resolving: Option<Resolving>,
    /// Names that have not been asked for once.
    unresolved: bool,
    /// `alt_stat_name`
    stat_name: Option<Arc<str>>,
    /// The files and secrets that it was compiled with.
    pub(super) inputs: Inputs,
    /// Its hosts are checked actively.
    checked: bool,
    /// Whether they are checked before it is in force.
    pub(super) probation: Probation,
}

impl Clusters {
    /// What stats call a cluster.
    pub(super) fn stat_name(&self, name: &Arc<str>) -> Arc<str> {
        let state = self.states.get(name);
        let version = state.and_then(|state| state.warming.as_ref().or(state.active.as_ref()));
        version.and_then(|version| version.stat_name.clone()).unwrap_or_else(|| name.clone())
    }

    /// Names of all clusters that are in force.
    pub fn active(&self) -> impl Iterator<Item = &Arc<str>> {
        self.states.iter().filter(|(_, state)| state.active.is_some()).map(|(name, _)| name)
    }

    /// Names of clusters with a version that waits.
    pub fn warming(&self) -> impl Iterator<Item = &Arc<str>> {
        self.warming.iter()
    }

    /// What a warming cluster waits for.
    pub fn waits_for(&self, name: &str) -> Option<&Key> {
        self.states.get(name)?.warming.as_ref()?.assignment.as_ref()
    }

    /// Whether a warming cluster still waits although it needs no server: its names are being resolved.
    pub fn resolves(&self, name: &str) -> bool {
        self.states
            .get(name)
            .and_then(|state| state.warming.as_ref())
            .is_some_and(|version| version.unresolved || matches!(version.probation, Probation::Begun { .. }))
    }
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Cluster;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        if discovery.store.lock().kind(Kind::Cluster).is_fixed(&key.name) {
            tracing::warn!(target: target::CONFIG, "{}: is in the bootstrap; the discovered one is left out", incoming.shown);
            return;
        }
        let at = Scope::root(&incoming.shown, rejects);
        let Some(compiled) = cluster::compile(&incoming.proto, &discovery.context.tls.fresh(), &at) else {
            return;
        };
        if let Some(source) = &compiled.endpoints
            && discovery.sources.resolve(source, &key.source).is_none()
        {
            at.field("eds_cluster_config").field("eds_config").reject::<()>(source::NO_ADS);
            return;
        }
        let stored = Stored {
            name: key.name.clone(),
            wire: incoming.wire.clone(),
            origin: Origin::Dynamic { version: incoming.version },
            updated: chrono::Utc::now(),
        };
        discovery.store.lock().kind_mut(Kind::Cluster).warming.insert(key.clone(), Arc::new(stored));
        discovery.stage_cluster(key.name.clone(), Some(key.clone()), incoming.wire, compiled);
    }

    fn remove(discovery: &mut Discovery, key: &Key) {
        let Some(state) = discovery.clusters.states.remove(&key.name) else { return };
        discovery.clusters.warming.remove(&key.name);
        for version in [state.active, state.warming].into_iter().flatten() {
            discovery.counters.cluster_gone(version.stat_name.as_ref().unwrap_or(&key.name));
            discovery.leave_assignment(version.assignment.as_ref(), &key.name);
        }
        let slot = discovery.publisher.slot(&key.name);
        discovery.edits.clusters.insert(slot, None);
        discovery.known_clusters = None;
        discovery.counters.clusters.inc(ClusterManagerCounter::ClusterRemoved);
    }
}

impl Discovered for ClusterLoadAssignment {
    const KIND: Kind = Kind::Endpoints;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        if discovery.assignments.state(key).is_none() {
            return;
        }
        let at = Scope::root(&incoming.shown, rejects);
        endpoints::compile(&incoming.proto, Names::Refused, &at);
        if incoming.proto.cluster_name != *key.name {
            at.field("cluster_name").reject_value::<()>(
                &incoming.proto.cluster_name,
                format!("Unexpected EDS cluster (expecting {})", key.name),
                "",
            );
        }
        if !rejects.is_empty() {
            return;
        }
        let users = discovery.assignments.arrived(key);
        discovery.keep(Kind::Endpoints, key, incoming.wire.clone(), incoming.version);
        for user in &users {
            discovery.assign(user, key, &incoming.wire);
        }
        for user in &users {
            let name = discovery.clusters.stat_name(user);
            discovery.counters.endpoints(&name, incoming.proto.endpoints.is_empty());
        }
    }

    /// The clusters keep the endpoints that they have, as in Envoy.
    fn remove(discovery: &mut Discovery, key: &Key) {
        discovery.assignments.gone(key);
    }
}

impl Discovery {
    /// Takes the clusters of the bootstrap over. Those with nothing to wait for are in the snapshot already.
    pub(super) fn adopt_clusters(&mut self, clusters: &[Resource], discovering: Vec<Compiled>) {
        let mut discovering: HashMap<Arc<str>, Compiled> =
            discovering.into_iter().map(|compiled| (compiled.config.name.clone(), compiled)).collect();
        for cluster in clusters {
            let (name, wire) = (cluster.name.clone(), cluster.wire.clone());
            if let Some(compiled) = discovering.remove(&name) {
                self.stage_cluster(name, None, wire, compiled);
                continue;
            }
            let version = Version {
                key: None,
                wire,
                assignment: None,
                resolving: None,
                unresolved: false,
                stat_name: None,
                inputs: self.context.tls.clone(),
                checked: false,
                probation: Probation::None,
            };
            self.clusters
                .states
                .insert(name, ClusterState { active: Some(Box::new(version)), warming: None });
        }
        self.counters.clusters.add(ClusterManagerCounter::ClusterAdded, clusters.len() as u64);
    }

    /// Lets a version wait for what it needs.
    fn stage_cluster(&mut self, name: Arc<str>, key: Option<Key>, wire: Bytes, compiled: Compiled) {
        let own = key.as_ref().map_or_else(SourceKey::ads, |key| key.source.clone());
        let assignment =
            compiled.endpoints.as_ref().zip(compiled.service_name()).and_then(|(source, service)| {
                let source = self.sources.resolve(source, &own)?;
                let key = Key { source: source.key.clone(), name: service.clone() };
                Some((source, key))
            });
        if let Some((source, key)) = &assignment {
            self.need_assignment(source, key, &name);
        }
        let unresolved = compiled.resolves_names() && compiled.wait_for_warm;
        let stat_name = compiled.config.alt_stat_name.clone();
        let (inputs, checked) = (compiled.inputs.clone(), compiled.is_checked());
        let due = checked && compiled.wait_for_warm && !compiled.resolves_names();
        let probation = if due { Probation::Due } else { Probation::None };
        let resolving = compiled.resolves_names().then(|| self.resolve_names(compiled));
        let version = Version {
            key,
            wire,
            assignment: assignment.map(|(_, key)| key),
            resolving,
            unresolved,
            stat_name,
            inputs,
            checked,
            probation,
        };
        let state = self.clusters.states.entry(name.clone()).or_default();
        let replaced = state.warming.replace(Box::new(version));
        self.clusters.warming.insert(name.clone());
        if let Some(replaced) = replaced {
            self.leave_unless_used(replaced.assignment.as_ref(), &name);
        }
    }

    /// Starts to resolve names; tells [`Local::Resolved`] when each was asked for once.
    fn resolve_names(&mut self, compiled: Compiled) -> Resolving {
        let name = compiled.config.name.clone();
        let (mut resolving, first) =
            dns::resolve(compiled, self.resolvers.clone(), self.publisher.clone(), &self.stats);
        let local = self.local.clone();
        resolving.spawn(async move {
            // The sender goes only with the cluster itself.
            if first.await.is_ok() {
                let _ = local.send(Local::Resolved(name));
            }
        });
        resolving
    }

    /// Notes that a cluster's names were asked for.
    pub(super) fn resolved(&mut self, name: &str) {
        if let Some(version) = self.clusters.states.get_mut(name).and_then(|state| state.warming.as_mut()) {
            version.unresolved = false;
        }
    }

    /// Puts every warming version in force that waits for nothing any more.
    pub(super) fn settle_clusters(&mut self) {
        let ready: Vec<Arc<str>> = self
            .clusters
            .warming
            .iter()
            .filter(|name| {
                let version = self.clusters.states.get(*name).and_then(|state| state.warming.as_ref());
                version.is_some_and(|version| {
                    !version.unresolved
                        && self.has_secrets(&version.inputs)
                        && version.assignment.as_ref().is_none_or(|key| self.assignments.is_settled(key))
                })
            })
            .cloned()
            .collect();
        for name in ready {
            if self.passes_probation(&name) {
                self.activate_cluster(&name);
            }
        }
    }

    fn activate_cluster(&mut self, name: &Arc<str>) {
        self.clusters.warming.remove(name);
        let Some(state) = self.clusters.states.get_mut(name) else { return };
        let Some(mut version) = state.warming.take() else { return };
        let warmed = match std::mem::replace(&mut version.probation, Probation::None) {
            Probation::Over(parts) => Some(parts),
            _ => None,
        };
        let checked = version.checked;
        let edit = version.resolving.is_none().then(|| (version.wire.clone(), version.inputs.clone()));
        let (assignment, key) = (version.assignment.clone(), version.key.clone());
        let previous = state.active.replace(version);
        let counter = match (&previous, &key) {
            (Some(_), _) => Some(ClusterManagerCounter::ClusterModified),
            (None, Some(_)) => Some(ClusterManagerCounter::ClusterAdded),
            (None, None) => None,
        };
        if let Some(counter) = counter {
            self.counters.clusters.inc(counter);
        }
        if let Some(previous) = previous {
            self.leave_unless_used(previous.assignment.as_ref(), name);
        } else {
            self.known_clusters = None;
        }
        if let Some((wire, inputs)) = edit {
            let kept = Kept {
                name: name.clone(),
                wire,
                assignment: assignment.and_then(|key| self.assignment(&key)),
                inputs,
                checked,
                warmed,
            };
            self.edits.clusters.insert(self.publisher.slot(name), Some(kept));
        }
        if let Some(key) = key {
            self.activated(Kind::Cluster, &key);
        }
    }

    /// Gives a cluster its new endpoints.
    fn assign(&mut self, user: &User, key: &Key, assignment: &Bytes) {
        let Some(active) = self.clusters.states.get(user).and_then(|state| state.active.as_ref()) else {
            return;
        };
        if active.assignment.as_ref() == Some(key) {
            let kept = Kept {
                name: user.clone(),
                wire: active.wire.clone(),
                assignment: Some(assignment.clone()),
                inputs: active.inputs.clone(),
                checked: active.checked,
                warmed: None,
            };
            self.edits.clusters.insert(self.publisher.slot(user), Some(kept));
        }
    }

    pub(super) fn assignment(&self, key: &Key) -> Option<Bytes> {
        self.store.lock().kind(Kind::Endpoints).active.get(key).map(|stored| stored.wire.clone())
    }

    fn need_assignment(&mut self, source: &Source, key: &Key, user: &User) {
        if self.assignments.need(key, user) {
            self.sources.subscribe(source, Kind::Endpoints, &key.name);
        }
    }

    /// Leaves an assignment, unless a version of the cluster that stays uses the same one.
    fn leave_unless_used(&mut self, key: Option<&Key>, name: &Arc<str>) {
        let used = self.clusters.states.get(name).is_some_and(|state| {
            let mut versions = [&state.active, &state.warming].into_iter().flatten();
            versions.any(|version| version.assignment.as_ref() == key)
        });
        if !used {
            self.leave_assignment(key, name);
        }
    }

    fn leave_assignment(&mut self, key: Option<&Key>, name: &Arc<str>) {
        let Some(key) = key else { return };
        if self.assignments.leave(key, name) {
            self.sources.unsubscribe(Kind::Endpoints, key);
            self.forget(Kind::Endpoints, key);
        }
    }

    /// Gauges of the clusters there are.
    pub(super) fn count_clusters(&self) {
        let warming = self.clusters.warming.len() as i64;
        let active = self.clusters.active().count() as i64;
        self.counters.clusters.set(ClusterManagerGauge::ActiveClusters, active);
        self.counters.clusters.set(ClusterManagerGauge::WarmingClusters, warming);
    }
}
