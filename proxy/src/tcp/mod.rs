//! TCP: a connection forwarded byte by byte.

pub mod config;
pub mod proxy;
