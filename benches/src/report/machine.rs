//! Where and how a run was made, so that its figures can be read later.

use crate::affinity::Cores;
use crate::config::Profile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// The machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Its default congestion control. One that paces (BBR) makes bulk bytes dearer, on loopback too.
    pub congestion_control: String,
    /// The core the proxies ran on.
    pub proxy_core: usize,
    /// The cores everything else ran on.
    pub load_cores: Vec<usize>,
    /// Load average of the last minute, at the end. Far above two means that others used the machine too.
    pub load_average: String,
}

/// The settings of the run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Seconds of one measured run.
    pub seconds: u32,
    /// Measured runs per proxy and scenario.
    pub rounds: u32,
    /// Bytes of one bulk download.
    pub bulk_bytes: u64,
    /// Requests per second of the fixed-rate run.
    pub qps: u32,
    /// What the HTTP configuration holds.
    pub profile: Profile,
    /// What each proxy says of its version.
    pub versions: BTreeMap<&'static str, String>,
}

impl Machine {
    /// Reads it from `/proc`.
    pub fn read(cores: &Cores) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = cpu.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let load = read("/proc/loadavg");
        Self {
            cpu: cpu.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            proxy_core: cores.proxy,
            load_cores: cores.load.clone(),
            load_average: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
