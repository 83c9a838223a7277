//! What both variants keep: one lane for each type on the stream, in the order in which requests go out, and the stream's own state.
//!
//! ```text
//!          open()                       answers, names, acknowledgements -> due -> next_request()
//! closed ----------> open, generation n --------------------------------------------------+
//!    ^                  |        ^                                                         |
//!    +------------------+        +---------------------------------------------------------+
//!          close()
//! ```
//! A lane is held back while an update of a type that it waits for ([`crate::Kind::waits_for`]) is with the proxy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{Answer, Inbox, Ticket};
use super::names::{NameSet, WILDCARD};
use super::rate::Bucket;
use super::ttl::Deadlines;
use super::{Due, Notice, RateLimit, Response};
use crate::event::{Names, TypeUrl};
use crate::kinds::Kind;
use crate::status::{Counters, TypeStatus};

/// One type. `S` is what the variant keeps besides, `D` what it keeps of a delivered response.
#[derive(Debug)]
pub(crate) struct Lane<S, D> {
    pub(crate) type_url: TypeUrl,
    rank: usize,
    pub(crate) names: NameSet,
    pub(crate) state: S,
    pub(crate) inbox: Inbox<D>,
    /// The last nonce of this stream.
    pub(crate) nonce: String,
    /// When resources expire.
    pub(crate) ttl: Deadlines,
    /// Until when first arrivals are waited for.
    pub(crate) fetch: Deadlines,
    pub(crate) counters: Counters,
}

/// What a variant's lane has to say.
pub(crate) trait LaneState: Default {
    /// Whether a request is due besides what the names ask for.
    fn has_answers(&self) -> bool;
    /// Whether requests wait until the proxy has answered.
    const WAITS_FOR_ANSWER: bool;
    /// The version for the status.
    fn version(&self) -> Option<Arc<str>>;
}

impl<S: LaneState, D> Lane<S, D> {
    fn new(type_url: TypeUrl) -> Self {
        Self {
            rank: Kind::rank(&type_url),
            type_url,
            names: NameSet::default(),
            state: S::default(),
            inbox: Inbox::default(),
            nonce: String::new(),
            ttl: Deadlines::default(),
            fetch: Deadlines::default(),
            counters: Counters::default(),
        }
    }

    /// The first request of a stream reports what is in force, so it waits for answers that are still out.
    fn is_due(&self) -> bool {
        let waits = (S::WAITS_FOR_ANSWER || self.names.is_first()) && self.inbox.is_waiting();
        (self.state.has_answers() || self.names.is_dirty()) && !waits
    }

    /// Notes that a response came: its nonce, and whose first arrival is waited for no longer.
    pub(crate) fn note(&mut self, response: &Response, now: Instant) {
        self.nonce.clone_from(&response.nonce);
        self.counters.responses += 1;
        self.counters.last_response = Some(now);
        if Kind::of(&self.type_url).is_some_and(|kind| kind.is_full_state) {
            self.fetch.retain(|_| false);
        } else if !self.fetch.is_empty() {
            self.fetch.clear(WILDCARD);
            for resource in &response.resources {
                self.fetch.clear(&resource.name);
                resource.aliases.iter().for_each(|alias| self.fetch.clear(alias));
            }
            response.removed.iter().for_each(|name| self.fetch.clear(name));
        }
    }

    /// Sets or ends the time to live of a resource that is in force.
    pub(crate) fn renew(&mut self, name: &str, ttl: Option<Duration>, now: Instant) {
        match ttl {
            Some(ttl) => self.ttl.set(self.names.shared(name), far(now, ttl)),
            None => self.ttl.clear(name),
        }
    }

    fn status(&self) -> TypeStatus {
        let mut pending: Vec<String> = self.fetch.names().map(ToString::to_string).collect();
        pending.sort_unstable();
        TypeStatus {
            type_url: Arc::clone(&self.type_url),
            is_wildcard: self.names.is_wildcard(),
            names: self.names.count(),
            nonce: self.nonce.clone(),
            version: self.state.version(),
            pending,
            counters: self.counters,
        }
    }
}

/// An instant that far away; durations from the network may be absurd.
fn far(now: Instant, after: Duration) -> Instant {
    const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);
    now + after.min(TEN_YEARS)
}

/// All types of a stream.
#[derive(Debug)]
pub(crate) struct Lanes<S, D> {
    pub(crate) all: Vec<Lane<S, D>>,
    pub(crate) is_open: bool,
    /// Counts the streams.
    pub(crate) stream: u64,
    tickets: u64,
    bucket: Option<Bucket>,
    is_limited: bool,
    times_limited: u64,
    node_once: bool,
    node_sent: bool,
}

impl<S: LaneState, D> Lanes<S, D> {
    pub(crate) fn new(rate_limit: Option<RateLimit>, node_once: bool) -> Self {
        Self {
            all: Vec::new(),
            is_open: false,
            stream: 0,
            tickets: 0,
            bucket: rate_limit.map(Bucket::new),
            is_limited: false,
            times_limited: 0,
            node_once,
            node_sent: false,
        }
    }

    pub(crate) fn find(&mut self, type_url: &str) -> Option<&mut Lane<S, D>> {
        self.all.iter_mut().find(|lane| &*lane.type_url == type_url)
    }

    pub(crate) fn subscribe(&mut self, type_url: &TypeUrl, names: &Names, timeout: Duration, now: Instant) {
        let at = self.all.iter().position(|lane| lane.type_url == *type_url).unwrap_or_else(|| {
            let lane = Lane::new(Arc::clone(type_url));
            let at = self.all.partition_point(|other| other.rank <= lane.rank);
            self.all.insert(at, lane);
            at
        });
        let Some(lane) = self.all.get_mut(at) else { return };
        for name in lane.names.subscribe(names) {
            if !timeout.is_zero() {
                lane.fetch.set(name, far(now, timeout));
            }
        }
    }

    /// A new stream: everything is said again.
    pub(crate) fn open(&mut self) {
        self.stream += 1;
        self.is_open = true;
        self.node_sent = false;
        self.all.retain(|lane| !lane.names.is_empty());
        for lane in &mut self.all {
            lane.nonce.clear();
            lane.names.restart();
        }
    }

    /// The lane that speaks next.
    fn next_lane(&self) -> Option<usize> {
        if !self.is_open {
            return None;
        }
        self.all.iter().position(|lane| lane.is_due() && !self.is_held_back(lane))
    }

    fn is_held_back(&self, lane: &Lane<S, D>) -> bool {
        let Some(kind) = Kind::of(&lane.type_url) else { return false };
        let is_parent = |other: &Lane<S, D>| {
            Kind::of(&other.type_url).is_some_and(|parent| kind.waits_for.contains(&parent.short))
        };
        self.all.iter().any(|other| is_parent(other) && other.inbox.is_waiting())
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if self.next_lane().is_none() {
            return Due::No;
        }
        let Some(at) = self.bucket.as_mut().and_then(|bucket| bucket.ready(now)) else {
            self.is_limited = false;
            return Due::Now;
        };
        if !std::mem::replace(&mut self.is_limited, true) {
            self.times_limited += 1;
        }
        Due::At(at)
    }

    /// Takes the turn: the lane that speaks, and whether it says who we are.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<(&mut Lane<S, D>, bool)> {
        if self.due(now) != Due::Now {
            return None;
        }
        let at = self.next_lane()?;
        if let Some(bucket) = &mut self.bucket {
            bucket.take();
        }
        let with_node = !(self.node_once && std::mem::replace(&mut self.node_sent, true));
        let lane = self.all.get_mut(at)?;
        lane.counters.requests += 1;
        Some((lane, with_node))
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Files the answer to a delivery; the lane on which something may take effect now.
    pub(crate) fn file(&mut self, ticket: Ticket, answer: Answer) -> Option<&mut Lane<S, D>> {
        let lane = self.all.iter_mut().find(|lane| lane.inbox.holds(ticket))?;
        lane.inbox.file(ticket, answer);
        Some(lane)
    }

    /// What the time has brought; `forget` is told of resources that expired.
    pub(crate) fn expire(&mut self, now: Instant, mut forget: impl FnMut(&mut S, &str)) -> Vec<Notice> {
        let texts = |names: Vec<Arc<str>>| names.iter().map(ToString::to_string).collect();
        let mut notices = Vec::new();
        for lane in &mut self.all {
            let late = lane.fetch.due(now);
            if !late.is_empty() {
                notices.push(Notice::FetchTimeout(Arc::clone(&lane.type_url), texts(late)));
            }
            let dead = lane.ttl.due(now);
            if !dead.is_empty() {
                for name in &dead {
                    forget(&mut lane.state, name);
                }
                notices.push(Notice::Expired(Arc::clone(&lane.type_url), texts(dead)));
            }
        }
        notices
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.all.iter().flat_map(|lane| [lane.fetch.next(), lane.ttl.next()]).flatten().min()
    }

    pub(crate) fn pressure(&self) -> (usize, u64) {
        let waiting = if self.is_open { self.all.iter().filter(|lane| lane.is_due()).count() } else { 0 };
        (waiting, self.times_limited)
    }

    pub(crate) fn status(&self) -> Vec<TypeStatus> {
        self.all.iter().map(Lane::status).collect()
    }
}
