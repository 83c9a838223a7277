//! Scoped routes: all scopes of a source, and for each listener that uses them a table from keys to route configurations.
//!
//! A listener names a source of scopes and a source of routes; together they are one [`ScopeSet`]. A scope that changes builds the
//! tables of its source anew, which then need the route configurations that their scopes name.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_api::envoy::config::route::v3::ScopedRouteConfiguration as Proto;
use sampan_model::route::Slot;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use super::wanted::{User, Wanted};
use crate::control::compile::Scope;
use crate::control::compile::http::scoped::{self, CompiledScope, ScopeRoutes};
use crate::control::compile::scope::Rejects;
use crate::control::store::{Key, Kind};
use crate::http::route::{ScopedConfig, Scopes as Table};
use crate::reference::{Reference, Source, SourceKey};

/// Everything about scoped routes.
#[derive(Default)]
pub struct Scopes {
    /// Which sources of scopes are in use, by whom.
    pub wanted: Wanted,
    compiled: HashMap<Key, CompiledScope>,
    sets: HashMap<Key, ScopeSet>,
}

/// The scopes of one source with the routes of another.
struct ScopeSet {
    slot: Slot,
    routes: Source,
    /// The route configurations that it needs now.
    needs: Vec<Key>,
    users: usize,
}

impl Scopes {
    /// The route configurations that a set needs.
    pub fn needs(&self, key: &Key) -> &[Key] {
        self.sets.get(key).map(|set| set.needs.as_slice()).unwrap_or_default()
    }
}

/// The key under which a whole source of scopes is wanted.
pub fn all(source: &SourceKey) -> Key {
    Key { source: source.clone(), name: "*".into() }
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Scope;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        let at = Scope::root(&incoming.shown, rejects);
        let context = discovery.context();
        let Some(scope) = scoped::scope(&incoming.proto, &context, &at) else { return };
        let twin = discovery
            .scopes
            .compiled
            .iter()
            .find(|(other, known)| other.source == key.source && *other != key && known.key == scope.key);
        if let Some((other, _)) = twin {
            at.field("key").reject::<()>(format!("scope key conflict found, first scope is {}", other.name));
            return;
        }
        discovery.scopes.compiled.insert(key.clone(), scope);
        discovery.keep(Kind::Scope, key, incoming.wire, incoming.version);
        discovery.link_scopes(&key.source);
    }

    fn remove(discovery: &mut Discovery, key: &Key) {
        if discovery.scopes.compiled.remove(key).is_some() {
            discovery.link_scopes(&key.source);
        }
    }
}

impl Discovery {
    /// Notes that a listener uses a source of scopes; `key` is that source with the source of the routes.
    pub(super) fn need_scopes(
        &mut self,
        source: &Source,
        routes: &Source,
        key: &Key,
        reference: &Reference,
        user: &User,
    ) {
        let set = self.scopes.sets.entry(key.clone()).or_insert_with(|| ScopeSet {
            slot: reference.slot,
            routes: routes.clone(),
            needs: Vec::new(),
            users: 0,
        });
        set.users += 1;
        if self.scopes.wanted.need(&all(&key.source), user) {
            self.sources.subscribe_all(source, Kind::Scope);
        } else {
            self.link_scopes(&key.source.clone());
        }
    }

    /// A listener uses a source of scopes no longer.
    pub(super) fn leave_scopes(&mut self, key: &Key, user: &User) {
        let Some(set) = self.scopes.sets.get_mut(key) else { return };
        set.users -= 1;
        if set.users == 0
            && let Some(set) = self.scopes.sets.remove(key)
        {
            let id = id(key);
            for need in &set.needs {
                self.leave_routes(need, &id);
            }
            self.edits.scopes.insert(set.slot, None);
        }
        let all = all(&key.source);
        if self.scopes.wanted.leave(&all, user) {
            self.sources.unsubscribe(Kind::Scope, &all);
            let gone: Vec<Key> =
                self.scopes.compiled.keys().filter(|scope| scope.source == key.source).cloned().collect();
            for scope in gone {
                self.scopes.compiled.remove(&scope);
                self.forget(Kind::Scope, &scope);
            }
        }
    }

    /// Builds the tables of a source of scopes.
    fn link_scopes(&mut self, source: &SourceKey) {
        let keys: Vec<Key> = self.scopes.sets.keys().filter(|key| key.source == *source).cloned().collect();
        for key in keys {
            self.link_set(&key);
        }
    }

    fn link_set(&mut self, key: &Key) {
        let Some(set) = self.scopes.sets.get(key) else { return };
        let (slot, routes, before) = (set.slot, set.routes.clone(), set.needs.clone());
        let (mut table, mut needs) = (Table::default(), Vec::new());
        for (scope, compiled) in self.scopes.compiled.iter().filter(|(scope, _)| scope.source == key.source) {
            let config = match &compiled.routes {
                ScopeRoutes::Inline(config) => ScopedConfig::Inline(config.clone()),
                ScopeRoutes::Named(name) => {
                    let source = self.sources.resolve(&routes, &scope.source);
                    let Some(source) = source else { continue };
                    let reference = self.context.routes.reference(source, name);
                    let slot = reference.slot;
                    needs.push(reference);
                    ScopedConfig::Discovered(slot)
                }
            };
            table.0.insert(compiled.key.clone(), config);
        }
        let id = id(key);
        let mut kept = Vec::with_capacity(needs.len());
        for reference in needs {
            let key = Key { source: reference.source.key.clone(), name: reference.name.clone() };
            self.routes.slots.insert(key.clone(), reference.slot);
            self.need_routes(&reference.source, &key, &id);
            kept.push(key);
        }
        for need in before.iter().filter(|need| !kept.contains(need)) {
            self.leave_routes(need, &id);
        }
        if let Some(set) = self.scopes.sets.get_mut(key) {
            set.needs = kept;
        }
        self.edits.scopes.insert(slot, Some(Arc::new(table)));
    }
}

/// How a set is called where it needs route configurations.
fn id(key: &Key) -> User {
    format!("scopes of {} with routes of {}", key.source, key.name).into()
}
