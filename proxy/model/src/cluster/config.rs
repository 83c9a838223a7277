//! The settings of a cluster, as the compile step makes them out of `envoy.config.cluster.v3.Cluster`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Thresholds;
use super::dns::DnsSettings;
use super::host::Metadata;
use super::http::UpstreamHttpOptions;
use crate::lb::LbPolicy;

/// A cluster's settings. Its hosts come separately, in a [`super::HostSet`].
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `name`.
    pub name: Arc<str>,
    /// `alt_stat_name`: what stats and the access log call it instead.
    pub alt_stat_name: Option<Arc<str>>,
    /// Where its hosts come from.
    pub discovery: Discovery,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// `per_connection_buffer_limit_bytes`.
    pub per_connection_buffer_limit: u32,
    /// How a host is picked.
    pub lb_policy: LbPolicy,
    /// `common_lb_config`.
    pub common_lb: CommonLbConfig,
    /// Circuit breakers for usual traffic.
    pub breakers_default: Thresholds,
    /// Circuit breakers for traffic of high priority.
    pub breakers_high: Thresholds,
    /// `per_host_thresholds.max_connections`.
    pub per_host_max_connections: Option<u32>,
    /// `upstream_connection_options.tcp_keepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `upstream_bind_config`.
    pub bind: Option<BindAddress>,
    /// HTTP settings.
    pub http: UpstreamHttpOptions,
    /// `preconnect_policy`.
    pub preconnect: Preconnect,
    /// `max_requests_per_connection` and the like are in `http`; this closes connections whose host went unhealthy.
    pub close_connections_on_host_health_failure: bool,
    /// `ignore_health_on_host_removal`.
    pub ignore_health_on_host_removal: bool,
    /// `cleanup_interval` of `ORIGINAL_DST`.
    pub cleanup_interval: Duration,
    /// `metadata`.
    pub metadata: Option<Metadata>,
}

/// Where a cluster's hosts come from (`Cluster.cluster_discovery_type`).
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// From the configuration.
    Static,
    /// Every address that the names resolve to.
    StrictDns(DnsSettings),
    /// One host, whose address is what the name last resolved to.
    LogicalDns(DnsSettings),
    /// From the endpoint discovery service, under this name.
    Eds {
        /// `service_name`, or the cluster's name.
        service_name: Arc<str>,
    },
    /// The connection's original destination.
    OriginalDst,
}

/// `CommonLbConfig`, its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommonLbConfig {
    /// `healthy_panic_threshold`, in percent.
    pub healthy_panic_threshold: f64,
    /// `zone_aware_lb_config.fail_traffic_on_panic`.
    pub fail_traffic_on_panic: bool,
    /// `locality_weighted_lb_config` is set.
    pub locality_weighted: bool,
    /// `update_merge_window`.
    pub update_merge_window: Duration,
    /// `ignore_new_hosts_until_first_hc`.
    pub ignore_new_hosts_until_first_hc: bool,
    /// `close_connections_on_host_set_change`.
    pub close_connections_on_host_set_change: bool,
}

/// `TcpKeepalive`; `None` leaves the system's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Probes before the connection counts as dead.
    pub probes: Option<u32>,
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// `BindConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindAddress {
    /// `source_address`.
    pub source: Option<SocketAddr>,
    /// `freebind`.
    pub freebind: bool,
    /// `socket_options`.
    pub socket_options: Vec<SocketOption>,
}

/// `SocketOption`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// Level, as in `setsockopt`.
    pub level: i32,
    /// Name, as in `setsockopt`.
    pub name: i32,
    /// Value.
    pub value: SocketOptionValue,
    /// When it is set.
    pub state: SocketOptionState,
    /// What it is for; for messages.
    pub description: Box<str>,
}

/// The value of a socket option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOptionValue {
    /// `int_value`.
    Int(i32),
    /// `buf_value`.
    Bytes(Box<[u8]>),
}

/// `SocketOption.SocketState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketOptionState {
    /// Before `bind`.
    #[default]
    Prebind,
    /// After `bind`.
    Bound,
    /// After `listen`.
    Listening,
}

/// `Cluster.PreconnectPolicy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preconnect {
    /// Connections per stream of a host, 1 to 3.
    pub per_upstream_ratio: f64,
    /// Connections per stream of the cluster, 1 to 3.
    pub predictive_ratio: f64,
}

impl Default for CommonLbConfig {
    fn default() -> Self {
        Self {
            healthy_panic_threshold: 50.0,
            fail_traffic_on_panic: false,
            locality_weighted: false,
            update_merge_window: Duration::from_secs(1),
            ignore_new_hosts_until_first_hc: false,
            close_connections_on_host_set_change: false,
        }
    }
}

impl Default for Preconnect {
    fn default() -> Self {
        Self { per_upstream_ratio: 1.0, predictive_ratio: 1.0 }
    }
}

impl Cluster {
    /// A static cluster with Envoy's defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            alt_stat_name: None,
            discovery: Discovery::Static,
            connect_timeout: Duration::from_secs(5),
            per_connection_buffer_limit: 1 << 20,
            lb_policy: LbPolicy::RoundRobin,
            common_lb: CommonLbConfig::default(),
            breakers_default: Thresholds::default(),
            breakers_high: Thresholds::default(),
            per_host_max_connections: None,
            tcp_keepalive: None,
            bind: None,
            http: UpstreamHttpOptions::default(),
            preconnect: Preconnect::default(),
            close_connections_on_host_health_failure: false,
            ignore_health_on_host_removal: false,
            cleanup_interval: Duration::from_secs(5),
            metadata: None,
        }
    }

    /// What stats and the access log call the cluster: `alt_stat_name`, or its name.
    pub fn observability_name(&self) -> &Arc<str> {
        self.alt_stat_name.as_ref().unwrap_or(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_use_the_alternative_name() {
        let mut cluster = Cluster::new("a");
        assert_eq!(&**cluster.observability_name(), "a");
        cluster.alt_stat_name = Some("b".into());
        assert_eq!(&**cluster.observability_name(), "b");
    }
}
