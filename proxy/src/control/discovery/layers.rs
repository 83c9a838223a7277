//! Runtime layers that are discovered: each is one resource, and takes its place among the layers of the bootstrap.

use std::sync::Arc;

use sampan_api::envoy::service::runtime::v3::Runtime as Proto;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use super::wanted::Wanted;
use crate::control::compile::scope::Rejects;
use crate::control::compile::{Scope, runtime};
use crate::control::store::{Key, Kind};
use crate::reference::SourceKey;
use crate::runtime::Discovered as Layer;
use crate::telemetry::stats::kinds::{RuntimeCounter, RuntimeGauge};

/// The layers that are asked for.
#[derive(Default)]
pub struct Layers {
    /// Which have come.
    pub wanted: Wanted,
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Runtime;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        if discovery.layers.wanted.state(key).is_none() {
            return;
        }
        let at = Scope::root(&incoming.shown, rejects);
        let values = runtime::values(incoming.proto.layer.as_ref(), &at.field("layer"));
        if !rejects.is_empty() {
            return discovery.counters.runtime.inc(RuntimeCounter::LoadError);
        }
        discovery.layers.wanted.arrived(key);
        let current = discovery.publisher.published().load().runtime.clone();
        let mut next = (*discovery.edits.runtime.take().unwrap_or(current)).clone();
        for layer in &mut next.layers {
            if layer.discovered.as_ref().is_some_and(|of| of.name == key.name) {
                layer.values.clone_from(&values);
            }
        }
        let next = Arc::new(next);
        discovery.context.runtime = next.clone();
        discovery.edits.runtime = Some(next);
        discovery.keep(Kind::Runtime, key, incoming.wire, incoming.version);
        discovery.counters.runtime.inc(RuntimeCounter::LoadSuccess);
        discovery.count_runtime();
    }

    /// The layer keeps its values, as in Envoy.
    fn remove(discovery: &mut Discovery, key: &Key) {
        discovery.layers.wanted.gone(key);
    }
}

impl Discovery {
    /// Asks for every layer that is discovered.
    pub(super) fn subscribe_layers(&mut self) {
        let layers = self.publisher.published().load().runtime.layers.clone();
        let user: Arc<str> = "runtime".into();
        for Layer { name, source } in layers.into_iter().filter_map(|layer| layer.discovered) {
            let Some(source) = self.sources.resolve(&source, &SourceKey::ads()) else { continue };
            let key = Key { source: source.key.clone(), name: name.clone() };
            if self.layers.wanted.need(&key, &user) {
                self.sources.subscribe(&source, Kind::Runtime, &name);
            }
        }
        self.count_runtime();
    }

    pub(super) fn count_runtime(&self) {
        let layers = &self.context.runtime.layers;
        let keys: std::collections::BTreeSet<&str> =
            layers.iter().flat_map(|layer| layer.values.keys().map(|key| &**key)).collect();
        self.counters.runtime.set(RuntimeGauge::NumLayers, layers.len() as i64);
        self.counters.runtime.set(RuntimeGauge::NumKeys, keys.len() as i64);
    }
}
