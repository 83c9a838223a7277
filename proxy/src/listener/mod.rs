//! What happens to a connection before a codec sees it, and what configuration says about listeners.

pub mod config;
pub mod filter_chain;
