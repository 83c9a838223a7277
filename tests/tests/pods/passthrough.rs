//! Traffic that is no service's: passed through with its original destination, into a black hole, or back to the proxy itself.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;
use sampan_tests::harness::wire::{End, Message};

use crate::application::{self, HTTP, MAIL};
use crate::client;
use crate::network::{Network, Pod};
use crate::outbound::{Outbound, Policy};
use crate::setting;
use crate::sidecar::START;

/// A port that no service has.
const OTHER: u16 = 7777;
/// Another one, of an application that speaks HTTP.
const OTHER_HTTP: u16 = 7778;
/// What is neither TLS nor HTTP.
const WORDS: &[u8] = b"\0\0\0\x08no http\r\n\r\n";

#[test]
fn what_is_no_services_goes_where_it_was_going() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for program in [Sampan, Envoy] {
            scope.spawn(move || passes(program));
        }
    });
}

fn passes(program: Program) {
    let network = Network::new();
    let (pod, stranger) = (network.pod(), network.pod());
    application::start(&stranger);
    for ip in ["0.0.0.0", "::"] {
        let listener = application::listen(&pod, ip.parse().unwrap(), OTHER);
        application::serve(listener, |mut stream| {
            stream.read_exact(&mut [0; WORDS.len()]).ok()?;
            write!(stream, "{}", stream.peer_addr().ok()?.ip()).ok()
        });
        application::serve(application::listen(&pod, ip.parse().unwrap(), OTHER_HTTP), application::http);
    }
    pod.intercept();
    let authority = Authority::new("mesh");
    let sidecar = setting::client(program, &pod, &[stranger.v4], &authority).start();
    for there in [stranger.v4, stranger.v6] {
        let here = pod.address_like(there);
        // Out: to an address that is no service's, by TCP and by HTTP, and seen from the pod's own address.
        assert_eq!(client::mail(&pod, there), here, "{program:?}");
        let answer = ask(&pod, there, HTTP).unwrap();
        assert_eq!(answer.header("x-peer"), Some(&*here.to_string()), "{program:?}");
        // In: to a port that is no service's.
        let inbound = if there.is_ipv4() { "127.0.0.6" } else { "::6" };
        assert_eq!(said(&stranger, here, OTHER), inbound, "{program:?}");
        // That it speaks HTTP is noticed, and its proxy says so.
        let answer = ask(&stranger, here, OTHER_HTTP).unwrap();
        assert_eq!((answer.header("x-peer"), answer.header("server")), (Some(inbound), Some("istio-envoy")));
        // Nobody listens there.
        assert_eq!(said(&stranger, here, OTHER + 2), "", "{program:?}");
    }
    let clusters = sidecar.admin("/clusters").unwrap();
    for there in [stranger.v4, stranger.v6] {
        let destination = SocketAddr::new(there, MAIL);
        let lines = format!("PassthroughCluster::{destination}::hostname::PassthroughCluster{destination}");
        assert!(clusters.contains(&lines), "{program:?}: {lines} in\n{clusters}");
    }
    sidecar.await_stat("PassthroughCluster;.membership_change", 4);
    loops(program, &pod, &stranger, &sidecar);

    sidecar.serve(Outbound { policy: Policy::BlackHole, ..setting::outbound(&[stranger.v4]) }.resources());
    let closed = poll(START, || said(&pod, stranger.v4, MAIL).is_empty().then_some(()));
    assert!(closed.is_some(), "{program:?}\n{}", sidecar.story());
    let refused = poll(START, || (ask(&pod, stranger.v4, HTTP).ok()?.status() == 503).then_some(()));
    assert!(refused.is_some(), "{program:?}\n{}", sidecar.story());
}

/// Connections to the proxy's own ports end, and none begets another.
fn loops(program: Program, pod: &Pod, stranger: &Pod, sidecar: &crate::sidecar::Sidecar<'_>) {
    for port in [15001, 15006] {
        for ip in [pod.v4, pod.v6] {
            assert_eq!(said(stranger, ip, port), "", "{program:?}: from outside to {ip}:{port}");
            assert_eq!(said(pod, ip, port), "", "{program:?}: from inside to {ip}:{port}");
        }
    }
    if sidecar.program == Sampan {
        // Port 15001 comes in by the inbound side, which passes it on, but not to the outbound side.
        sidecar.await_stat("original_dst_self_connect", 2);
        let log = sidecar.story();
        assert!(log.contains("where this proxy listens; refused"), "{log}");
    }
    let open = sidecar.stat("downstream_cx_active");
    assert!(open < 20, "{program:?}: {open} connections are open");
}

/// A request to a host that is no service's.
fn ask(pod: &Pod, ip: IpAddr, port: u16) -> Result<Message, End> {
    let mut wire = client::wire(pod, SocketAddr::new(ip, port)).map_err(|_| End::Reset)?;
    client::post(&mut wire, "elsewhere.example", "hello")
}

/// All that is said on a connection. The client speaks first, as it must where the proxy has to find out what it speaks.
fn said(pod: &Pod, ip: IpAddr, port: u16) -> String {
    let Ok(mut stream) = pod.connect(SocketAddr::new(ip, port)) else { return String::new() };
    // Whoever is refused may be gone already.
    stream.write_all(WORDS).ok();
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("{ip}:{port} is silent: {text:?}")
        }
        _ => text,
    }
}
