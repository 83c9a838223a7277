//! The command line of `compare`, and the defaults that `--quick` changes.

use crate::binaries::ProxyKind;
use crate::config::Profile;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Runs Sampan, Envoy, HAProxy and nginx in turn over the same work and judges the ratios.
#[derive(Debug, Parser)]
#[command(name = "compare", version)]
pub struct Cli {
    /// Run as a child process of the runner.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Short runs: 1 s, 3 rounds, 1 GiB. Good for a first look, too short for a claim.
    #[arg(long)]
    pub quick: bool,
    /// Scenarios to run, comma-separated; see `--list`.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print the scenarios and exit.
    #[arg(long)]
    pub list: bool,
    /// Proxies to run, in this order.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = ProxyKind::ALL)]
    pub proxies: Vec<ProxyKind>,
    /// Length of one measured run, in seconds.
    #[arg(long)]
    pub seconds: Option<u32>,
    /// Measured runs per proxy and scenario; the median is judged.
    #[arg(long)]
    pub rounds: Option<u32>,
    /// GiB to download per run of `tcp_bulk`.
    #[arg(long)]
    pub bulk_gib: Option<u64>,
    /// Requests per second of the fixed-rate latency run.
    #[arg(long, default_value_t = 3000)]
    pub qps: u32,
    /// The core that the proxy under test is pinned to; the last one by default.
    #[arg(long)]
    pub proxy_core: Option<usize>,
    /// What the HTTP configuration holds besides a route: nothing, or what a mesh sidecar has.
    #[arg(long, value_enum, default_value_t = Profile::Plain)]
    pub profile: Profile,
    /// Where the JSON, the table and the chart go; `compare/` in the target directory by default.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Exit with status 1 when a target is missed or could not be measured.
    #[arg(long)]
    pub check: bool,
}

/// Subcommands; none means "run the comparison".
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the backend until standard input ends; prints its ports as one JSON line.
    #[command(hide = true)]
    Backend,
}

impl Command {
    /// The name of [`Command::Backend`] on the command line.
    pub const BACKEND: &str = "backend";
}

impl Cli {
    /// Seconds of one measured run.
    pub fn run_seconds(&self) -> u32 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// Measured runs per proxy and scenario.
    pub fn run_rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }

    /// Bytes of one bulk download.
    pub fn bulk_bytes(&self) -> u64 {
        self.bulk_gib.unwrap_or(if self.quick { 1 } else { 2 }).max(1) << 30
    }

    /// Where results are written.
    pub fn out_dir(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let exe = std::env::current_exe().unwrap_or_default();
            exe.ancestors().nth(2).map_or_else(|| PathBuf::from("compare"), |target| target.join("compare"))
        })
    }
}
