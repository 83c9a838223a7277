//! What is known about an upstream cluster.
//!
//! - [`config`]: the settings of a cluster, with [`http`] for its HTTP options and [`dns`] for name resolution.
//! - [`host`]: one upstream address with the counters and health flags that all workers share.
//! - [`host_set`]: the hosts of a cluster at one moment, by priority and locality; [`priority`] spreads load over them.
//! - [`breaker`]: circuit breakers.

pub mod breaker;
pub mod config;
pub mod dns;
pub mod host;
pub mod host_set;
pub mod http;
pub mod priority;

pub use breaker::{CircuitBreakers, Overflow, Permit, Resource, RetryBudget, Thresholds};
pub use config::{
    BindAddress, Cluster, CommonLbConfig, Discovery, Preconnect, SocketOption, SocketOptionState,
    SocketOptionValue, TcpKeepalive,
};
pub use dns::{DnsSettings, LookupFamily, RefreshBackoff};
pub use host::{EdsHealth, Health, HealthFlag, Host, HostAddress, HostCounters, Locality, Metadata};
pub use host_set::{HostSet, HostSetOptions, HostSpec, LocalityHosts, Member, PriorityHosts};
pub use http::{
    CommonHttpOptions, Http1Options, Http2Keepalive, Http2Options, UpstreamHttpOptions, UpstreamProtocol,
};
pub use priority::PriorityLoads;
