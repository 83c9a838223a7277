//! Streams to pods: the API server asks a node's endpoint for them, which is a program of its own (tests/istio/peers/streams), by Kubernetes' library.
//! A folder tells it which pods there are: a link for each to its network namespace.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::container::Sandbox;
use crate::process::{Background, free_port, succeed, until};
use crate::tools::Tools;

/// The endpoint, which ends with this value.
pub struct Streams {
    _program: Background,
    pub port: u16,
}

impl Streams {
    /// Starts it at an address that the API server reaches.
    pub fn start(tools: &Tools, address: &str) -> Result<Self> {
        let networks = networks(&tools.dir);
        std::fs::create_dir_all(&networks)?;
        let port = free_port()?;
        let address = format!("{address}:{port}");
        let mut command = Command::new(tools.streams.join("streams"));
        let mut program = Background::start("streams", &tools.dir, command.arg(&address).arg(networks))?;
        until("the kubelet's streams", Duration::from_secs(20), || {
            program.alive()?;
            TcpStream::connect(&address).map(drop).context(address.clone())
        })?;
        Ok(Self { _program: program, port })
    }
}

fn networks(dir: &Path) -> PathBuf {
    dir.join("networks")
}

impl Sandbox<'_> {
    fn network(&self) -> PathBuf {
        networks(&self.node.dir).join(&self.name)
    }

    /// Streams can go to this pod from now on.
    pub fn open_streams(&self) -> Result<()> {
        let inspect = ["inspect", "--format={{.NetworkSettings.SandboxKey}}", &self.name];
        let network = succeed(self.node.podman.command().args(inspect))?;
        let network = network.trim();
        ensure!(!network.is_empty(), "{} has no network namespace", self.name);
        symlink(network, self.network()).with_context(|| format!("the network of {}", self.name))
    }

    /// Nor can they any more.
    pub fn close_streams(&self) {
        if let Err(error) = std::fs::remove_file(self.network())
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("kubelet: {}: its network stays known: {error}", self.name);
        }
    }
}
