//! `--last-good-file`: a start without a control plane, files that are not to be used, and a control plane that comes back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sampan_tests::harness::load::{Load, LoadUpstream, Shape};
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::xds::bootstrap::{Place, Way};
use sampan_tests::harness::xds::{ControlPlane, Manner, Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};
use serde_json::Value;

const ADS: &str = "{resource_api_version: V3, ads: {}}";
const SHAPE: Shape =
    Shape { h1_connections: 8, h1_rate: 200, h2_connections: 1, h2_streams: 4, h2_rate: 100 };

/// A control plane, an upstream, and a place for the proxy's files.
struct Setting {
    plane: ControlPlane,
    upstream: LoadUpstream,
    dir: tempfile::TempDir,
    way: Way,
}

impl Setting {
    /// Two clusters, one of them with endpoints of its own discovery; two listeners, one with routes of its own.
    fn new(way: Way) -> Self {
        let (plane, upstream) = (ControlPlane::start(), LoadUpstream::start());
        plane.set(
            types::CLUSTER,
            [sample::eds_cluster("main", ADS, ""), sample::cluster("old", upstream.port)],
        );
        plane.set(types::ENDPOINT, [sample::endpoints("main", &[upstream.port])]);
        plane.set(
            types::LISTENER,
            [sample::listener("web", ADS, "routes"), sample::direct_listener("old", 418)],
        );
        let setting = Self { plane, upstream, dir: tempfile::tempdir().unwrap(), way };
        setting.routes(1, "old");
        setting
    }

    /// Routes that tell their generation and send the rest to a cluster.
    fn routes(&self, generation: u32, cluster: &str) {
        let told = format!(
            "{{match: {{path: /generation}}, direct_response: {{status: 200, body: {{inline_string: '{generation}'}}}}}}"
        );
        let rest = format!("{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}");
        self.plane.set(types::ROUTE, [sample::routes("routes", &[&told, &rest])]);
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("last-good")
    }

    fn launch(&self, more: &[&str]) -> Process {
        let (dir, place) = (self.dir.path(), Place::Port(self.plane.port));
        let config = self.way.bootstrap(&place, dir).render(&[], "");
        let file = self.file();
        let arguments = ["--last-good-file", file.to_str().unwrap(), "-l", "info", "--drain-time-s", "1"];
        Process::launch(Program::Sampan, &config, dir, &[&arguments[..], more].concat())
    }

    /// Runs a proxy with the control plane until the file is written, and ends both.
    fn write_file(&mut self) {
        let process = self.launch(&[]);
        serves(&process, "1");
        await_stat(&process, "last_good.write_success", |writes| writes > 0);
        assert_eq!(source(&process)["source"], "control_plane");
        drop(process);
        self.plane.stop();
    }
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("stderr.log")).unwrap_or_default()
}

/// Waits until a generation of the routes is served.
fn serves(process: &Process, generation: &str) -> u16 {
    let port = process.await_port("web", PATIENCE * 2);
    let port = port.unwrap_or_else(|| panic!("there is no listener:\n{}", process.stderr()));
    let told = poll(PATIENCE * 6, || (answer(port, "/generation") == generation).then_some(()));
    assert!(told.is_some(), "generation {generation} is not served:\n{}", process.stderr());
    port
}

fn answer(port: u16, path: &str) -> String {
    let message = connect(port).and_then(|mut wire| get(&mut wire, path));
    message.map_or_else(String::new, |message| String::from_utf8_lossy(&message.body).into_owned())
}

fn await_stat(process: &Process, name: &str, is_good: impl Fn(u64) -> bool) {
    let found = poll(PATIENCE * 4, || process.stat(name).filter(|value| is_good(*value)));
    assert!(found.is_some(), "{name} is {:?}:\n{}", process.stat(name), process.stderr());
}

/// What `/server_info` says of the configuration's source.
fn source(process: &Process) -> Value {
    let (_, body) = process.admin("GET", "/server_info");
    let info: Value = serde_json::from_str(&body).unwrap();
    info["configuration_source"].clone()
}

fn is_skipped() -> bool {
    std::env::var("SAMPAN_TESTS_ONLY").is_ok_and(|only| only == "envoy")
}

fn serves_from_the_file_and_gives_way(way: Way) {
    let mut setting = Setting::new(way);
    setting.write_file();

    // Nobody is there: the file serves, and everybody can see it.
    let process = setting.launch(&[]);
    let port = serves(&process, "1");
    assert_eq!(answer(port, "/x"), "load:/x");
    let told = source(&process);
    assert_eq!(told["source"], "last_good_file", "{told}");
    assert_eq!(told["path"].as_str(), setting.file().to_str());
    assert_eq!(process.stat("last_good.in_force"), Some(1));
    assert!(process.admin("GET", "/stats?filter=last_good.source").1.contains("last_good_file"));
    let said = log(setting.dir.path());
    assert!(said.contains("serving the last-good file") && said.contains("cannot connect"), "{said}");

    // It comes back with another configuration: nothing is lost while it takes over.
    let load = Load::start(port, SHAPE, &["a"]);
    let going = poll(PATIENCE, || (load.answered() > 50).then_some(()));
    assert!(going.is_some(), "no load: {}", process.stderr());
    setting.plane.remove(types::CLUSTER, &["old"]);
    setting.plane.remove(types::LISTENER, &["old"]);
    setting.routes(2, "main");
    setting.plane.restart();
    serves(&process, "2");
    await_stat(&process, "last_good.in_force", |value| value == 0);
    let (_, dump) = process.admin("GET", "/config_dump");
    assert!(
        dump.contains("\"main\"") && !dump.contains("\"old\""),
        "what was removed is still there: {dump}"
    );
    assert!(process.await_port("old", Duration::ZERO).is_none(), "the listener is still there");
    let figures = load.stop();
    assert_eq!(figures.lost, 0, "{:?}\n{}", figures.losses, process.stderr());
    assert_eq!(source(&process)["source"], "control_plane");

    // And the file follows.
    await_stat(&process, "last_good.write_success", |writes| writes > 0);
    drop(process);
    setting.plane.stop();
    let process = setting.launch(&[]);
    serves(&process, "2");
    assert!(process.await_port("old", Duration::ZERO).is_none());
    drop(setting.upstream);
}

#[test]
fn the_file_serves_until_a_delta_stream_takes_over() {
    if !is_skipped() {
        serves_from_the_file_and_gives_way(Way::DeltaAds);
    }
}

#[test]
fn the_file_serves_until_a_state_of_the_world_stream_takes_over() {
    if !is_skipped() {
        serves_from_the_file_and_gives_way(Way::Ads);
    }
}

#[test]
fn a_control_plane_that_says_nothing_is_as_good_as_none() {
    if is_skipped() {
        return;
    }
    let mut setting = Setting::new(Way::DeltaAds);
    setting.write_file();
    setting.plane.restart();
    setting.plane.behave(Manner::Silent);
    let process = setting.launch(&[]);
    serves(&process, "1");
    assert_eq!(source(&process)["reason"], "no answer yet");
    setting.plane.behave(Manner::Prompt);
    await_stat(&process, "last_good.in_force", |value| value == 0);
}

#[test]
fn a_resource_with_a_key_in_it_is_left_out_and_named() {
    if is_skipped() {
        return;
    }
    let setting = Setting::new(Way::DeltaAds);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/istio");
    let pem = |name: &str| std::fs::read_to_string(fixtures.join(name)).unwrap().replace('\n', "\\n");
    let (certificate, key) = (pem("workload-cert.pem"), pem("workload-key.pem"));
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let cluster = format!(
        "name: keyed\ntype: STATIC\nconnect_timeout: 1s\ntransport_socket: {{name: tls, typed_config: {{\"@type\": {tls}, \
         common_tls_context: {{tls_certificates: [{{certificate_chain: {{inline_string: \"{certificate}\"}}, private_key: \
         {{inline_string: \"{key}\"}}}}]}}}}}}\n"
    );
    setting.plane.put(types::CLUSTER, [Resource::yaml(types::CLUSTER, &cluster)]);
    let process = setting.launch(&[]);
    serves(&process, "1");
    await_stat(&process, "last_good.left_out", |count| count == 1);
    let file = String::from_utf8_lossy(&std::fs::read(setting.file()).unwrap()).into_owned();
    assert!(file.contains("routes") && !file.contains("PRIVATE KEY"), "{file}");
    let said = log(setting.dir.path());
    assert!(said.contains("last-good file: cluster keyed holds a secret and is left out"), "{said}");
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_replaced() {
    if is_skipped() {
        return;
    }
    let mut setting = Setting::new(Way::DeltaAds);
    setting.plane.stop();
    std::fs::write(setting.file(), "static_resources: {}\n").unwrap();
    let process = setting.launch(&[]);
    let said = poll(PATIENCE, || {
        log(setting.dir.path()).contains("is not used: it is not a last-good file").then_some(())
    });
    assert!(said.is_some(), "{}", process.stderr());
    assert_eq!(process.stat("last_good.in_force"), Some(0));
    assert_eq!(
        std::fs::read_to_string(setting.file()).unwrap(),
        "static_resources: {}\n",
        "it is left alone"
    );
    setting.plane.restart();
    serves(&process, "1");
    await_stat(&process, "last_good.write_success", |writes| writes > 0);
    assert!(std::fs::read(setting.file()).unwrap().starts_with(b"sampan-last-good 1 "));
}

#[test]
fn a_file_that_is_damaged_or_too_old_or_anothers_is_refused_with_the_reason() {
    if is_skipped() {
        return;
    }
    let mut setting = Setting::new(Way::DeltaAds);
    setting.write_file();
    let good = std::fs::read(setting.file()).unwrap();
    let written = Instant::now();
    let refuses = |setting: &Setting, arguments: &[&str], reason: &str| {
        let process = setting.launch(arguments);
        let said = poll(PATIENCE, || log(setting.dir.path()).contains(reason).then_some(()));
        assert!(said.is_some(), "no {reason:?}:\n{}", process.stderr());
        assert!(process.await_port("web", Duration::ZERO).is_none(), "it serves");
        assert_eq!(source(&process)["source"], "none");
    };
    std::fs::write(setting.file(), &good[..good.len() / 2]).unwrap();
    refuses(&setting, &[], "is not used: it is damaged: it has ");
    std::fs::write(setting.file(), &good).unwrap();
    refuses(&setting, &["--service-node", "another"], "it was written by node ");
    // Its age is told in whole seconds.
    poll(PATIENCE, || (written.elapsed() > Duration::from_secs(3)).then_some(()));
    refuses(&setting, &["--last-good-max-age-s", "1"], " s old, and --last-good-max-age-s is 1 s");
    let process = setting.launch(&["--last-good-max-age-s", "0"]);
    serves(&process, "1");
}
