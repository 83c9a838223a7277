//! Secrets that TLS contexts refer to: asked for when the first context does, given to the table of secrets when they come.
//!
//! What is wanted changes whenever a listener or a cluster is compiled or dropped, so it is compared after each burst. Over a gRPC
//! service of its own each secret has its own stream, as agents that serve certificates expect it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_api::envoy::extensions::transport_sockets::tls::v3::Secret as Proto;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use crate::control::compile::Scope;
use crate::control::compile::scope::Rejects;
use crate::control::compile::tls::{self, Inputs};
use crate::control::store::{Key, Kind};
use crate::reference::{Source, SourceKey, SourceSpec};

/// The secrets that are asked for, by the key under which they come, with the source that contexts name.
#[derive(Default)]
pub struct SecretSubscriptions {
    asked: BTreeMap<Key, SourceKey>,
    /// Secrets that did not come in time: nothing waits for them, and contexts without them serve nothing.
    given_up: BTreeSet<Key>,
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Secret;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        let Some(named) = discovery.secrets.asked.get(key).cloned() else { return };
        let at = Scope::root(&incoming.shown, rejects);
        let files = discovery.context.tls.fresh().files();
        let Some(delivered) = tls::secret(&incoming.proto, &files, true, &at) else { return };
        if let Err(error) = discovery.context.tls.secrets.update(&named, &key.name, delivered) {
            at.reject::<()>(error.to_string());
            return;
        }
        discovery.secrets.given_up.remove(key);
        discovery.counters.secret_updated(&key.name);
        discovery.keep(Kind::Secret, key, incoming.wire, incoming.version);
    }

    fn remove(discovery: &mut Discovery, key: &Key) {
        if let Some(named) = discovery.secrets.asked.get(key) {
            discovery.context.tls.secrets.remove(named, &key.name);
        }
        discovery.forget(Kind::Secret, key);
    }
}

impl Discovery {
    /// Whether a resource need not wait for the secrets that it was compiled with.
    pub(super) fn has_secrets(&self, inputs: &Inputs) -> bool {
        inputs.missing().into_iter().all(|(source, name)| {
            let Some(source) = self.sources.resolve(&source, &SourceKey::ads()) else { return true };
            let source = own_stream(source, &name);
            self.secrets.given_up.contains(&Key { source: source.key, name })
        })
    }

    /// Notes that a secret did not come in time; true if it was asked for.
    pub(super) fn give_up_secret(&mut self, key: &Key) -> bool {
        self.secrets.asked.contains_key(key) && self.secrets.given_up.insert(key.clone())
    }

    /// Asks for the secrets that are newly referred to, and for those no longer that nothing refers to.
    pub(super) fn follow_secrets(&mut self) {
        let table = self.context.tls.secrets.clone();
        let mut wanted: BTreeMap<Key, (Source, SourceKey)> = BTreeMap::new();
        for (source, name) in table.wanted() {
            let named = source.key.clone();
            let Some(source) = self.sources.resolve(&source, &SourceKey::ads()) else { continue };
            let source = own_stream(source, &name);
            wanted.insert(Key { source: source.key.clone(), name }, (source, named));
        }
        let gone: Vec<Key> =
            self.secrets.asked.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            self.secrets.asked.remove(&key);
            self.secrets.given_up.remove(&key);
            self.sources.unsubscribe(Kind::Secret, &key);
            self.forget(Kind::Secret, &key);
        }
        for (key, (source, named)) in wanted {
            if self.secrets.asked.insert(key.clone(), named).is_none() {
                self.sources.subscribe(&source, Kind::Secret, &key.name);
            }
        }
    }
}

/// The source of one secret: where the service has a stream for each type, the secret gets one for itself.
fn own_stream(source: Source, name: &Arc<str>) -> Source {
    match &*source.spec {
        SourceSpec::Grpc(_) => Source { key: SourceKey(format!("{}/{name}", source.key).into()), ..source },
        _ => source,
    }
}
