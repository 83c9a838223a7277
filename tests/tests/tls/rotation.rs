//! Certificates that change while connections are open.

use std::time::Duration;

use sampan_tests::harness::process::Program;
use sampan_tests::harness::tls::{Outcome, Wanted};
use sampan_tests::harness::{PATIENCE, poll};

use super::config::{Mesh, echo_listener};

const SERVER: Wanted<'_> = Wanted {
    uris: &["spiffe://td/ns/default/sa/server"],
    dns: &["server.example"],
    years: None,
    serial: None,
};

fn watched() -> String {
    "tls_certificates: [{certificate_chain: {filename: $DIR/server.pem}, private_key: {filename: $DIR/server.key}, \
     watched_directory: {path: $DIR}}], validation_context: {trusted_ca: {filename: $DIR/ca.pem}, watched_directory: {path: $DIR}}"
        .to_owned()
}

fn server_of(outcome: &Outcome) -> Option<&[u8]> {
    match outcome {
        Outcome::Answered { server, status: 200, .. } => Some(server),
        _ => None,
    }
}

#[test]
fn a_new_certificate_serves_new_handshakes_and_old_connections_live_on() {
    let mesh = Mesh::new();
    let listener = echo_listener("mtls", &watched(), "require_client_certificate: true", "");
    let (process, _dir) = mesh.start(Program::Sampan, &listener, "");
    let client = mesh.client().identity("client");
    let mut open = client.connect(&client.config(), process.port("mtls")).ok().unwrap();
    let first = open.get();
    let before = server_of(&first).unwrap().to_vec();
    // A half-done rotation changes nothing: the new certificate without its key.
    let key = std::fs::read(mesh.path().join("server.key")).unwrap();
    mesh.root.issue(mesh.path(), "server", SERVER);
    let next_key = std::fs::read(mesh.path().join("server.key")).unwrap();
    std::fs::write(mesh.path().join("server.key"), key).unwrap();
    let told = poll(PATIENCE, || process.stderr().contains("what was in force goes on").then_some(()));
    assert!(told.is_some(), "{}", process.stderr());
    assert_eq!(server_of(&client.get(process.port("mtls"))), Some(&*before));
    // With the key, it is taken.
    std::fs::write(mesh.path().join("server.key"), next_key).unwrap();
    let changed = poll(Duration::from_secs(3), || {
        let outcome = client.get(process.port("mtls"));
        let now = server_of(&outcome).expect("no handshake is lost");
        (now != before).then_some(())
    });
    assert!(changed.is_some(), "{}", process.stderr());
    assert_eq!(server_of(&open.get()), Some(&*before), "the open connection goes on");
}

#[test]
fn a_removed_authority_is_refused_at_once_even_on_resumption() {
    let mesh = Mesh::new();
    let listener = echo_listener("mtls", &watched(), "require_client_certificate: true", "");
    let (process, _dir) = mesh.start(Program::Sampan, &listener, "");
    let client = mesh.client().identity("client");
    let config = client.config();
    let mut open = client.connect(&config, process.port("mtls")).ok().unwrap();
    assert!(server_of(&open.get()).is_some());
    assert!(matches!(
        client.get_with(&config, process.port("mtls")),
        Outcome::Answered { resumed: true, .. }
    ));
    mesh.other.save(mesh.path(), "ca");
    let refused = poll(Duration::from_secs(3), || match client.get_with(&config, process.port("mtls")) {
        Outcome::Alert(alert) => Some(alert),
        _ => None,
    });
    assert_eq!(refused.as_deref(), Some("UnknownCA"), "{}", process.stderr());
    assert!(server_of(&open.get()).is_some(), "the open connection goes on");
    let foreign = mesh.client().identity("foreign");
    assert!(server_of(&foreign.get(process.port("mtls"))).is_some(), "the new authority is trusted");
}
