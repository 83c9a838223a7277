//! The kinds of blocks that exist, and the scope names that are not plain.

mod cluster;
mod http;
mod listener;
mod process;
mod tcp;

pub use cluster::*;
pub use http::*;
pub use listener::*;
pub use process::*;
pub use tcp::*;

/// An address as it stands in a stat's name: `0.0.0.0_10000`, `[__1]_10000`.
pub fn address_scope(address: &str) -> String {
    address.replace(':', "_")
}
