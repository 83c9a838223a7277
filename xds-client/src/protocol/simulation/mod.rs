//! The state machines against a model of a control plane, over a network that delays, duplicates, overtakes and breaks, with a proxy
//! that answers late, out of order and after the stream is gone. Every step is checked; at the end everything must have converged.
//!
//! A seed is a run. A failure names its seed; `SAMPAN_XDS_SEEDS=1 SAMPAN_XDS_FIRST_SEED=n` plays it alone.

mod client;
mod server;
mod variants;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use client::Client;
use server::Server;
use variants::Variant;

use super::{Delta, Due, Notice, RateLimit, Received, Response, Sotw};
use crate::event::{Names, TypeUrl};

/// What the runs are about: parents and children, wildcards and names, and a type that nobody knows.
const TYPES: [&str; 5] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/example.Thing",
];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const STEPS: usize = 150;
/// Tokens and tokens per second of the runs that have a rate limit.
const LIMIT: RateLimit = RateLimit { max_tokens: 4, fill_rate: 20.0 };

fn place(type_url: &str) -> usize {
    TYPES.iter().position(|one| *one == type_url).unwrap()
}

fn is_full_state(at: usize) -> bool {
    at == 0 || at == 2
}

/// The first type is asked for as most proxies do it: all or nothing.
fn is_wildcard_only(at: usize) -> bool {
    at == 0
}

/// The types whose updates hold back requests of another.
fn parents(at: usize) -> &'static [usize] {
    match at {
        1 => &[0],
        3 => &[2],
        _ => &[],
    }
}

struct World<M: Variant> {
    rng: fastrand::Rng,
    start: Instant,
    now: Instant,
    machine: M,
    client: Client,
    server: Server,
    up: VecDeque<M::Request>,
    down: VecDeque<Response>,
    is_open: bool,
    node_once: bool,
    is_limited: bool,
    sent: usize,
    /// Nothing is refused, nothing expires, and the network only breaks.
    is_gentle: bool,
    /// No more faults, no more refusals.
    is_calm: bool,
}

impl<M: Variant> World<M> {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let (node_once, is_limited, is_gentle) = (rng.bool(), rng.u8(..4) == 0, rng.u8(..3) == 0);
        Self {
            machine: M::new(is_limited.then_some(LIMIT), node_once),
            client: Client::default(),
            server: Server::new(rng.u64(..), !is_gentle),
            rng,
            start,
            now: start,
            up: VecDeque::new(),
            down: VecDeque::new(),
            is_open: false,
            node_once,
            is_limited,
            sent: 0,
            is_gentle,
            is_calm: false,
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.converge();
    }

    fn step(&mut self) {
        match self.rng.u8(..32) {
            0..4 => self.subscribe(),
            4..6 => self.unsubscribe(),
            6..12 => {
                self.send_one();
            }
            12..16 => self.deliver_up(),
            16..20 => self.push(),
            20..24 => self.deliver_down(),
            24..27 => self.answer(),
            27 => self.server.change(),
            28 => {
                let time = self.rng.u64(1..4000);
                self.pass(Duration::from_millis(time));
            }
            29 if !self.is_gentle => self.network_fault(),
            29 => {}
            30 => self.disconnect(),
            _ => self.connect(),
        }
    }

    fn subscribe(&mut self) {
        let at = self.rng.usize(..TYPES.len());
        let is_wildcard = self.rng.bool() && (is_full_state(at) || self.rng.u8(..4) == 0);
        let names = if is_wildcard || is_wildcard_only(at) {
            Names::Wildcard
        } else {
            let many = self.rng.usize(1..3);
            Names::These(self.rng.choose_multiple(NAMES, many).into_iter().map(str::to_owned).collect())
        };
        let timeout = Duration::from_millis(if self.rng.bool() { 0 } else { self.rng.u64(500..5000) });
        let type_url: TypeUrl = TYPES[at].into();
        self.machine.subscribe(&type_url, &names, timeout, self.now);
        self.client.subscribe(at, &names, timeout, self.now);
    }

    fn unsubscribe(&mut self) {
        let at = self.rng.usize(..TYPES.len());
        let name = if self.rng.u8(..3) == 0 { "*" } else { self.rng.choice(NAMES).unwrap() };
        self.machine.unsubscribe(TYPES[at], &[name.to_owned()]);
        self.client.unsubscribe(at, name);
    }

    /// Sends one request, if one is due.
    fn send_one(&mut self) -> bool {
        let due = self.machine.due(self.now);
        if due != Due::Now {
            assert!(!matches!(due, Due::At(at) if at <= self.now), "waiting must get somewhere");
            assert!(self.is_limited || due == Due::No);
            assert!(self.machine.next_request(self.now).is_none(), "a request that is not due");
            return false;
        }
        let request = self.machine.next_request(self.now).expect("a request is due");
        self.sent += 1;
        let allowed = f64::from(LIMIT.max_tokens) + LIMIT.fill_rate * (self.now - self.start).as_secs_f64();
        assert!(
            !self.is_limited || self.sent as f64 <= allowed + 1e-6,
            "more requests than the limit allows"
        );
        assert!(self.is_open, "a request without a stream");
        let at = place(M::type_url(&request));
        let with_node = !self.node_once || !self.client.has_sent;
        assert_eq!(M::with_node(&request), with_node, "the node is sent when it is due");
        for parent in parents(at) {
            assert!(!self.client.is_waiting(*parent), "a child's request during its parent's update");
        }
        M::check(&request, &mut self.client.lanes[at]);
        self.client.has_sent = true;
        self.up.push_back(request);
        true
    }

    fn deliver_up(&mut self) {
        if let Some(request) = self.up.pop_front() {
            M::serve(&mut self.server, request);
        }
    }

    fn push(&mut self) {
        let at = self.rng.usize(..TYPES.len());
        self.push_type(at);
    }

    fn push_type(&mut self, at: usize) {
        if !self.is_open {
            return;
        }
        let response = if !self.is_calm && self.rng.u8(..5) == 0 {
            self.server.heartbeat(at)
        } else {
            M::push(&mut self.server, at, !self.is_calm)
        };
        self.down.extend(response);
    }

    fn deliver_down(&mut self) {
        let Some(response) = self.down.pop_front() else { return };
        let kept = response.clone();
        match (self.machine.receive(response, self.now), TYPES.contains(&kept.type_url.as_str())) {
            (Received::Unwanted, false) => {}
            (Received::Unwanted, true) => assert!(!self.client.lanes[place(&kept.type_url)].is_known),
            (received, known) => {
                assert!(known, "a type that nobody asked for is taken");
                self.client.receive::<M>(kept, received, self.now);
            }
        }
    }

    /// The proxy answers one of the updates that it has, not in order.
    fn answer(&mut self) {
        let Some((at, ticket)) = self.client.pick(&mut self.rng) else { return };
        let answer = self.client.decide(at, ticket, &mut self.rng, self.is_calm || self.is_gentle);
        self.machine.answer(ticket, answer, self.now);
        self.client.settle::<M>(at, self.now, self.is_open);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let deadline = self.machine.deadline();
        assert_eq!(deadline, self.client.deadline(), "the machine knows when to be asked");
        let notices = self.machine.expire(self.now);
        assert_eq!(notices.is_empty(), deadline.is_none_or(|at| at > self.now));
        let (mut late, mut dead) = (Vec::new(), Vec::new());
        for notice in notices {
            match notice {
                Notice::FetchTimeout(type_url, names) => {
                    late.extend(names.into_iter().map(|name| (place(&type_url), name)));
                }
                Notice::Expired(type_url, names) => {
                    dead.extend(names.into_iter().map(|name| (place(&type_url), name)));
                }
            }
        }
        late.sort();
        dead.sort();
        let (expected_late, expected_dead) = self.client.expire(self.now);
        assert_eq!(late, expected_late, "initial_fetch_timeout");
        assert_eq!(dead, expected_dead, "time to live");
    }

    /// A message comes twice, overtakes another, or is for nobody.
    fn network_fault(&mut self) {
        match (self.rng.u8(..3), self.down.front().cloned()) {
            (0, Some(response)) => self.down.push_back(response),
            (1, Some(first)) => {
                let other = self.down.iter().position(|one| one.type_url != first.type_url);
                if let Some(response) = other.and_then(|at| self.down.remove(at)) {
                    self.down.push_front(response);
                }
            }
            _ if self.is_open => {
                let type_url = "type.googleapis.com/example.Unasked".to_owned();
                self.down.push_back(Response { type_url, nonce: "x".into(), ..Response::default() });
            }
            _ => {}
        }
    }

    fn disconnect(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.machine.close();
            self.up.clear();
            self.down.clear();
        }
    }

    fn connect(&mut self) {
        if self.is_open {
            return;
        }
        let same_server = self.is_calm || self.is_gentle || self.rng.u8(..4) != 0;
        self.is_open = true;
        self.machine.open(same_server);
        self.client.open(same_server);
        self.server.accept(same_server);
    }

    /// The weather clears: what is wanted must arrive, and then there must be silence.
    fn converge(&mut self) {
        self.is_calm = true;
        // After a gentle run everything must be right as it is.
        if !self.is_gentle {
            self.disconnect();
            self.server.touch_all();
        }
        self.connect();
        let mut quiet = 0;
        for _ in 0..500 {
            let mut is_quiet = self.up.is_empty() && self.down.is_empty();
            while self.client.has_open() {
                self.answer();
                is_quiet = false;
            }
            while self.send_one() {
                is_quiet = false;
            }
            if let Due::At(at) = self.machine.due(self.now) {
                self.now = at;
                is_quiet = false;
            }
            while !self.up.is_empty() {
                self.deliver_up();
            }
            (0..TYPES.len()).for_each(|at| self.push_type(at));
            is_quiet &= self.down.is_empty();
            while !self.down.is_empty() {
                self.deliver_down();
            }
            while self.client.has_open() {
                self.answer();
                is_quiet = false;
            }
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == 3 {
                return self.check_converged();
            }
        }
        panic!("still talking after all that time");
    }

    fn check_converged(&self) {
        for (at, lane) in self.client.lanes.iter().enumerate() {
            let (expected, extra_allowed) = self.server.expected(at, &lane.wanted);
            let held = lane.in_force.iter().map(|(name, held)| (name.clone(), held.body.clone()));
            let mut held: std::collections::BTreeMap<String, String> = held.collect();
            if extra_allowed && !M::IS_DELTA {
                held.retain(|name, _| expected.contains_key(name));
            }
            assert_eq!(held, expected, "{}: what is in force is what the server has", TYPES[at]);
            assert_eq!(
                lane.wanted,
                self.server.believes(at),
                "{}: the server knows what is wanted",
                TYPES[at]
            );
            assert!(lane.owed.is_empty(), "{}: everything is answered", TYPES[at]);
        }
        let status = self.machine.status();
        let total: u64 = status.iter().map(|one| one.counters.acks + one.counters.nacks).sum();
        assert!(total <= self.sent as u64);
    }
}

fn play<M: Variant>(name: &str) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("SAMPAN_XDS_SEEDS").unwrap_or(if cfg!(debug_assertions) { 1_000 } else { 10_000 });
    let first = number("SAMPAN_XDS_FIRST_SEED").unwrap_or(0);
    for seed in first..first + seeds {
        let run = std::panic::catch_unwind(|| World::<M>::new(seed).run());
        assert!(run.is_ok(), "{name}: seed {seed} broke a rule, see above");
    }
}

#[test]
fn state_of_the_world_keeps_the_rules_in_every_run() {
    play::<Sotw>("state of the world");
}

#[test]
fn delta_keeps_the_rules_in_every_run() {
    play::<Delta>("delta");
}
