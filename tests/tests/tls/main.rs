//! TLS, beside Envoy with the same configuration: what a server does with every kind of client, what a client does with every
//! kind of server, each proxy against the other, and what becomes of it when certificates change.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clients;
mod config;
mod peers;
mod rotation;
