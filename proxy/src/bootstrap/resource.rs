//! Static resources, one by one: checked, compiled to validate them, kept as wire bytes.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sampan_api::envoy::config::cluster::v3::Cluster;
use sampan_api::envoy::config::listener::v3::Listener as ListenerProto;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::Secret;
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
                    let compiled = compile::cluster::compile(&proto, &self.inputs, &scope);
                    if compiled.as_ref().is_some_and(Compiled::is_checked) {
                        self.checked.push(resource.name.clone());
                    }
                    self.discovering.extend(compiled.filter(Compiled::is_discovered));
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
                    if let Some(listener) = compile::listener::compile(&proto, context, &scope) {
                        refuse_taken_address(&listener, &compiled, &scope);
                        compiled.push(Arc::new(listener));
                    }
                }
                Err(error) => drop(scope.reject::<()>(error.to_string())),
            }
            kept.push(resource);
        }
        (kept, compiled)
    }

    pub(super) fn secrets(&mut self, messages: Vec<Message>) -> Vec<Resource> {
        let mut names = HashSet::new();
        let mut kept = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let resource = self.resource(&message, "secret", index);
            let shown = shown("secret", &resource.name, index);
            if !names.insert(resource.name.clone()) {
                self.refuse(&shown, "name", format!("duplicate static secret '{}'", resource.name));
            }
            let scope = Scope::root(&shown, &self.rejects);
            match Secret::decode(resource.wire.clone()) {
                Ok(proto) => {
                    let delivered = compile::tls::secret(&proto, &self.inputs.files(), false, &scope);
                    if let Some(delivered) = delivered
                        && let Err(error) = self.inputs.secrets.update_static(&resource.name, delivered)
                    {
                        scope.reject::<()>(error.to_string());
                    }
                }
                Err(error) => drop(scope.reject::<()>(error.to_string())),
            }
            kept.push(resource);
        }
        kept
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

fn refuse_taken_address(listener: &Listener, others: &[Arc<Listener>], at: &Scope<'_>) {
    let taken = others.iter().find_map(|other| Some((listener.shares_address(other)?, other)));
    if let Some((address, other)) = taken {
        at.field("address").reject_value::<()>(
            address,
            format!("error adding listener: listener {:?} has the same address", other.name),
            "give it another address or port",
        );
    }
}
