//! A look at a source for the admin pages and the `control_plane.*` stats. Made on demand by [`crate::Source::status`].

use std::sync::Arc;
use std::time::Instant;

use crate::event::TypeUrl;

/// A source as it is now.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Its streams: one for ADS, one for each type otherwise. A polled or watched type counts as one.
    pub streams: Vec<StreamStatus>,
}

impl Status {
    /// `control_plane.connected_state`: whether every stream is open.
    pub fn is_connected(&self) -> bool {
        !self.streams.is_empty() && self.streams.iter().all(|stream| stream.is_connected)
    }

    /// `control_plane.pending_requests`.
    pub fn pending_requests(&self) -> usize {
        self.streams.iter().map(|stream| stream.pending_requests).sum()
    }

    /// `control_plane.rate_limit_enforced`.
    pub fn rate_limit_enforced(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rate_limit_enforced).sum()
    }

    /// `control_plane.identifier`, as the last response gave it.
    pub fn identifier(&self) -> Option<Arc<str>> {
        self.streams.iter().find_map(|stream| stream.identifier.clone())
    }
}

/// A stream as it is now.
#[derive(Debug, Clone, Default)]
pub struct StreamStatus {
    /// Whether it is open; of a polled type whether the last poll succeeded.
    pub is_connected: bool,
    /// The target in use or tried last, by its place in the configuration.
    pub target: usize,
    /// How many times a stream was opened.
    pub connects: u64,
    /// Why the last stream ended or the last attempt failed.
    pub last_failure: Option<String>,
    /// `control_plane.identifier` of the last response.
    pub identifier: Option<Arc<str>>,
    /// Requests that are due and not sent yet.
    pub pending_requests: usize,
    /// How often the rate limit made a request wait.
    pub rate_limit_enforced: u64,
    /// The types on it.
    pub types: Vec<TypeStatus>,
}

/// A type on a stream.
#[derive(Debug, Clone)]
pub struct TypeStatus {
    /// The type.
    pub type_url: TypeUrl,
    /// Whether everything of it is asked for.
    pub is_wildcard: bool,
    /// How many resources are asked for by name.
    pub names: usize,
    /// The last nonce of the stream.
    pub nonce: String,
    /// The version accepted last.
    pub version: Option<Arc<str>>,
    /// What never came so far and is still within `initial_fetch_timeout`; `*` is the wildcard.
    pub pending: Vec<String>,
    /// What was sent and received.
    pub counters: Counters,
}

/// Numbers since the source was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Requests, acknowledgements included.
    pub requests: u64,
    /// Responses.
    pub responses: u64,
    /// Requests that accept a response.
    pub acks: u64,
    /// Requests that refuse one.
    pub nacks: u64,
    /// When the last response came.
    pub last_response: Option<Instant>,
}
