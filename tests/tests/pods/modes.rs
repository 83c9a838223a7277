//! Whom a pod answers: by the mode of its `PeerAuthentication`, by trust domain, by account, by authority.

use std::io::{Read, Write};
use std::net::SocketAddr;

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;

use crate::application::{self, HTTP, MAIL};
use crate::client;
use crate::identity::{account, secrets};
use crate::inbound::{self, Mode};
use crate::network::{Network, Pod};
use crate::outbound::{Outbound, SERVICE_V4};
use crate::setting;
use crate::sidecar::{START, Sidecar};

/// The status of a request; 0 if it is not answered.
fn status(pod: &Pod, to: &str) -> u16 {
    client::request(pod, to.parse().unwrap(), HTTP).map_or(0, |answer| answer.status())
}

/// What a server of another protocol says before the connection ends. The client does not wait for its greeting: where a pod has to find
/// out whether a client speaks TLS, that would take for ever, here as in Envoy.
fn greeting(pod: &Pod, to: &str) -> String {
    let Ok(mut stream) = pod.connect(SocketAddr::new(to.parse().unwrap(), MAIL)) else {
        return String::new();
    };
    // One that is refused may be gone already.
    stream.write_all(b"HELO\r\n").ok();
    let mut bytes = [0; 3];
    let length = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn the_mode_decides_who_is_answered() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for program in [Sampan, Envoy] {
            scope.spawn(move || modes(program));
        }
    });
}

fn modes(program: Program) {
    let network = Network::new();
    let (here, there, stranger) = (network.pod(), network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let authority = Authority::new("mesh");
    let server = setting::server(program, &there, Mode::Permissive, &authority).start();
    let client = setting::client(Sampan, &here, &[there.v4], &authority).start();
    let plain = Outbound { mutual_tls: false, ..setting::outbound(&[there.v4]) };
    // Whether the pod answers who has no proxy, and a proxy that speaks mutual TLS.
    for (mode, to_stranger, to_mesh) in [
        (Mode::Permissive, 200, 200),
        (Mode::Strict, 0, 200),
        (Mode::Disable, 200, 503),
        (Mode::Permissive, 200, 200),
    ] {
        server.serve(inbound::resources(mode));
        client.serve(setting::outbound(&[there.v4]).resources());
        let mut last = (0, 0);
        let settled = poll(START, || {
            last = (status(&stranger, &there.v4.to_string()), status(&here, SERVICE_V4));
            (last == (to_stranger, to_mesh)).then_some(())
        });
        assert!(settled.is_some(), "{program:?} {mode:?}: {last:?}\n{}\n{}", server.story(), client.story());
        assert_eq!(status(&stranger, &there.v6.to_string()), to_stranger, "{program:?} {mode:?}");
        let words = if to_stranger == 200 { "220" } else { "" };
        assert_eq!(greeting(&stranger, &there.v4.to_string()), words, "{program:?} {mode:?}");
        if mode == Mode::Disable {
            client.serve(plain.resources());
            assert!(
                poll(START, || (status(&here, SERVICE_V4) == 200).then_some(())).is_some(),
                "{}",
                client.story()
            );
        }
    }
}

#[test]
fn who_is_not_whom_he_should_be_is_refused() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for (client, server) in [(Sampan, Sampan), (Envoy, Sampan), (Sampan, Envoy)] {
            scope.spawn(move || identities(client, server));
        }
    });
}

fn identities(of_client: Program, of_server: Program) {
    let network = Network::new();
    let (here, there) = (network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let (mesh, foreign) = (Authority::new("mesh"), Authority::new("foreign"));
    let server = setting::server(of_server, &there, Mode::Strict, &mesh).start();
    let client = setting::client(of_client, &here, &[there.v4], &mesh).start();
    let both = || (&client, &server);
    settles(both(), &here, 200);
    // Of another trust domain.
    client.identify(secrets("spiffe://elsewhere.example/ns/demo/sa/client", &mesh, &[&mesh]));
    settles(both(), &here, 503);
    assert_eq!(greeting(&here, SERVICE_V4), "");
    server.await_stat(".ssl.fail_verify_san", 1);
    // Of an authority that the server does not believe.
    client.identify(secrets(&account("client"), &foreign, &[&mesh]));
    settles(both(), &here, 503);
    // With TLS 1.3 the client learns of it when it has sent its request already.
    let unbelieved = server.stat(".ssl.fail_verify_error");
    for _ in 0..3 {
        assert_eq!(status(&here, SERVICE_V4), 503);
    }
    server.await_stat(".ssl.fail_verify_error", unbelieved + 1);
    client.identify(secrets(&account("client"), &mesh, &[&mesh]));
    settles(both(), &here, 200);
    // The server is not who the client wants.
    server.identify(secrets(&account("impostor"), &mesh, &[&mesh]));
    settles(both(), &here, 503);
    assert_eq!(greeting(&here, SERVICE_V4), "");
    client.await_stat(".ssl.fail_verify_san", 1);
}

/// Requests on new connections come to be answered so. Connections that were admitted before may serve some more.
fn settles((client, server): (&Sidecar<'_>, &Sidecar<'_>), here: &Pod, wanted: u16) {
    let mut row = 0;
    let settled = poll(START, || {
        row = if status(here, SERVICE_V4) == wanted { row + 1 } else { 0 };
        // More than a pooled connection is good for.
        (row > 25).then_some(())
    });
    assert!(settled.is_some(), "not {wanted}\n{}\n{}", client.story(), server.story());
}
