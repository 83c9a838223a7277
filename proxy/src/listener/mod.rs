//! What happens to a connection before a codec sees it, and what configuration says about listeners.

pub mod accepted;
pub mod bind;
pub mod chain_match;
pub mod chain_tree;
pub mod config;
pub mod connection;
pub mod filter_chain;
pub mod filters;
pub mod limits;
pub mod retire;
