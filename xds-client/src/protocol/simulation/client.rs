//! What must be true at the proxy's side: written down from what was asked, received and answered, without looking at the machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::variants::Variant;
use super::{TYPES, is_full_state, place};
use crate::event::{Content, Names, Resource};
use crate::protocol::{Answer, Received, Response, Ticket};

/// Names, each with the place of its type.
type Named = Vec<(usize, String)>;

#[derive(Default)]
pub(super) struct Client {
    pub(super) lanes: [Lane; TYPES.len()],
    pub(super) stream: u64,
    /// Something was sent on this stream.
    pub(super) has_sent: bool,
}

#[derive(Default)]
pub(super) struct Lane {
    /// Was subscribed before the stream was opened, or since.
    pub(super) is_known: bool,
    pub(super) wanted: BTreeSet<String>,
    /// What the proxy has applied, by name.
    pub(super) in_force: BTreeMap<String, Held>,
    ttl: BTreeMap<String, Instant>,
    awaited: BTreeMap<String, Instant>,
    open: VecDeque<Open>,
    /// State of the world: the last version that was accepted whole.
    pub(super) version: String,
    /// The last nonce of the stream.
    pub(super) nonce: String,
    /// Answers that the server must be given, in order: nonce, and whether refused.
    pub(super) owed: VecDeque<(String, bool)>,
    /// A request was sent for the type on this stream.
    pub(super) has_spoken: bool,
    server_since: u64,
}

#[derive(Clone)]
pub(super) struct Held {
    /// Empty when another server gave it.
    pub(super) version: String,
    pub(super) body: String,
}

struct Open {
    ticket: Ticket,
    stream: u64,
    nonce: String,
    version: String,
    resources: Vec<(String, Held, Option<Duration>)>,
    removed: Vec<String>,
    unchanged: Vec<(String, Option<Duration>)>,
    answer: Option<Answer>,
}

impl Held {
    fn of(resource: &Resource) -> Self {
        let body = String::from_utf8(resource.body.to_vec()).unwrap();
        Self { version: resource.version.to_string(), body }
    }
}

impl Lane {
    fn covers(&self, name: &str) -> bool {
        self.wanted.contains("*") || self.wanted.contains(name)
    }
}

impl Client {
    pub(super) fn subscribe(&mut self, at: usize, names: &Names, timeout: Duration, now: Instant) {
        let lane = &mut self.lanes[at];
        lane.is_known = true;
        let names = match names {
            Names::Wildcard => vec!["*".to_owned()],
            Names::These(names) => names.clone(),
        };
        for name in names {
            if lane.wanted.insert(name.clone()) && !timeout.is_zero() {
                lane.awaited.insert(name, now + timeout);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, at: usize, name: &str) {
        let lane = &mut self.lanes[at];
        let was_wanted = lane.wanted.remove(name);
        lane.awaited.remove(name);
        if (was_wanted && name == "*") || lane.wanted.is_empty() {
            lane.version.clear();
            lane.open.iter_mut().for_each(|open| open.version.clear());
        }
        let wanted = lane.wanted.clone();
        let covers = |name: &str| wanted.contains("*") || wanted.contains(name);
        lane.in_force.retain(|name, _| covers(name));
        lane.ttl.retain(|name, _| covers(name));
        for open in &mut lane.open {
            open.resources.retain(|(name, ..)| covers(name));
            open.unchanged.retain(|(name, _)| covers(name));
        }
    }

    pub(super) fn open(&mut self, same_server: bool) {
        self.stream += 1;
        self.has_sent = false;
        for lane in &mut self.lanes {
            if lane.wanted.is_empty() {
                *lane = Lane::default();
            }
            lane.nonce.clear();
            lane.owed.clear();
            lane.has_spoken = false;
            if !same_server {
                lane.server_since = self.stream;
                lane.version.clear();
                lane.in_force.values_mut().for_each(|held| held.version.clear());
            }
        }
    }

    /// Whether an update of the type waits for its answer.
    pub(super) fn is_waiting(&self, at: usize) -> bool {
        self.lanes[at].is_waiting()
    }

    pub(super) fn has_open(&self) -> bool {
        self.lanes.iter().any(|lane| lane.open.iter().any(|open| open.answer.is_none()))
    }

    pub(super) fn receive<M: Variant>(&mut self, response: Response, received: Received, now: Instant) {
        let stream = self.stream;
        let at = place(&response.type_url);
        let lane = &mut self.lanes[at];
        lane.nonce.clone_from(&response.nonce);
        if is_full_state(at) {
            lane.awaited.clear();
        } else {
            lane.awaited.remove("*");
            let arrived = response.resources.iter().map(|one| &one.name).chain(&response.removed);
            lane.awaited.retain(|name, _| !arrived.clone().any(|other| other == name));
        }
        if !M::IS_DELTA {
            lane.owed.clear();
        }
        for heartbeat in &response.heartbeats {
            let is_held = lane.in_force.contains_key(&heartbeat.name) || !M::IS_DELTA;
            if is_held && lane.covers(&heartbeat.name) {
                set(&mut lane.ttl, &heartbeat.name, heartbeat.ttl, now);
            }
        }
        let is_heartbeat =
            response.resources.is_empty() && response.removed.is_empty() && !response.heartbeats.is_empty();
        if lane.wanted.is_empty() || is_heartbeat {
            assert!(matches!(received, Received::Handled), "nothing for the proxy in it");
            if M::IS_DELTA || !lane.wanted.is_empty() || lane.has_spoken {
                lane.owed.push_back((response.nonce, false));
            }
            return;
        }
        let Received::Deliver(delivery) = received else { panic!("an update was not handed over") };
        assert_eq!(&*delivery.type_url, TYPES[at]);
        let (resources, removed) = match delivery.content {
            Content::Full(resources) => (resources, Vec::new()),
            Content::Delta { resources, removed } => (resources, removed),
        };
        let mut expected = response.resources;
        expected.retain(|one| lane.covers(&one.name));
        assert_eq!(resources, expected, "what was asked for is handed over, and nothing else");
        assert_eq!(removed, response.removed);
        let renewed = response.heartbeats.into_iter().map(|one| (one.name, one.ttl));
        let unchanged = if M::IS_DELTA { Vec::new() } else { renewed.collect() };
        lane.open.push_back(Open {
            ticket: delivery.ticket,
            stream,
            nonce: response.nonce,
            version: response.version.to_string(),
            resources: resources.into_iter().map(|one| (one.name.clone(), Held::of(&one), one.ttl)).collect(),
            removed,
            unchanged,
            answer: None,
        });
    }

    /// Some update that is not answered.
    pub(super) fn pick(&self, rng: &mut fastrand::Rng) -> Option<(usize, Ticket)> {
        let all = self.lanes.iter().enumerate().flat_map(|(at, lane)| {
            lane.open.iter().filter(|open| open.answer.is_none()).map(move |open| (at, open.ticket))
        });
        let all: Vec<_> = all.collect();
        rng.choice(all)
    }

    pub(super) fn decide(
        &mut self,
        at: usize,
        ticket: Ticket,
        rng: &mut fastrand::Rng,
        accept: bool,
    ) -> Answer {
        let open = self.lanes[at].open.iter_mut().find(|open| open.ticket == ticket).unwrap();
        let mut refused = Vec::new();
        let answer = match rng.u8(..8) {
            _ if accept => Answer::Accept,
            0 => Answer::Reject { detail: "no".into(), refused },
            1 => {
                refused.extend(open.resources.iter().map(|(name, ..)| name.clone()).filter(|_| rng.bool()));
                refused.extend(open.removed.iter().filter(|_| rng.bool()).cloned());
                Answer::Reject { detail: "not these".into(), refused }
            }
            _ => Answer::Accept,
        };
        open.answer = Some(answer.clone());
        answer
    }

    /// Lets the answers take effect that nothing older stands before.
    pub(super) fn settle<M: Variant>(&mut self, at: usize, now: Instant, is_open: bool) {
        let stream = self.stream;
        let lane = &mut self.lanes[at];
        while lane.open.front().is_some_and(|open| open.answer.is_some()) {
            let open = lane.open.pop_front().unwrap();
            let answer = open.answer.clone().unwrap();
            let is_same_server = open.stream >= lane.server_since;
            if answer == Answer::Accept && !M::IS_DELTA && is_full_state(at) {
                let is_listed = |name: &str| {
                    open.resources.iter().any(|(other, ..)| other == name)
                        || open.unchanged.iter().any(|(other, _)| other == name)
                };
                lane.in_force.retain(|name, _| is_listed(name));
                lane.ttl.retain(|name, _| is_listed(name));
            }
            for (name, mut held, ttl) in open.resources {
                if answer.applies(&name) {
                    set(&mut lane.ttl, &name, ttl, now);
                    if !is_same_server {
                        held.version.clear();
                    }
                    lane.in_force.insert(name, held);
                }
            }
            for (name, ttl) in open.unchanged {
                if answer.applies(&name) && lane.covers(&name) {
                    set(&mut lane.ttl, &name, ttl, now);
                }
            }
            for name in open.removed.into_iter().filter(|name| answer.applies(name)) {
                lane.in_force.remove(&name);
                lane.ttl.remove(&name);
            }
            if answer == Answer::Accept && is_same_server && !lane.wanted.is_empty() {
                lane.version = open.version;
            }
            if is_open && open.stream == stream && (M::IS_DELTA || !lane.is_waiting()) {
                let nonce = if M::IS_DELTA { open.nonce } else { lane.nonce.clone() };
                if !M::IS_DELTA {
                    lane.owed.clear();
                }
                lane.owed.push_back((nonce, answer != Answer::Accept));
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lanes.iter().flat_map(|lane| lane.ttl.values().chain(lane.awaited.values())).min().copied()
    }

    /// What is late and what is dead now, in order.
    pub(super) fn expire(&mut self, now: Instant) -> (Named, Named) {
        let (mut late, mut dead) = (Vec::new(), Vec::new());
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            late.extend(lane.awaited.extract_if(.., |_, until| *until <= now).map(|(name, _)| (at, name)));
            dead.extend(lane.ttl.extract_if(.., |_, until| *until <= now).map(|(name, _)| (at, name)));
        }
        for (at, name) in &dead {
            self.lanes[*at].in_force.remove(name);
        }
        (late, dead)
    }
}

impl Lane {
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }
}

fn set(ttls: &mut BTreeMap<String, Instant>, name: &str, ttl: Option<Duration>, now: Instant) {
    let _ = match ttl {
        Some(ttl) => ttls.insert(name.to_owned(), now + ttl),
        None => ttls.remove(name),
    };
}
