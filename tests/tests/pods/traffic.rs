//! Applications of all kinds talk to each other's service address and notice nothing; on the bridge there is nothing to read.

use std::net::IpAddr;

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::tls::Authority;

use crate::application::{self, HTTP, SECRET};
use crate::capture::Capture;
use crate::client;
use crate::inbound::Mode;
use crate::network::{Network, Pod};
use crate::outbound::{SERVICE_V4, SERVICE_V6};
use crate::setting::{self, PAIRS};
use crate::sidecar::START;

#[test]
fn applications_notice_nothing_and_the_bridge_has_nothing_to_read() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for (client, server) in PAIRS {
            scope.spawn(move || talk(client, server));
        }
    });
}

fn talk(of_client: Program, of_server: Program) {
    let network = Network::new();
    let (here, there, stranger) = (network.pod(), network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let authority = Authority::new("mesh");
    let server = setting::server(of_server, &there, Mode::Permissive, &authority).start();
    let client = setting::client(of_client, &here, &[there.v4], &authority).start();
    let who = format!("{of_client:?} to {of_server:?}");

    let capture = Capture::start(&network.hub);
    for endpoints in [&[there.v4][..], &[there.v6]] {
        client.serve(setting::outbound(endpoints).resources());
        // What the server's application is connected to, and from where.
        let (local, peer) =
            (endpoints[0].to_string(), if endpoints[0].is_ipv4() { "127.0.0.6" } else { "::6" });
        let arrived = || {
            let answer = client::request(&here, SERVICE_V4.parse().unwrap(), HTTP).ok()?;
            (answer.header("x-local") == Some(&local)).then_some(())
        };
        assert!(poll(START, arrived).is_some(), "{who}\n{}\n{}", client.story(), server.story());
        for service in [SERVICE_V4, SERVICE_V6] {
            converse(&here, service.parse().unwrap(), peer, &who);
        }
    }
    let both = [there.v4, there.v6];
    client.serve(setting::outbound(&both).resources());
    reaches_both(&here, both);
    let captured = capture.stop();
    assert!(!captured.has(SECRET), "{who}: the bridge has seen it in the clear");
    let records = captured.records();
    assert!(records > 100, "{who}: {records} TLS records");

    // What comes from outside of the mesh is seen, so the capture does capture.
    let capture = Capture::start(&network.hub);
    let answer = client::request(&stranger, there.v4, HTTP).unwrap();
    assert_eq!((answer.status(), answer.header("x-certificate")), (200, Some("none")), "{who}");
    assert!(capture.stop().has(SECRET), "{who}");
}

/// Every protocol once. `peer` is where the server's application sees its clients.
fn converse(here: &Pod, service: IpAddr, peer: &str, who: &str) {
    let answer = client::http1(here, service);
    assert_eq!(answer.header("x-peer"), Some(peer), "{who}");
    is_the_client(answer.header("x-certificate").unwrap_or_default(), who);
    client::websocket(here, service);
    is_the_client(&client::grpc(here, service), who);
    client::redis(here, service);
    assert_eq!(client::mail(here, service).to_string(), peer, "{who}");
}

/// The certificate that the server's proxy tells of is the client's.
fn is_the_client(told: &str, who: &str) {
    for part in
        ["By=spiffe://cluster.local/ns/demo/sa/server;", "URI=spiffe://cluster.local/ns/demo/sa/client"]
    {
        assert!(told.contains(part), "{who}: {told}");
    }
}

fn reaches_both(here: &Pod, both: [IpAddr; 2]) {
    let mut seen = [false; 2];
    let all = poll(START, || {
        let answer = client::request(here, SERVICE_V6.parse().unwrap(), HTTP).ok()?;
        for (seen, ip) in seen.iter_mut().zip(both) {
            *seen |= answer.header("x-local") == Some(&ip.to_string());
        }
        (seen == [true; 2]).then_some(())
    });
    assert!(all.is_some(), "{both:?}: {seen:?}");
}
