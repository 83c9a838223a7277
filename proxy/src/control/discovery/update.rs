//! An update: its resources one by one, then what it removes, then the answer.
//!
//! Good resources are taken, bad ones are refused by name with the path of each fault; what was in force before stays. Only
//! an update that contradicts itself (one name twice) is refused whole, before anything of it is looked at. A new type of
//! resource is an implementation of [`Discovered`] and a line of [`TYPES`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sampan_api::envoy::config::cluster::v3::Cluster;
use sampan_api::envoy::config::core::v3::TypedExtensionConfig;
use sampan_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use sampan_api::envoy::config::listener::v3::Listener;
use sampan_api::envoy::config::route::v3::{RouteConfiguration, ScopedRouteConfiguration, VirtualHost};
use sampan_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use sampan_api::envoy::service::runtime::v3::Runtime;
use sampan_api::type_url;
use sampan_xds::{Content, Resource, Update};

use super::Discovery;
use super::decode::Incoming;
use crate::control::compile::Reject;
use crate::control::compile::scope::Rejects;
use crate::control::store::{Key, Kind, Origin, Refused, Stored};
use crate::logging::target;
use crate::reference::SourceKey;

/// A type of resource that can be discovered.
pub trait Discovered: prost::Message + prost::Name + Default {
    /// Its kind.
    const KIND: Kind;

    /// Takes a resource that is well-formed and differs from the one before; tells `rejects` what is wrong with it, and then
    /// changes nothing.
    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects);

    /// Takes the word of the server that a resource is gone.
    fn remove(discovery: &mut Discovery, key: &Key);
}

/// One type of resource, as the loop over updates sees it.
pub struct Type {
    /// The kind.
    pub kind: Kind,
    apply: fn(&mut Discovery, &Update) -> Outcome,
    remove: fn(&mut Discovery, &Key),
}

/// Every type.
pub const TYPES: &[Type] = &[
    of::<Cluster>(),
    of::<ClusterLoadAssignment>(),
    of::<Listener>(),
    of::<RouteConfiguration>(),
    of::<VirtualHost>(),
    of::<ScopedRouteConfiguration>(),
    of::<TypedExtensionConfig>(),
    of::<Runtime>(),
    of::<Secret>(),
];

const fn of<M: Discovered>() -> Type {
    Type { kind: M::KIND, apply: apply::<M>, remove: M::remove }
}

impl Type {
    /// The type that a type URL names.
    pub fn named(url: &str) -> Option<&'static Self> {
        let name = type_url::full_name(url);
        TYPES.iter().find(|entry| entry.kind.message() == name)
    }

    /// Takes a resource away that is there no more, by word of nobody.
    pub fn take_away(&self, discovery: &mut Discovery, key: &Key) {
        (self.remove)(discovery, key);
        if is_whole_state(self.kind) {
            discovery.forget(self.kind, key);
        }
    }

    /// The type of a kind.
    pub fn of(kind: Kind) -> Option<&'static Self> {
        TYPES.iter().find(|entry| entry.kind == kind)
    }
}

/// What became of an update.
#[derive(Default)]
struct Outcome {
    /// What is wrong; empty if it was taken whole.
    faults: Vec<String>,
    /// The names that were refused; empty beside faults if nothing was taken.
    refused: Vec<String>,
}

/// The longest text that tells a server why its update was refused.
const LONGEST_DETAIL: usize = 16 * 1024;

impl Outcome {
    fn whole(fault: String) -> Self {
        Self { faults: vec![fault], refused: Vec::new() }
    }

    fn refuse(&mut self, name: &str, rejects: &[Reject]) {
        self.refused.push(name.to_owned());
        self.faults.extend(rejects.iter().map(ToString::to_string));
    }

    /// The faults as one text, cut where it gets too long.
    fn detail(&self) -> String {
        let mut text = String::new();
        for (told, fault) in self.faults.iter().enumerate() {
            if text.len() + fault.len() > LONGEST_DETAIL {
                text.push_str("\nmore faults: ");
                text.push_str(&(self.faults.len() - told).to_string());
                break;
            }
            if told > 0 {
                text.push('\n');
            }
            text.push_str(fault);
        }
        text
    }
}

impl Discovery {
    /// Applies an update and answers it.
    pub(super) fn update(&mut self, update: Update) {
        let began = Instant::now();
        let Some(entry) = Type::named(&update.type_url) else {
            let fault = format!("there is no such resource type: {}", update.type_url);
            tracing::warn!(target: target::CONFIG, "{}: {fault}", update.source);
            return update.reply.reject(fault, Vec::new());
        };
        self.change_source(&update);
        let outcome = (entry.apply)(self, &update);
        let source = SourceKey(update.source.as_str().into());
        self.settle_wildcard(entry.kind, &source);
        let accepted = outcome.faults.is_empty();
        self.counters.updated(entry.kind, &update.version, accepted, began.elapsed());
        if entry.kind == Kind::Scope {
            let scopes = self.store.lock().kind(Kind::Scope).active.len();
            self.counters.scopes_updated(&source, &update.version, accepted, scopes);
        }
        if accepted {
            self.store.lock().kind_mut(entry.kind).version = update.version.clone();
            self.rejected.remove(&entry.kind);
            tracing::debug!(target: target::CONFIG, "{} {}: version {:?} accepted", update.source, entry.kind.shown(), &*update.version);
            return update.reply.accept();
        }
        let detail = outcome.detail();
        self.tell_rejected(entry.kind, &update, &detail);
        update.reply.reject(detail, outcome.refused);
    }

    /// Logs a rejection, once for as long as the server sends the same again: some do at once, and for ever.
    fn tell_rejected(&mut self, kind: Kind, update: &Update, detail: &str) {
        let said = self.rejected.insert(kind, detail.to_owned());
        if said.as_deref() == Some(detail) {
            tracing::debug!(target: target::CONFIG, "{} {}: version {:?} rejected again", update.source, kind.shown(), &*update.version);
        } else {
            tracing::warn!(target: target::CONFIG, "{} {}: version {:?} rejected: {detail}", update.source, kind.shown(), &*update.version);
        }
    }

    /// Takes resources away whose time to live is over.
    pub(super) fn expired(&mut self, source: &str, url: &str, names: &[String]) {
        let Some(entry) = Type::named(url) else { return };
        for name in names {
            let key = Key { source: SourceKey(source.into()), name: name.as_str().into() };
            tracing::warn!(target: target::CONFIG, "{source} {}: {name:?} expired", entry.kind.shown());
            entry.take_away(self, &key);
        }
    }

    /// Keeps a resource that is in force at once.
    pub(super) fn keep(&mut self, kind: Kind, key: &Key, wire: Bytes, version: Arc<str>) {
        let stored = Stored {
            name: key.name.clone(),
            wire,
            origin: Origin::Dynamic { version },
            updated: chrono::Utc::now(),
        };
        let before = self.store.lock().kind_mut(kind).active.insert(key.clone(), Arc::new(stored));
        self.record(kind, key, before);
    }

    /// Notes that the version that waited is in force.
    pub(super) fn activated(&mut self, kind: Kind, key: &Key) {
        let mut store = self.store.lock();
        let resources = store.kind_mut(kind);
        let before = resources.active.get(key).cloned();
        resources.activate(key);
        drop(store);
        self.record(kind, key, before);
    }

    /// Forgets a resource that nobody needs any more.
    pub(super) fn forget(&mut self, kind: Kind, key: &Key) {
        let mut store = self.store.lock();
        let before = store.kind_mut(kind).remove(key);
        store.report(kind, key, Vec::new());
        drop(store);
        if before.is_some() {
            self.record(kind, key, before);
        }
    }
}

fn apply<M: Discovered>(discovery: &mut Discovery, update: &Update) -> Outcome {
    let (resources, removed, full) = match &update.content {
        Content::Full(resources) => (resources, &[][..], true),
        Content::Delta { resources, removed } => (resources, &removed[..], false),
    };
    let mut names = HashSet::with_capacity(resources.len());
    let twice: Vec<&str> =
        resources.iter().map(|r| r.name.as_str()).filter(|name| !names.insert(*name)).collect();
    if let Some(name) = twice.first() {
        return Outcome::whole(format!("{}: duplicate {} {name} found", M::full_name(), M::KIND.shown()));
    }
    let source = SourceKey(update.source.as_str().into());
    let mut outcome = Outcome::default();
    for resource in resources {
        if M::KIND == Kind::VirtualHost {
            let key = Key { source: source.clone(), name: resource.name.as_str().into() };
            discovery.virtual_host_came(&key, resource);
            if resource.body.is_empty() {
                continue;
            }
        }
        if let Err(rejects) = take::<M>(discovery, &source, resource) {
            outcome.refuse(&resource.name, &rejects);
        }
    }
    let mut gone: Vec<Arc<str>> = removed.iter().map(|name| name.as_str().into()).collect();
    if full && is_whole_state(M::KIND) {
        names.extend(update.unchanged.iter().map(String::as_str));
        let store = discovery.store.lock();
        let kept = store.kind(M::KIND);
        let known = kept.active.keys().chain(kept.warming.keys()).chain(kept.refused.keys());
        let known = known.filter(|key| key.source == source && !names.contains(&*key.name));
        gone.extend(known.map(|key| key.name.clone()));
        drop(store);
    }
    for name in gone {
        let key = Key { source: source.clone(), name };
        M::remove(discovery, &key);
        if is_whole_state(M::KIND) {
            discovery.forget(M::KIND, &key);
        }
    }
    outcome
}

/// Whether a state-of-the-world response of the kind names everything there is.
fn is_whole_state(kind: Kind) -> bool {
    matches!(kind, Kind::Cluster | Kind::Listener | Kind::Scope)
}

/// Takes one resource, unless it is the one in force.
fn take<M: Discovered>(
    discovery: &mut Discovery,
    source: &SourceKey,
    resource: &Resource,
) -> Result<(), Vec<Reject>> {
    let key = Key { source: source.clone(), name: resource.name.as_str().into() };
    let shown = format!("{} {}", M::KIND.shown(), key.name);
    if refresh::<M>(discovery, &key, resource) {
        return Ok(());
    }
    // A copy: a slice would keep the whole response in memory.
    let wire = Bytes::copy_from_slice(&resource.body);
    let taken = take_new::<M>(discovery, &key, &shown, resource, &wire);
    let mut store = discovery.store.lock();
    let kept = store.kind_mut(M::KIND);
    match &taken {
        Ok(()) => {
            kept.refused.remove(&key);
        }
        Err(rejects) => {
            let details: Vec<String> = rejects.iter().take(20).map(ToString::to_string).collect();
            let stored = Stored {
                name: key.name.clone(),
                wire,
                origin: Origin::Dynamic { version: resource.version.clone() },
                updated: chrono::Utc::now(),
            };
            kept.refuse(key, Refused { resource: stored, details: details.join("\n") });
        }
    }
    taken
}

fn take_new<M: Discovered>(
    discovery: &mut Discovery,
    key: &Key,
    shown: &str,
    resource: &Resource,
    wire: &Bytes,
) -> Result<(), Vec<Reject>> {
    let one = |path: &str, value: &str, reason: String| {
        vec![Reject {
            resource: shown.to_owned(),
            path: path.to_owned(),
            value: value.to_owned(),
            reason,
            hint: String::new(),
        }]
    };
    if type_url::full_name(&resource.type_url) != M::full_name() {
        let reason = format!("the response is for {}", M::full_name());
        return Err(one("type_url", &resource.type_url, reason));
    }
    if key.name.is_empty() {
        return Err(one("name", "", "a discovered resource needs a name".to_owned()));
    }
    let mut incoming = discovery.decoder.decode::<M>(shown, wire, resource.version.clone())?;
    discovery.counters.unknown_fields(incoming.unknown_fields);
    let unsupported = std::mem::take(&mut incoming.unsupported);
    let rejects = Rejects::default();
    M::stage(discovery, key, incoming, &rejects);
    let rejects = rejects.into_vec();
    if !rejects.is_empty() {
        return Err(rejects);
    }
    discovery.store.lock().report(M::KIND, key, unsupported);
    Ok(())
}

/// Whether the resource is the one that is in force, or on its way there; then only its version is new.
fn refresh<M: Discovered>(discovery: &mut Discovery, key: &Key, resource: &Resource) -> bool {
    let mut store = discovery.store.lock();
    let kept = store.kind_mut(M::KIND);
    if kept.latest(key).is_none_or(|stored| stored.wire != resource.body) {
        return false;
    }
    let held = if kept.warming.contains_key(key) { &mut kept.warming } else { &mut kept.active };
    if let Some(stored) = held.get_mut(key) {
        Arc::make_mut(stored).origin = Origin::Dynamic { version: resource.version.clone() };
    }
    // Taking back a version that was refused is the way to undo a mistake.
    kept.refused.remove(key);
    true
}
