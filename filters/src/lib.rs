//! Every built-in filter, one folder each, and the registry that lists them all in one visible table.
//!
//! A filter's folder has its logic in `mod.rs`, which knows no proto, and `config.rs`, which turns its proto message into
//! a factory. The proxy's compile step calls the latter through [`registry`].

pub mod compression;
pub mod config;
pub mod counted;
pub mod grpc;
pub mod http;
pub mod istio_stats;
pub mod local;
pub mod matcher;
pub mod network;
pub mod peer;
pub mod rate_limit;
pub mod rbac;
pub mod registry;
pub mod state;
pub mod tree;
#[cfg(test)]
use config::testing;
