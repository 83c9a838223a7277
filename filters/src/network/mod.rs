//! Network filters.

pub mod connection_limit;
pub mod direct_response;
pub mod echo;
