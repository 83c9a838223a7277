//! Workload identities: an authority of the mesh and what the agent's SDS server says.

use sampan_tests::harness::tls::{Authority, Wanted};
use sampan_tests::harness::xds::{Resource, types};
use serde_json::json;

use crate::resources::TRUST_DOMAIN;

/// Whom a pod runs as.
pub fn account(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/demo/sa/{name}")
}

/// The secrets of a workload: its certificate by an authority, and the authorities that it believes.
pub fn secrets(identity: &str, issuer: &Authority, believed: &[&Authority]) -> Vec<Resource> {
    let dir = tempfile::tempdir().unwrap();
    issuer.issue(dir.path(), "workload", Wanted { uris: &[identity], ..Wanted::default() });
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let (chain, key) = (read("workload.pem"), read("workload.key"));
    let mut roots = String::new();
    for authority in believed {
        authority.save(dir.path(), "root");
        roots += &read("root.pem");
    }
    let secret = |value: serde_json::Value| Resource::yaml(types::SECRET, &value.to_string());
    vec![
        secret(json!({"name": "default", "tls_certificate": {
            "certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key},
        }})),
        secret(json!({"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": roots}}})),
    ]
}
