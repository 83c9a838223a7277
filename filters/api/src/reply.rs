//! Local replies: responses that the proxy makes itself.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::flags::Flags;
use crate::headers::Headers;
use crate::info::MetadataValue;

/// A response made here instead of upstream.
#[derive(Clone, Debug, Default)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// The body, as `text/plain` unless `headers` says otherwise; becomes `grpc-message` for gRPC.
    pub body: Bytes,
    /// Further header fields.
    pub headers: Headers,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: Cow<'static, str>,
    /// Flags to set.
    pub flags: Flags,
    /// `grpc-status` in place of the one that follows from `status`.
    pub grpc_status: Option<u32>,
    /// Whether the downstream connection must close after it.
    pub close: bool,
    /// A response that a filter makes in the upstream's place: neither the route nor `local_reply_config` changes it, and it is
    /// not turned into a gRPC status.
    pub as_is: bool,
    /// Dynamic metadata, by its namespace, that logs see and the reply itself does not.
    pub late: Option<(&'static str, Arc<MetadataValue>)>,
}

impl LocalReply {
    /// A reply with a status and `%RESPONSE_CODE_DETAILS%`.
    pub fn new(status: u16, details: impl Into<Cow<'static, str>>) -> Self {
        Self { status, details: details.into(), ..Self::default() }
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With flags.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// That closes the connection.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// The `grpc-status` that stands for an HTTP status (the gRPC project's mapping, as Envoy has it).
pub const fn grpc_status(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The encoding of `grpc-message`: all but printable ASCII, and `%` itself.
pub fn percent_encoded(message: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(message.len());
    for byte in message {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => {
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(*byte),
        }
    }
    out
}
