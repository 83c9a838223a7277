//! Network filters.

pub mod connection_limit;
pub mod direct_response;
pub mod echo;
pub mod ext_authz;
pub mod forward_downstream_sni;
pub mod istio_stats;
pub mod local_ratelimit;
pub mod metadata_exchange;
pub mod rbac;
pub mod server_name;
pub mod set_filter_state;
pub mod sni_cluster;
