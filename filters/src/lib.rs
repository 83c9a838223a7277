//! Every built-in filter, one folder each, and the registry that lists them all in one visible table.
//!
//! A filter's folder has its logic in `mod.rs`, which knows no proto, and `config.rs`, which turns its proto message into
//! a factory. The proxy's compile step calls the latter through [`registry`].

pub mod config;
pub mod http;
pub mod network;
pub mod registry;
