//! What is known about an upstream cluster.
//!
//! - [`aggregate`]: clusters one after the other, as if they were the priorities of one.
//! - [`config`]: the settings of a cluster, with [`http`] for its HTTP options and [`dns`] for name resolution.
//! - [`host`]: one upstream address with the counters and health flags that all workers share.
//! - [`host_set`]: the hosts of a cluster at one moment, as [`member`]s, by priority and locality; [`priority`] spreads load over them.
//! - [`breaker`]: circuit breakers.

pub mod aggregate;
pub mod breaker;
pub mod config;
pub mod dns;
pub mod host;
pub mod host_set;
pub mod http;
pub mod member;
pub mod priority;

pub use aggregate::Aggregate;
pub use breaker::{CircuitBreakers, Overflow, Permit, Resource, RetryBudget, Thresholds};
pub use config::{
    BindAddress, Cluster, CommonLbConfig, Discovery, OriginalDst, OverrideHost, OverrideSource,
    OverrideStatus, Preconnect, SocketOption, SocketOptionState, SocketOptionValue, SourceAddress,
    TcpKeepalive,
};
pub use dns::{DnsSettings, LookupFamily, RefreshBackoff};
pub use host::{EdsHealth, Health, HealthFlag, Host, HostAddress, HostCounters, Locality, Metadata};
pub use host_set::{CheckedHosts, HostSet, HostSetOptions, LocalityHosts, PriorityHosts};
pub use http::{
    CommonHttpOptions, Http1Options, Http2Keepalive, Http2Options, UpstreamHttpOptions, UpstreamProtocol,
};
pub use member::{HostSpec, Member};
pub use priority::{PriorityLoads, PriorityState};
