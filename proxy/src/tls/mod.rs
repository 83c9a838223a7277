//! TLS on both sides, by rustls with aws-lc-rs: the only place that knows either.
//!
//! ```text
//!  control/compile/tls: proto --> material (certificates, keys), Rules, ServerSpec / ClientSpec
//!          secrets: Secrets --> Slots <-- ServerContext / ClientContext --> what is in force, by one pointer
//!                                              | a filter chain          | a cluster
//!                                    handshake::accept          handshake::connect --> Io, TlsInfo
//! ```
//!
//! - [`secrets`] is where certificates, validation contexts and ticket keys arrive, whoever brings them: the bootstrap, files
//!   ([`files`]), SDS. A change is taken by all contexts that it concerns, or by none; the old state goes on.
//! - [`context`] makes rustls configurations of them. A context whose secret is missing serves nothing.
//! - [`verify`] checks the peer; [`report`] carries what it found to [`handshake`], which counts and logs it.
//! - [`tickets`] ties session resumption to the rules in force.

pub mod certificate;
pub mod context;
pub mod files;
pub mod handshake;
pub mod material;
pub mod params;
pub mod report;
pub mod secrets;
pub mod stats;
pub mod tickets;
pub mod verify;

#[cfg(test)]
pub(crate) mod testing;
