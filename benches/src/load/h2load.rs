//! HTTP/2 as fast as it goes: `h2load`, one thread, 8 connections with 8 streams each, prior knowledge.

use super::{Latency, Outcome, output, percentile, tool};
use crate::scenario::Driver;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;

/// Runs `h2load` for `seconds`. Percentiles come from its log, which has one line per request.
pub(super) fn run(address: SocketAddr, path: &'static str, seconds: u32, scratch: &Path) -> Result<Outcome> {
    let h2load = tool(Driver::H2load(path))?;
    let log = scratch.join("h2load.log");
    if log.exists() {
        // It appends; an old run's lines must not count.
        std::fs::remove_file(&log)?;
    }
    let (duration, log_file) = (format!("-D{seconds}"), format!("--log-file={}", log.display()));
    let url = format!("http://{address}{path}");
    let args = ["-t1", "-c8", "-m8", &duration, &log_file, &url].map(str::as_ref);
    let text = output(&h2load, &args)?;
    let lines = std::fs::read_to_string(&log).context("reading h2load's log")?;
    parse(&text, &lines, f64::from(seconds))
}

/// The log's columns: start (us since the epoch), status, duration (us).
fn parse(text: &str, log: &str, seconds: f64) -> Result<Outcome> {
    let requests =
        text.lines().find(|line| line.starts_with("requests: ")).context("h2load gave no result")?;
    let failed: u64 = ["failed", "errored", "timeout"].iter().map(|word| count_before(requests, word)).sum();
    let mut bad_status = 0;
    let mut micros = Vec::new();
    for line in log.lines() {
        let mut columns = line.split('\t').skip(1);
        let (status, duration) = (columns.next().unwrap_or(""), columns.next().unwrap_or(""));
        bad_status += u64::from(status != "200");
        micros.push(duration.parse().context("reading h2load's log")?);
    }
    ensure!(!micros.is_empty(), "h2load had no response: {requests}");
    micros.sort_unstable();
    let latency = Latency {
        p50: percentile(&micros, 0.5),
        p90: percentile(&micros, 0.9),
        p99: percentile(&micros, 0.99),
    };
    let errors = failed.max(bad_status);
    Ok(Outcome { units: micros.len() as f64, seconds, latency: Some(latency), errors })
}

/// The number in front of `word` in `… 5 failed, 0 errored …`.
fn count_before(line: &str, word: &str) -> u64 {
    let mut words = line.split([' ', ',']).filter(|part| !part.is_empty());
    let mut last = 0;
    words
        .find_map(|part| {
            if part == word {
                return Some(last);
            }
            last = part.parse().unwrap_or(last);
            None
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str =
        "requests: 3 total, 5 started, 3 done, 2 succeeded, 1 failed, 0 errored, 0 timeout\n";

    #[test]
    fn counts_come_from_the_summary_and_latency_from_the_log() {
        let outcome = parse(SUMMARY, "1\t200\t10\n2\t200\t30\n3\t503\t20\n", 1.0).unwrap();
        assert_eq!((outcome.units as u64, outcome.errors), (3, 1));
        assert_eq!(outcome.latency, Some(Latency { p50: 20.0, p90: 30.0, p99: 30.0 }));
    }

    #[test]
    fn a_run_without_a_response_is_an_error() {
        assert!(parse(SUMMARY, "", 1.0).is_err());
    }
}
