//! Virtual hosts that are discovered one by one (`RouteConfiguration.vhds`), some only when a request asks for them.
//!
//! A route configuration with `vhds` is linked from its own virtual hosts and those that came since. Resources are named
//! `ROUTE_CONFIGURATION/HOST`; an on-demand one is asked for by the host of a request and may answer to it as an alias. A server
//! says that there is none by a resource without a body.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use prost::Message as _;
use sampan_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost as Proto};
use sampan_xds::Resource;
use tokio::sync::oneshot;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use crate::control::compile::scope::Rejects;
use crate::control::compile::{Scope, route};
use crate::control::store::{Key, Kind};
use crate::http::demand::Demand;
use crate::http::route::RouteConfig;
use crate::reference::{Source, SourceKey};

/// Everything about discovered virtual hosts.
#[derive(Default)]
pub struct VirtualHosts {
    /// Route configurations that ask for them, by the source of the virtual hosts and the name of the configuration.
    tables: HashMap<Key, HostTable>,
    /// All that came, also for a route configuration that has not come yet: a server sends them once.
    hosts: BTreeMap<Key, Proto>,
    /// Requests that wait, by the resource that they wait for.
    waiting: HashMap<Key, Vec<oneshot::Sender<()>>>,
    /// Requests whose virtual host came, to be told once it is published.
    answered: Vec<oneshot::Sender<()>>,
}

/// A route configuration that has virtual hosts to come.
struct HostTable {
    /// The configuration's own key.
    routes: Key,
    /// Names that were asked for because of requests, in the order of the asking.
    demanded: VecDeque<Arc<str>>,
}

/// Hosts that requests may have asked for, for each route configuration. For one more the oldest is given up; its next
/// request asks for it again.
const MOST_DEMANDED: usize = 16_384;

impl HostTable {
    /// Notes that a name is asked for; the one that has to go for it, if any.
    fn demand(&mut self, name: &Arc<str>, most: usize) -> Option<Arc<str>> {
        self.demanded.push_back(name.clone());
        if self.demanded.len() > most { self.demanded.pop_front() } else { None }
    }

    /// There is nothing of that name. Those that are asked for in vain are the last ones, so the search is short.
    fn give_up(&mut self, name: &str) {
        if let Some(place) = self.demanded.iter().rposition(|demanded| **demanded == *name) {
            self.demanded.remove(place);
        }
    }
}

impl Discovered for Proto {
    const KIND: Kind = Kind::VirtualHost;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        let Some(table_key) = table_of(key) else {
            let at = Scope::root(&incoming.shown, rejects);
            at.field("name").reject_value::<()>(
                &key.name,
                "a discovered virtual host is named ROUTE_CONFIGURATION/HOST",
                "",
            );
            return;
        };
        let at = Scope::root(&incoming.shown, rejects);
        let context = discovery.context();
        if !route::check_virtual_host(&incoming.proto, &context, &at) {
            return;
        }
        let before = discovery.virtual_hosts.hosts.insert(key.clone(), incoming.proto);
        if discovery.link_hosts(&table_key, &at).is_none() && !rejects.is_empty() {
            match before {
                Some(before) => discovery.virtual_hosts.hosts.insert(key.clone(), before),
                None => discovery.virtual_hosts.hosts.remove(key),
            };
            return;
        }
        discovery.keep(Kind::VirtualHost, key, incoming.wire, incoming.version);
    }

    fn remove(discovery: &mut Discovery, key: &Key) {
        let Some(table_key) = table_of(key) else { return };
        if discovery.virtual_hosts.hosts.remove(key).is_some() {
            discovery.relink_hosts(&table_key);
        }
        discovery.answer_demand(key);
        discovery.forget(Kind::VirtualHost, key);
    }
}

impl Discovery {
    /// Notes a route configuration that may have `vhds`, and compiles it with the virtual hosts that are known.
    pub(super) fn with_virtual_hosts(
        &mut self,
        key: &Key,
        proto: &RouteConfiguration,
        mut compiled: RouteConfig,
    ) -> RouteConfig {
        let source = compiled.virtual_hosts.clone();
        let source = source.and_then(|source| self.sources.resolve(&source, &key.source));
        let table = source.as_ref().map(|source| Key { source: source.key.clone(), name: key.name.clone() });
        self.drop_host_tables(key, table.as_ref());
        let (Some(source), Some(table)) = (source, table) else { return compiled };
        let is_new = !self.virtual_hosts.tables.contains_key(&table);
        self.virtual_hosts
            .tables
            .entry(table.clone())
            .or_insert_with(|| HostTable { routes: key.clone(), demanded: VecDeque::new() });
        if is_new {
            self.sources.subscribe_all(&source, Kind::VirtualHost);
        }
        if let Some(linked) = self.linked_hosts(&table, proto) {
            compiled = linked;
        }
        compiled.virtual_hosts = Some(Source { key: table.source, ..source });
        compiled
    }

    /// Forgets the virtual hosts of a route configuration, but for the table that it goes on with.
    pub(super) fn drop_host_tables(&mut self, routes: &Key, kept: Option<&Key>) {
        let gone: Vec<Key> = self
            .virtual_hosts
            .tables
            .iter()
            .filter(|(key, table)| table.routes == *routes && Some(*key) != kept)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.virtual_hosts.tables.remove(&key);
            if !self.virtual_hosts.tables.keys().any(|other| other.source == key.source) {
                self.end_virtual_hosts(&key.source);
            }
        }
    }

    /// No route configuration wants virtual hosts of a source any more.
    fn end_virtual_hosts(&mut self, source: &SourceKey) {
        let names = self.virtual_hosts.hosts.keys().filter(|key| key.source == *source).cloned();
        let everything = Key { source: source.clone(), name: "*".into() };
        for key in names.chain([everything]).collect::<Vec<_>>() {
            self.virtual_hosts.hosts.remove(&key);
            self.sources.unsubscribe(Kind::VirtualHost, &key);
            self.forget(Kind::VirtualHost, &key);
        }
    }

    /// Asks for the virtual host of a request.
    pub(super) fn demand(&mut self, demand: Demand) {
        let table_key = Key { source: demand.source.clone(), name: demand.routes.clone() };
        // The reply is dropped with the demand where nothing can be asked for; the request goes on without a route.
        let Some(table) = self.virtual_hosts.tables.get_mut(&table_key) else { return };
        let name: Arc<str> = format!("{}/{}", demand.routes, demand.host).into();
        let key = Key { source: demand.source, name };
        let is_first = !self.virtual_hosts.waiting.contains_key(&key);
        // One that came before and is to be had again counts once.
        if is_first && !self.virtual_hosts.hosts.contains_key(&key) {
            let oldest = table.demand(&key.name, MOST_DEMANDED);
            if let Some(name) = oldest {
                self.give_up_host(&Key { source: key.source.clone(), name });
            }
            self.sources.subscribe_open(&key.source, Kind::VirtualHost, &key.name);
        }
        let waiting = self.virtual_hosts.waiting.entry(key).or_default();
        waiting.retain(|reply| !reply.is_closed());
        waiting.push(demand.reply);
    }

    /// Notes the names under which a virtual host came, or under which the server says that there is none.
    pub(super) fn virtual_host_came(&mut self, key: &Key, resource: &Resource) {
        if resource.body.is_empty() {
            // Asked for again with the next request.
            if let Some(table) = table_of(key).and_then(|table| self.virtual_hosts.tables.get_mut(&table)) {
                table.give_up(&key.name);
            }
            self.sources.unsubscribe(Kind::VirtualHost, key);
        }
        self.answer_demand(key);
        for alias in &resource.aliases {
            self.answer_demand(&Key { source: key.source.clone(), name: alias.as_str().into() });
        }
    }

    /// Lets go of a virtual host that was asked for long ago. The table is linked again when the next one comes.
    fn give_up_host(&mut self, key: &Key) {
        self.virtual_hosts.hosts.remove(key);
        self.sources.unsubscribe(Kind::VirtualHost, key);
        self.answer_demand(key);
        self.forget(Kind::VirtualHost, key);
    }

    fn answer_demand(&mut self, key: &Key) {
        if let Some(replies) = self.virtual_hosts.waiting.remove(key) {
            self.virtual_hosts.answered.extend(replies);
        }
    }

    /// Wakes the requests whose virtual hosts are published now.
    pub(super) fn wake_demands(&mut self) {
        for reply in self.virtual_hosts.answered.drain(..) {
            // The request may be gone.
            let _ = reply.send(());
        }
    }

    fn relink_hosts(&mut self, table: &Key) {
        let rejects = Rejects::default();
        self.link_hosts(table, &Scope::root("", &rejects));
    }

    /// Publishes a route configuration with the virtual hosts that it has now. `None` if they do not go together.
    fn link_hosts(&mut self, table: &Key, at: &Scope<'_>) -> Option<()> {
        let routes = self.virtual_hosts.tables.get(table)?.routes.clone();
        let wire = self.store.lock().kind(Kind::Route).active.get(&routes)?.wire.clone();
        let proto = RouteConfiguration::decode(wire).ok()?;
        let Some(mut linked) = self.linked_hosts(table, &proto) else {
            return at
                .field("domains")
                .reject("another virtual host of the route configuration has the same domain");
        };
        if let Some(source) = &mut linked.virtual_hosts {
            source.key = table.source.clone();
        }
        let slot = *self.routes.slots.get(&routes)?;
        self.edits.routes.insert(slot, Some(Arc::new(linked)));
        Some(())
    }

    fn linked_hosts(&mut self, table: &Key, proto: &RouteConfiguration) -> Option<RouteConfig> {
        let mut whole = proto.clone();
        let own = format!("{}/", table.name);
        let from = Key { source: table.source.clone(), name: own.as_str().into() };
        let found = self.virtual_hosts.hosts.range(from..);
        let found = found.take_while(|(key, _)| key.source == table.source && key.name.starts_with(&own));
        whole.virtual_hosts.extend(found.map(|(_, host)| host.clone()));
        let context = self.context();
        let rejects = Rejects::default();
        route::compile(&whole, false, &context, &Scope::root("", &rejects))
    }
}

/// The route configuration that a virtual host belongs to.
fn table_of(key: &Key) -> Option<Key> {
    let (routes, _) = key.name.rsplit_once('/')?;
    Some(Key { source: key.source.clone(), name: routes.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_name_goes_for_a_new_one() {
        let routes = Key { source: SourceKey("ads".into()), name: "r".into() };
        let mut table = HostTable { routes, demanded: VecDeque::new() };
        let names: Vec<Arc<str>> = ["r/a", "r/b", "r/c"].map(Arc::from).into();
        assert_eq!(table.demand(&names[0], 2), None);
        assert_eq!(table.demand(&names[1], 2), None);
        table.give_up("r/b");
        table.give_up("r/unknown");
        assert_eq!(table.demand(&names[2], 2), None, "a place was free");
        assert_eq!(table.demand(&names[1], 2).as_deref(), Some("r/a"));
        assert_eq!(table.demanded, [names[2].clone(), names[1].clone()]);
    }
}
