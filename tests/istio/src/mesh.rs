//! istiod as it is installed with default settings, but run as a program of this machine. Another way to start it leaves out what a stock Envoy does
//! not have: Istio's own filters.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http::{Request, ask};
use crate::kubernetes::Kubernetes;
use crate::process::{Background, free_port, succeed, until};
use crate::tools::Tools;

/// What istiod sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settings {
    /// What an installation gives.
    Default,
    /// The same without `istio.metadata_exchange`, `istio.alpn` and `istio.stats`.
    Plain,
}

/// A running istiod.
pub struct Istiod {
    program: Background,
    debug: String,
}

/// Installs what istiod finds in a cluster: definitions, roles, settings, webhooks; and where its service is to be found.
pub fn install(tools: &Tools, kubernetes: &Kubernetes, gateway: &str) -> Result<()> {
    let definitions = tools.istio.join("gateway-api").to_string_lossy().into_owned();
    succeed(kubernetes.kubectl().args(["apply", "--server-side", "--filename", &definitions]))?;
    kubernetes.post("/api/v1/namespaces", &json!({"metadata": {"name": "istio-system"}}))?;
    let mut generate = tools.istio("istioctl");
    generate.args(["manifest", "generate", "--filename"]).arg(tools.tree.join("tests/istio/operator.yaml"));
    let manifests = succeed(&mut generate)?;
    // The second time for those whose definitions came with the first.
    if kubernetes.apply(&manifests).is_err() {
        until("Istio's manifests", Duration::from_secs(30), || kubernetes.apply(&manifests))?;
    }
    // istiod is no pod here.
    succeed(kubernetes.kubectl().args(["-n", "istio-system", "delete", "deployment,hpa,pdb", "--all"]))?;
    let ports: Vec<Value> =
        [("grpc-xds", 15010), ("https-dns", 15012), ("https-webhook", 15017), ("http-monitoring", 15014)]
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"}))
            .collect();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "istiod-here", "labels": {"kubernetes.io/service-name": "istiod"}},
        "endpoints": [{"addresses": [gateway], "conditions": {"ready": true}}], "ports": ports});
    kubernetes.post("/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices", &slice)?;
    Ok(())
}

impl Istiod {
    /// Starts it on the bridge, and waits until it is ready and its webhook admits pods.
    pub fn start(tools: &Tools, kubernetes: &Kubernetes, gateway: &str, settings: Settings) -> Result<Self> {
        providers(kubernetes, settings)?;
        let folder = tools.dir.join("istiod");
        std::fs::create_dir_all(&folder)?;
        let debug = format!("127.0.0.1:{}", free_port()?);
        let mut command = tools.istio("pilot-discovery");
        command.current_dir(&folder).args([
            "discovery",
            "--domain=cluster.local",
            "--kubeconfig",
            &kubernetes.kubeconfig,
        ]);
        command.arg(format!("--httpAddr={debug}")).arg(format!("--ctrlz_port={}", free_port()?));
        for (flag, port) in
            [("grpcAddr", 15010), ("secureGRPCAddr", 15012), ("httpsAddr", 15017), ("monitoringAddr", 15014)]
        {
            command.arg(format!("--{flag}={gateway}:{port}"));
        }
        for (name, value) in [
            ("REVISION", "default"),
            ("PILOT_CERT_PROVIDER", "istiod"),
            ("POD_NAME", "istiod-1"),
            ("POD_NAMESPACE", "istio-system"),
            ("SERVICE_ACCOUNT", "istiod"),
            ("CLUSTER_ID", "Kubernetes"),
            ("ENABLE_LEADER_ELECTION", "false"),
        ] {
            command.env(name, value);
        }
        if settings == Settings::Plain {
            command.env("PILOT_ENABLE_METADATA_EXCHANGE", "false").env("PILOT_ENABLE_ALPN_FILTER", "false");
        }
        let program = Background::start("istiod", &tools.dir, &mut command)?;
        let mut istiod = Self { program, debug };
        until("istiod", Duration::from_secs(90), || {
            istiod.program.alive()?;
            let answer = ask(&istiod.debug, &Request::get("/ready"), Duration::from_secs(2))?;
            ensure!(answer.status == 200, "status {}", answer.status);
            Ok(())
        })?;
        Ok(istiod)
    }

    /// One of its debug pages.
    pub fn page(&self, path: &str) -> Result<Vec<u8>> {
        Ok(ask(&self.debug, &Request::get(path), Duration::from_secs(30))?.body)
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}

/// Whether the proxies are to count with `istio.stats`, in the mesh's settings.
fn providers(kubernetes: &Kubernetes, settings: Settings) -> Result<()> {
    let path = "/api/v1/namespaces/istio-system/configmaps/istio";
    let map = kubernetes.get(path)?;
    let mesh = map["data"]["mesh"].as_str().context("no mesh settings")?;
    let (some, none) = ("metrics:\n  - prometheus", "metrics: []");
    let (from, to) = if settings == Settings::Plain { (some, none) } else { (none, some) };
    let indented = |text: &str| text.replace("\n  ", "\n    ");
    let changed = mesh.replace(from, to).replace(&indented(from), &indented(to));
    ensure!(changed.contains(to) || changed.contains(&indented(to)), "no metrics provider in:\n{mesh}");
    kubernetes.patch(path, &json!({"data": {"mesh": changed}})).map(drop)
}

/// Runs a command of `istioctl` on this mesh.
pub fn istioctl(tools: &Tools, kubernetes: &Kubernetes, arguments: &[&str]) -> Result<String> {
    let mut command: Command = tools.istio("istioctl");
    succeed(command.args(["--kubeconfig", &kubernetes.kubeconfig]).args(arguments))
}
