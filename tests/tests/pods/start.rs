//! The order in which a pod starts: applications that connect before the proxy is there, before it has its configuration, before it
//! has its certificate, and before the server's proxy has.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;
use sampan_tests::harness::xds::types;

use crate::application::{self, HTTP};
use crate::client;
use crate::identity::{account, secrets};
use crate::inbound::{self, Mode};
use crate::network::{Network, Pod};
use crate::outbound::SERVICE_V4;
use crate::setting;
use crate::sidecar::{START, Sidecar};

/// A connection that cannot be served is told so within this.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn whoever_is_early_is_refused_and_served_once_all_is_there() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for program in [Sampan, Envoy] {
            scope.spawn(move || early(program));
        }
    });
}

fn early(program: Program) {
    let network = Network::new();
    let (here, there) = (network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let authority = Authority::new("mesh");
    is_refused(&here, "without a proxy");
    let mut client = Sidecar::new(program, &here);
    client.launch();
    let up = poll(START, || client.admin("/ready").filter(|answer| !answer.is_empty()));
    assert!(up.is_some(), "{}", client.story());
    is_refused(&here, "without a configuration");
    client.serve(setting::outbound(&[there.v4]).resources());
    client.serve(inbound::resources(Mode::Permissive));
    client.plane.await_event("the listeners are asked for", |events| {
        events.iter().any(|event| event.to_string().contains(types::short(types::SECRET))).then_some(())
    });
    // The clusters want a certificate, so there is no way to the service yet.
    is_not_served(&here, "without a certificate");
    client.identify(secrets(&account("client"), &authority, &[&authority]));
    client.await_ready();
    is_not_served(&here, "without the server's proxy");
    let server = setting::server(program, &there, Mode::Strict, &authority).start();
    let served = poll(START, || status(&here).filter(|status| *status == 200));
    assert!(served.is_some(), "{program:?}\n{}\n{}", client.story(), server.story());
}

fn status(pod: &Pod) -> Option<u16> {
    client::request(pod, SERVICE_V4.parse().unwrap(), HTTP).ok().map(|answer| answer.status())
}

/// The connection itself is refused, at once.
#[track_caller]
fn is_refused(pod: &Pod, when: &str) {
    let began = Instant::now();
    let service: IpAddr = SERVICE_V4.parse().unwrap();
    let error = pod.connect(SocketAddr::new(service, HTTP)).expect_err(when);
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{when}");
    assert!(began.elapsed() < SOON, "{when}: {:?}", began.elapsed());
}

/// A request is refused in one way or another, within its time.
#[track_caller]
fn is_not_served(pod: &Pod, when: &str) {
    let began = Instant::now();
    let status = status(pod).unwrap_or(0);
    assert!(status == 0 || status == 503, "{when}: {status}");
    assert!(began.elapsed() < SOON, "{when}: {:?}", began.elapsed());
}
