//! The scripted control plane itself, held against Envoy: each way of getting configuration ends in traffic, and the record says
//! what was asked, accepted and refused. What is proven here is the harness that the other tests of xDS stand on.

use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::poll;
use sampan_tests::harness::xds::bootstrap::Way;
use sampan_tests::harness::xds::mesh::Mesh;
use sampan_tests::harness::xds::{ANSWER, Manner, sample, types};

fn each(way: Way, test: impl Fn(&Mesh)) {
    for program in programs() {
        test(&Mesh::start(program, way));
    }
}

/// Traffic flows, an update takes effect, a bad update is refused by name and what was served goes on.
fn comes_changes_and_is_refused(mesh: &Mesh) {
    mesh.await_status(200);
    let version = mesh.plane.put(
        types::ROUTE,
        [sample::routes("main", &["{match: {prefix: /}, direct_response: {status: 418}}"])],
    );
    mesh.await_status(418);
    if mesh.way != Way::Rest {
        mesh.plane.await_ack(types::ROUTE, &version);
    }
    // A route without any action is refused by the rules of the API.
    let version = mesh.plane.put(types::ROUTE, [sample::routes("main", &["{match: {prefix: /}}"])]);
    if mesh.way != Way::Rest {
        let error = mesh.plane.await_nack(types::ROUTE, &version);
        assert!(!error.is_empty());
    }
    mesh.await_status(418);
}

#[test]
fn aggregated() {
    each(Way::Ads, comes_changes_and_is_refused);
}

#[test]
fn aggregated_incremental() {
    each(Way::DeltaAds, comes_changes_and_is_refused);
}

#[test]
fn a_stream_for_each_type() {
    each(Way::Grpc, comes_changes_and_is_refused);
}

#[test]
fn an_incremental_stream_for_each_type() {
    each(Way::DeltaGrpc, comes_changes_and_is_refused);
}

#[test]
fn rest() {
    each(Way::Rest, comes_changes_and_is_refused);
}

#[test]
fn a_silent_slow_or_restarted_server_stops_no_traffic() {
    for program in programs() {
        let mut mesh = Mesh::start(program, Way::DeltaAds);
        mesh.await_status(200);
        mesh.plane.behave(Manner::Silent);
        let teapot = sample::routes("main", &["{match: {prefix: /}, direct_response: {status: 418}}"]);
        let version = mesh.plane.put(types::ROUTE, [teapot]);
        assert!(
            mesh.plane.answer(types::ROUTE, &version, Duration::from_millis(300)).is_none(),
            "nothing was sent"
        );
        mesh.await_status(200);
        mesh.plane.behave(Manner::Slow(Duration::from_millis(50)));
        mesh.plane.await_ack(types::ROUTE, &version);
        mesh.await_status(418);
        mesh.plane.behave(Manner::Prompt);
        mesh.plane.stop();
        mesh.await_status(418);
        let opened = mesh.plane.opened_streams();
        mesh.plane.restart();
        let reconnected = poll(ANSWER, || (mesh.plane.opened_streams() > opened).then_some(()));
        assert!(reconnected.is_some(), "no new stream:\n{}", mesh.plane.transcript());
    }
}
