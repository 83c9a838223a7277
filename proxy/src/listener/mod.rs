//! What happens to a connection before a codec sees it, and what configuration says about listeners.

pub mod bind;
pub mod config;
pub mod connection;
pub mod filter_chain;
pub mod limits;
