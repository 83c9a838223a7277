//! A large mesh at rest: 10,000 EDS clusters of 3 endpoints and 10,000 virtual hosts, by delta ADS.
//!
//! Measured: resident memory, how long from the first response to the first answer of a listener, how long one endpoint update takes
//! to be applied. Sampan is held to the bounds; Envoy's figures are printed beside.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::connect;
use sampan_tests::harness::upstream::Recorder;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::xds::bootstrap::{Place, Way};
use sampan_tests::harness::xds::{ControlPlane, Happened, Resource, sample, types};

const CLUSTERS: usize = 10_000;
const ADS: &str = "{resource_api_version: V3, ads: {}}";
const RESIDENT_KIB: u64 = 60 * 1024;
const FIRST_SERVING: Duration = Duration::from_secs(2);
const ONE_UPDATE: Duration = Duration::from_millis(5);
/// What must have happened by then, for the slowest of the two.
const PATIENCE: Duration = Duration::from_mins(2);
/// Which cluster traffic goes to.
const PROBE: usize = 7_777;

#[derive(Debug)]
struct Seen {
    resident_kib: u64,
    first_serving: Duration,
    /// The median of several.
    one_update: Duration,
}

fn name(number: usize) -> String {
    format!("outbound|80||service-{number}.namespace.svc.cluster.local")
}

/// Three endpoints of which each has this port; nobody connects to those of other clusters.
fn endpoints(number: usize, port: u16) -> Resource {
    sample::endpoints(&format!("'{}'", name(number)), &[port; 3])
}

fn routes() -> Resource {
    let mut yaml = String::from("name: main\nvirtual_hosts:\n");
    for number in 0..CLUSTERS {
        let cluster = name(number);
        writeln!(
            yaml,
            "- {{name: 'service-{number}:80', domains: ['service-{number}.namespace.svc.cluster.local', 'service-{number}'], routes: \
             [{{match: {{prefix: /}}, route: {{cluster: '{cluster}', timeout: 0s}}}}]}}"
        )
        .unwrap();
    }
    Resource::yaml(types::ROUTE, &yaml)
}

fn play(program: Program) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start();
    let upstreams = ["one", "two"].map(|name| RawUpstream::start(name, Manner::Http, Recorder::default()));
    plane.set(
        types::CLUSTER,
        (0..CLUSTERS).map(|number| sample::eds_cluster(&format!("'{}'", name(number)), ADS, "")),
    );
    plane.set(types::ENDPOINT, (0..CLUSTERS).map(|number| endpoints(number, upstreams[0].port)));
    plane.set(types::ROUTE, [routes()]);
    // Known beforehand, because a proxy that is busy with its configuration need not answer on its admin port.
    let port = free_port();
    plane.set(types::LISTENER, [sample::listener_on("web", port, ADS, "main")]);
    let config = Way::DeltaAds.bootstrap(&Place::Port(plane.port), dir.path()).render(&[], "");
    let process = Process::launch(program, &config, dir.path(), &[]);
    let began = poll(PATIENCE, || plane.conversation().iter().any(is_answer).then(Instant::now));
    let began = began.expect("the proxy asks");
    let port =
        process.await_port("web", PATIENCE).unwrap_or_else(|| panic!("no listener:\n{}", process.stderr()));
    let served = poll(PATIENCE, || (body(port).as_deref() == Some("one")).then_some(()));
    assert!(served.is_some(), "{program:?}: the probe is not served:\n{}", process.stderr());
    let first_serving = began.elapsed();
    if std::env::var_os("SAMPAN_TESTS_PRINT").is_some() {
        print(&plane, began);
    }
    let one_update = median(&plane, port, [upstreams[1].port, upstreams[0].port], ["two", "one"]);
    // At rest: what loading took has been given back.
    let resident = |process: &Process| process.resident_kib();
    poll(Duration::from_secs(5), || (resident(&process) <= RESIDENT_KIB).then_some(()));
    Seen { resident_kib: resident(&process), first_serving, one_update }
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// When what was said, to see whose time it was.
fn print(plane: &ControlPlane, began: Instant) {
    for event in plane.conversation() {
        let at = match &event {
            Happened::Asked(seen) => seen.at,
            Happened::Answered { at, .. } => *at,
            _ => continue,
        };
        println!("{:.3} s {event}", at.saturating_duration_since(began).as_secs_f32());
    }
}

fn is_answer(event: &Happened) -> bool {
    matches!(event, Happened::Answered { .. })
}

/// How long from the response with the probe's new endpoints to the first answer by the new one, as the median of several.
fn median(plane: &ControlPlane, port: u16, ports: [u16; 2], bodies: [&str; 2]) -> Duration {
    let mut took = Vec::new();
    for round in 0..21 {
        let version = plane.put(types::ENDPOINT, [endpoints(PROBE, ports[round % 2])]);
        let began = plane.await_event("the response with the new endpoints", |events| {
            events.iter().rev().take(8).find_map(|event| match event {
                Happened::Answered { at, version: sent, .. } if *sent == version => Some(*at),
                _ => None,
            })
        });
        // Not polled with pauses: they would be what is measured.
        while body(port).as_deref() != Some(bodies[round % 2]) {
            assert!(
                began.elapsed() < PATIENCE,
                "an endpoint update was not applied:\n{}",
                plane.transcript()
            );
        }
        took.push(began.elapsed());
        plane.await_ack(types::ENDPOINT, &version);
    }
    took.sort();
    took[took.len() / 2]
}

/// Which upstream answers the probe.
fn body(port: u16) -> Option<String> {
    let mut wire = connect(port)?;
    std::io::Write::write_all(
        &mut wire.stream,
        format!("GET / HTTP/1.1\r\nhost: service-{PROBE}\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .ok()?;
    let mut message = wire.head().ok()?;
    wire.body(&mut message, true, false);
    (message.status() == 200).then(|| String::from_utf8_lossy(&message.body).into_owned())
}

#[test]
fn a_large_mesh_at_rest_is_small_and_quick() {
    for program in programs() {
        let seen = play(program);
        println!(
            "{program:?}: {CLUSTERS} clusters and virtual hosts: resident {} MiB, first listener serving after {:.2} s, one endpoint \
             update after {:.1} ms",
            seen.resident_kib / 1024,
            seen.first_serving.as_secs_f32(),
            seen.one_update.as_secs_f32() * 1e3
        );
        if program == Program::Sampan {
            assert!(seen.resident_kib <= RESIDENT_KIB, "{seen:?}");
            assert!(seen.first_serving <= FIRST_SERVING, "{seen:?}");
            assert!(seen.one_update <= ONE_UPDATE, "{seen:?}");
        }
    }
}
