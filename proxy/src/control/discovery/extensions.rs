//! Filters whose configuration is discovered: each is compiled on arrival, and every new stream uses the newest.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::TypedExtensionConfig as Proto;
use sampan_api::type_url;
use sampan_filters::registry;
use sampan_model::route::Slot;

use super::Discovery;
use super::decode::Incoming;
use super::update::Discovered;
use super::wanted::{User, Wanted};
use crate::control::compile::scope::Rejects;
use crate::control::compile::{Scope, network};
use crate::control::store::{Key, Kind};
use crate::reference::Source;
use crate::snapshot::Extension;

/// The filters that listeners name.
#[derive(Default)]
pub struct Extensions {
    /// Who needs them.
    pub wanted: Wanted,
    /// Where the snapshot has them, and what they may be.
    pub places: HashMap<Key, Place>,
}

/// Where a discovered filter is put.
pub struct Place {
    /// Its slot in the snapshot.
    pub slot: Slot,
    /// `type_urls` of whoever names it, as full names.
    pub types: Arc<[Box<str>]>,
}

impl Discovered for Proto {
    const KIND: Kind = Kind::Extension;

    fn stage(discovery: &mut Discovery, key: &Key, incoming: Incoming<Self>, rejects: &Rejects) {
        let Some(place) = discovery.extensions.places.get(key) else { return };
        let at = Scope::root(&incoming.shown, rejects);
        let at = at.field("typed_config");
        let Some(any) = &incoming.proto.typed_config else {
            at.reject::<()>("the configuration is missing");
            return;
        };
        let name = type_url::full_name(&any.type_url);
        if !place.types.iter().any(|allowed| &**allowed == name) {
            at.reject_value::<()>(
                &any.type_url,
                "filter config has another type than the filter allows",
                format!("allowed by its type_urls: {}", place.types.join(", ")),
            );
            return;
        }
        // Who names it may be several connection managers, so its counters have a prefix of their own.
        let prefix = format!("extension_config_discovery.{}.", key.name);
        let context = discovery.context.for_filter(&key.name, &prefix);
        let extension = if let Some(entry) = registry::http(name) {
            network::tell((entry.compile)(&any.value, &context), &at).map(Extension::Http)
        } else if let Some(entry) = registry::network(name) {
            network::tell((entry.compile)(&any.value, &context), &at).map(Extension::Network)
        } else {
            at.reject_value(
                &any.type_url,
                "there is no filter of this type",
                "docs/configuration.md lists the filters",
            )
        };
        let Some(extension) = extension else { return };
        discovery.edits.extensions.insert(place.slot, Some(Arc::new(extension)));
        discovery.extensions.wanted.arrived(key);
        discovery.keep(Kind::Extension, key, incoming.wire, incoming.version);
    }

    /// The word of a server that a filter is gone takes it out of force: its default configuration counts, if it has one.
    fn remove(discovery: &mut Discovery, key: &Key) {
        discovery.extensions.wanted.gone(key);
        if let Some(place) = discovery.extensions.places.get(key) {
            discovery.edits.extensions.insert(place.slot, None);
        }
        discovery.forget(Kind::Extension, key);
    }
}

impl Discovery {
    /// Asks for a filter's configuration, if nobody has.
    pub(super) fn need_extension(&mut self, source: &Source, key: &Key, place: Place, user: &User) {
        self.extensions.places.insert(key.clone(), place);
        if self.extensions.wanted.need(key, user) {
            self.sources.subscribe(source, Kind::Extension, &key.name);
        }
    }

    /// Gives a filter's configuration up for `user`; the last one ends the subscription.
    pub(super) fn leave_extension(&mut self, key: &Key, user: &User) {
        if !self.extensions.wanted.leave(key, user) {
            return;
        }
        self.sources.unsubscribe(Kind::Extension, key);
        if let Some(place) = self.extensions.places.remove(key) {
            self.edits.extensions.insert(place.slot, None);
        }
        self.forget(Kind::Extension, key);
    }
}
