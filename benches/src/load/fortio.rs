//! HTTP/1.1 at a fixed rate: `fortio`, 16 connections. Latency below saturation is what users feel.

use super::{Amount, Latency, Outcome, output, tool};
use crate::scenario::Driver;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// Runs `fortio` for `amount.seconds` at `amount.qps`.
pub(super) fn run(
    address: SocketAddr,
    path: &'static str,
    amount: Amount,
    scratch: &Path,
) -> Result<Outcome> {
    let fortio = tool(Driver::Fortio(path))?;
    let report = scratch.join("fortio.json");
    let (qps, duration) = (amount.qps.to_string(), format!("{}s", amount.seconds));
    let (url, json) = (format!("http://{address}{path}"), report.display().to_string());
    let fixed = ["load", "-quiet", "-uniform", "-nocatchup", "-p", "50,90,99", "-c", "16"];
    // Histogram buckets of 10 us: the default of 1 ms would round all of them to the same figure.
    let args = [&fixed[..], &["-r", "0.00001", "-qps", &qps, "-t", &duration, "-json", &json, &url]].concat();
    let args: Vec<_> = args.into_iter().map(str::as_ref).collect();
    output(&fortio, &args)?;
    let text = std::fs::read_to_string(&report).context("reading fortio's report")?;
    parse(&serde_json::from_str(&text).context("reading fortio's report")?)
}

fn parse(report: &Value) -> Result<Outcome> {
    let histogram = &report["DurationHistogram"];
    let total = histogram["Count"].as_u64().context("fortio's report has no Count")?;
    let good = report["RetCodes"]["200"].as_u64().unwrap_or(0);
    let percentile = |wanted: f64| {
        let entries = histogram["Percentiles"].as_array();
        let entry = entries?.iter().find(|entry| entry["Percentile"].as_f64() == Some(wanted))?;
        entry["Value"].as_f64().map(|seconds| seconds * 1e6)
    };
    let latency = percentile(50.0).zip(percentile(90.0)).zip(percentile(99.0));
    let ((p50, p90), p99) = latency.context("fortio's report has no percentiles")?;
    Ok(Outcome {
        units: total as f64,
        seconds: report["ActualDuration"].as_f64().context("fortio's report has no duration")? / 1e9,
        latency: Some(Latency { p50, p90, p99 }),
        errors: total.saturating_sub(good),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn anything_but_200_is_an_error() {
        let percentiles = json!([50, 90, 99].map(|p| json!({"Percentile": p, "Value": 0.001})));
        let report = json!({
            "ActualDuration": 2_000_000_000u64,
            "RetCodes": {"200": 8, "503": 1, "-1": 1},
            "DurationHistogram": {"Count": 10, "Percentiles": percentiles},
        });
        let outcome = parse(&report).unwrap();
        assert_eq!((outcome.errors, outcome.seconds as u64), (2, 2));
        assert!((outcome.latency.unwrap().p99 - 1000.0).abs() < 1e-6);
    }
}
