//! `/runtime` and `/runtime_modify`: the layered runtime values.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Admin, Reply, Request};

const USAGE: &str = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
or send the parameters as form values\nuse an empty value to remove a previously added override";

pub(super) fn runtime(admin: &Admin, _: &Request) -> Reply {
    let runtime = admin.config.runtime();
    let entries: Map<String, Value> = runtime
        .entries
        .into_iter()
        .map(|entry| {
            let value = json!({"final_value": entry.final_value, "layer_values": entry.layer_values});
            (entry.key, value)
        })
        .collect();
    Reply::json(&json!({"entries": entries, "layers": runtime.layers}))
}

pub(super) fn modify(admin: &Admin, request: &Request) -> Reply {
    let changes = if request.query.is_empty() { &request.form } else { &request.query };
    if changes.is_empty() {
        return Reply::status(StatusCode::BAD_REQUEST, USAGE);
    }
    match admin.config.modify_runtime(changes) {
        Ok(()) => Reply::ok(),
        Err(error) => Reply::status(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
