//! How bytes travel: the only place that knows gRPC, HTTP and files.
//!
//! [`Channel`] is a gRPC connection over whatever a [`Connector`] gives; [`rest`] one HTTP exchange over the same; [`watch`] tells
//! when a file was replaced. The drivers in [`crate::source`] use them; other gRPC clients of the proxy use [`Channel`] too.

mod channel;
mod connect;
pub mod rest;
pub(crate) mod serve;
pub(crate) mod watch;

pub use channel::{CallError, Channel, Limits, Responses};
pub use connect::{Connector, GrpcTarget, IoStream, Keepalive};
