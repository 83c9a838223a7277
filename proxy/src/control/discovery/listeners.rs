//! Listeners: static and discovered ones, from arrival through warming into the snapshot, and out again.
//!
//! ```text
//! arrives --compiled, bound--> warming --routes known, or time is over--> active, listening
//!                                                                           | new version, or removed
//!                                          draining <-----------------------'
//!                                             '--drain time--> gone
//! ```
//!
//! A new version takes over the sockets of addresses that stay, and the filter chains that say the same as before: only
//! connections of chains that changed are drained. What a draining chain needs stays subscribed until it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_api::envoy::config::listener::v3::Listener as Proto;
use sampan_api::{Message, Value};
use sampan_filters_api::Address;

use super::decode::Incoming;
use super::fingerprint;
use super::needs::Need;
use super::update::Discovered;
use super::{Discovery, Local};
use crate::control::compile::scope::Rejects;
use crate::control::compile::tls::Inputs;
use crate::control::compile::{Scope, listener};
use crate::control::store::{Key, Kind, Origin, Stored};
use crate::listener::bind::{self, ActiveListener};
use crate::listener::config::{FilterChain, Listener};
use crate::logging::target;
use crate::reference::SourceKey;
use crate::telemetry::stats::kinds::{ListenerManagerCounter, ListenerManagerGauge};

/// All listeners.
#[derive(Default)]
pub struct Listeners {
    states: BTreeMap<Arc<str>, ListenerState>,
    warming: BTreeSet<Arc<str>>,
    /// Versions that drain: what they need, and how many filter chains.
    draining: BTreeMap<Arc<str>, Draining>,
    versions: u64,
    changed: bool,
}

#[derive(Default)]
struct ListenerState {
    active: Option<Version>,
    warming: Option<Version>,
}

struct Version {
    /// Tells versions of a name apart: `name#7`.
    id: Arc<str>,
    /// `None` for one of the bootstrap.
    key: Option<Key>,
    active: Arc<ActiveListener>,
    /// Of the chains in their order, the default one last.
    fingerprints: Vec<u128>,
    needs: Vec<Need>,
    /// The files and secrets that it was compiled with.
    inputs: Inputs,
}

struct Draining {
    key: Option<Key>,
    chains: usize,
    needs: Vec<Need>,
}

impl Listeners {
    /// Names of listeners with a version that waits.
    pub fn warming(&self) -> impl Iterator<Item = &Arc<str>> {
        self.warming.iter()
    }

    /// What the waiting version of a listener needs.
    pub fn needs(&self, name: &str) -> &[Need] {
        let version = self.states.get(name).and_then(|state| state.warming.as_ref());
        version.map(|version| version.needs.as_slice()).unwrap_or_default()
    }

    /// What the waiting version of a listener was compiled with.
    fn inputs(&self, name: &str) -> Option<&Inputs> {
        self.states.get(name)?.warming.as_ref().map(|version| &version.inputs)
    }

    /// The listeners that are in force.
    pub fn active(&self) -> impl Iterator<Item = &Arc<ActiveListener>> {
        self.states.values().filter_map(|state| state.active.as_ref()).map(|version| &version.active)
    }
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Listener;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        if discovery.store.lock().kind(Kind::Listener).is_fixed(&key.name) {
            tracing::warn!(target: target::CONFIG, "{}: is in the bootstrap; the discovered one is left out", incoming.shown);
            return;
        }
        let at = Scope::root(&incoming.shown, rejects);
        let context = discovery.context();
        let Some(listener) = listener::compile(&incoming.proto, &context, &at) else {
            return discovery.counters.listeners.inc(ListenerManagerCounter::ListenerCreateFailure);
        };
        let Some(version) = discovery.prepare(key, listener, &incoming.message, context.tls, &at) else {
            return discovery.counters.listeners.inc(ListenerManagerCounter::ListenerCreateFailure);
        };
        let stored = Stored {
            name: key.name.clone(),
            wire: incoming.wire,
            origin: Origin::Dynamic { version: incoming.version },
            updated: chrono::Utc::now(),
        };
        discovery.store.lock().kind_mut(Kind::Listener).warming.insert(key.clone(), Arc::new(stored));
        discovery.stage_listener(key.name.clone(), version);
    }

    fn remove(discovery: &mut Discovery, key: &Key) {
        let Some(state) = discovery.listeners.states.remove(&key.name) else { return };
        discovery.listeners.warming.remove(&key.name);
        if let Some(version) = state.warming {
            discovery.give_up(&version.needs, &version.id);
        }
        if let Some(version) = state.active {
            discovery.listeners.changed = true;
            discovery.view.unbound(&key.name);
            discovery.drain_version(version, &[]);
            discovery.counters.listeners.inc(ListenerManagerCounter::ListenerRemoved);
        }
    }
}

impl Discovery {
    /// Takes the listeners of the bootstrap over, which are bound.
    pub(super) fn adopt_listeners(&mut self, listeners: Vec<ActiveListener>) {
        for active in listeners {
            let name = active.config.name.clone();
            let needs = self.needs(&active.config, &SourceKey::ads(), None).unwrap_or_default();
            let id = self.next_version(&name);
            let version = Version {
                id,
                key: None,
                active: Arc::new(active),
                fingerprints: Vec::new(),
                needs,
                inputs: self.context.tls.clone(),
            };
            self.stage_listener(name, version);
        }
    }

    /// Makes a version ready to wait: what it needs is known, its chains are shared with the version before, its addresses are
    /// bound. Tells the scope why not.
    fn prepare(
        &mut self,
        key: &Key,
        mut listener: Listener,
        message: &Message,
        inputs: Inputs,
        at: &Scope<'_>,
    ) -> Option<Version> {
        let needs = self.needs(&listener, &key.source, Some(at))?;
        if let Some((address, other)) = self.conflict(&listener) {
            return at.field("address").reject_value(
                address,
                format!("error adding listener: listener {other:?} has the same address"),
                "give it another address or port",
            );
        }
        let fingerprints = fingerprints(message);
        let state = self.listeners.states.get(&key.name);
        let active = state.and_then(|state| state.active.as_ref());
        let warming = state.and_then(|state| state.warming.as_ref());
        if let Some(active) = active {
            share_chains(&mut listener, &fingerprints, active);
        }
        let previous: Vec<&ActiveListener> =
            [active, warming].into_iter().flatten().map(|version| &*version.active).collect();
        match bind::bind(Arc::new(listener), self.workers, &previous) {
            Ok(bound) => {
                let id = self.next_version(&key.name);
                Some(Version {
                    id,
                    key: Some(key.clone()),
                    active: Arc::new(bound),
                    fingerprints,
                    needs,
                    inputs,
                })
            }
            Err(error) => at.field("address").reject_value(
                &error.address,
                format!("error adding listener: {error}"),
                "is the port in use, or below 1024 without the capability to bind it?",
            ),
        }
    }

    fn next_version(&mut self, name: &str) -> Arc<str> {
        self.listeners.versions += 1;
        format!("{name}#{}", self.listeners.versions).into()
    }

    /// Another listener that has one of the addresses. Those that do not bind count as well: redirected connections are handed to the
    /// listener of an address.
    fn conflict(&self, listener: &Listener) -> Option<(Address, Arc<str>)> {
        let any_port = |address: &Address| address.socket().is_some_and(|address| address.port() == 0);
        let wanted = listener.addresses.iter().map(|wanted| &wanted.address);
        for address in wanted.filter(|address| !any_port(address)) {
            for (name, state) in &self.listeners.states {
                let mut versions = [&state.active, &state.warming].into_iter().flatten();
                if *name != listener.name && versions.any(|version| version.active.has(address)) {
                    return Some((address.clone(), name.clone()));
                }
            }
        }
        None
    }

    fn stage_listener(&mut self, name: Arc<str>, version: Version) {
        self.ask_for(&version.needs, &version.id);
        let state = self.listeners.states.entry(name.clone()).or_default();
        let replaced = state.warming.replace(version);
        self.listeners.warming.insert(name);
        if let Some(replaced) = replaced {
            self.give_up(&replaced.needs, &replaced.id);
        }
    }

    /// Puts every warming version in force that waits for nothing any more.
    pub(super) fn settle_listeners(&mut self) {
        if !self.may_listen() {
            return;
        }
        let ready: Vec<Arc<str>> = self
            .listeners
            .warming
            .iter()
            .filter(|name| {
                self.listeners.needs(name).iter().all(|need| self.is_settled(need))
                    && self.listeners.inputs(name).is_none_or(|inputs| self.has_secrets(inputs))
            })
            .cloned()
            .collect();
        for name in ready {
            self.activate_listener(&name);
        }
        if std::mem::take(&mut self.listeners.changed) {
            self.edits.listeners = Some(self.listeners.active().cloned().collect());
        }
    }

    fn activate_listener(&mut self, name: &Arc<str>) {
        self.listeners.warming.remove(name);
        let Some(state) = self.listeners.states.get_mut(name) else { return };
        let Some(version) = state.warming.take() else { return };
        if let Err(error) = version.active.open() {
            // Another process took the port between bind and listen.
            tracing::error!(target: target::CONFIG, "listener {name}: cannot listen: {error}");
        }
        let (active, key) = (version.active.clone(), version.key.clone());
        let previous = state.active.replace(version);
        self.listeners.changed = true;
        self.counters.listeners.add(ListenerManagerCounter::ListenerCreateSuccess, self.workers as u64);
        let addresses: Vec<Address> = if active.bound.is_empty() {
            active.config.addresses.iter().map(|wanted| wanted.address.clone()).collect()
        } else {
            active.bound.iter().map(|bound| bound.address.clone()).collect()
        };
        self.view.bound(name, &addresses);
        match previous {
            Some(previous) => {
                let kept: Vec<_> = active.config.chains.iter().cloned().collect();
                let in_place = previous.active.bound.len() == active.bound.len();
                self.counters.listeners.inc(ListenerManagerCounter::ListenerModified);
                if in_place {
                    self.counters.listeners.inc(ListenerManagerCounter::ListenerInPlaceUpdated);
                }
                self.drain_version(previous, &kept);
            }
            None => self.counters.listeners.inc(ListenerManagerCounter::ListenerAdded),
        }
        if let Some(key) = key {
            self.activated(Kind::Listener, &key);
        }
    }

    /// Retires the chains of a version but those that live on, and keeps what it needs until they are gone.
    fn drain_version(&mut self, version: Version, kept: &[Arc<FilterChain>]) {
        let (time, strategy) = (self.options.drain_time, self.options.drain_strategy);
        let mut chains = 0;
        for chain in version.active.config.chains.iter() {
            if !kept.iter().any(|other| Arc::ptr_eq(other, chain)) {
                chain.retirement.begin(time, strategy);
                chains += 1;
            }
        }
        let needs = version.needs;
        if chains == 0 {
            return self.give_up(&needs, &version.id);
        }
        self.listeners.draining.insert(version.id.clone(), Draining { key: version.key, chains, needs });
        let (local, id) = (self.local.clone(), version.id);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let _ = local.send(Local::Drained(id));
        });
    }

    /// Notes that the drain time of a version is over.
    pub(super) fn drained(&mut self, id: &Arc<str>) {
        let Some(draining) = self.listeners.draining.remove(id) else { return };
        self.give_up(&draining.needs, id);
        if let Some(key) = draining.key {
            self.store.lock().kind_mut(Kind::Listener).draining.remove(&key);
        }
    }

    /// Gauges of the listeners there are.
    pub(super) fn count_listeners(&self) {
        let chains: usize = self.listeners.draining.values().map(|draining| draining.chains).sum();
        let gauges = [
            (ListenerManagerGauge::TotalListenersActive, self.listeners.active().count()),
            (ListenerManagerGauge::TotalListenersWarming, self.listeners.warming.len()),
            (ListenerManagerGauge::TotalListenersDraining, self.listeners.draining.len()),
            (ListenerManagerGauge::TotalFilterChainsDraining, chains),
        ];
        for (gauge, value) in gauges {
            self.counters.listeners.set(gauge, value as i64);
        }
    }
}

/// The fingerprints of a listener's filter chains, the default one last.
fn fingerprints(message: &Message) -> Vec<u128> {
    let chains = match message.named("filter_chains") {
        Some(Value::List(chains)) => &chains[..],
        _ => &[],
    };
    let one = |value: &Value| match value {
        Value::Message(message) => fingerprint::of(message),
        _ => 0,
    };
    chains.iter().chain(message.named("default_filter_chain")).map(one).collect()
}

/// Puts the chains of the version in force in place of those that say the same.
fn share_chains(listener: &mut Listener, fingerprints: &[u128], active: &Version) {
    let known: Vec<_> = active.fingerprints.iter().zip(active.active.config.chains.iter()).collect();
    for (fingerprint, chain) in fingerprints.iter().zip(listener.chains.iter_mut()) {
        if let Some((_, same)) = known.iter().find(|(known, _)| *known == fingerprint) {
            *chain = (*same).clone();
        }
    }
}
