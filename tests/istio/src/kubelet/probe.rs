//! Probes of containers: by HTTP, or by a connection.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use super::{list, text};
use crate::http::{Request, ask};

/// Whether a container is well by one of its probes; it is when it has no such probe.
pub fn passes(container: &Value, name: &str, address: &str) -> bool {
    let Some(probe) = container.get(name) else { return true };
    let patience = Duration::from_secs(probe["timeoutSeconds"].as_u64().unwrap_or(1));
    if let Some(get) = probe.get("httpGet") {
        let path = get["path"].as_str().unwrap_or("/");
        let answer =
            ask(&format!("{address}:{}", port(container, &get["port"])), &Request::get(path), patience);
        return answer.is_ok_and(|answer| (200..400).contains(&answer.status));
    }
    if let Some(tcp) = probe.get("tcpSocket") {
        let target = format!("{address}:{}", port(container, &tcp["port"])).to_socket_addrs();
        let target = target.ok().and_then(|mut found| found.next());
        return target.is_some_and(|target| TcpStream::connect_timeout(&target, patience).is_ok());
    }
    // What there is else (a command, gRPC) no pod of these has.
    false
}

/// A port by number or by its name.
fn port(container: &Value, given: &Value) -> u64 {
    let named =
        || list(container, "ports").find(|port| text(port, "/name") == given.as_str().unwrap_or_default());
    given.as_u64().or_else(|| named()?["containerPort"].as_u64()).unwrap_or_default()
}
