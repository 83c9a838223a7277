//! Sovereign, a control plane in Python that renders resources from templates and serves them by REST: clusters, endpoints,
//! listeners and routes, and what changes in its context while it runs.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::peer::{Peer, prepare};
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::upstream::Recorder;
use sampan_tests::harness::upstream::h1::{Manner, RawUpstream};
use sampan_tests::harness::xds::bootstrap::{Place, Way};

/// Python takes its time to start, and sovereign reads its context once a second.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts sovereign in a folder of its own on a free port, and waits until it listens.
fn start(dir: &Path, upstream: u16) -> (Peer, u16) {
    let home = prepare("sovereign");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sovereign");
    for file in ["sovereign.yaml", "clusters.yaml", "endpoints.yaml", "listeners.yaml", "routes.yaml"] {
        std::fs::copy(ours.join(file), dir.join(file)).unwrap();
    }
    world(dir, upstream, false);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(home.join("bin/sovereign"));
    command
        .env("SOVEREIGN_CONFIG", "file://sovereign.yaml")
        .env("SOVEREIGN_HOST", "127.0.0.1")
        .env("SOVEREIGN_PORT", port.to_string())
        .env("SOVEREIGN_WORKERS", "1");
    let mut peer = Peer::start_with("sovereign", &mut command, dir);
    let listens = poll(LIMIT, || {
        let ended = peer.ended();
        assert!(ended.is_none(), "sovereign ended ({ended:?}):\n{}", peer.output());
        connect(port).and_then(|mut wire| get(&mut wire, "/healthcheck"))
    });
    assert!(listens.is_some(), "sovereign does not answer:\n{}", peer.output());
    (peer, port)
}

/// What the templates are rendered from.
fn world(dir: &Path, upstream: u16, teapot: bool) {
    let part = dir.join("world.part");
    std::fs::write(&part, format!("upstream: {upstream}\nteapot: {teapot}\n")).unwrap();
    std::fs::rename(part, dir.join("world.yaml")).unwrap();
}

/// Waits until a request is answered with this status and body.
fn await_answer(program: Program, process: &Process, peer: &Peer, path: &str, status: u16, body: &str) {
    let port =
        process.await_port("web", LIMIT).unwrap_or_else(|| panic!("no listener:\n{}", process.stderr()));
    let mut last = None;
    let found = poll(LIMIT, || {
        last = connect(port).and_then(|mut wire| get(&mut wire, path));
        last.as_ref().is_some_and(|m| m.status() == status && m.body == body.as_bytes()).then_some(())
    });
    assert!(found.is_some(), "{program:?}: {path}: {last:?}\n{}\n{}", process.stderr(), peer.output());
}

#[test]
fn serves_and_changes_all_four_types() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = ("one", "two");
        let [first, second] =
            [one, two].map(|name| RawUpstream::start(name, Manner::Http, Recorder::default()));
        let (peer, port) = start(dir.path(), first.port);
        let folder = tempfile::tempdir().unwrap();
        let config = Way::Rest.bootstrap(&Place::Port(port), folder.path()).render(&[], "");
        let process = Process::launch(program, &config, folder.path(), &[]);
        await_answer(program, &process, &peer, "/", 200, one);
        await_answer(program, &process, &peer, "/teapot", 200, one);
        world(dir.path(), second.port, true);
        await_answer(program, &process, &peer, "/", 200, two);
        await_answer(program, &process, &peer, "/teapot", 418, "");
        let rejected = process.stats("update_rejected");
        let refused: Vec<_> = rejected.iter().filter(|(_, count)| **count > 0).collect();
        assert!(refused.is_empty(), "{program:?} refused: {refused:?}");
        println!("sovereign: {program:?} passed");
    }
}
