//! What all churn tests share: a proxy with four clusters behind one listener, load on it, and the turns they take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sampan_tests::harness::load::{Load, LoadUpstream, Shape};
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::solo::{connect, get};
use sampan_tests::harness::xds::bootstrap::{Place, Way};
use sampan_tests::harness::xds::{ControlPlane, Resource, sample, types};
use sampan_tests::harness::{PATIENCE, poll};

/// Moderate, so that on two cores the proxy is not what the load waits for.
pub const SHAPE: Shape =
    Shape { h1_connections: 24, h1_rate: 1_000, h2_connections: 4, h2_streams: 6, h2_rate: 500 };
/// The paths of the load; each leads to the cluster of that name.
pub const CLUSTERS: &[&str] = &["c0", "c1", "c2", "c3"];
/// Between two updates: 40 per second.
pub const PACE: Duration = Duration::from_millis(25);

/// `full` where `SAMPAN_CHURN=full` asks for it, else `reduced`.
pub fn count(full: usize, reduced: usize) -> usize {
    if std::env::var("SAMPAN_CHURN").is_ok_and(|value| value == "full") { full } else { reduced }
}

/// Load tests take turns: two at once would measure each other.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proxy, its control plane and the upstreams.
pub struct Setting {
    pub plane: ControlPlane,
    pub process: Process,
    pub upstreams: Vec<LoadUpstream>,
    /// An endpoint that comes and goes.
    pub spare: LoadUpstream,
    pub load: Load,
    _dir: tempfile::TempDir,
}

impl Setting {
    pub fn start(program: Program) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plane = ControlPlane::start();
        let upstreams: Vec<LoadUpstream> = CLUSTERS.iter().map(|_| LoadUpstream::start()).collect();
        plane.set(types::CLUSTER, CLUSTERS.iter().map(|name| cluster(name, 0)));
        let endpoints = CLUSTERS.iter().zip(&upstreams);
        plane.set(
            types::ENDPOINT,
            endpoints.map(|(name, upstream)| sample::endpoints(name, &[upstream.port])),
        );
        plane.set(types::LISTENER, [listener(0, 5), sample::listener("side", ADS, "side")]);
        plane.set(types::ROUTE, [routes(0), sample::route_to("side", "c0")]);
        let config = Way::DeltaAds.bootstrap(&Place::Port(plane.port), dir.path()).render(&[], "");
        let arguments = ["--drain-time-s", "2"];
        let process = Process::launch(program, &config, dir.path(), &arguments);
        let port = process
            .await_port("web", PATIENCE)
            .unwrap_or_else(|| panic!("no listener: {}", process.stderr()));
        let served = poll(PATIENCE, || (answer(port, "/c3/x").0 == 200).then_some(()));
        assert!(served.is_some(), "{program:?} does not serve:\n{}", process.stderr());
        let load = Load::start(port, SHAPE, CLUSTERS);
        Self { plane, process, upstreams, spare: LoadUpstream::start(), load, _dir: dir }
    }

    /// How many connections the upstreams have accepted, the spare's apart.
    pub fn upstream_connections(&self) -> usize {
        self.upstreams.iter().map(LoadUpstream::accepted).sum()
    }

    /// Which generation of the routes the proxy serves.
    pub fn generation(&self) -> String {
        let port = self.process.await_port("web", PATIENCE).expect("the listener is there");
        answer(port, "/generation").1
    }

    /// Waits until the routes of a generation are served; how long it took.
    pub fn await_generation(&self, generation: usize) -> Duration {
        let began = std::time::Instant::now();
        let wanted = generation.to_string();
        let mut last = String::new();
        let found = poll(PATIENCE, || {
            last = self.generation();
            (last == wanted).then_some(())
        });
        assert!(found.is_some(), "generation {last} instead of {wanted}:\n{}", self.plane.transcript());
        began.elapsed()
    }
}

/// The `ConfigSource` of everything here.
pub const ADS: &str = "{resource_api_version: V3, ads: {}}";

/// One request on a connection of its own: status and body.
pub fn answer(port: u16, path: &str) -> (u16, String) {
    let message = connect(port).and_then(|mut wire| get(&mut wire, path));
    message.map_or((0, String::new()), |m| (m.status(), String::from_utf8_lossy(&m.body).into_owned()))
}

/// A cluster; versions differ in what no connection has to notice.
pub fn cluster(name: &str, version: usize) -> Resource {
    let timeout = 1 + version % 2;
    let more = format!(
        "connect_timeout: {timeout}s\ncircuit_breakers: {{thresholds: [{{max_connections: {}}}]}}",
        4_000 + version % 7
    );
    sample::eds_cluster(name, ADS, &more)
}

/// The routes to all clusters, and one that tells the generation.
pub fn routes(generation: usize) -> Resource {
    let mut list = vec![format!(
        "{{match: {{path: /generation}}, direct_response: {{status: 200, body: {{inline_string: '{generation}'}}}}}}"
    )];
    if generation % 2 == 1 {
        list.push(format!("{{match: {{prefix: /unused-{generation}}}, route: {{cluster: c0}}}}"));
    }
    list.extend(
        CLUSTERS.iter().map(|name| format!("{{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}")),
    );
    sample::routes("main", &list.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The listener: a chain for everybody, which never changes, and one for an address nobody comes from, which does; and a field
/// of the listener that has nothing to do with an open connection.
pub fn listener(other_chain: usize, filters_timeout: usize) -> Resource {
    let everybody = sample::http_filter("web", ADS, "main", "");
    let nobody = sample::http_filter(&format!("other{other_chain}"), ADS, "main", "");
    let chains = format!(
        "[{{name: everybody, filters: [{everybody}]}}, {{name: nobody, filter_chain_match: {{source_prefix_ranges: \
         [{{address_prefix: 127.0.0.99, prefix_len: 32}}]}}, filters: [{nobody}]}}]"
    );
    sample::listener_with("web", &format!("listener_filters_timeout: {filters_timeout}s"), &chains)
}
