//! One container: how it is started with what its pod says, and how it ends.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::environment::{expand, variables};
use super::{Node, list, text, volumes};
use crate::process::succeed;

/// What the containers of a pod have in common.
pub struct Sandbox<'a> {
    pub node: &'a Node,
    pub pod: &'a Value,
    /// The container whose network is the pod's.
    pub name: String,
    pub dir: &'a Path,
}

impl Sandbox<'_> {
    /// The name of one of its containers, for podman.
    pub fn container(&self, container: &Value) -> String {
        format!("{}_{}", self.name, text(container, "/name"))
    }

    /// Starts one in the background.
    pub fn start(&self, container: &Value) -> Result<()> {
        succeed(&mut self.run(container, &["--detach"])).map(drop)
    }

    /// Runs one to its end.
    pub fn complete(&self, container: &Value) -> Result<()> {
        let name = text(container, "/name");
        succeed(&mut self.run(container, &[])).map(drop).with_context(|| format!("init container {name}"))
    }

    /// What it is to do before it is told to end.
    pub fn before_stop(&self, container: &Value) {
        let command = container.pointer("/lifecycle/preStop/exec/command").and_then(Value::as_array);
        let Some(words) = command else { return };
        let mut exec = self.node.podman.command();
        exec.arg("exec").arg(self.container(container)).args(words.iter().filter_map(Value::as_str));
        if let Err(error) = succeed(&mut exec) {
            eprintln!("kubelet: {}: {error:#}", self.name);
        }
    }

    /// Asks it to end, and ends it after a grace period.
    pub fn stop(&self, container: &Value, grace: u64) {
        let name = self.container(container);
        let _ =
            succeed(self.node.podman.command().args(["stop", "--ignore", &format!("--time={grace}"), &name]));
    }

    fn run(&self, container: &Value, how: &[&str]) -> Command {
        let podman = &self.node.podman;
        let name = self.container(container);
        let mut run = podman.command();
        run.args([
            "run",
            "--pull=never",
            "--http-proxy=false",
            "--name",
            &name,
            "--network",
            &format!("container:{}", self.name),
        ]);
        run.args(how);
        let log = self.node.dir.join("logs").join(format!("{name}.log"));
        run.args(["--log-driver=k8s-file", "--log-opt", &format!("path={}", log.display())]);
        run.arg(format!("--volume={}:/etc/resolv.conf:ro", self.node.dir.join("resolv.conf").display()));
        run.args(volumes::mounts(container, self.dir));
        self.restrict(container, &mut run);
        let known = variables(self.pod, container);
        for (name, value) in &known {
            run.arg(format!("--env={name}={value}"));
        }
        let mut words: Vec<String> = Vec::new();
        for part in ["command", "args"] {
            words.extend(list(container, part).filter_map(Value::as_str).map(|word| expand(word, &known)));
        }
        if container.get("command").is_some() && !words.is_empty() {
            run.arg(format!("--entrypoint={}", words.remove(0)));
        }
        run.arg(text(container, "/image")).args(words);
        run
    }

    /// Its security context, over the pod's.
    fn restrict(&self, container: &Value, run: &mut Command) {
        let own = &container["securityContext"];
        let of_pod = &self.pod["spec"]["securityContext"];
        let number = |name: &str| own[name].as_u64().or_else(|| of_pod[name].as_u64());
        if let Some(user) = number("runAsUser") {
            let group = number("runAsGroup").unwrap_or_default();
            run.arg(format!("--user={user}:{group}"));
        }
        if own["readOnlyRootFilesystem"] == true {
            run.args(["--read-only", "--read-only-tmpfs=false"]);
        }
        if own["allowPrivilegeEscalation"] == false {
            run.arg("--security-opt=no-new-privileges");
        }
        for (field, option) in [("drop", "--cap-drop"), ("add", "--cap-add")] {
            for capability in list(&own["capabilities"], field).filter_map(Value::as_str) {
                run.arg(format!("{option}={capability}"));
            }
        }
    }
}
