//! Listeners that look at a connection before they choose its filter chain, beside Envoy with the same configuration: what each
//! listener filter makes of good, partial, hostile and absent first bytes, which chain is chosen by each criterion and by matcher
//! trees, and redirected connections in network namespaces.
//!
//! Each connection is played against both programs; what the client got, how it ended and which counters moved must be equal,
//! unless the row says how the two differ.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chains;
mod congestion;
mod hello;
mod inspectors;
mod player;
mod proxy_protocol;
mod redirect;
mod relay;
mod tls;
