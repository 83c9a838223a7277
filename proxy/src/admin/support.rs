//! `/support`: what this configuration asks for and does not get. Not an Envoy endpoint.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Admin, Reply, Request};
use crate::cli::flags;

pub(super) fn support(admin: &Admin, request: &Request) -> Reply {
    let unsupported = admin.config.unsupported();
    if request.wants_json() {
        let fields: Vec<Value> = unsupported
            .iter()
            .map(|u| json!({"resource": u.resource, "field": u.field, "reason": u.reason}))
            .collect();
        let flags: Vec<Value> =
            flags::without_effect().map(|(flag, reason)| json!({"flag": flag, "reason": reason})).collect();
        return Reply::json(&json!({"unsupported": fields, "flags_without_effect": flags}));
    }
    let mut out = String::from("configuration that is accepted and not supported:\n");
    if unsupported.is_empty() {
        out.push_str("  none\n");
    }
    for u in &unsupported {
        let _ = writeln!(out, "  {} {}: {}", u.resource, u.field, u.reason);
    }
    out.push_str("flags that are accepted and have no effect:\n");
    for (flag, reason) in flags::without_effect() {
        let _ = writeln!(out, "  --{flag}: {reason}");
    }
    Reply::text(out)
}
