//! The xDS protocol as state machines: no sockets, no clock, no decoding of resources.
//!
//! A machine is one gRPC stream that carries one type or many, for as long as its source exists: it outlives the connections. The
//! drivers in [`crate::source`] feed it with what the proxy wants ([`Machine::subscribe`]), what the server says
//! ([`Machine::receive`]), what the proxy makes of it ([`Machine::answer`]) and what time it is; they send what it says
//! ([`Machine::next_request`]). [`Sotw`] is the state-of-the-world variant and, without a
//! stream, what REST and files need; [`Delta`] is the incremental one. `simulation.rs` plays all of it against a model of a server over a bad network.

mod backoff;
mod delta;
mod inbox;
mod lanes;
mod names;
mod rate;
mod sotw;
mod ttl;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use backoff::Backoff;
pub use delta::{Delta, DeltaRequest};
pub use inbox::{Answer, Ticket};
pub use rate::RateLimit;
pub use sotw::{Sotw, SotwRequest};

use crate::event::{Content, Names, Resource, TypeUrl};
use crate::status::TypeStatus;

/// `initial_fetch_timeout` when the configuration has none.
pub const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A response as a machine sees it.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The type it is for.
    pub type_url: String,
    /// `version_info`, or `system_version_info` in delta.
    pub version: Arc<str>,
    /// The nonce to echo.
    pub nonce: String,
    /// Resources that have a body.
    pub resources: Vec<Resource>,
    /// Resource wrappers without one: they only renew the time to live.
    pub heartbeats: Vec<Heartbeat>,
    /// Names of removed resources (delta).
    pub removed: Vec<String>,
}

/// A resource wrapper without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Of which resource.
    pub name: String,
    /// The new time to live; none: it no longer expires.
    pub ttl: Option<Duration>,
}

/// What a response comes to.
#[derive(Debug)]
pub enum Received {
    /// The proxy must see it and answer.
    Deliver(Delivery),
    /// The machine has dealt with it: heartbeats, or a type that nobody wants any more.
    Handled,
    /// It is for a type that was never asked for.
    Unwanted,
}

/// A response for the proxy.
#[derive(Debug)]
pub struct Delivery {
    /// What the answer must name.
    pub ticket: Ticket,
    /// The type.
    pub type_url: TypeUrl,
    /// The version of the response.
    pub version: Arc<str>,
    /// The resources that were asked for.
    pub content: Content,
    /// Names that live on unchanged.
    pub unchanged: Vec<String>,
}

/// Something that time brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// These never came within `initial_fetch_timeout`.
    FetchTimeout(TypeUrl, Vec<String>),
    /// The time to live of these is over.
    Expired(TypeUrl, Vec<String>),
}

/// Whether a request can go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Yes.
    Now,
    /// The rate limit allows it then.
    At(Instant),
    /// There is nothing to say.
    No,
}

/// What the two variants have in common.
pub trait Machine: Send + 'static {
    /// What it sends.
    type Request;

    /// A machine for one stream.
    fn new(rate_limit: Option<RateLimit>, node_once: bool) -> Self;

    /// Wants resources, first within `fetch_timeout` (zero: for ever).
    fn subscribe(&mut self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration, now: Instant);

    /// Wants them no more; `*` stands for the wildcard.
    fn unsubscribe(&mut self, type_url: &str, names: &[String]);

    /// A stream has been opened. With `same_server` false the versions that another server gave are not quoted.
    fn open(&mut self, same_server: bool);

    /// The stream is gone.
    fn close(&mut self);

    /// Whether [`Machine::next_request`] has something.
    fn due(&mut self, now: Instant) -> Due;

    /// The next request, to be sent before anything else is asked of the machine.
    fn next_request(&mut self, now: Instant) -> Option<Self::Request>;

    /// A response came.
    fn receive(&mut self, response: Response, now: Instant) -> Received;

    /// The proxy answers a delivery, of this stream or of an earlier one.
    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Instant);

    /// What the time has brought.
    fn expire(&mut self, now: Instant) -> Vec<Notice>;

    /// When to call [`Machine::expire`].
    fn deadline(&self) -> Option<Instant>;

    /// Requests that wait, and how often the rate limit held one back.
    fn pressure(&self) -> (usize, u64);

    /// For the admin pages.
    fn status(&self) -> Vec<TypeStatus>;
}
