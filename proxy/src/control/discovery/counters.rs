//! What discovery counts, in the names of Envoy's stats.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::control::store::{Key, Kind};
use crate::reference::SourceKey;
use crate::telemetry::stats::kinds::{
    ClusterManager, ListenerManager, Runtime, Server, ServerCounter, Subscription, SubscriptionCounter,
    SubscriptionGauge, SubscriptionHistogram,
};
use crate::telemetry::stats::{Block, MetricType, Provided, Provider, Stats, Writer};

/// The blocks that discovery writes.
pub struct Counters {
    /// `cluster_manager.`
    pub clusters: Arc<Block<ClusterManager>>,
    /// `listener_manager.`
    pub listeners: Arc<Block<ListenerManager>>,
    /// `runtime.`
    pub runtime: Arc<Block<Runtime>>,
    server: Arc<Block<Server>>,
    stats: Arc<Stats>,
    subscriptions: HashMap<Kind, Arc<Block<Subscription>>>,
    /// `http.<prefix>.rds.<name>.` for each connection manager that names a route configuration.
    routes: HashMap<Key, Vec<Arc<Block<Subscription>>>>,
    /// `http.<prefix>.scoped_routes.<name>.` for each connection manager that uses a source of scopes.
    scopes: HashMap<SourceKey, Vec<NamedScopes>>,
    endpoints: Arc<EndpointCounts>,
}

/// The stats of a connection manager that uses scopes: their prefix, and the block.
type NamedScopes = (String, Arc<Block<Subscription>>);

/// Updates of clusters' endpoints. Not blocks: most clusters of a mesh are never used, and these numbers cost a few bytes.
#[derive(Default)]
struct EndpointCounts(Mutex<HashMap<Arc<str>, Updates>>);

#[derive(Default)]
struct Updates {
    updates: u64,
    empty: u64,
    timeouts: u64,
}

impl Provider for EndpointCounts {
    fn provide(&self, out: &mut Provided<'_>) {
        for (cluster, counts) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out.counter(format!("cluster.{cluster}.update_attempt"), counts.updates);
            out.counter(format!("cluster.{cluster}.update_success"), counts.updates);
            out.counter(format!("cluster.{cluster}.update_empty"), counts.empty);
            out.counter(format!("cluster.{cluster}.init_fetch_timeout"), counts.timeouts);
        }
    }
}

impl Counters {
    /// Blocks of `stats`.
    pub fn new(stats: Arc<Stats>) -> Self {
        let endpoints = Arc::new(EndpointCounts::default());
        stats.provide(endpoints.clone());
        Self {
            endpoints,
            clusters: stats.block("", Writer::CONTROL),
            listeners: stats.block("", Writer::CONTROL),
            runtime: stats.block("", Writer::CONTROL),
            server: stats.block("", Writer::CONTROL),
            subscriptions: HashMap::new(),
            routes: HashMap::new(),
            scopes: HashMap::new(),
            stats,
        }
    }

    /// The block of a kind that has one for all of its resources.
    fn subscription(&mut self, kind: Kind) -> Option<&Arc<Block<Subscription>>> {
        let scope = match kind {
            Kind::Cluster => "cluster_manager.cds",
            Kind::Listener => "listener_manager.lds",
            Kind::Runtime => "runtime.rtds",
            _ => return None,
        };
        Some(self.subscriptions.entry(kind).or_insert_with(|| self.stats.block(scope, Writer::CONTROL)))
    }

    /// A kind is asked for as a whole.
    pub fn attempted(&mut self, kind: Kind) {
        if let Some(block) = self.subscription(kind) {
            block.inc(SubscriptionCounter::UpdateAttempt);
        }
    }

    /// An update of a kind was dealt with.
    pub fn updated(&mut self, kind: Kind, version: &str, accepted: bool, took: Duration) {
        let Some(block) = self.subscription(kind) else { return };
        block.inc(SubscriptionCounter::UpdateAttempt);
        note(block, version, accepted);
        block.record(SubscriptionHistogram::UpdateDuration, took.as_millis() as u64);
        if accepted && let Some(scope) = version_text(kind) {
            self.stats.set_text(scope, version);
        }
    }

    /// A kind could not be had: the stream broke, or there was no answer.
    pub fn failed(&mut self, kind: Kind) {
        if let Some(block) = self.subscription(kind) {
            block.inc(SubscriptionCounter::UpdateFailure);
        }
    }

    /// A kind did not come in time.
    pub fn timed_out(&mut self, kind: Kind) {
        if let Some(block) = self.subscription(kind) {
            block.inc(SubscriptionCounter::InitFetchTimeout);
        }
    }

    /// A connection manager with this stat prefix names a route configuration.
    pub fn routes_named(&mut self, key: &Key, prefix: &str) {
        let block = self.stats.block(&format!("http.{prefix}.rds.{}", key.name), Writer::CONTROL);
        let known = self.routes.entry(key.clone()).or_default();
        if !known.iter().any(|other| Arc::ptr_eq(other, &block)) {
            known.push(block);
        }
    }

    /// A route configuration that was named came, good or bad.
    pub fn routes_updated(&self, key: &Key, version: &str, accepted: bool) {
        for block in self.routes.get(key).into_iter().flatten() {
            block.inc(SubscriptionCounter::UpdateAttempt);
            note(block, version, accepted);
            if accepted {
                block.inc(SubscriptionCounter::ConfigReload);
            }
        }
    }

    /// A connection manager with this stat prefix uses the scopes of a source.
    pub fn scopes_named(&mut self, source: &SourceKey, prefix: &str, name: &str) {
        let scope = format!("http.{prefix}.scoped_routes.{name}");
        let known = self.scopes.entry(source.clone()).or_default();
        if !known.iter().any(|(other, _)| *other == scope) {
            known.push((scope.clone(), self.stats.block(&scope, Writer::CONTROL)));
        }
    }

    /// The scopes of a source came, good or bad; there are so many now.
    pub fn scopes_updated(&self, source: &SourceKey, version: &str, accepted: bool, scopes: usize) {
        for (scope, block) in self.scopes.get(source).into_iter().flatten() {
            block.inc(SubscriptionCounter::UpdateAttempt);
            note(block, version, accepted);
            for gauge in ["all_scopes", "active_scopes"] {
                let metric =
                    self.stats.named(MetricType::Gauge, &format!("{scope}.{gauge}"), Writer::CONTROL);
                metric.set(scopes as i64);
            }
            if accepted {
                block.inc(SubscriptionCounter::ConfigReload);
            }
        }
    }

    /// Nobody names a route configuration any more.
    pub fn routes_gone(&mut self, key: &Key) {
        self.routes.remove(key);
    }

    /// An assignment came for a cluster, which stats know by this name.
    pub fn endpoints(&self, cluster: &Arc<str>, is_empty: bool) {
        let mut counts = self.endpoints.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry(cluster.clone()).or_default();
        counts.updates += 1;
        counts.empty += u64::from(is_empty);
    }

    /// The endpoints of a cluster did not come in time.
    pub fn endpoints_timed_out(&self, cluster: &Arc<str>) {
        let mut counts = self.endpoints.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(cluster.clone()).or_default().timeouts += 1;
    }

    /// A route configuration that was named did not come in time.
    pub fn routes_timed_out(&self, key: &Key) {
        for block in self.routes.get(key).into_iter().flatten() {
            block.inc(SubscriptionCounter::InitFetchTimeout);
        }
    }

    /// A cluster is gone.
    pub fn cluster_gone(&self, cluster: &str) {
        self.endpoints.0.lock().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    /// A secret came and is in force.
    pub fn secret_updated(&self, name: &str) {
        let block: Arc<Block<Subscription>> = self.stats.block(&format!("sds.{name}"), Writer::CONTROL);
        block.inc(SubscriptionCounter::UpdateAttempt);
        block.inc(SubscriptionCounter::UpdateSuccess);
    }

    /// Fields that the API does not have.
    pub fn unknown_fields(&self, count: u64) {
        if count > 0 {
            self.server.add(ServerCounter::DynamicUnknownFields, count);
        }
    }
}

fn note(block: &Block<Subscription>, version: &str, accepted: bool) {
    if !accepted {
        return block.inc(SubscriptionCounter::UpdateRejected);
    }
    block.inc(SubscriptionCounter::UpdateSuccess);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    block.set(SubscriptionGauge::UpdateTime, now.as_millis() as i64);
    block.set(SubscriptionGauge::Version, version_number(version) as i64);
}

fn version_text(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Cluster => Some("cluster_manager.cds.version_text"),
        Kind::Listener => Some("listener_manager.lds.version_text"),
        _ => None,
    }
}

/// A version as a number: xxHash64 of its text, as Envoy shows it.
fn version_number(version: &str) -> u64 {
    if version.is_empty() { 0 } else { twox_hash::XxHash64::oneshot(0, version.as_bytes()) }
}
