//! What the admin server shows, as plain values: the seam between it and the rest of the proxy.
//!
//! The control thread implements [`ConfigSource`] over its store and snapshot. The handlers turn these values into
//! Envoy's text and JSON.

use serde_json::{Value, json};

use super::status::{ClusterStatus, ListenerStatus};

/// What is configured, and what became of it. Called on the control thread, once per request.
pub trait ConfigSource: Send + Sync {
    /// The parts of `/config_dump` in Envoy's order, each the protobuf-JSON of an `admin.v3.*ConfigDump` with
    /// its `@type`, secrets already redacted. The endpoints part only if `include_eds`.
    fn configs(&self, include_eds: bool) -> Vec<Value>;
    /// The clusters, by name.
    fn clusters(&self) -> Vec<ClusterStatus>;
    /// The listeners that are bound.
    fn listeners(&self) -> Vec<ListenerStatus>;
    /// Where the configuration in force came from, for `/server_info`; `None` without `--last-good-file`.
    fn origin(&self) -> Option<Value>;
    /// The last generations of the configuration, newest first.
    fn generations(&self) -> Value;
    /// What changed between two generations; between the last two where none is given.
    ///
    /// # Errors
    /// A generation is not kept; the text tells which are.
    fn generations_diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Value, String>;
    /// The protobuf-JSON of each `admin.v3.Certificate` in use.
    fn certificates(&self) -> Vec<Value>;
    /// What has not finished initializing, by component (`listener`, `cluster`), each a list of names.
    fn unready(&self) -> Vec<UnreadyTargets>;
    /// The protobuf-JSON of the node as the bootstrap and the flags give it.
    fn node(&self) -> Value;
    /// The extensions of this build.
    fn extensions(&self) -> Vec<Extension>;
    /// What was accepted and is not supported.
    fn unsupported(&self) -> Vec<Unsupported>;
    /// How many workers run; `None` before they do.
    fn workers(&self) -> Option<u32>;
    /// The runtime values.
    fn runtime(&self) -> RuntimeView;
    /// Sets keys in the admin layer of the runtime; an empty value removes the key from it.
    ///
    /// # Errors
    /// There is no admin layer.
    fn modify_runtime(&self, changes: &[(String, String)]) -> Result<(), NoAdminLayer>;
}

/// What is shown before there is a configuration: nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unconfigured;

impl ConfigSource for Unconfigured {
    fn configs(&self, _: bool) -> Vec<Value> {
        Vec::new()
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        Vec::new()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        Vec::new()
    }

    fn origin(&self) -> Option<Value> {
        None
    }

    fn generations(&self) -> Value {
        json!({"current": 0, "generations": []})
    }

    fn generations_diff(&self, _: Option<u64>, _: Option<u64>) -> Result<Value, String> {
        Ok(json!({"from": 0, "to": 0, "changes": []}))
    }

    fn certificates(&self) -> Vec<Value> {
        Vec::new()
    }

    fn unready(&self) -> Vec<UnreadyTargets> {
        Vec::new()
    }

    fn node(&self) -> Value {
        json!({})
    }

    fn extensions(&self) -> Vec<Extension> {
        Vec::new()
    }

    fn unsupported(&self) -> Vec<Unsupported> {
        Vec::new()
    }

    fn workers(&self) -> Option<u32> {
        None
    }

    fn runtime(&self) -> RuntimeView {
        RuntimeView::default()
    }

    fn modify_runtime(&self, _: &[(String, String)]) -> Result<(), NoAdminLayer> {
        Err(NoAdminLayer)
    }
}

/// The runtime has no layer that may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("No admin layer specified")]
pub struct NoAdminLayer;

/// A part that has not finished initializing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadyTargets {
    /// The resource, such as `listener my-listener`.
    pub name: String,
    /// What it waits for.
    pub targets: Vec<String>,
}

/// An extension of this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The name, such as `envoy.filters.http.router`.
    pub name: String,
    /// The category, such as `envoy.filters.http`.
    pub category: String,
    /// The types of its configuration.
    pub type_urls: Vec<String>,
}

/// A field that was accepted and does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The resource, such as `listener ingress`.
    pub resource: String,
    /// The path of the field.
    pub field: String,
    /// What that means.
    pub reason: String,
}

/// The layered runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeView {
    /// The names of the layers, lowest first.
    pub layers: Vec<String>,
    /// The values, by key.
    pub entries: Vec<RuntimeEntry>,
}

/// A runtime value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEntry {
    /// The key.
    pub key: String,
    /// The value that counts.
    pub final_value: String,
    /// The value in each layer; empty where it is not set.
    pub layer_values: Vec<String>,
}
