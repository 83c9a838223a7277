//! Discovered route configurations: compiled on arrival, found by requests through their slot.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_api::envoy::config::route::v3::RouteConfiguration as Proto;
use sampan_model::route::Slot;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use super::wanted::{User, Wanted};
use crate::control::compile::scope::Rejects;
use crate::control::compile::{Scope, route};
use crate::control::store::{Key, Kind};
use crate::reference::Source;

/// The route configurations that listeners name.
#[derive(Default)]
pub struct Routes {
    /// Who needs them.
    pub wanted: Wanted,
    /// Where the snapshot has them.
    pub slots: HashMap<Key, Slot>,
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Route;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        // A server that speaks of more than it was asked for does no harm.
        if discovery.routes.wanted.state(key).is_none() {
            return;
        }
        let at = Scope::root(&incoming.shown, rejects);
        let context = discovery.context();
        let Some(compiled) = route::compile(&incoming.proto, false, &context, &at) else {
            return discovery.counters.routes_updated(key, &incoming.version, false);
        };
        let compiled = discovery.with_virtual_hosts(key, &incoming.proto, compiled);
        discovery.routes.wanted.arrived(key);
        if let Some(slot) = discovery.routes.slots.get(key) {
            discovery.edits.routes.insert(*slot, Some(Arc::new(compiled)));
        }
        discovery.counters.routes_updated(key, &incoming.version, true);
        discovery.keep(Kind::Route, key, incoming.wire, incoming.version);
    }

    /// The listeners keep the routes that they have, as in Envoy.
    fn remove(discovery: &mut Discovery, key: &Key) {
        discovery.routes.wanted.gone(key);
    }
}

impl Discovery {
    /// Asks for a route configuration, if nobody has.
    pub(super) fn need_routes(&mut self, source: &Source, key: &Key, user: &User) {
        if self.routes.wanted.need(key, user) {
            self.sources.subscribe(source, Kind::Route, &key.name);
        }
    }

    /// Gives a route configuration up for `user`; the last one ends the subscription.
    pub(super) fn leave_routes(&mut self, key: &Key, user: &User) {
        if !self.routes.wanted.leave(key, user) {
            return;
        }
        self.sources.unsubscribe(Kind::Route, key);
        self.counters.routes_gone(key);
        self.drop_host_tables(key, None);
        self.forget(Kind::Route, key);
        if let Some(slot) = self.routes.slots.get(key) {
            self.edits.routes.insert(*slot, None);
        }
    }
}
