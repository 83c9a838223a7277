//! State of the world: each response names a version of all that was asked for, each request repeats all names.
//!
//! ```text
//!  of one type:
//!                names change, stream opened
//!          +--------------------------------------------+
//!          v                                            |
//!        due ---next_request()---> said <--------------+
//!          ^                         |
//!          |                         | receive(version, nonce)
//!          |                         v
//!          |   answer(accept) +--------------+ receive(): the newer nonce counts, the older is answered to nobody
//!          +------------------| with the     |---+
//!          |   version moves  | proxy        |   |
//!          |                  |              |<--+
//!          +------------------+--------------+
//!              answer(reject): version stays, error_detail once
//! ```
//! A request names the last nonce of the stream and the last version that was accepted whole. While a response is with the proxy
//! nothing is sent for its type: a request with its nonce would be taken for the answer. That holds for a response of an earlier
//! stream too, as its answer decides which version the new stream's first request names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Answer, Ticket};
use super::lanes::{Lane, LaneState, Lanes};
use super::names::WILDCARD;
use super::{Delivery, Due, Machine, Notice, RateLimit, Received, Response};
use crate::event::{Content, Names, TypeUrl};
use crate::kinds::Kind;
use crate::status::TypeStatus;

/// A `DiscoveryRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SotwRequest {
    /// The type it is about.
    pub type_url: TypeUrl,
    /// The version accepted last; empty at first.
    pub version: Arc<str>,
    /// All names of the type; empty is the wildcard in the first request of a type, and nothing later.
    pub names: Vec<String>,
    /// The last nonce of this stream; empty in the first request.
    pub nonce: String,
    /// Why the response with this nonce was refused.
    pub error: Option<String>,
    /// Whether the node is to be sent along.
    pub with_node: bool,
}

/// One stream of the state-of-the-world variant.
#[derive(Debug)]
pub struct Sotw {
    lanes: Lanes<State, Kept>,
    /// Streams before this one went to another server, whose versions mean nothing here.
    server_since: u64,
}

#[derive(Debug, Default)]
struct State {
    version: Arc<str>,
    /// What to say to the last nonce.
    answer: Option<Verdict>,
    /// A time to live was seen, so each response is looked through for them.
    uses_ttl: bool,
}

#[derive(Debug)]
enum Verdict {
    Ack,
    Nack(String),
}

/// What is kept of a response until it is answered.
#[derive(Debug)]
struct Kept {
    version: Arc<str>,
    /// Resources with their time to live, on a lane where there are any.
    ttls: Vec<(Arc<str>, Option<Duration>)>,
    /// Whether resources that are not in `ttls` are gone.
    is_all: bool,
}

impl LaneState for State {
    const WAITS_FOR_ANSWER: bool = true;

    fn has_answers(&self) -> bool {
        self.answer.is_some()
    }

    fn version(&self) -> Option<Arc<str>> {
        (!self.version.is_empty()).then(|| Arc::clone(&self.version))
    }
}

impl Sotw {
    /// What a source without a stream asks for when it polls; `None` when nothing of the type is wanted. The machine is then never
    /// opened, and answers only move the version.
    pub fn poll(&mut self, type_url: &str) -> Option<SotwRequest> {
        let lane = self.lanes.find(type_url).filter(|lane| !lane.names.is_empty())?;
        lane.counters.requests += 1;
        lane.names.told();
        let names = lane.names.iter().filter(|name| ***name != *WILDCARD);
        Some(SotwRequest {
            type_url: Arc::clone(&lane.type_url),
            version: Arc::clone(&lane.state.version),
            names: names.map(ToString::to_string).collect(),
            nonce: String::new(),
            error: None,
            with_node: true,
        })
    }

    /// Whether names of the type were added or taken away since the last poll.
    pub fn is_poll_due(&mut self, type_url: &str) -> bool {
        self.lanes.find(type_url).is_some_and(|lane| lane.names.is_dirty())
    }
}

impl Machine for Sotw {
    type Request = SotwRequest;

    fn new(rate_limit: Option<RateLimit>, node_once: bool) -> Self {
        Self { lanes: Lanes::new(rate_limit, node_once), server_since: 0 }
    }

    fn subscribe(&mut self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration, now: Instant) {
        self.lanes.subscribe(type_url, names, fetch_timeout, now);
    }

    fn unsubscribe(&mut self, type_url: &str, names: &[String]) {
        let Some(lane) = self.lanes.find(type_url) else { return };
        let was_wildcard = lane.names.is_wildcard();
        for name in names {
            lane.names.unsubscribe(name);
            lane.fetch.clear(name);
        }
        if lane.names.is_empty() || (was_wildcard && !lane.names.is_wildcard()) {
            // What was held is forgotten, so its version must not keep the server from sending it again; nor must that of an update
            // which is accepted later but was given up now.
            lane.state.version = Arc::default();
            lane.inbox.each(|kept| kept.version = Arc::default());
        }
        let Lane { names, ttl, type_url, inbox, .. } = lane;
        ttl.retain(|name| names.covers_name(type_url, name));
        inbox.each(|kept| kept.ttls.retain(|(name, _)| names.covers_name(type_url, name)));
    }

    fn open(&mut self, same_server: bool) {
        self.lanes.open();
        if !same_server {
            self.server_since = self.lanes.stream;
        }
        for lane in &mut self.lanes.all {
            lane.state.answer = None;
            if !same_server {
                lane.state.version = Arc::default();
            }
        }
    }

    fn close(&mut self) {
        self.lanes.is_open = false;
    }

    fn due(&mut self, now: Instant) -> Due {
        self.lanes.due(now)
    }

    fn next_request(&mut self, now: Instant) -> Option<SotwRequest> {
        let (lane, with_node) = self.lanes.turn(now)?;
        let mut error = None;
        match lane.state.answer.take() {
            Some(Verdict::Ack) => lane.counters.acks += 1,
            Some(Verdict::Nack(detail)) => {
                lane.counters.nacks += 1;
                error = Some(detail);
            }
            None => {}
        }
        Some(SotwRequest {
            type_url: Arc::clone(&lane.type_url),
            version: Arc::clone(&lane.state.version),
            names: lane.names.state_of_the_world(),
            nonce: lane.nonce.clone(),
            error,
            with_node,
        })
    }

    fn receive(&mut self, response: Response, now: Instant) -> Received {
        let (ticket, stream) = (self.lanes.ticket(), self.lanes.stream);
        let Some(lane) = self.lanes.find(&response.type_url) else { return Received::Unwanted };
        lane.note(&response, now);
        lane.state.answer = None;
        if lane.names.is_empty() {
            if lane.names.repeat_farewell() {
                lane.state.answer = Some(Verdict::Ack);
            }
            return Received::Handled;
        }
        let Response { version, nonce, mut resources, heartbeats, .. } = response;
        lane.state.uses_ttl |= !heartbeats.is_empty() || resources.iter().any(|one| one.ttl.is_some());
        for heartbeat in &heartbeats {
            if lane.names.covers_name(&lane.type_url, &heartbeat.name) {
                lane.renew(&heartbeat.name, heartbeat.ttl, now);
            }
        }
        if resources.is_empty() && !heartbeats.is_empty() {
            // Should the proxy be busy with a response, its answer will come in the place of this one.
            lane.state.answer = Some(Verdict::Ack);
            return Received::Handled;
        }
        resources.retain(|resource| lane.names.covers(&lane.type_url, resource));
        let mut ttls = Vec::new();
        if lane.state.uses_ttl {
            let arrived = resources.iter().map(|one| (lane.names.shared(&one.name), one.ttl));
            let renewed = heartbeats.iter().filter(|one| lane.names.covers_name(&lane.type_url, &one.name));
            ttls = arrived.chain(renewed.map(|one| (lane.names.shared(&one.name), one.ttl))).collect();
        }
        let is_all = Kind::of(&lane.type_url).is_some_and(|kind| kind.is_full_state);
        let unchanged = heartbeats.into_iter().map(|one| one.name).collect();
        lane.inbox.push(ticket, stream, nonce, Kept { version: Arc::clone(&version), ttls, is_all });
        Received::Deliver(Delivery {
            ticket,
            type_url: Arc::clone(&lane.type_url),
            version,
            content: Content::Full(resources),
            unchanged,
        })
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Instant) {
        let (stream, is_open) = (self.lanes.stream, self.lanes.is_open);
        let Some(lane) = self.lanes.file(ticket, answer) else { return };
        while let Some((response, answer)) = lane.inbox.pop_answered() {
            let Kept { version, ttls, is_all } = response.what;
            if !lane.names.is_empty() {
                if is_all && answer == Answer::Accept && !lane.ttl.is_empty() {
                    let left: std::collections::HashSet<&str> =
                        ttls.iter().map(|(name, _)| &**name).collect();
                    lane.ttl.retain(|name| left.contains(name));
                }
                for (name, ttl) in ttls.iter().filter(|(name, _)| answer.applies(name)) {
                    lane.renew(name, *ttl, now);
                }
                if answer == Answer::Accept && response.stream >= self.server_since {
                    lane.state.version = version;
                }
            }
            // With several out the last one's answer remains, and goes out with the last nonce.
            if is_open && response.stream == stream {
                lane.state.answer = Some(answer.into_error().map_or(Verdict::Ack, Verdict::Nack));
            }
        }
    }

    fn expire(&mut self, now: Instant) -> Vec<Notice> {
        self.lanes.expire(now, |_, _| {})
    }

    fn deadline(&self) -> Option<Instant> {
        self.lanes.deadline()
    }

    fn pressure(&self) -> (usize, u64) {
        self.lanes.pressure()
    }

    fn status(&self) -> Vec<TypeStatus> {
        self.lanes.status()
    }
}
