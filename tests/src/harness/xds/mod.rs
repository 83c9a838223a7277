//! A scripted xDS control plane: gRPC over HTTP/2 (aggregated and per type, state of the world and delta) and REST.
//!
//! ```text
//! test --set, put, remove--> tables --what changed--> stream of each proxy --> response (version, nonce)
//!      --send_bytes, send_listed-------------------^                              |
//!      <--await_ack, await_nack, conversation-- record <--request (nonce, error) -+
//! ```
//!
//! The server follows the protocol strictly where a proxy could notice, and lets a test break it on purpose: garbage on the
//! wire, duplicates, foreign nonces, silence, slowness, a stream or the whole server gone. It speaks HTTP/2 by the `h2` crate
//! directly, so that what a broken control plane does can be scripted frame by frame.
//!
//! [`ControlPlane`] is the server, [`Resource`] what it serves, [`Seen`] a recorded request, [`bootstrap`] what a proxy needs to
//! find it, [`sample`] small resources. Used by the tests of xDS in `tests/tests/xds_*.rs` and `istio_files.rs`.

pub mod bootstrap;
mod conversation;
pub(crate) mod grpc;
pub mod mesh;
mod resource;
mod rest;
pub mod sample;
mod server;
mod stream;
mod subscription;
mod tables;
pub mod types;

pub use conversation::{Happened, Seen, Transport};
pub use resource::Resource;
pub use rest::RestPlane;
pub use server::{ANSWER, ControlPlane, Manner};
