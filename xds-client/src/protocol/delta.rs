//! Delta (incremental): responses carry changes, requests carry changes of what is asked for.
//!
//! ```text
//!  of one type:
//!    names change                                     receive(nonce)
//!   +------------+                                    +-------------> with the proxy --answer()--+
//!   |            v                                    |                                          |
//!  said <---- next_request(): names added, removed <--+--- acknowledgements, one for each nonce <-+
//!   ^            |            one acknowledgement                    accepted: name -> version is known
//!   +------------+                                                   refused: what was known stays
//!
//!  stream opened: all names are to be added; the first request lists what is known (initial_resource_versions)
//! ```
//! Only resources that the proxy has in force are known, by the version that is in force. A version that was refused is never
//! reported, or the server would take it for delivered and not send it again. The first request of a stream waits for answers to
//! responses of earlier streams, since these decide what is in force.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Answer, Ticket};
use super::lanes::{Lane, LaneState, Lanes};
use super::names::NameSet;
use super::{Delivery, Due, Machine, Notice, RateLimit, Received, Response};
use crate::event::{Content, Names, TypeUrl};
use crate::status::TypeStatus;

/// A `DeltaDiscoveryRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaRequest {
    /// The type it is about.
    pub type_url: TypeUrl,
    /// Names to add; none in the first request of a type is the wildcard.
    pub subscribe: Vec<String>,
    /// Names to take away.
    pub unsubscribe: Vec<String>,
    /// What is in force, by name and version; in the first request of a type only.
    pub initial_versions: Vec<(Arc<str>, Arc<str>)>,
    /// The nonce of the response that this answers; empty when it answers none.
    pub nonce: String,
    /// Why that response was refused.
    pub error: Option<String>,
    /// Whether the node is to be sent along.
    pub with_node: bool,
}

/// One stream of the delta variant.
#[derive(Debug)]
pub struct Delta {
    lanes: Lanes<State, Kept>,
    server_since: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Resources in force, with the version that the server gave.
    known: HashMap<Arc<str>, Arc<str>>,
    /// Nonces to answer on this stream, with the error if refused.
    answers: VecDeque<(String, Option<String>)>,
    last_version: Arc<str>,
}

/// What is kept of a response until it is answered.
#[derive(Debug)]
struct Kept {
    version: Arc<str>,
    resources: Vec<Arrived>,
    removed: Vec<String>,
}

/// A resource of such a response.
#[derive(Debug)]
struct Arrived {
    name: Arc<str>,
    aliases: Vec<String>,
    version: Arc<str>,
    ttl: Option<Duration>,
}

impl LaneState for State {
    const WAITS_FOR_ANSWER: bool = false;

    fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn version(&self) -> Option<Arc<str>> {
        (!self.last_version.is_empty()).then(|| Arc::clone(&self.last_version))
    }
}

impl Machine for Delta {
    type Request = DeltaRequest;

    fn new(rate_limit: Option<RateLimit>, node_once: bool) -> Self {
        Self { lanes: Lanes::new(rate_limit, node_once), server_since: 0 }
    }

    fn subscribe(&mut self, type_url: &TypeUrl, names: &Names, fetch_timeout: Duration, now: Instant) {
        self.lanes.subscribe(type_url, names, fetch_timeout, now);
    }

    fn unsubscribe(&mut self, type_url: &str, names: &[String]) {
        let Some(lane) = self.lanes.find(type_url) else { return };
        for name in names {
            lane.names.unsubscribe(name);
            lane.fetch.clear(name);
        }
        // What the wildcard or another name still covers stays known.
        let Lane { names, state, ttl, type_url, inbox, .. } = lane;
        state.known.retain(|name, _| names.covers_name(type_url, name));
        ttl.retain(|name| state.known.contains_key(name));
        // What is given up must not become known by an answer that is still out, should it be wanted again by then.
        inbox.each(|kept| kept.resources.retain(|one| covers(names, type_url, one)));
    }

    fn open(&mut self, same_server: bool) {
        self.lanes.open();
        if !same_server {
            self.server_since = self.lanes.stream;
        }
        for lane in &mut self.lanes.all {
            lane.state.answers.clear();
            if !same_server {
                // The names still tell the server what to report as removed.
                lane.state.known.values_mut().for_each(|version| *version = Arc::default());
            }
        }
    }

    fn close(&mut self) {
        self.lanes.is_open = false;
    }

    fn due(&mut self, now: Instant) -> Due {
        self.lanes.due(now)
    }

    fn next_request(&mut self, now: Instant) -> Option<DeltaRequest> {
        let (lane, with_node) = self.lanes.turn(now)?;
        let state = &mut lane.state;
        let initial_versions = if lane.names.is_first() {
            state.known.iter().map(|(name, version)| (Arc::clone(name), Arc::clone(version))).collect()
        } else {
            Vec::new()
        };
        let (subscribe, unsubscribe) = lane.names.changes();
        let (nonce, error) = match state.answers.pop_front() {
            Some((nonce, error)) => {
                *(if error.is_none() { &mut lane.counters.acks } else { &mut lane.counters.nacks }) += 1;
                (nonce, error)
            }
            None => (String::new(), None),
        };
        Some(DeltaRequest {
            type_url: Arc::clone(&lane.type_url),
            subscribe,
            unsubscribe,
            initial_versions,
            nonce,
            error,
            with_node,
        })
    }

    fn receive(&mut self, response: Response, now: Instant) -> Received {
        let (ticket, stream) = (self.lanes.ticket(), self.lanes.stream);
        let Some(lane) = self.lanes.find(&response.type_url) else { return Received::Unwanted };
        lane.note(&response, now);
        let Response { version, nonce, mut resources, heartbeats, removed, .. } = response;
        for heartbeat in &heartbeats {
            if lane.state.known.contains_key(heartbeat.name.as_str()) {
                lane.renew(&heartbeat.name, heartbeat.ttl, now);
            }
        }
        let is_heartbeat = resources.is_empty() && removed.is_empty() && !heartbeats.is_empty();
        if lane.names.is_empty() || is_heartbeat {
            lane.state.answers.push_back((nonce, None));
            return Received::Handled;
        }
        resources.retain(|resource| lane.names.covers(&lane.type_url, resource));
        let named = resources.iter().filter(|resource| !resource.name.is_empty());
        let arrived = named.map(|resource| Arrived {
            name: lane.names.shared(&resource.name),
            aliases: resource.aliases.clone(),
            version: Arc::clone(&resource.version),
            ttl: resource.ttl,
        });
        let kept =
            Kept { version: Arc::clone(&version), resources: arrived.collect(), removed: removed.clone() };
        lane.inbox.push(ticket, stream, nonce, kept);
        Received::Deliver(Delivery {
            ticket,
            type_url: Arc::clone(&lane.type_url),
            version,
            content: Content::Delta { resources, removed },
            unchanged: Vec::new(),
        })
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Instant) {
        let (stream, is_open) = (self.lanes.stream, self.lanes.is_open);
        let Some(lane) = self.lanes.file(ticket, answer) else { return };
        while let Some((response, answer)) = lane.inbox.pop_answered() {
            let is_same_server = response.stream >= self.server_since;
            apply(lane, response.what, &answer, is_same_server, now);
            if is_open && response.stream == stream {
                lane.state.answers.push_back((response.nonce, answer.into_error()));
            }
        }
    }

    fn expire(&mut self, now: Instant) -> Vec<Notice> {
        self.lanes.expire(now, |state, name| drop(state.known.remove(name)))
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

/// Writes down what is in force after an answer.
fn apply(lane: &mut Lane<State, Kept>, kept: Kept, answer: &Answer, is_same_server: bool, now: Instant) {
    for arrived in kept.resources.into_iter().filter(|one| answer.applies(&one.name)) {
        let Arrived { name, version, ttl, .. } = arrived;
        lane.renew(&name, ttl, now);
        lane.state.known.insert(name, if is_same_server { version } else { Arc::default() });
    }
    for name in kept.removed.iter().filter(|name| answer.applies(name)) {
        lane.state.known.remove(name.as_str());
        lane.ttl.clear(name);
    }
    if *answer == Answer::Accept {
        lane.state.last_version = kept.version;
    }
}

fn covers(names: &NameSet, type_url: &str, arrived: &Arrived) -> bool {
    names.covers_name(type_url, &arrived.name)
        || arrived.aliases.iter().any(|alias| names.covers_name(type_url, alias))
}
