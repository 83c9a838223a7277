//! `/listeners`: the active listeners and the addresses they are bound to.

use serde_json::{Value, json};

use super::status::{Address, ListenerStatus};
use super::{Admin, Reply, Request};

pub(super) fn listeners(admin: &Admin, request: &Request) -> Reply {
    let listeners = admin.config.listeners();
    if request.wants_json() {
        let statuses: Vec<Value> = listeners.iter().map(status).collect();
        return Reply::json(&if statuses.is_empty() {
            json!({})
        } else {
            json!({"listener_statuses": statuses})
        });
    }
    let lines: String = listeners
        .iter()
        .flat_map(|l| l.addresses.iter().map(|address| format!("{}::{address}\n", l.name)))
        .collect();
    Reply::text(lines)
}

fn status(listener: &ListenerStatus) -> Value {
    let mut addresses = listener.addresses.iter().map(Address::to_json);
    let mut value = json!({"name": listener.name});
    if let Some(first) = addresses.next() {
        value["local_address"] = first;
    }
    let more: Vec<Value> = addresses.collect();
    if !more.is_empty() {
        value["additional_local_addresses"] = Value::Array(more);
    }
    value
}
