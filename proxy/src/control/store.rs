//! The last good version of every resource, as wire bytes: what `/config_dump` prints and what an update is compared with.
//!
//! The snapshot has the compiled form of the same resources; this keeps what was configured, byte for byte, with its
//! version and time, and beside it what waits to take over and what was refused. Written by [`super::discovery`];
//! [`dump`] prints it, [`view`] answers the admin server's other questions.

mod dump;
mod extensions;
#[cfg(test)]
mod tests;
mod view;

pub use view::View;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use crate::admin::source::Unsupported;
use crate::bootstrap::{Bootstrap, Resource};
use crate::reference::SourceKey;

/// Where a resource came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The bootstrap.
    Static,
    /// A control plane, with this version.
    Dynamic {
        /// `version_info`, or `Resource.version` of a delta update.
        version: Arc<str>,
    },
}

/// A resource as it came.
#[derive(Debug, Clone)]
pub struct Stored {
    /// `name`
    pub name: Arc<str>,
    /// The message.
    pub wire: Bytes,
    /// Where it came from.
    pub origin: Origin,
    /// When it came.
    pub updated: DateTime<Utc>,
}

/// A resource that was refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What was sent.
    pub resource: Stored,
    /// Why it was refused.
    pub details: String,
}

/// The kinds of resources, in the order in which they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// RTDS
    Runtime,
    /// CDS
    Cluster,
    /// EDS
    Endpoints,
    /// SDS
    Secret,
    /// LDS
    Listener,
    /// SRDS
    Scope,
    /// RDS
    Route,
    /// VHDS
    VirtualHost,
    /// ECDS
    Extension,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Runtime,
        Self::Cluster,
        Self::Endpoints,
        Self::Secret,
        Self::Listener,
        Self::Scope,
        Self::Route,
        Self::VirtualHost,
        Self::Extension,
    ];

    /// What one is called in messages.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Runtime => "runtime layer",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Secret => "secret",
            Self::Listener => "listener",
            Self::Scope => "scoped route",
            Self::Route => "route configuration",
            Self::VirtualHost => "virtual host",
            Self::Extension => "extension",
        }
    }

    /// The full name of its message.
    pub fn message(self) -> &'static str {
        match self {
            Self::Runtime => "envoy.service.runtime.v3.Runtime",
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::Scope => "envoy.config.route.v3.ScopedRouteConfiguration",
            Self::Route => "envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "envoy.config.route.v3.VirtualHost",
            Self::Extension => "envoy.config.core.v3.TypedExtensionConfig",
        }
    }
}

/// A resource's place among those of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Where it came from.
    pub source: SourceKey,
    /// Its name.
    pub name: Arc<str>,
}

/// All resources of one kind.
#[derive(Debug, Default)]
pub struct Resources {
    /// From the bootstrap, in its order.
    pub fixed: Vec<Stored>,
    /// In force.
    pub active: BTreeMap<Key, Arc<Stored>>,
    /// Waiting for something before they can take over.
    pub warming: BTreeMap<Key, Arc<Stored>>,
    /// Gone or replaced, with connections that still use them.
    pub draining: BTreeMap<Key, Arc<Stored>>,
    /// Refused, and not replaced by a good version since.
    pub refused: BTreeMap<Key, Refused>,
    /// The version of the last update that was accepted whole.
    pub version: Arc<str>,
}

/// Refused resources that are kept to be shown.
const MOST_REFUSED: usize = 1_000;

impl Resources {
    /// Keeps what was refused, unless too much was.
    pub fn refuse(&mut self, key: Key, refused: Refused) {
        if self.refused.len() < MOST_REFUSED || self.refused.contains_key(&key) {
            self.refused.insert(key, refused);
        }
    }

    /// The version in force or waiting, whichever came last.
    pub fn latest(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.warming.get(key).or_else(|| self.active.get(key))
    }

    /// Moves what waits into force; false if nothing waits.
    pub fn activate(&mut self, key: &Key) -> bool {
        let Some(stored) = self.warming.remove(key) else { return false };
        self.active.insert(key.clone(), stored);
        true
    }

    /// Forgets a resource; what was in force.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        self.warming.remove(key);
        self.refused.remove(key);
        self.active.remove(key)
    }

    /// Whether the bootstrap has one of this name.
    pub fn is_fixed(&self, name: &str) -> bool {
        self.fixed.iter().any(|stored| &*stored.name == name)
    }
}

/// All resources.
#[derive(Debug)]
pub struct Store {
    /// The bootstrap without its static resources.
    bootstrap: Stored,
    /// The node.
    node: Json,
    kinds: BTreeMap<Kind, Resources>,
    none: Resources,
    /// What discovered resources ask for and do not get, by resource.
    unsupported: BTreeMap<(Kind, Key), Vec<Unsupported>>,
}

/// The store as control and admin share it; both are on the control thread, so nobody waits.
#[derive(Debug, Clone)]
pub struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    /// Shares a store.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// The store.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Keeps what a bootstrap holds.
    pub fn new(bootstrap: &Bootstrap) -> Self {
        let updated = Utc::now();
        let keep = |resource: &Resource| Stored {
            name: resource.name.clone(),
            wire: resource.wire.clone(),
            origin: Origin::Static,
            updated,
        };
        let of = |resources: &[Resource]| Resources {
            fixed: resources.iter().map(keep).collect(),
            ..Resources::default()
        };
        Self {
            bootstrap: Stored {
                name: "".into(),
                wire: bootstrap.rest.clone().into(),
                origin: Origin::Static,
                updated,
            },
            node: bootstrap.node.clone(),
            kinds: [
                (Kind::Cluster, of(&bootstrap.clusters)),
                (Kind::Listener, of(&bootstrap.listeners)),
                (Kind::Secret, of(&bootstrap.secrets)),
            ]
            .into(),
            none: Resources::default(),
            unsupported: BTreeMap::new(),
        }
    }

    /// The resources of a kind.
    pub fn kind(&self, kind: Kind) -> &Resources {
        self.kinds.get(&kind).unwrap_or(&self.none)
    }

    /// Keeps what a resource asks for and does not get.
    pub fn report(&mut self, kind: Kind, key: &Key, unsupported: Vec<Unsupported>) {
        if unsupported.is_empty() {
            self.unsupported.remove(&(kind, key.clone()));
        } else {
            self.unsupported.insert((kind, key.clone()), unsupported);
        }
    }

    /// The resources of a kind, to change them.
    pub fn kind_mut(&mut self, kind: Kind) -> &mut Resources {
        self.kinds.entry(kind).or_default()
    }
}
