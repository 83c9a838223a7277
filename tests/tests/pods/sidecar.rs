//! A proxy in a pod, run as user 1337 (in TPROXY mode as root without its privileges), and the control plane and the agent that it alone has, by unix sockets.

use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::{Program, call};
use sampan_tests::harness::xds::{ControlPlane, Resource, types};

use crate::network::Pod;

/// How long a proxy may take to start and get its configuration, on a machine that has much else to do.
pub const START: Duration = Duration::from_secs(20);
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 15000);

/// Runs a program that its user may not be able to find: it is opened first. The first arguments are the user and what is left of the
/// privileges.
const AS_PROXY: &str = "exec 9<\"$0\"; uid=$1; caps=$2; shift 2; exec setpriv --reuid \"$uid\" --regid 1337 --clear-groups \
                        --inh-caps=\"$caps\" --ambient-caps=\"$caps\" --bounding-set=\"$caps\" --no-new-privs /proc/self/fd/9 \"$@\"";

/// A pod's proxy.
pub struct Sidecar<'p> {
    pub pod: &'p Pod,
    pub plane: ControlPlane,
    pub program: Program,
    transparent: bool,
    child: Option<Child>,
    dir: tempfile::TempDir,
}

impl<'p> Sidecar<'p> {
    /// A control plane and an agent that have nothing yet, and no proxy.
    pub fn new(program: Program, pod: &'p Pod) -> Self {
        // With `SAMPAN_TESTS_ONLY=envoy`, Envoy plays all parts.
        let program = programs().into_iter().find(|played| *played == program).unwrap_or(Program::Envoy);
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let sockets = ["XDS", "SDS"].map(|name| dir.path().join(name));
        let plane = ControlPlane::start_with_sockets(&[&sockets[0], &sockets[1]]);
        for socket in sockets {
            std::fs::set_permissions(socket, Permissions::from_mode(0o777)).unwrap();
        }
        Self { pod, plane, program, transparent: false, child: None, dir }
    }

    /// As for TPROXY: its user is root, its group 1337, and it has NET_ADMIN, which foreign addresses need.
    pub fn transparent(mut self) -> Self {
        self.transparent = true;
        self
    }

    /// Serves resources; those of other types stay.
    pub fn serve(&self, resources: Vec<(&'static str, Vec<Resource>)>) {
        for (type_url, resources) in resources {
            self.plane.put(type_url, resources);
        }
    }

    /// What the agent says of the workload, from now on.
    pub fn identify(&self, secrets: Vec<Resource>) {
        self.plane.put(types::SECRET, secrets);
    }

    /// Starts the proxy.
    pub fn launch(&mut self) {
        let config = self.dir.path().join("bootstrap.yaml");
        std::fs::write(&config, self.bootstrap()).unwrap();
        let log = |name: &str| File::create(self.dir.path().join(name)).unwrap();
        let mut command = self.pod.namespace.command("sh");
        command
            .args(["-c", AS_PROXY])
            .arg(self.program.path().canonicalize().unwrap())
            .args(if self.transparent { ["0", "-all,+net_admin"] } else { ["1337", "-all"] })
            .arg("-c")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "2", "-l", "warning", "--drain-time-s", "1"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log("stdout.log"))
            .stderr(log("stderr.log"));
        self.child = Some(command.spawn().expect("ip can be run"));
    }

    /// Waits until it is ready.
    pub fn await_ready(&self) {
        let ready = poll(START, || (self.admin("/ready")?.trim() == "LIVE").then_some(()));
        assert!(ready.is_some(), "{}", self.story());
    }

    /// Starts it and waits until it is ready.
    pub fn start(mut self) -> Self {
        self.launch();
        self.await_ready();
        self
    }

    /// The body of an answer of its admin API.
    pub fn admin(&self, path: &str) -> Option<String> {
        self.pod.namespace.inside(|| call(SocketAddr::from(ADMIN), "GET", path)).map(|(_, body)| body)
    }

    /// The sum of the counters and gauges whose name ends so.
    pub fn stat(&self, end: &str) -> u64 {
        let text = self.admin("/stats").unwrap_or_default();
        let values = text.lines().filter_map(|line| line.rsplit_once(": "));
        values
            .filter(|(name, _)| name.ends_with(end))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Waits until such a sum is at least this.
    pub fn await_stat(&self, end: &str, least: u64) {
        let found = poll(START, || (self.stat(end) >= least).then_some(()));
        assert!(found.is_some(), "{end} is {}\n{}", self.stat(end), self.story());
    }

    /// What it and the control plane said, for a failing test's message.
    pub fn story(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("Deprecated field")).collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        let listeners = self.admin("/listeners").unwrap_or_default();
        format!("{:?} in {:?}\n{last}\n{listeners}\n{}", self.program, self.pod.v4, self.plane.transcript())
    }

    fn bootstrap(&self) -> String {
        let source = "{ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}";
        let ip = self.pod.v4;
        format!(
            "node: {{id: 'sidecar~{ip}~pod.demo~demo.svc.cluster.local', cluster: pod.demo}}\n\
             admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}\n\
             dynamic_resources:\n  lds_config: {source}\n  cds_config: {source}\n  \
             ads_config: {{api_type: DELTA_GRPC, transport_api_version: V3, set_node_on_first_message_only: true, \
             grpc_services: [{{envoy_grpc: {{cluster_name: xds-grpc}}}}]}}\n\
             static_resources:\n  clusters:\n  {}\n  {}\n",
            ADMIN.1,
            agent_cluster("xds-grpc", &self.dir.path().join("XDS")),
            agent_cluster("sds-grpc", &self.dir.path().join("SDS")),
        )
    }
}

fn agent_cluster(name: &str, socket: &Path) -> String {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    format!(
        "- {{name: {name}, type: STATIC, connect_timeout: 1s, typed_extension_protocol_options: {{{options}: {{'@type': \
         type.googleapis.com/{options}, explicit_http_config: {{http2_protocol_options: {{}}}}}}}}, load_assignment: \
         {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{pipe: {{path: '{}'}}}}}}}}]}}]}}}}",
        socket.display()
    )
}

impl Drop for Sidecar<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
