//! The last good version of every resource, as wire bytes: what `/config_dump` prints.
//!
//! The snapshot has the compiled form of the same resources; this keeps what was configured, byte for byte, with its
//! version and time. [`dump`] prints it, [`view`] answers the admin server's other questions.

mod dump;
mod extensions;
#[cfg(test)]
mod tests;
mod view;

pub use view::View;

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use crate::bootstrap::{Bootstrap, Resource};

/// Where a resource came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The bootstrap.
    Static,
    /// A control plane, with this `version_info`.
    Dynamic {
        /// `version_info`
        version: Arc<str>,
    },
}

/// A resource that is in force.
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

/// All resources in force, each kind in the order of its arrival.
#[derive(Debug)]
pub struct Store {
    /// The bootstrap without its static resources.
    bootstrap: Stored,
    /// The node.
    node: Json,
    /// Clusters.
    clusters: Vec<Stored>,
    /// Listeners.
    listeners: Vec<Stored>,
    /// Secrets.
    secrets: Vec<Stored>,
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
        Self {
            bootstrap: Stored {
                name: "".into(),
                wire: bootstrap.rest.clone().into(),
                origin: Origin::Static,
                updated,
            },
            node: bootstrap.node.clone(),
            clusters: bootstrap.clusters.iter().map(keep).collect(),
            listeners: bootstrap.listeners.iter().map(keep).collect(),
            secrets: bootstrap.secrets.iter().map(keep).collect(),
        }
    }
}
