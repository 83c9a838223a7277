//! The load: one module per tool, all with the same result.

mod bulk;
mod fortio;
mod h2load;
mod wrk;

pub use bulk::download;

use crate::scenario::Driver;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a tool reports of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Units of work done: requests, or MiB.
    pub units: f64,
    /// How long it took.
    pub seconds: f64,
    /// Latency percentiles; a bulk download has none.
    pub latency: Option<Latency>,
    /// Failed requests: refused, broken, timed out, or not answered 200.
    pub errors: u64,
}

/// Latency percentiles, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Half of the requests were faster.
    pub p50: f64,
    /// Nine of ten were.
    pub p90: f64,
    /// 99 of 100 were.
    pub p99: f64,
}

/// How much to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Seconds, for the tools that run by time.
    pub seconds: u32,
    /// Bytes, for the bulk download.
    pub bytes: u64,
    /// Requests per second, for the fixed rate.
    pub qps: u32,
}

/// Drives `address` once. `scratch` is a directory for the tools' own files.
pub fn drive(driver: Driver, address: SocketAddr, amount: Amount, scratch: &Path) -> Result<Outcome> {
    match driver {
        Driver::Wrk(path) => wrk::run(address, path, amount.seconds, scratch),
        Driver::H2load(path) => h2load::run(address, path, amount.seconds, scratch),
        Driver::Fortio(path) => fortio::run(address, path, amount, scratch),
        Driver::Bulk => download(address, amount.bytes),
    }
}

/// The tool's executable, or how to get it.
pub fn tool(driver: Driver) -> Result<PathBuf> {
    let (name, hint) = match driver {
        Driver::Wrk(_) => ("wrk", "apt-get install wrk"),
        Driver::H2load(_) => ("h2load", "apt-get install nghttp2-client"),
        Driver::Fortio(_) => ("fortio", "go install fortio.org/fortio@v1.68.1"),
        Driver::Bulk => return Ok(PathBuf::new()),
    };
    crate::binaries::in_path(name).with_context(|| format!("no {name} in PATH: {hint}"))
}

/// Runs a tool to its end and returns its standard output.
fn output(tool: &Path, args: &[&OsStr]) -> Result<String> {
    let output =
        Command::new(tool).args(args).output().with_context(|| format!("running {}", tool.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", tool.display(), output.status, stderr.trim());
    }
    Ok(stdout)
}

/// The value below which `share` of the sorted values lie (nearest rank).
fn percentile(sorted: &[u32], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u32> = (1..=200).collect();
        assert!((percentile(&values, 0.5) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 198.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.5).abs() < f64::EPSILON);
    }
}
