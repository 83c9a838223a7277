//! Secrets by discovery: a listener waits for its certificate, new certificates serve new handshakes, bad ones are refused by name. Each
//! case is played with Envoy too.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::tls::{Authority, Outcome, TlsClient, Wanted};
use sampan_tests::harness::xds::bootstrap::Way;
use sampan_tests::harness::xds::mesh::Mesh;
use sampan_tests::harness::xds::{Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// The secret `server` with a new certificate.
fn certificate(authority: &Authority, dir: &Path) -> Resource {
    authority.issue(dir, "server", Wanted { dns: &["server.example"], ..Wanted::default() });
    let read = |end: &str| std::fs::read_to_string(dir.join(format!("server.{end}"))).unwrap();
    secret(&read("pem"), &read("key"))
}

fn secret(chain: &str, key: &str) -> Resource {
    let inline = |text: &str| serde_json::json!({"inline_string": text}).to_string();
    Resource::yaml(
        types::SECRET,
        &format!(
            "name: server\ntls_certificate: {{certificate_chain: {}, private_key: {}}}\n",
            inline(chain),
            inline(key)
        ),
    )
}

/// The listener `secure`, whose certificate is the secret `server`.
fn secure(mesh: &Mesh) -> Resource {
    let source = mesh.source(types::SECRET).replace("ads: {}", "ads: {}, initial_fetch_timeout: 0s");
    let filter = sample::http_filter("secure", &mesh.source(types::ROUTE), "main", "");
    let context = format!(
        "common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: server, sds_config: {source}}}]}}"
    );
    sample::listener_with(
        "secure",
        "",
        &format!(
            "[{{filters: [{filter}], transport_socket: {{name: tls, typed_config: {{\"@type\": {TLS}, {context}}}}}}}]"
        ),
    )
}

/// The certificate that the proxy shows in an answered request.
fn shown(outcome: Outcome) -> Option<Vec<u8>> {
    match outcome {
        Outcome::Answered { status: 200, server, .. } => Some(server),
        _ => None,
    }
}

#[test]
fn a_certificate_is_waited_for_rotated_and_kept_when_the_next_is_bad() {
    for program in programs() {
        for way in [Way::Ads, Way::DeltaAds, Way::Grpc] {
            let mesh = Mesh::start(program, way);
            mesh.await_status(200);
            let root = Authority::new("root");
            let client = TlsClient::new(mesh.dir(), &root);
            let version = mesh.plane.put(types::LISTENER, [secure(&mesh)]);
            mesh.plane.await_ack(types::LISTENER, &version);
            let early = mesh.process.await_port("secure", Duration::from_millis(300));
            assert_eq!(early, None, "{program:?} {way:?}: it listens without its certificate");
            mesh.plane.set(types::SECRET, [certificate(&root, mesh.dir())]);
            let port = mesh.process.await_port("secure", PATIENCE);
            let port = port.unwrap_or_else(|| {
                panic!("{program:?} {way:?}\n{}\n{}", mesh.process.stderr(), mesh.plane.transcript())
            });
            let mut open = client.connect(&client.config(), port).ok().unwrap();
            let first = shown(open.get()).unwrap();
            // A new one serves new handshakes within a second; who is connected goes on.
            mesh.plane.set(types::SECRET, [certificate(&root, mesh.dir())]);
            let rotated = poll(Duration::from_secs(3), || {
                let now = shown(client.get(port)).expect("no handshake is lost");
                (now != first).then_some(now)
            });
            let second = rotated.expect("the new certificate is shown");
            assert_eq!(shown(open.get()), Some(first), "{program:?} {way:?}");
            // A certificate with the key of another is refused by name, and the good one stays.
            let (chain, key) = (mesh.dir().join("server.pem"), mesh.dir().join("other.key"));
            root.issue(mesh.dir(), "other", Wanted::default());
            let read = |path: &Path| std::fs::read_to_string(path).unwrap();
            let version = mesh.plane.set(types::SECRET, [secret(&read(&chain), &read(&key))]);
            let reason = mesh.plane.await_nack(types::SECRET, &version);
            assert!(!reason.contains("PRIVATE"), "{reason}");
            assert_eq!(shown(client.get(port)), Some(second), "{program:?} {way:?}");
            // No dump shows a key.
            let (_, dump) = mesh.process.admin("GET", "/config_dump");
            assert!(dump.contains("\"server\"") && !dump.contains("PRIVATE KEY"), "{program:?} {way:?}");
        }
    }
}
