//! Pods in TPROXY mode: no address is changed on the way, and the application sees its client's own.

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;

use crate::application::{self, HTTP};
use crate::client;
use crate::inbound::{self, Mode};
use crate::network::Network;
use crate::outbound::SERVICE_V4;
use crate::setting;
use crate::sidecar::START;

#[test]
fn the_application_sees_its_clients_own_address() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for program in [Sampan, Envoy] {
            scope.spawn(move || sees(program));
        }
    });
}

fn sees(program: Program) {
    let network = Network::new();
    let (here, there, strangers) = (network.pod(), network.pod(), [network.pod(), network.pod()]);
    application::start(&there);
    here.intercept();
    there.intercept_by("TPROXY");
    let authority = Authority::new("mesh");
    let server = setting::server(program, &there, Mode::Permissive, &authority).transparent();
    server.serve(inbound::transparent(Mode::Permissive));
    let server = server.start();
    let client = setting::client(Sampan, &here, &[there.v4], &authority).start();
    // Two clients in turn: a connection to the application is its client's alone.
    for stranger in strangers.iter().chain(&strangers) {
        for address in [there.v4, there.v6] {
            let answer = client::request(stranger, address, HTTP);
            let answer =
                answer.unwrap_or_else(|end| panic!("{program:?} {address}: {end:?}\n{}", server.story()));
            let peer = stranger.address_like(address).to_string();
            assert_eq!((answer.status(), answer.header("x-peer")), (200, Some(&*peer)), "{program:?}");
            assert_eq!(answer.header("x-local"), Some(&*address.to_string()), "{program:?}");
        }
    }
    // The mesh's clients too, behind mutual TLS.
    let service = SERVICE_V4.parse().unwrap();
    let ready =
        poll(START, || client::request(&here, service, HTTP).ok().filter(|answer| answer.status() == 200));
    assert!(ready.is_some(), "{program:?}\n{}\n{}", client.story(), server.story());
    let answer = client::http1(&here, service);
    assert_eq!(answer.header("x-peer"), Some(&*here.v4.to_string()), "{program:?}");
    client::redis(&here, service);
    assert_eq!(client::mail(&here, service), here.v4, "{program:?}");
}
