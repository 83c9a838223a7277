//! Kubernetes without nodes: etcd, the API server, and those controllers that make pods of deployments and endpoints of pods.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::http::{Request, ask};
use crate::process::{Background, feed, free_port, succeed, until};
use crate::tools::Tools;

/// The addresses of services. Nothing answers there: the proxies take over before packets leave a pod.
pub const SERVICES: &str = "10.96.0.0/16";
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,endpointslice-controller,namespace-controller,serviceaccount-controller,garbage-collector-controller";
const PATIENCE: Duration = Duration::from_mins(1);

/// The API, and how to ask it.
pub struct Kubernetes {
    /// `kubectl proxy`, which adds our token.
    proxy: String,
    pub kubeconfig: String,
    kubectl: Command,
    _programs: Vec<Background>,
}

impl Kubernetes {
    /// Starts everything; the API is ready when this returns.
    pub fn start(tools: &Tools) -> Result<Self> {
        let dir = &tools.dir;
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (etcd, peer, secure, proxy) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let etcd = format!("http://127.0.0.1:{etcd}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut programs = Vec::new();
        let mut command = Command::new("etcd");
        command.args(["--data-dir", &path("etcd"), "--unsafe-no-fsync", "--log-level=warn"]);
        command.args(["--listen-client-urls", &etcd, "--advertise-client-urls", &etcd]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        programs.push(Background::start("etcd", dir, &mut command)?);

        succeed(Command::new("openssl").args(["genrsa", "-out", &path("sa.key"), "2048"]))?;
        succeed(Command::new("openssl").args([
            "rsa",
            "-in",
            &path("sa.key"),
            "-pubout",
            "-out",
            &path("sa.pub"),
        ]))?;
        let token = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        std::fs::write(path("tokens.csv"), format!("{token},admin,admin,\"system:masters\"\n"))?;
        let mut command = tools.kubernetes("kube-apiserver");
        command.args([
            "--etcd-servers",
            &etcd,
            "--secure-port",
            &secure.to_string(),
            "--cert-dir",
            &path("api"),
        ]);
        command.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ]);
        command
            .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"]);
        command.args([
            "--service-account-key-file",
            &path("sa.pub"),
            "--token-auth-file",
            &path("tokens.csv"),
        ]);
        command.args(["--service-account-signing-key-file", &path("sa.key")]);
        command.args(["--service-cluster-ip-range", SERVICES, "--disable-admission-plugins=ServiceAccount"]);
        // There is no kube-proxy: webhooks are called at their endpoints.
        command.arg("--enable-aggregator-routing=true");
        programs.push(Background::start("kube-apiserver", dir, &mut command)?);

        let kubeconfig = path("kubeconfig");
        let server = format!("https://127.0.0.1:{secure}");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "live",
            "clusters": [{"name": "live", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "live", "context": {"cluster": "live", "user": "admin"}}]});
        std::fs::write(&kubeconfig, config.to_string())?;
        let mut kubectl = tools.kubernetes("kubectl");
        kubectl.args(["--kubeconfig", &kubeconfig]);
        let mut command = tools.kubernetes("kubectl");
        command.args(["--kubeconfig", &kubeconfig, "proxy", "--port", &proxy.to_string()]);
        programs.push(Background::start("kubectl-proxy", dir, &mut command)?);
        let kubernetes =
            Self { proxy: format!("127.0.0.1:{proxy}"), kubeconfig, kubectl, _programs: Vec::new() };
        until("Kubernetes' API", PATIENCE, || {
            programs.iter_mut().try_for_each(Background::alive)?;
            let answer = ask(&kubernetes.proxy, &Request::get("/readyz"), Duration::from_secs(5))?;
            ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
            Ok(())
        })?;

        let mut command = tools.kubernetes("kube-controller-manager");
        command.args(["--kubeconfig", &kubernetes.kubeconfig, "--leader-elect=false", "--secure-port=0"]);
        command.arg(format!("--controllers={CONTROLLERS}"));
        programs.push(Background::start("kube-controller-manager", dir, &mut command)?);
        Ok(Self { _programs: programs, ..kubernetes })
    }

    /// `kubectl`, to be given arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.kubectl.get_program());
        command.args(self.kubectl.get_args());
        command
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
        feed(self.kubectl().args(arguments), manifests).map(drop)
    }

    /// Takes away what manifests made.
    pub fn delete(&self, manifests: &str) -> Result<()> {
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "--filename=-"];
        feed(self.kubectl().args(arguments), manifests).map(drop)
    }

    /// What is at a path of the API.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, "", b"")
    }

    /// Creates something.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// Changes the named fields.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("PATCH", path, "application/merge-patch+json", body.to_string().as_bytes())
    }

    /// Takes something away, without waiting for what belongs to it.
    pub fn remove(&self, path: &str) -> Result<Value> {
        let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        self.send("DELETE", path, "application/json", options.to_string().as_bytes())
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Value> {
        let answer = ask(&self.proxy, &Request { method, path, kind, body }, Duration::from_secs(30))?;
        answer.json().map_err(|error| error.context(format!("{method} {path}")))
    }
}
