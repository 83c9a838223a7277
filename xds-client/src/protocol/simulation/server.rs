//! A model of a control plane: what it has, and what it believes about the one client that it talks to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{NAMES, TYPES, is_full_state, is_wildcard_only, place};
use crate::event::Resource;
use crate::protocol::{DeltaRequest, Heartbeat, Response, SotwRequest};

pub(super) struct Server {
    rng: fastrand::Rng,
    /// Another server, whose versions mean something else.
    epoch: u64,
    changes: u64,
    /// Some resources have a time to live.
    has_ttl: bool,
    types: [Table; TYPES.len()],
    views: [View; TYPES.len()],
    nonces: u64,
}

/// The resources of a type.
#[derive(Default)]
struct Table {
    version: u64,
    resources: BTreeMap<String, (u64, Option<Duration>)>,
}

/// What is known about the client on this stream.
#[derive(Default)]
struct View {
    has_started: bool,
    is_wildcard: bool,
    is_legacy: bool,
    names: BTreeSet<String>,
    /// What it has been sent, by version.
    sent: BTreeMap<String, String>,
    nonce: String,
    owes_response: bool,
}

impl View {
    fn covers(&self, name: &str) -> bool {
        self.is_wildcard || self.names.contains(name)
    }

    fn wants(&self) -> BTreeSet<String> {
        let wildcard = self.is_wildcard.then(|| "*".to_owned());
        self.names.iter().cloned().chain(wildcard).collect()
    }

    /// What is given up may be sent again later, or reported as removed: the client may have got it after it gave it up.
    fn forget_uncovered(&mut self) {
        let (is_wildcard, names) = (self.is_wildcard, &self.names);
        let uncovered = self.sent.iter_mut().filter(|(name, _)| !is_wildcard && !names.contains(*name));
        uncovered.for_each(|(_, version)| version.clear());
    }
}

impl Server {
    pub(super) fn new(seed: u64, has_ttl: bool) -> Self {
        let mut server = Self {
            rng: fastrand::Rng::with_seed(seed),
            epoch: 0,
            changes: 0,
            has_ttl,
            types: Default::default(),
            views: Default::default(),
            nonces: 0,
        };
        (0..10).for_each(|_| server.change());
        server
    }

    pub(super) fn accept(&mut self, same_server: bool) {
        if !same_server {
            self.epoch += 1;
        }
        self.views = Default::default();
    }

    /// A resource is added, changed or removed.
    pub(super) fn change(&mut self) {
        self.changes += 1;
        let table = &mut self.types[self.rng.usize(..TYPES.len())];
        table.version = self.changes;
        let name = self.rng.choice(NAMES).unwrap();
        if self.rng.u8(..4) == 0 {
            table.resources.remove(name);
        } else {
            let ttl = (self.has_ttl && self.rng.u8(..4) == 0)
                .then(|| Duration::from_millis(self.rng.u64(100..5000)));
            table.resources.insert(name.to_owned(), (self.changes, ttl));
        }
    }

    /// Everything changes once more, for good.
    pub(super) fn touch_all(&mut self) {
        self.changes += 1;
        for table in &mut self.types {
            table.version = self.changes;
            table.resources.values_mut().for_each(|resource| *resource = (self.changes, None));
        }
    }

    fn text(&self, version: u64) -> String {
        format!("{}.{version}", self.epoch)
    }

    fn resource(&self, at: usize, name: &str) -> Resource {
        let (version, ttl) = self.types[at].resources[name];
        Resource {
            name: name.to_owned(),
            aliases: Vec::new(),
            version: self.text(version).into(),
            type_url: TYPES[at].to_owned(),
            body: self.text(version).into_bytes().into(),
            ttl,
        }
    }

    fn respond(&mut self, at: usize, names: &[String], removed: Vec<String>) -> Response {
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        self.views[at].nonce.clone_from(&nonce);
        let resources: Vec<Resource> = names.iter().map(|name| self.resource(at, name)).collect();
        for resource in &resources {
            self.views[at].sent.insert(resource.name.clone(), resource.version.to_string());
        }
        for name in &removed {
            self.views[at].sent.remove(name);
        }
        let version: Arc<str> = self.text(self.types[at].version).into();
        Response {
            type_url: TYPES[at].to_owned(),
            version,
            nonce,
            resources,
            heartbeats: Vec::new(),
            removed,
        }
    }

    pub(super) fn serve_sotw(&mut self, request: SotwRequest) {
        let at = place(&request.type_url);
        let current = self.text(self.types[at].version);
        let has_ttl = self.types[at].resources.values().any(|(_, ttl)| ttl.is_some());
        let view = &mut self.views[at];
        if !request.nonce.is_empty() && request.nonce != view.nonce {
            return; // stale: a newer response is on its way
        }
        let before = view.wants();
        if request.names.is_empty() {
            view.is_legacy |= !view.has_started;
            view.is_wildcard = view.is_legacy;
            view.names.clear();
        } else {
            view.is_legacy = false;
            view.is_wildcard = request.names.iter().any(|name| name == "*");
            view.names = request.names.iter().filter(|name| *name != "*").cloned().collect();
        }
        for name in view.wants().difference(&before) {
            view.owes_response = true;
            view.sent.remove(name);
            if name == "*" {
                view.sent.clear();
            }
        }
        view.forget_uncovered();
        if !std::mem::replace(&mut view.has_started, true) {
            // Whoever has accepted this very version of everything needs nothing. Of a type that is also asked for by name, the
            // version does not say of how much it is.
            let has_all = is_wildcard_only(at) && !has_ttl && *request.version == *current;
            view.owes_response = !has_all;
            if has_all {
                let all = self.types[at].resources.iter();
                let all: Vec<_> =
                    all.map(|(name, (version, _))| (name.clone(), self.text(*version))).collect();
                self.views[at].sent.extend(all);
            }
        }
    }

    pub(super) fn serve_delta(&mut self, request: DeltaRequest) {
        let view = &mut self.views[place(&request.type_url)];
        if std::mem::replace(&mut view.has_started, true) {
            assert!(request.initial_versions.is_empty(), "known versions belong to the first request");
            // Whoever asks again is sent it again, though it may still have it.
            for (name, version) in &mut view.sent {
                if request.subscribe.iter().any(|asked| asked == name || asked == "*") {
                    version.clear();
                }
            }
        } else {
            view.is_wildcard = request.subscribe.is_empty();
            let known = request.initial_versions.iter();
            view.sent = known.map(|(name, version)| (name.to_string(), version.to_string())).collect();
        }
        for name in request.unsubscribe {
            assert!(!request.subscribe.contains(&name), "taken away and added in one request");
            if name == "*" {
                assert!(std::mem::take(&mut view.is_wildcard), "the wildcard is given up twice");
            } else {
                assert!(view.names.remove(&name), "{name} is given up but was not asked for");
            }
        }
        for name in request.subscribe {
            if name == "*" {
                view.is_wildcard = true;
            } else {
                view.names.insert(name);
            }
        }
        view.forget_uncovered();
    }

    /// Names that the client must be sent, and whether what it was sent has grown too much.
    fn changed(&self, at: usize) -> (Vec<String>, Vec<String>) {
        let (view, table) = (&self.views[at], &self.types[at]);
        let is_news = |name: &str, version: u64| view.sent.get(name) != Some(&self.text(version));
        let news = table
            .resources
            .iter()
            .filter(|(name, (version, _))| view.covers(name) && is_news(name, *version));
        let gone = view.sent.keys().filter(|name| view.covers(name) && !table.resources.contains_key(*name));
        (news.map(|(name, _)| name.clone()).collect(), gone.cloned().collect())
    }

    pub(super) fn push_sotw(&mut self, at: usize, is_lazy: bool) -> Option<Response> {
        let (news, gone) = self.changed(at);
        let view = &mut self.views[at];
        if !view.has_started || view.wants().is_empty() {
            return None;
        }
        let owes = std::mem::take(&mut view.owes_response);
        let is_full = is_full_state(at);
        if news.is_empty() && !(is_full && (owes || !gone.is_empty())) {
            return None;
        }
        let covered = self.types[at].resources.keys().filter(|name| self.views[at].covers(name)).cloned();
        let mut names: Vec<String> =
            if is_full || self.rng.bool() { covered.collect() } else { news.clone() };
        // What the client has already may come without its body.
        let mut heartbeats = Vec::new();
        names.retain(|name| {
            let ttl = self.types[at].resources[name].1;
            let is_short = is_lazy && ttl.is_some() && !news.contains(name) && self.rng.bool();
            if is_short {
                heartbeats.push(Heartbeat { name: name.clone(), ttl });
            }
            !is_short
        });
        let mut response = self.respond(at, &names, if is_full { gone } else { Vec::new() });
        response.removed.clear();
        response.heartbeats = heartbeats;
        // In this variant resources have the version of the response.
        let version = Arc::clone(&response.version);
        response.resources.iter_mut().for_each(|one| one.version = Arc::clone(&version));
        Some(response)
    }

    pub(super) fn push_delta(&mut self, at: usize, is_lazy: bool) -> Option<Response> {
        if !self.views[at].has_started {
            return None;
        }
        let (mut news, mut gone) = self.changed(at);
        if is_lazy {
            news.retain(|_| self.rng.u8(..4) != 0);
            // Some servers say so when there is no such resource.
            let absent = |name: &&String| !self.types[at].resources.contains_key(*name);
            let absent: Vec<String> = self.views[at].names.iter().filter(absent).cloned().collect();
            gone.extend(absent.into_iter().filter(|_| self.rng.u8(..8) == 0));
            gone.sort();
            gone.dedup();
        }
        (!news.is_empty() || !gone.is_empty()).then(|| self.respond(at, &news, gone))
    }

    /// Renews what was sent and can expire, when nothing else is to be said.
    pub(super) fn heartbeat(&mut self, at: usize) -> Option<Response> {
        let (news, gone) = self.changed(at);
        if !news.is_empty() || !gone.is_empty() {
            return None;
        }
        let ttl = |name: &String| self.types[at].resources.get(name).and_then(|(_, ttl)| *ttl);
        let view = &self.views[at];
        let sent = view.sent.keys().filter(|name| view.covers(name));
        let heartbeats: Vec<Heartbeat> =
            sent.filter_map(|name| Some(Heartbeat { name: name.clone(), ttl: Some(ttl(name)?) })).collect();
        if heartbeats.is_empty() {
            return None;
        }
        Some(Response { heartbeats, ..self.respond(at, &[], Vec::new()) })
    }

    /// What a client that wants this must have in the end; whether it may have more (state of the world cannot take back).
    pub(super) fn expected(&self, at: usize, wanted: &BTreeSet<String>) -> (BTreeMap<String, String>, bool) {
        let covers = |name: &String| wanted.contains("*") || wanted.contains(name);
        let table = &self.types[at];
        let covered = table.resources.iter().filter(|(name, _)| covers(name));
        (
            covered.map(|(name, (version, _))| (name.clone(), self.text(*version))).collect(),
            !is_full_state(at),
        )
    }

    pub(super) fn believes(&self, at: usize) -> BTreeSet<String> {
        self.views[at].wants()
    }
}
