//! Every kind of client against a server of each proxy, by TLS 1.2 and 1.3.

use std::fmt::Write as _;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::tls::{Outcome, TlsClient};

use super::config::{Mesh, certificate, echo_listener, stat};

const XFCC: &str = "forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {subject: true, uri: true, dns: true},";
const NAMES: &str = "match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: 'spiffe://td/'}}]";
const CA: &str = "trusted_ca: {filename: $DIR/ca.pem}";

fn listeners() -> String {
    let server = certificate("server");
    let with = |context: &str| format!("{server}, validation_context: {{{context}}}");
    let required = "require_client_certificate: true";
    [
        echo_listener("mtls", &with(&format!("{CA}, {NAMES}")), required, XFCC),
        echo_listener("crl", &with(&format!("{CA}, crl: {{filename: $DIR/crl.pem}}")), required, XFCC),
        echo_listener("optional", &with(CA), "", XFCC),
        echo_listener(
            "untrusted",
            &with(&format!("{CA}, trust_chain_verification: ACCEPT_UNTRUSTED")),
            required,
            XFCC,
        ),
        echo_listener("alpn", &format!("{server}, alpn_protocols: [http/1.1]"), "", ""),
        echo_listener(
            "old",
            &format!("{server}, tls_params: {{tls_maximum_protocol_version: TLSv1_2}}"),
            "",
            "",
        ),
        echo_listener("append", &with(CA), required, &XFCC.replace("SANITIZE_SET", "APPEND_FORWARD")),
        echo_listener("forward", &with(CA), "", "forward_client_cert_details: FORWARD_ONLY,"),
        echo_listener("always", &server, "", "forward_client_cert_details: ALWAYS_FORWARD_ONLY,"),
    ]
    .concat()
}

/// What is compared: everything but the server's certificate.
fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answered { version, alpn, status, echo, resumed, .. } => {
            format!("{status} {version} alpn={alpn} resumed={resumed} {echo}")
        }
        Outcome::Alert(alert) => format!("Alert({alert})"),
        other => format!("{other:?}"),
    }
}

struct Row {
    listener: &'static str,
    identity: Option<&'static str>,
    alpn: &'static str,
    /// How the outcome begins, by TLS 1.2 and by TLS 1.3.
    wants: (&'static str, &'static str),
    /// The stat that counts it.
    counts: &'static str,
}

const fn row(
    listener: &'static str,
    identity: Option<&'static str>,
    wants: (&'static str, &'static str),
    counts: &'static str,
) -> Row {
    Row { listener, identity, alpn: "", wants, counts }
}

const SERVED: (&str, &str) = ("200 TLSv1_2", "200 TLSv1_3");

fn rows() -> Vec<Row> {
    let alert = |name: &'static str| (name, name);
    vec![
        row("mtls", Some("client"), SERVED, "handshake"),
        row("mtls", None, ("Alert(", "Alert(CertificateRequired)"), "fail_verify_no_cert"),
        row("mtls", Some("foreign"), alert("Alert(UnknownCA)"), "fail_verify_error"),
        row("mtls", Some("expired"), alert("Alert(CertificateExpired)"), "fail_verify_error"),
        row("mtls", Some("future"), alert("Alert("), "fail_verify_error"),
        row("mtls", Some("wrong"), alert("Alert(CertificateUnknown)"), "fail_verify_san"),
        row("mtls", Some("confused"), alert("Alert(CertificateUnknown)"), "fail_verify_san"),
        row("mtls", Some("nul"), alert("Alert(CertificateUnknown)"), "fail_verify_san"),
        row("crl", Some("revoked"), alert("Alert(CertificateRevoked)"), "fail_verify_error"),
        row("crl", Some("client"), SERVED, "handshake"),
        row("optional", None, SERVED, "no_certificate"),
        row("optional", Some("foreign"), alert("Alert(UnknownCA)"), "fail_verify_error"),
        row("untrusted", Some("foreign"), SERVED, "fail_verify_error"),
        Row { alpn: "http/1.1", ..row("alpn", None, SERVED, "handshake") },
        Row { alpn: "istio", ..row("alpn", None, SERVED, "handshake") },
        row("append", Some("client"), SERVED, "handshake"),
        row("forward", Some("client"), SERVED, "handshake"),
        row("forward", None, SERVED, "no_certificate"),
        row("always", None, SERVED, "no_certificate"),
    ]
}

fn play(mesh: &Mesh, process: &Process, row: &Row, old: bool) -> String {
    let mut client: TlsClient = mesh.client();
    client = if old { client.only_12() } else { client.only_13() };
    if let Some(identity) = row.identity {
        client = client.identity(identity);
    }
    if !row.alpn.is_empty() {
        client = client.alpn(row.alpn);
    }
    let counter = format!("listener.{}.ssl.{}", row.listener, row.counts);
    let before = stat(process, &counter);
    let outcome = told(client.get(process.port(row.listener)));
    let counted = poll(PATIENCE, || (stat(process, &counter) == before + 1).then_some(()));
    format!("{outcome} {}={}", row.counts, if counted.is_some() { "+1" } else { "?" })
}

#[test]
fn every_client_is_treated_as_by_envoy() {
    let mesh = Mesh::new();
    let start = |program| mesh.start(program, &listeners(), "");
    let ((envoy, _envoy_dir), (sampan, _sampan_dir)) = (start(Program::Envoy), start(Program::Sampan));
    let mut report = String::new();
    for row in rows() {
        for old in [true, false] {
            let (theirs, ours) = (play(&mesh, &envoy, &row, old), play(&mesh, &sampan, &row, old));
            let wanted = if old { row.wants.0 } else { row.wants.1 };
            // Envoy tells an old client without a certificate only that the handshake failed; both alerts are the protocol's.
            let same = theirs == ours || (old && row.identity.is_none() && row.listener == "mtls")
                // OpenSSL calls a certificate that is not valid yet bad, rustls calls it expired.
                || row.identity == Some("future");
            if !same || !ours.starts_with(wanted) || !ours.ends_with("+1") {
                writeln!(
                    report,
                    "\n{} {:?} old={old}: wanted {wanted}\n  Envoy  {theirs}\n  Sampan {ours}",
                    row.listener, row.identity
                )
                .unwrap();
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn versions_that_are_not_offered_are_refused() {
    let mesh = Mesh::new();
    for program in [Program::Envoy, Program::Sampan] {
        let (process, _dir) = mesh.start(program, &listeners(), "");
        let refused = told(mesh.client().only_13().get(process.port("old")));
        assert_eq!(refused, "Alert(ProtocolVersion)", "{program:?}");
        assert!(told(mesh.client().only_12().get(process.port("old"))).starts_with("200 TLSv1_2"));
    }
}

#[test]
fn sessions_are_resumed_with_the_same_identity() {
    let mesh = Mesh::new();
    for program in [Program::Envoy, Program::Sampan] {
        let (process, _dir) = mesh.start(program, &listeners(), "");
        for client in [mesh.client().only_12(), mesh.client().only_13()] {
            let client = client.identity("client");
            let config = client.config();
            let first = told(client.get_with(&config, process.port("mtls")));
            let second = told(client.get_with(&config, process.port("mtls")));
            assert_eq!(second, first.replace("resumed=false", "resumed=true"), "{program:?}");
            assert!(first.contains("resumed=false") && first.contains("URI=spiffe://td/"), "{first}");
        }
        assert_eq!(stat(&process, "listener.mtls.ssl.session_reused"), 2, "{program:?}");
    }
}

#[test]
fn a_failed_handshake_is_one_line_of_the_log() {
    let mesh = Mesh::new();
    let (process, _dir) = mesh.start(Program::Sampan, &listeners(), "");
    process.admin("POST", "/logging?level=info");
    told(mesh.client().identity("wrong").get(process.port("mtls")));
    let line = poll(PATIENCE, || {
        let text = process.stderr();
        text.lines().find(|line| line.contains("TLS handshake failed")).map(str::to_owned)
    });
    let line = line.unwrap_or_else(|| panic!("no line:\n{}", process.stderr()));
    for part in
        ["peer=127.0.0.1:", "sni=\"server.example\"", "alert=certificate_unknown", "no SAN", "CN=wrong"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn certificates_are_shown_and_counted() {
    let mesh = Mesh::new();
    let show = |program| {
        let (process, _dir) = mesh.start(program, &listeners(), "");
        let (_, body) = process.admin("GET", "/certs");
        let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
        // Envoy lists its contexts in the order of their addresses, and those without an authority among them.
        let all = shown["certificates"].as_array().unwrap();
        let first =
            all.iter().find(|entry| entry["ca_cert"].get(0).is_some()).expect("a context with an authority");
        let (_, gauges) = process.admin("GET", "/stats?filter=listener.mtls.ssl.certificate");
        let (_, days) = process.admin("GET", "/stats?filter=days_until_first_cert_expiring");
        (first["cert_chain"].clone(), first["ca_cert"].clone(), gauges, days)
    };
    assert_eq!(show(Program::Envoy), show(Program::Sampan));
}
