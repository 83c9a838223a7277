//! The Envoy API types, and protobuf-JSON and YAML for all of them.
//!
//! Two views of the same messages. The typed one, [`envoy`], [`google`], [`xds`] and so on, is generated Rust (from the
//! `envoy-types` crate) and is what the rest of the proxy reads. The untyped one, [`Message`], is driven by the schema
//! of the API ([`Descriptors`]) and does what needs no Rust type per message:
//!
//! ```text
//! text --Document::parse--> nodes --decode--> Message --validate, unsupported--> problems with field paths
//!                                                |  \--to_json--> config dump, secrets redacted
//! wire bytes --decode_wire-----------------------+--to_prost--> typed message
//! ```
//!
//! The bootstrap loader and the xDS clients call this; nothing after them sees text or wire bytes.

mod decode;
mod document;
mod error;
#[cfg(test)]
mod garbage_tests;
mod ip_matcher;
pub mod istio;
mod message;
mod path;
mod schema;
mod sensitive;
mod support;
mod to_json;
pub mod type_url;
mod validate;
mod wire;

pub use decode::{
    Decoded, Policy, TypedStructs, UnknownFields, decode, decode_message, decode_wire, resolve_typed_structs,
};
pub use document::{Document, Format};
pub use envoy_types::pb::{cel, envoy, google, io, opentelemetry, ratelimit, udpa, xds};
pub use error::{FieldError, Note, NoteKind, ParseError};
pub use ip_matcher::{CelMatcher, IpMatcher, IpRangeMatcher};
pub use message::{Message, Value};
pub use schema::{Descriptors, EnumType, EnumValue, FieldType, Kind, MessageType, OneofType};
pub use sensitive::holds_secret;
pub use support::{MessageSupport, Support, SupportTable, UnsupportedField, unsupported};
pub use to_json::{message_to_json, to_json};
pub use validate::validate;
pub use wire::{FromWire, WireError};
