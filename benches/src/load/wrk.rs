//! HTTP/1.1 as fast as it goes: `wrk`, one thread, 64 connections.

use super::{Latency, Outcome, output, tool};
use crate::scenario::Driver;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;

/// `wrk` prints rounded figures; its script interface has the exact ones, in microseconds.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\nRESULT {"requests":%d,"micros":%d,"errors":%d,"p50":%d,"p90":%d,"p99":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99)))
end
"#;

#[derive(Deserialize)]
struct Report {
    requests: u64,
    micros: u64,
    errors: u64,
    p50: f64,
    p90: f64,
    p99: f64,
}

/// Runs `wrk` for `seconds`.
pub(super) fn run(address: SocketAddr, path: &'static str, seconds: u32, scratch: &Path) -> Result<Outcome> {
    let wrk = tool(Driver::Wrk(path))?;
    let script = scratch.join("report.lua");
    std::fs::write(&script, SCRIPT)?;
    let (duration, url) = (format!("-d{seconds}s"), format!("http://{address}{path}"));
    let args = ["-t1", "-c64", &duration, "-s"].map(str::as_ref);
    parse(&output(&wrk, &[&args[..], &[script.as_os_str(), url.as_ref()]].concat())?)
}

fn parse(text: &str) -> Result<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk gave no result")?;
    let report: Report = serde_json::from_str(line).context("reading wrk's result")?;
    Ok(Outcome {
        units: report.requests as f64,
        seconds: report.micros as f64 / 1e6,
        latency: Some(Latency { p50: report.p50, p90: report.p90, p99: report.p99 }),
        errors: report.errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_is_found_among_the_rest() {
        let text = "Running 1s test\n\nRESULT {\"requests\":10,\"micros\":500000,\"errors\":2,\"p50\":1,\"p90\":2,\"p99\":3}\n";
        let outcome = parse(text).unwrap();
        assert_eq!((outcome.units as u64, outcome.errors), (10, 2));
        assert_eq!(outcome.latency, Some(Latency { p50: 1.0, p90: 2.0, p99: 3.0 }));
        assert!(parse("Running").is_err());
    }
}
