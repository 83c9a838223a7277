//! Each proxy as a client of the other, and what it does with a server that is not the right one.

use std::net::TcpStream;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::get;
use sampan_tests::harness::wire::Wire;

use super::config::{Mesh, certificate, cluster, echo_listener, forward_listener, stat};

const XFCC: &str = "forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {uri: true},";

fn server(mesh: &Mesh, program: Program) -> (Process, tempfile::TempDir) {
    let common = format!(
        "{}, alpn_protocols: [h2, http/1.1], validation_context: {{trusted_ca: {{filename: $DIR/ca.pem}}}}",
        certificate("server")
    );
    mesh.start(program, &echo_listener("mtls", &common, "require_client_certificate: true", XFCC), "")
}

const NAMES: [&str; 9] =
    ["h1", "h2", "auto", "sni", "wrongname", "wrongca", "noidentity", "nobody", "wronghost"];

fn client(mesh: &Mesh, program: Program, port: u16) -> (Process, tempfile::TempDir) {
    let own = certificate("client");
    let trust = |ca: &str, uri: &str| {
        format!(
            "validation_context: {{trusted_ca: {{filename: $DIR/{ca}.pem}}, match_typed_subject_alt_names: \
             [{{san_type: URI, matcher: {{exact: '{uri}'}}}}]}}"
        )
    };
    let right = trust("ca", "spiffe://td/ns/default/sa/server");
    let (good, sni) = (format!("{own}, {right}"), "sni: server.example");
    let auto = "explicit_http_config: {http_protocol_options: {}}, upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}";
    let by_host = format!("{own}, validation_context: {{trusted_ca: {{filename: $DIR/ca.pem}}}}");
    let clusters = [
        cluster("h1", port, &good, sni, ""),
        cluster("h2", port, &good, sni, "explicit_http_config: {http2_protocol_options: {}}"),
        cluster("auto", port, &good, sni, "auto_config: {}"),
        cluster("sni", port, &by_host, "", auto),
        cluster("wrongname", port, &format!("{own}, {}", trust("ca", "spiffe://td/other")), sni, ""),
        cluster(
            "wrongca",
            port,
            &format!("{own}, {}", trust("otherca", "spiffe://td/ns/default/sa/server")),
            sni,
            "",
        ),
        cluster("noidentity", port, &right, sni, ""),
        cluster("nobody", port, &own, sni, ""),
        cluster("wronghost", port, &by_host, "", auto),
    ];
    let listeners: Vec<_> = NAMES.iter().map(|name| forward_listener(name, name)).collect();
    mesh.start(program, &listeners.concat(), &clusters.concat())
}

/// The status and what the server said it knows.
fn ask(process: &Process, listener: &str, host: &str) -> String {
    use std::io::Write as _;
    let stream = TcpStream::connect(("127.0.0.1", process.port(listener))).unwrap();
    let mut wire = Wire::new(stream, PATIENCE);
    wire.stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut reply = wire.head().unwrap();
    wire.body(&mut reply, true, false);
    format!("{} {}", reply.status(), reply.header("x-echo").unwrap_or_default())
}

/// Every pair of proxies, each as the client and as the server.
#[test]
fn proxies_speak_mutual_tls_with_each_other() {
    let mesh = Mesh::new();
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for serving in [Program::Envoy, Program::Sampan] {
        let (server, _dir) = server(&mesh, serving);
        for asking in [Program::Envoy, Program::Sampan] {
            let (client, _dir) = client(&mesh, asking, server.port("mtls"));
            let mut facts = Vec::new();
            for name in NAMES {
                let host = if name == "wronghost" { "other.example" } else { "server.example:8443" };
                facts.push(format!("{name}: {}", ask(&client, name, host)));
                // Again, over the pool.
                assert_eq!(facts.last().unwrap(), &format!("{name}: {}", ask(&client, name, host)));
            }
            for (name, counter) in [
                ("wrongname", "fail_verify_san"),
                ("wrongca", "fail_verify_error"),
                ("wronghost", "fail_verify_san"),
            ] {
                let count = stat(&client, &format!("cluster.{name}.ssl.{counter}"));
                facts.push(format!("{name} {counter} {}", count > 0));
            }
            facts.push(format!("handshakes {}", stat(&client, "cluster.h2.ssl.handshake")));
            facts.push(format!("no cert {}", stat(&server, "listener.mtls.ssl.fail_verify_no_cert") > 0));
            seen.push((format!("{asking:?} to {serving:?}"), facts));
        }
    }
    let (_, first) = &seen[0];
    assert!(first[0].starts_with("h1: 200 By=spiffe://td/ns/default/sa/server;Hash="), "{first:?}");
    assert!(first[2].starts_with("auto: 200 ") && first[3].starts_with("sni: 200 "), "{first:?}");
    assert!(first[4].starts_with("wrongname: 503"), "{first:?}");
    for (pair, facts) in &seen {
        assert_eq!(facts, first, "{pair}");
    }
}

#[test]
fn an_upstream_that_anybody_may_play_is_warned_of_and_counted() {
    let mesh = Mesh::new();
    let (server, _dir) = server(&mesh, Program::Sampan);
    let (client, _dir) = client(&mesh, Program::Sampan, server.port("mtls"));
    let mut wire = Wire::new(TcpStream::connect(("127.0.0.1", client.port("nobody"))).unwrap(), PATIENCE);
    assert_eq!(get(&mut wire, "/").map(|reply| reply.status()), Some(200));
    assert!(client.stderr().contains("SERVERS ARE NOT VERIFIED"), "{}", client.stderr());
    assert_eq!(stat(&client, "cluster.nobody.ssl.no_trusted_ca"), 1);
}
