//! Everything towards upstreams: which host, which connection, and its life in a pool.

pub mod cluster;
pub mod connect;
pub mod pool;
