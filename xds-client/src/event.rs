//! What a source tells the proxy, and how the proxy answers.
//!
//! Events travel through one bounded channel for all sources. An [`Update`] carries a [`Reply`]; the control plane hears `ACK` or
//! `NACK` when the proxy uses it. The control thread is the reader.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::{Answer, Ticket};

/// `type.googleapis.com/` and the full name of a message.
pub type TypeUrl = Arc<str>;

/// Which source an event is about: a name that the proxy chooses and finds again in events, logs and the config dump.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(Arc<str>);

impl SourceId {
    /// A source with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Whatever the control plane has for this node.
    Wildcard,
    /// These, added to what is subscribed already.
    These(Vec<String>),
}

/// Something happened at a source.
#[derive(Debug)]
pub enum Event {
    /// Resources arrived.
    Update(Update),
    /// A stream to the control plane is open.
    Connected {
        /// Which source.
        source: SourceId,
    },
    /// No stream is open. It will be tried again.
    Disconnected {
        /// Which source.
        source: SourceId,
        /// Why, in words for the log.
        reason: String,
        /// How long until the next attempt.
        next_try: Duration,
    },
    /// `initial_fetch_timeout` ran out for resources that never came. They stay subscribed.
    FetchTimeout {
        /// Which source.
        source: SourceId,
        /// Of which type.
        type_url: TypeUrl,
        /// Their names; `*` stands for a wildcard subscription.
        names: Vec<String>,
    },
    /// The time to live of resources ran out, so they are to be treated as removed.
    Expired {
        /// Which source.
        source: SourceId,
        /// Of which type.
        type_url: TypeUrl,
        /// Their names.
        names: Vec<String>,
    },
    /// A source that is polled or read from a file could not deliver. It goes on trying.
    Failed {
        /// Which source.
        source: SourceId,
        /// Of which type.
        type_url: TypeUrl,
        /// Why, in words for the log.
        reason: String,
    },
}

/// A response: resources of one type, and the duty to answer.
#[derive(Debug)]
pub struct Update {
    /// Which source.
    pub source: SourceId,
    /// The type that the response is for. A [`Resource::type_url`] that differs is the control plane's fault.
    pub type_url: TypeUrl,
    /// `version_info` (state of the world) or `system_version_info` (delta); for messages and the config dump.
    pub version: Arc<str>,
    /// `control_plane.identifier` of the response.
    pub control_plane: Option<Arc<str>>,
    /// The resources.
    pub content: Content,
    /// State of the world: names that came as a heartbeat (no body). They live on as they are, so a type whose responses are the
    /// whole state must not take them for removed.
    pub unchanged: Vec<String>,
    /// The answer to give.
    pub reply: Reply,
}

/// The resources of a response. Duplicate names are not looked for here.
#[derive(Debug)]
pub enum Content {
    /// State of the world. For cluster, listener and scoped route responses it is all there is; for other types, what the response
    /// leaves out is as it was.
    Full(Vec<Resource>),
    /// Changes.
    Delta {
        /// New or changed resources.
        resources: Vec<Resource>,
        /// Names of resources that are gone.
        removed: Vec<String>,
    },
}

/// One resource, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name; empty where the response does not say and the type is not one that [`crate::Kind`] lists.
    pub name: String,
    /// Other names under which it was asked for (on-demand virtual hosts).
    pub aliases: Vec<String>,
    /// The version of the resource, or of the response in state of the world.
    pub version: Arc<str>,
    /// The type URL of the body.
    pub type_url: String,
    /// The wire bytes.
    pub body: Bytes,
    /// How long it is valid without news.
    pub ttl: Option<Duration>,
}

/// Takes answers: a driver.
pub(crate) trait Answers: Send + Sync {
    fn answer(&self, ticket: Ticket, answer: Answer);
}

/// The answer to an [`Update`]. Dropped without a word it rejects, so that a lost update is never reported as applied.
pub struct Reply {
    to: Option<Arc<dyn Answers>>,
    ticket: Ticket,
}

impl Reply {
    pub(crate) fn new(to: Arc<dyn Answers>, ticket: Ticket) -> Self {
        Self { to: Some(to), ticket }
    }

    /// The answer to an update that no server waits for.
    pub fn unheard() -> Self {
        Self { to: None, ticket: Ticket(0) }
    }

    /// All resources are applied.
    pub fn accept(mut self) {
        self.send(Answer::Accept);
    }

    /// Not all resources are applied. `detail` goes to the control plane. With `refused` empty nothing was applied; else these names
    /// (of resources or removals) were refused and the others are in force.
    pub fn reject(mut self, detail: String, refused: Vec<String>) {
        self.send(Answer::Reject { detail, refused });
    }

    fn send(&mut self, answer: Answer) {
        if let Some(to) = self.to.take() {
            to.answer(self.ticket, answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let detail = "the update was discarded before it was looked at; what was in force stays".to_owned();
        self.send(Answer::Reject { detail, refused: Vec::new() });
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
