//! How configuration arrives: xDS over gRPC, REST and files.
//!
//! ```text
//! Source (handle) -- subscribe --> protocol/ (state machine, no I/O) <-- source/ (task) <--> transport/ (gRPC, HTTP, files)
//!                                                                          |
//! control thread <------------------------ Event, Update, Reply <---------+
//! ```
//! [`protocol`] knows what to say and when; [`source`] runs it; [`transport`] moves bytes. Resources stay as bytes here: what they mean
//! is the control thread's business, which answers each [`Update`] by its [`Reply`]. [`server`] is the other end: a small control
//! plane for the demo and for tests.

mod event;
mod kinds;
pub mod protocol;
pub mod server;
pub mod source;
mod status;
pub mod transport;

pub use event::{Content, Event, Names, Reply, Resource, SourceId, TypeUrl, Update};
pub use kinds::{ADS_DELTA, ADS_STREAM, KINDS, Kind};
pub use protocol::{Backoff, RateLimit};
pub use source::{FileSettings, RestSettings, Source, StreamSettings, Variant};
pub use status::{Counters, Status, StreamStatus, TypeStatus};
pub use transport::rest::{RestError, RestTarget, send};
pub use transport::{CallError, Channel, Connector, GrpcTarget, IoStream, Keepalive, Limits, Responses};
