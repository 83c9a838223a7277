//! The HTTP/1.1 codec (RFC 9112): pure functions and small state machines over byte buffers.
//!
//! Nothing here does I/O. [`scan`] finds the end of a head, [`request`] and [`response`] turn a complete
//! head into domain values and a [`Framing`], [`body`] takes bodies apart, [`encode`] writes heads and
//! frames. It is strict where leniency has let requests be smuggled: bare LF, obs-fold, space before a
//! colon, two lengths, a length beside `Transfer-Encoding` are errors with a status and a reason.

pub mod body;
pub mod encode;
pub mod request;
pub mod response;
pub mod scan;
pub mod server;
pub mod syntax;

/// How a message's body is delimited (RFC 9112 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, then perhaps trailers.
    Chunked,
    /// All that comes until the connection closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether the message ends with its head.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }
}

/// Limits of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head (`max_request_headers_kb`).
    pub bytes: usize,
    /// Number of fields (`max_headers_count`).
    pub fields: usize,
}

/// A message that breaks the protocol: what it gets and what the log says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{details}: {reason}")]
pub struct CodecError {
    /// The status of the answer; meaningful for requests.
    pub status: u16,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: &'static str,
    /// What exactly is wrong, for the debug log.
    pub reason: &'static str,
}

impl CodecError {
    /// 400 `http1.codec_error`
    pub const fn malformed(reason: &'static str) -> Self {
        Self { status: 400, details: "http1.codec_error", reason }
    }

    const fn new(status: u16, details: &'static str, reason: &'static str) -> Self {
        Self { status, details, reason }
    }
}

/// The most fields a head may have, whatever is configured; bounds the parser's stack.
pub const MAX_FIELDS: usize = 512;
