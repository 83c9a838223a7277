//! `/memory`, and the profilers and dumps of Envoy's that do not exist here: they say so.

use http::StatusCode;
use serde_json::json;

use super::{Admin, Reply, Request};
use crate::process::memory;

/// The fields of `admin.v3.Memory`, answered with what the kernel counts (see `process::memory`).
pub(super) fn memory(_: &Admin, _: &Request) -> Reply {
    let memory = memory::read();
    Reply::json(&json!({
        "allocated": memory.anonymous.to_string(),
        "heap_size": memory.data.to_string(),
        "pageheap_unmapped": memory.data.saturating_sub(memory.anonymous).to_string(),
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": memory.resident.to_string(),
    }))
}

pub(super) fn contention(_: &Admin, _: &Request) -> Reply {
    Reply::text("Mutex contention tracing is not enabled: no mutex is taken on the request path.")
}

pub(super) fn unsupported(_: &Admin, request: &Request) -> Reply {
    Reply::status(
        StatusCode::NOT_IMPLEMENTED,
        format!("{} is not supported: use perf or heaptrack.\n", request.path),
    )
}
