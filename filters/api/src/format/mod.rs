//! Substitution formatting: text with `%OPERATORS%` that are replaced by facts of a stream.
//!
//! The language is Envoy's: `%OP%`, `%OP(argument)%`, `%OP(argument):length%`, and `%%` for a percent
//! sign. It is used by header additions and local replies ([`Template`]) and by access logs
//! ([`Template`] for text, [`StructTemplate`] for JSON). Text is parsed once, when configuration is
//! compiled; rendering appends to a buffer of the caller's and allocates nothing for the usual operators.
//!
//! ```text
//! parse.rs      text -> segments            table.rs      every operator by name, supported or not
//! template.rs   segments -> bytes           operator.rs   what an operator is and how it is rendered
//! structure.rs  a tree of templates -> JSON
//! ```
//!
//! Values that a peer chose are made safe in text: a control byte is written as `\x0a`, so that no
//! request can forge a line of a log or a field of a header block. JSON strings are escaped as JSON.

mod address;
mod arguments;
mod context;
mod error;
mod escape;
mod facts;
mod grpc;
mod header;
mod json;
mod operator;
mod parse;
mod query;
mod structure;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod time;
mod tls;

pub use context::{AccessLogType, FormatContext};
pub use error::{FormatError, StructError};
pub use grpc::{grpc_status, response_grpc_status};
pub use header::HeaderName;
pub use operator::write_metadata;
pub use structure::StructTemplate;
pub use table::{known_unsupported, supported};
pub use template::Template;
