//! Resources that others name instead of holding: a route configuration, the endpoints of a cluster, a filter's settings.
//!
//! The compile step turns a `ConfigSource` and a name into a [`Reference`]. Whoever serves finds what it stands for in the
//! snapshot, by its slot; the control thread finds whom to ask for it, by its source, and what waits for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sampan_model::route::Slot;

/// Where resources are to be had (`envoy.config.core.v3.ConfigSource`). Sources with equal keys share a subscription.
#[derive(Clone, Debug)]
pub struct Source {
    /// The source as one word: `ads`, `grpc:xds_cluster`, `path:/etc/sampan/rds.yaml`.
    pub key: SourceKey,
    /// What to open.
    pub spec: Arc<SourceSpec>,
    /// `initial_fetch_timeout`: how long whatever needs a resource waits for it; `None` is for ever.
    pub fetch_timeout: Option<Duration>,
}

/// A source as one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(pub Arc<str>);

/// How a source is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    /// The aggregated stream of the bootstrap.
    Ads,
    /// The source that the resource itself came from.
    Same,
    /// A gRPC service.
    Grpc(GrpcSource),
    /// Polling by HTTP.
    Rest(RestSource),
    /// A file.
    File {
        /// `path`
        path: Arc<str>,
        /// `watched_directory`
        watched: Option<Arc<str>>,
    },
}

/// `ApiConfigSource` of a gRPC kind.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcSource {
    /// The servers; the first that answers is used.
    pub targets: Vec<GrpcTarget>,
    /// Incremental instead of state of the world.
    pub delta: bool,
    /// `set_node_on_first_message_only`
    pub node_once: bool,
    /// `rate_limit_settings`: tokens and tokens per second.
    pub rate_limit: Option<(u32, f64)>,
    /// `envoy_grpc.retry_policy.retry_back_off` of the first service that has one: the first and the longest delay before the stream is
    /// opened again.
    pub back_off: Option<(Duration, Duration)>,
}

/// `GrpcService`
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcTarget {
    /// Whom to connect to.
    pub peer: GrpcPeer,
    /// `authority`; empty for the peer's own name.
    pub authority: Arc<str>,
    /// `initial_metadata`
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `max_receive_message_length`
    pub message_cap: Option<usize>,
}

/// `GrpcService.target_specifier`
#[derive(Clone, Debug, PartialEq)]
pub enum GrpcPeer {
    /// `envoy_grpc`: a cluster.
    Cluster(Arc<str>),
    /// `google_grpc`: host and port.
    Address(Arc<str>),
}

/// `ApiConfigSource` of kind REST.
#[derive(Clone, Debug, PartialEq)]
pub struct RestSource {
    /// `cluster_names`
    pub cluster: Arc<str>,
    /// `refresh_delay`
    pub refresh: Duration,
    /// `request_timeout`
    pub timeout: Duration,
}

impl SourceKey {
    /// The aggregated stream of the bootstrap.
    pub fn ads() -> Self {
        Self("ads".into())
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.0.starts_with("path:")
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A resource by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Its place in the snapshot's table of its kind.
    pub slot: Slot,
    /// Where it is to be had.
    pub source: Source,
    /// Its name.
    pub name: Arc<str>,
}

/// The slots of one kind of named resources. A resource keeps its slot for as long as the process runs.
#[derive(Debug, Default)]
pub struct Names {
    slots: Mutex<HashMap<(SourceKey, Arc<str>), Slot>>,
}

impl Names {
    /// A reference to a resource, whose slot is a new one if need be.
    pub fn reference(&self, source: Source, name: &str) -> Reference {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Slot(slots.len() as u32);
        let name: Arc<str> = name.into();
        let slot = *slots.entry((source.key.clone(), name.clone())).or_insert(next);
        Reference { slot, source, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_from_another_source_is_another_resource() {
        let names = Names::default();
        let source = |key: &str| Source {
            key: SourceKey(key.into()),
            spec: Arc::new(SourceSpec::Ads),
            fetch_timeout: None,
        };
        let slots = [("ads", "a"), ("path:/x", "a"), ("ads", "a")];
        assert_eq!(slots.map(|(key, name)| names.reference(source(key), name).slot.0), [0, 1, 0]);
    }
}
