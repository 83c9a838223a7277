//! Everything towards upstreams: which host, which connection, and its life in a pool.

pub mod cluster;
pub mod connect;
pub mod filters;
pub mod immediate_fail;
pub mod named_host;
mod orca;
pub mod original_dst;
pub mod outlier;
pub mod pool;
pub mod transport;
pub mod watched;
