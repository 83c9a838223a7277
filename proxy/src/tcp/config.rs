//! The compiled form of `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.

use std::sync::Arc;
use std::time::Duration;

use sampan_model::lb::Criteria;
use sampan_model::route::{ClusterRef, WeightedClusters};

use crate::http::route::ClusterNames;
use crate::telemetry::access_log::AccessLog;

/// A TCP proxy.
pub struct TcpConfig {
    /// `stat_prefix`
    pub stat_prefix: Arc<str>,
    /// Where connections go.
    pub cluster: TcpCluster,
    /// Clusters that filters name: name -> slot.
    pub clusters_by_name: Arc<dyn ClusterNames>,
    /// `idle_timeout`: no bytes either way; default 1 h, `None` is off.
    pub idle_timeout: Option<Duration>,
    /// `max_downstream_connection_duration`
    pub max_duration: Option<Duration>,
    /// `max_connect_attempts`, at least 1.
    pub max_connect_attempts: u32,
    /// `hash_policy` has `source_ip`.
    pub hash_source_ip: bool,
    /// `metadata_match`
    pub criteria: Option<Criteria>,
    /// `access_log`
    pub access_logs: Vec<Arc<AccessLog>>,
}

/// `TcpProxy.cluster_specifier`
pub enum TcpCluster {
    /// One cluster.
    Single(ClusterRef),
    /// Several by weight, each with its own `metadata_match` over the proxy's.
    Weighted(WeightedClusters<Option<Criteria>>),
}
