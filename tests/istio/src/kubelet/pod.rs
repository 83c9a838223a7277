//! The life of a pod: a node, a network, volumes; init containers one after the other, of which those that go on running are sidecars and must be
//! started before the next; the application; then readiness, until it is to go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::container::Sandbox;
use super::probe::passes;
use super::{NODES, Node, list, text, volumes};
use crate::image::WORKLOAD;
use crate::process::{succeed, until};

/// From its creation to its deletion.
pub fn live(node: &Node, mut pod: Value, stop: &AtomicBool) -> Result<()> {
    let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    if text(&pod, "/spec/nodeName").is_empty() {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": NODES[0].0});
        let binding =
            json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
        node.kubernetes.post(&format!("{path}/binding"), &binding)?;
        pod["spec"]["nodeName"] = json!(NODES[0].0);
    }
    if text(&pod, "/spec/serviceAccountName").is_empty() {
        pod["spec"]["serviceAccountName"] = json!("default");
    }
    let address = node.address();
    pod["status"]["podIP"] = json!(address);
    pod["status"]["hostIP"] = json!(node.podman.gateway());
    let dir = node.dir.join("pods").join(text(&pod, "/metadata/uid"));
    let sandbox = Sandbox { node, pod: &pod, name: format!("{namespace}_{name}"), dir: &dir };
    let lived = sandbox.start_all(&path, &address, stop);
    let lived = lived.and_then(|()| sandbox.watch(&path, &address, stop));
    // One that failed stays for whoever looks at it, until it is deleted.
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
    sandbox.end(&path, &address);
    lived
}

impl Sandbox<'_> {
    fn start_all(&self, path: &str, address: &str, stop: &AtomicBool) -> Result<()> {
        std::fs::create_dir_all(self.dir)?;
        let mut run = self.node.podman.command();
        run.args(["run", "--detach", "--pull=never", "--name", &self.name, "--ip", address]);
        run.args(["--network", self.node.podman.network()]);
        for sysctl in list(&self.pod["spec"]["securityContext"], "sysctls") {
            run.arg(format!("--sysctl={}={}", text(sysctl, "/name"), text(sysctl, "/value")));
        }
        succeed(run.args([WORKLOAD, "/echo", "pause"]))?;
        self.open_streams()?;
        self.report(path, address, false)?;
        volumes::make(self.node, self.pod, self.dir)?;
        let spec = &self.pod["spec"];
        for container in list(spec, "initContainers") {
            if text(container, "/restartPolicy") != "Always" {
                self.complete(container)?;
                continue;
            }
            self.start(container)?;
            let period = container["startupProbe"]["periodSeconds"].as_u64().unwrap_or(10);
            let attempts = container["startupProbe"]["failureThreshold"].as_u64().unwrap_or(3);
            let patience = Duration::from_secs((period * attempts).min(60));
            until(&format!("start-up of {}", text(container, "/name")), patience, || {
                let gone = stop.load(Ordering::Relaxed);
                ensure!(gone || passes(container, "startupProbe", address), "the probe fails");
                Ok(())
            })?;
        }
        list(spec, "containers").try_for_each(|container| self.start(container))
    }

    /// Says whether it is ready, whenever that changes, until it is to go.
    fn watch(&self, path: &str, address: &str, stop: &AtomicBool) -> Result<()> {
        let mut reported = None;
        while !stop.load(Ordering::Relaxed) {
            let ready = self.containers().all(|container| passes(container, "readinessProbe", address));
            if reported != Some(ready) {
                self.report(path, address, ready)?;
                reported = Some(ready);
            }
            // In steps, so that the end of a pod is seen at once.
            for _ in 0..if ready { 20 } else { 1 } {
                if !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        Ok(())
    }

    /// The application and its sidecars.
    fn containers(&self) -> impl Iterator<Item = &Value> {
        let spec = &self.pod["spec"];
        list(spec, "containers").chain(self.sidecars())
    }

    fn sidecars(&self) -> impl DoubleEndedIterator<Item = &Value> {
        let found: Vec<&Value> = list(&self.pod["spec"], "initContainers")
            .filter(|container| text(container, "/restartPolicy") == "Always")
            .collect();
        found.into_iter()
    }

    fn report(&self, path: &str, address: &str, ready: bool) -> Result<()> {
        let status = if ready { "True" } else { "False" };
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let states = |name: &str| -> Value {
            list(&self.pod["spec"], name)
                .map(|container| {
                    json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
                        "restartCount": 0, "started": ready})
                })
                .collect()
        };
        let patch = json!({"status": {"phase": if ready { "Running" } else { "Pending" },
            "podIP": address, "podIPs": [{"ip": address}], "hostIP": self.node.podman.gateway(),
            "conditions": [condition("Initialized", "True"), condition("PodScheduled", "True"),
                condition("ContainersReady", status), condition("Ready", status)],
            "containerStatuses": states("containers"), "initContainerStatuses": states("initContainers")}});
        self.node.kubernetes.patch(&format!("{path}/status"), &patch).map(drop)
    }

    /// Hooks of all at once, the application, its sidecars in reverse; then there is no such pod any more.
    fn end(&self, path: &str, address: &str) {
        let _ = self.report(path, address, false);
        let grace = self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        std::thread::scope(|scope| {
            for container in self.containers() {
                scope.spawn(|| self.before_stop(container));
            }
        });
        std::thread::scope(|scope| {
            for container in list(&self.pod["spec"], "containers") {
                scope.spawn(|| self.stop(container, grace));
            }
        });
        self.sidecars().rev().for_each(|container| self.stop(container, grace));
        self.close_streams();
        let names: Vec<String> = self.containers().map(|container| self.container(container)).collect();
        let mut remove = self.node.podman.command();
        remove.args(["rm", "--force", "--ignore", "--time=0", "--depend"]).args(names).arg(&self.name);
        let _ = succeed(&mut remove);
        let _ = self.node.kubernetes.remove(path);
    }
}
