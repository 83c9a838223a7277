//! What the admin server is told: the store, the snapshot and what became of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sampan_filters_api::Address;
use sampan_model::cluster::Discovery;
use serde_json::{Value as Json, json};

use super::{Kind, SharedStore, Store, extensions};
use crate::admin::source::{ConfigSource, Extension, NoAdminLayer, RuntimeView, UnreadyTargets, Unsupported};
use crate::admin::status::{self, ClusterStatus, ListenerStatus};
use crate::admin::view;
use crate::control::generations::{SharedGenerations, Unknown};
use crate::control::publish::Publisher;
use crate::snapshot::ClusterParts;
use crate::tls::secrets::Secrets;

/// Answers the admin server.
pub struct View {
    store: SharedStore,
    publisher: Arc<Publisher>,
    generations: SharedGenerations,
    unsupported: Vec<Unsupported>,
    secrets: Arc<Secrets>,
    bound: Mutex<Vec<ListenerStatus>>,
    unready: Mutex<Vec<UnreadyTargets>>,
    origin: Mutex<Option<Json>>,
    workers: AtomicU32,
}

impl View {
    /// A view of a store and of what is published.
    pub fn new(
        store: SharedStore,
        publisher: Arc<Publisher>,
        generations: SharedGenerations,
        unsupported: Vec<Unsupported>,
        secrets: Arc<Secrets>,
    ) -> Self {
        Self {
            store,
            publisher,
            generations,
            unsupported,
            secrets,
            bound: Mutex::default(),
            unready: Mutex::default(),
            origin: Mutex::default(),
            workers: AtomicU32::new(0),
        }
    }

    /// Tells that a listener is bound, and to which addresses.
    pub fn bound(&self, name: &str, addresses: &[Address]) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.retain(|listener| listener.name != name);
        bound.push(view::listener(name, addresses));
    }

    /// Tells that a listener is gone.
    pub fn unbound(&self, name: &str) {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).retain(|listener| listener.name != name);
    }

    /// Tells what is still initializing.
    pub fn waits_for(&self, targets: Vec<UnreadyTargets>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Tells where the configuration in force came from.
    pub fn came_from(&self, origin: Json) {
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
    }

    /// Tells that workers run.
    pub fn workers_started(&self, count: u32) {
        self.workers.store(count, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn published(&self) -> &crate::snapshot::Published {
        self.publisher.published()
    }

    fn cluster_parts(&self) -> Vec<Arc<ClusterParts>> {
        let snapshot = self.publisher.published().load();
        let mut parts: Vec<_> = snapshot.clusters.iter().map(|entry| entry.peek()).collect();
        parts.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        parts
    }

    /// `envoy.admin.v3.EndpointsConfigDump`: discovered assignments as they were sent, the hosts of other clusters as they
    /// are.
    fn endpoints(&self, store: &Store) -> Json {
        let fixed: Vec<Json> = self
            .cluster_parts()
            .iter()
            .filter(|parts| !matches!(parts.config.discovery, Discovery::Eds { .. }))
            .map(|parts| json!({"endpoint_config": assignment(&view::cluster(parts, false), parts)}))
            .collect();
        let mut part = json!({"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump"});
        for (field, shown) in
            [("static_endpoint_configs", fixed), ("dynamic_endpoint_configs", store.assignments())]
        {
            if !shown.is_empty() {
                part[field] = shown.into();
            }
        }
        part
    }
}

impl ConfigSource for View {
    fn configs(&self, include_eds: bool) -> Vec<Json> {
        let store = self.store.lock();
        let mut configs = store.configs();
        if include_eds {
            configs.insert(2, self.endpoints(&store));
        }
        configs
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        let store = self.store.lock();
        let dynamic = store.kind(Kind::Cluster).active.keys();
        let dynamic: HashSet<&str> = dynamic.map(|key| &*key.name).collect();
        let status = |parts: &Arc<ClusterParts>| view::cluster(parts, dynamic.contains(&*parts.config.name));
        self.cluster_parts().iter().map(status).collect()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn origin(&self) -> Option<Json> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn generations(&self) -> Json {
        self.generations.lock().list()
    }

    fn generations_diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Json, String> {
        self.generations.lock().diff(from, to).map_err(|error: Unknown| error.to_string())
    }

    fn certificates(&self) -> Vec<Json> {
        self.secrets.inventory().iter().flat_map(view::certificates).collect()
    }

    fn unready(&self) -> Vec<UnreadyTargets> {
        self.unready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn node(&self) -> Json {
        self.store.lock().node.clone()
    }

    fn extensions(&self) -> Vec<Extension> {
        extensions::all()
    }

    fn unsupported(&self) -> Vec<Unsupported> {
        let mut all = self.unsupported.clone();
        all.extend(self.store.lock().unsupported.values().flatten().cloned());
        all
    }

    fn workers(&self) -> Option<u32> {
        Some(self.workers.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    fn runtime(&self) -> RuntimeView {
        view::runtime(&self.publisher.published().load().runtime)
    }

    fn modify_runtime(&self, changes: &[(String, String)]) -> Result<(), NoAdminLayer> {
        let current = self.publisher.published().load().runtime.clone();
        let changes = changes.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        self.publisher.runtime(current.modified(changes).ok_or(NoAdminLayer)?);
        Ok(())
    }
}

/// A `ClusterLoadAssignment` of the hosts of a cluster, one entry per priority and locality.
fn assignment(cluster: &ClusterStatus, parts: &ClusterParts) -> Json {
    let mut groups: Vec<Json> = Vec::new();
    for (priority, hosts) in parts.hosts.priorities().iter().enumerate() {
        for locality in &hosts.localities {
            let hosts = locality.hosts.iter().filter_map(|at| cluster.hosts.get(*at as usize));
            let mut group = json!({"lb_endpoints": hosts.map(endpoint).collect::<Vec<_>>()});
            let place = [
                ("region", &locality.locality.region),
                ("zone", &locality.locality.zone),
                ("sub_zone", &locality.locality.sub_zone),
            ];
            let place: serde_json::Map<String, Json> = place
                .into_iter()
                .filter(|(_, name)| !name.is_empty())
                .map(|(field, name)| (field.to_owned(), (**name).into()))
                .collect();
            group["locality"] = place.into();
            if let Some(weight) = locality.weight {
                group["load_balancing_weight"] = weight.into();
            }
            if priority > 0 {
                group["priority"] = priority.into();
            }
            groups.push(group);
        }
    }
    json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster.name,
        "endpoints": groups,
        "policy": {"overprovisioning_factor": parts.hosts.options().overprovisioning_factor},
    })
}

fn endpoint(host: &status::HostStatus) -> Json {
    let mut endpoint = json!({"address": host.address.to_json(), "health_check_config": {}});
    if !host.hostname.is_empty() {
        endpoint["hostname"] = host.hostname.as_str().into();
    }
    json!({
        "endpoint": endpoint,
        "health_status": host.eds_health,
        "metadata": {},
        "load_balancing_weight": host.weight,
    })
}
