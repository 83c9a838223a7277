//! The access log of a proxy under test, as a file of JSON lines that each name the client's port.
//!
//! The port is what ties a line to the connection of a case, even for a request too broken to be parsed.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::poll;

/// The `json_format` that every listener of a differential bootstrap logs, as YAML flow text.
pub const JSON_FORMAT: &str = r#"{code: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%", details: "%RESPONSE_CODE_DETAILS%", term: "%CONNECTION_TERMINATION_DETAILS%", received: "%BYTES_RECEIVED%", sent: "%BYTES_SENT%", transport: "%UPSTREAM_TRANSPORT_FAILURE_REASON%", route: "%ROUTE_NAME%", cluster: "%UPSTREAM_CLUSTER%", host: "%UPSTREAM_HOST%", protocol: "%PROTOCOL%", upstream_protocol: "%UPSTREAM_PROTOCOL%", method: "%REQ(:METHOD)%", path: "%REQ(:PATH)%", original_path: "%REQ(X-ENVOY-ORIGINAL-PATH)%", authority: "%REQ(:AUTHORITY)%", grpc: "%GRPC_STATUS%", attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", remote: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", peer: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"}"#;

/// Reads the lines of one log file.
pub struct AccessLog {
    path: PathBuf,
    /// What was there before the case began: the kernel may give a client a port that an earlier case had.
    seen: Cell<usize>,
}

impl AccessLog {
    /// The log written to `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: Cell::new(0) }
    }

    /// Forgets what is there, for the next case.
    pub fn mark(&self) {
        self.seen.set(std::fs::read(&self.path).map_or(0, |bytes| bytes.len()));
    }

    /// The lines of the connections from `client_ports`, in order, once there are `count` of them; after `limit`, those there are.
    pub fn lines(&self, client_ports: &[u16], count: usize, limit: Duration) -> Vec<Map<String, Value>> {
        let mut lines = Vec::new();
        poll(limit, || {
            lines = self.now(client_ports);
            (lines.len() >= count).then_some(())
        });
        lines
    }

    fn now(&self, client_ports: &[u16]) -> Vec<Map<String, Value>> {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(self.seen.get()..).unwrap_or_default());
        text.lines()
            .filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok())
            .filter(|line| {
                let peer = line.get("peer").and_then(Value::as_str).unwrap_or_default();
                let port = peer.rsplit(':').next().and_then(|p| p.parse().ok());
                port.is_some_and(|port: u16| client_ports.contains(&port))
            })
            .collect()
    }
}
