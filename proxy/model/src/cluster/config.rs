//! The settings of a cluster, as the compile step makes them out of `envoy.config.cluster.v3.Cluster`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Thresholds;
use super::dns::DnsSettings;
use super::host::{Health, Metadata};
use super::http::UpstreamHttpOptions;
use crate::health_check::HealthCheck;
use crate::lb::{LbPolicy, LoadReports, Settings, SlowStart, SubsetConfig, ZoneAware};
use crate::outlier::OutlierConfig;
use crate::route::ClusterRef;

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
    /// `slow_start_config` of the policy.
    pub slow_start: Option<SlowStart>,
    /// `health_checks`.
    pub health_check: Option<Arc<HealthCheck>>,
    /// `outlier_detection`.
    pub outlier: Option<Arc<OutlierConfig>>,
    /// `lb_subset_config`.
    pub subsets: Option<Arc<SubsetConfig>>,
    /// `zone_aware_lb_config`, where there is a local cluster.
    pub zone: Option<Arc<ZoneAware>>,
    /// What becomes of load reports.
    pub reports: Option<Arc<LoadReports>>,
    /// The policy `override_host`.
    pub override_host: Option<Arc<OverrideHost>>,
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
    pub bind: Option<Arc<BindAddress>>,
    /// HTTP settings.
    pub http: UpstreamHttpOptions,
    /// `preconnect_policy`.
    pub preconnect: Preconnect,
    /// `max_requests_per_connection` and the like are in `http`; this closes connections whose host went unhealthy.
    pub close_connections_on_host_health_failure: bool,
    /// `ignore_health_on_host_removal`.
    pub ignore_health_on_host_removal: bool,
    /// `cleanup_interval` of `ORIGINAL_DST`: how long a host is kept that nobody has asked for or is connected to.
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
    /// Where the downstream connection, or the request, was going: a host for each destination, when it is first asked for.
    OriginalDst(OriginalDst),
    /// From other clusters, in the order in which they are used.
    Aggregate(Arc<[ClusterRef]>),
}

/// The policy `override_host`: who may name hosts. What it falls back to is the cluster's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideHost {
    /// `override_host_sources`
    pub sources: Vec<OverrideSource>,
    /// `selected_host_key`: the namespace and path of dynamic metadata that is told which host it was.
    pub selected: Option<(Box<str>, Vec<Box<str>>)>,
}

/// A place where hosts may be named, by address and port, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideSource {
    /// The first value of a request header.
    Header(Box<str>),
    /// A text in the dynamic metadata, by namespace and path.
    Metadata(Box<str>, Vec<Box<str>>),
}

/// Which hosts may be named by their health (`override_host_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverrideStatus {
    /// Healthy ones.
    pub healthy: bool,
    /// Degraded ones.
    pub degraded: bool,
    /// Those not to be used.
    pub unhealthy: bool,
}

impl OverrideStatus {
    /// Whether a host of this health may be named.
    pub fn allows(self, health: Health) -> bool {
        match health {
            Health::Healthy => self.healthy,
            Health::Degraded => self.degraded,
            Health::Unhealthy => self.unhealthy,
        }
    }
}

/// `Cluster.OriginalDstLbConfig`: what counts before the connection's own destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginalDst {
    /// `http_header_name`, with `use_http_header`: the request header that may name the destination.
    pub header: Option<Box<str>>,
    /// `metadata_key`: the namespace and path of dynamic metadata that may name the destination.
    pub metadata: Option<(Box<str>, Vec<Box<str>>)>,
    /// `upstream_port_override`.
    pub port_override: Option<u16>,
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
    /// `override_host_status`.
    pub override_status: OverrideStatus,
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
    /// `source_address`, then that of `extra_source_addresses`: one for each family at most.
    pub sources: Vec<SourceAddress>,
    /// `freebind`.
    pub freebind: bool,
    /// `socket_options`.
    pub socket_options: Vec<SocketOption>,
}

/// `ExtraSourceAddress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// The address to connect from; port 0 is any.
    pub address: SocketAddr,
    /// `socket_options`, in place of those of the [`BindAddress`].
    pub socket_options: Option<Vec<SocketOption>>,
}

impl BindAddress {
    /// Where to connect from towards `host`: the source of its family. The first one where there is none: it will be refused by
    /// the operating system, and no connection goes out from an address that was not meant.
    pub fn towards(&self, host: IpAddr) -> Option<&SourceAddress> {
        let same = |source: &&SourceAddress| source.address.is_ipv4() == host.is_ipv4();
        self.sources.iter().find(same).or(self.sources.first())
    }
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
            override_status: OverrideStatus { healthy: true, degraded: true, unhealthy: false },
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
            slow_start: None,
            health_check: None,
            outlier: None,
            subsets: None,
            zone: None,
            reports: None,
            override_host: None,
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

    /// What a balancer is made with.
    pub fn lb_settings(&self) -> Settings {
        Settings {
            policy: self.lb_policy,
            slow_start: self.slow_start,
            locality_weighted: self.common_lb.locality_weighted,
            subsets: self.subsets.clone(),
            zone: self.zone.clone(),
            reports: self.reports.clone(),
        }
    }

    /// Takes over what a balancer is made with.
    pub fn set_lb_settings(&mut self, settings: Settings) {
        self.lb_policy = settings.policy;
        self.slow_start = settings.slow_start;
        self.common_lb.locality_weighted = settings.locality_weighted;
        self.subsets = settings.subsets;
        self.zone = settings.zone;
        self.reports = settings.reports;
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
    fn the_source_is_of_the_hosts_family_or_the_first() {
        let source =
            |address: &str| SourceAddress { address: address.parse().unwrap(), socket_options: None };
        let mut bind = BindAddress { sources: vec![source("127.0.0.6:0")], ..BindAddress::default() };
        let towards = |bind: &BindAddress, host: &str| {
            bind.towards(host.parse().unwrap()).map(|source| source.address.to_string())
        };
        assert_eq!(towards(&bind, "10.0.0.1").unwrap(), "127.0.0.6:0");
        assert_eq!(towards(&bind, "fd00::1").unwrap(), "127.0.0.6:0");
        bind.sources.push(source("[::6]:0"));
        assert_eq!(towards(&bind, "fd00::1").unwrap(), "[::6]:0");
        assert_eq!(towards(&BindAddress::default(), "fd00::1"), None);
    }

    #[test]
    fn stats_use_the_alternative_name() {
        let mut cluster = Cluster::new("a");
        assert_eq!(&**cluster.observability_name(), "a");
        cluster.alt_stat_name = Some("b".into());
        assert_eq!(&**cluster.observability_name(), "b");
    }
}
