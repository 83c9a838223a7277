//! Static resources, one by one: checked, compiled to validate them, kept as wire bytes.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster;
use sampan_api::envoy::config::listener::v3::Listener as ListenerProto;
use sampan_api::{Message, Value};

use super::Load;
use crate::control::compile::cluster::Compiled;
use crate::control::compile::{self, Context, Scope};
use crate::listener::config::Listener;

/// A resource as it is kept: its name and its wire bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `name`
    pub name: Arc<str>,
    /// The message.
    pub wire: Bytes,
}

/// Compiled listeners, in the order of the configuration.
pub type Listeners = Vec<Arc<Listener>>;

impl Load<'_> {
    pub(super) fn clusters(&mut self, messages: Vec<Message>) -> Vec<Resource> {
        let mut names = HashSet::with_capacity(messages.len());
        let mut kept = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let resource = self.resource(&message, "cluster", index);
            let shown = shown("cluster", &resource.name, index);
            if !names.insert(resource.name.clone()) {
                self.refuse(
                    &shown,
                    "name",
                    format!("cluster manager: duplicate cluster '{}'", resource.name),
                );
            }
            let scope = Scope::root(&shown, &self.rejects);
            match Cluster::decode(resource.wire.clone()) {
                Ok(proto) => {
                    let compiled = compile::cluster::compile(&proto, &scope);
                    self.resolving.extend(compiled.filter(Compiled::resolves_names));
                }
                Err(error) => drop(scope.reject::<()>(error.to_string())),
            }
            kept.push(resource);
        }
        kept
    }

    pub(super) fn listeners(
        &mut self,
        messages: Vec<Message>,
        context: &Context,
    ) -> (Vec<Resource>, Listeners) {
        let mut names = HashSet::new();
        let mut compiled = Listeners::new();
        let mut kept = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let resource = self.resource(&message, "listener", index);
            let shown = shown("listener", &resource.name, index);
            if !resource.name.is_empty() && !names.insert(resource.name.clone()) {
                let reason = format!("error adding listener: duplicate listener name '{}'", resource.name);
                self.refuse(&shown, "name", reason);
            }
            let scope = Scope::root(&shown, &self.rejects);
            match ListenerProto::decode(resource.wire.clone()) {
                Ok(proto) => {
                    compiled.extend(compile::listener::compile(&proto, context, &scope).map(Arc::new));
                }
                Err(error) => drop(scope.reject::<()>(error.to_string())),
            }
            kept.push(resource);
        }
        (kept, compiled)
    }

    pub(super) fn secrets(&mut self, messages: Vec<Message>) -> Vec<Resource> {
        if !messages.is_empty() {
            self.unsupported.push(crate::admin::source::Unsupported {
                resource: "bootstrap".to_owned(),
                field: "static_resources.secrets".to_owned(),
                reason: "not supported yet: nothing uses secrets".to_owned(),
            });
        }
        messages.iter().enumerate().map(|(index, message)| self.resource(message, "secret", index)).collect()
    }

    fn resource(&mut self, message: &Message, kind: &str, index: usize) -> Resource {
        let name = message.named("name").and_then(Value::as_str).unwrap_or_default();
        self.examine(message, &shown(kind, name, index));
        Resource { name: name.into(), wire: message.to_wire().into() }
    }
}

/// What a resource is called in messages.
fn shown(kind: &str, name: &str, index: usize) -> String {
    if name.is_empty() { format!("{kind} #{index}") } else { format!("{kind} {name}") }
}
