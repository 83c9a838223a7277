//! podman and buildah, with storage, settings and a network of our own, so that nothing of the machine's is touched.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::succeed;
use crate::tools::Tools;

/// Limits that a machine without CAP_SYS_RESOURCE can give; runc, since crun refuses hybrid control groups.
const SETTINGS: &str = "[containers]
default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

/// The containers of this run, and the bridge between them.
pub struct Podman {
    dir: PathBuf,
    network: String,
    /// The first two numbers of its addresses, `10.89`.
    prefix: String,
    bridge: String,
}

impl Podman {
    /// Makes the network.
    pub fn start(tools: &Tools) -> Result<Self> {
        let dir = tools.dir.join("podman");
        std::fs::create_dir_all(dir.join("networks"))?;
        std::fs::write(dir.join("containers.conf"), SETTINGS)?;
        let routes = succeed(Command::new("ip").args(["route", "show", "table", "all"]))?;
        let taken = |prefix: &String| routes.contains(&format!("{prefix}."));
        let prefix = (89..160).map(|second| format!("10.{second}")).find(|prefix| !taken(prefix));
        let prefix = prefix.context("no free network below 10.0.0.0/8")?;
        let network = format!("sampan-istio-{}", std::process::id());
        let mut podman = Self { dir, network, prefix, bridge: String::new() };
        let subnet = format!("{}.0.0/16", podman.prefix);
        let create = ["network", "create", "--disable-dns", "--subnet", &subnet, &podman.network];
        succeed(podman.command().args(create))?;
        let interface = ["network", "inspect", "--format={{.NetworkInterface}}", &podman.network];
        succeed(podman.command().args(interface))?.trim().clone_into(&mut podman.bridge);
        podman.confine("add")?;
        Ok(podman)
    }

    /// `podman`, to be given arguments.
    pub fn command(&self) -> Command {
        let mut command = self.program("podman");
        command.arg("--network-config-dir").arg(self.dir.join("networks"));
        command.arg("--tmpdir").arg(self.dir.join("tmp"));
        command
    }

    /// `buildah`, with the same images.
    pub fn buildah(&self) -> Command {
        self.program("buildah")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        command.arg("--storage-driver=overlay").env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        command
    }

    /// Nothing leaves the bridge but for this machine: addresses of services are nobody's, and would be asked for elsewhere. Who tries is told at
    /// once, so that no answer hangs on whose patience ends first.
    fn confine(&self, action: &str) -> Result<()> {
        let rule = ["rule", action, "iif", &self.bridge, "unreachable"];
        succeed(Command::new("ip").args(rule)).map(drop)
    }

    /// The machine's address on the bridge; it exists while a container runs.
    pub fn gateway(&self) -> String {
        format!("{}.0.1", self.prefix)
    }

    /// The address of the nth container.
    pub fn address(&self, n: usize) -> String {
        format!("{}.{}.{}", self.prefix, 1 + n / 200, 2 + n % 200)
    }

    /// The name of the network.
    pub fn network(&self) -> &str {
        &self.network
    }
}

impl Podman {
    /// Ends all containers. The first time leaves those whose network others still had.
    pub fn clear(&self) {
        for _ in 0..2 {
            let _ = succeed(self.command().args(["rm", "--all", "--force", "--time=0"]));
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.clear();
        let _ = self.confine("del");
        let _ = succeed(self.command().args(["network", "rm", "--force", &self.network]));
    }
}
