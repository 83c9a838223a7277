//! The state of listeners, clusters and hosts as `/listeners` and `/clusters` show it: plain values that the
//! control thread fills through [`ConfigSource`](super::source::ConfigSource).

use std::fmt;
use std::net::SocketAddr;

use sampan_model::cluster::HealthFlag;
use serde_json::{Value, json};

/// An address, as `core.v3.Address` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A unix socket.
    Pipe(String),
    /// An internal listener.
    Internal {
        /// The listener's name.
        listener: String,
        /// The endpoint id; may be empty.
        endpoint: String,
    },
}

impl Address {
    /// Its protobuf-JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Tcp(a) => {
                json!({"socket_address": {"address": a.ip().to_string(), "port_value": a.port()}})
            }
            Self::Udp(a) => {
                json!({"socket_address": {"protocol": "UDP", "address": a.ip().to_string(), "port_value": a.port()}})
            }
            Self::Pipe(path) => json!({"pipe": {"path": path}}),
            Self::Internal { listener, endpoint } => {
                let mut address = json!({"server_listener_name": listener});
                if !endpoint.is_empty() {
                    address["endpoint_id"] = endpoint.as_str().into();
                }
                json!({"envoy_internal_address": address})
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Pipe(path) => f.write_str(path),
            Self::Internal { listener, endpoint } => write!(f, "envoy://{listener}/{endpoint}"),
        }
    }
}

/// A listener that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// The name.
    pub name: String,
    /// The addresses, with the ports that the kernel chose; the main one first.
    pub addresses: Vec<Address>,
}

/// A cluster and its hosts.
#[derive(Debug, Clone, Default)]
pub struct ClusterStatus {
    /// The name.
    pub name: String,
    /// The name in statistics (`alt_stat_name`, or the name).
    pub observability_name: String,
    /// The name asked of EDS; empty if the cluster does not use EDS.
    pub eds_service_name: String,
    /// Whether it came over CDS.
    pub added_via_api: bool,
    /// The limits at default priority.
    pub default_limits: Limits,
    /// The limits at high priority.
    pub high_limits: Limits,
    /// What outlier detection found; `None` if it is not configured.
    pub outlier: Option<OutlierStatus>,
    /// The hosts.
    pub hosts: Vec<HostStatus>,
}

/// The circuit breakers of one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending_requests: u32,
    /// Requests.
    pub requests: u32,
    /// Retries.
    pub retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, pending_requests: 1024, requests: 1024, retries: 3 }
    }
}

/// Success rates of a cluster, in percent; -1 while there is too little traffic to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierStatus {
    /// The average over hosts.
    pub average: f64,
    /// Hosts below are ejected.
    pub threshold: f64,
    /// The average over hosts, counting only failures on our side.
    pub local_average: f64,
    /// Hosts below are ejected.
    pub local_threshold: f64,
}

/// A host of a cluster.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// Where it is.
    pub address: Address,
    /// Its host name, if it has one.
    pub hostname: String,
    /// What counts against it; empty if it is healthy.
    pub flags: Vec<HealthFlag>,
    /// What EDS says of its health (`HEALTHY`, `UNHEALTHY`, `DRAINING`, ...).
    pub eds_health: &'static str,
    /// The weight.
    pub weight: u32,
    /// The region.
    pub region: String,
    /// The zone.
    pub zone: String,
    /// The sub-zone.
    pub sub_zone: String,
    /// Whether it is a canary.
    pub canary: bool,
    /// The priority.
    pub priority: u32,
    /// The success rate in percent; -1 if it is not known.
    pub success_rate: f64,
    /// The success rate counting only failures on our side; -1 if it is not known.
    pub local_success_rate: f64,
    /// The counters and gauges.
    pub stats: HostStats,
}

/// What was counted for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // the names are Envoy's stat names
pub struct HostStats {
    pub cx_active: u64,
    pub cx_connect_fail: u64,
    pub cx_total: u64,
    pub rq_active: u64,
    pub rq_error: u64,
    pub rq_pending_active: u64,
    pub rq_success: u64,
    pub rq_timeout: u64,
    pub rq_total: u64,
}
