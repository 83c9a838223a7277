//! Sampan against its targets.

use super::{MemoryReport, ScenarioReport};
use crate::binaries::ProxyKind::{Envoy, Haproxy, Sampan};
use serde::Serialize;

/// One target: what was asked, what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The scenario.
    pub scenario: &'static str,
    /// What is compared.
    pub what: &'static str,
    /// The most it may be.
    pub limit: f64,
    /// What it is; nothing when one of the two was not measured.
    pub found: Option<f64>,
    /// Whether it holds; nothing when it was not measured.
    pub met: Option<bool>,
}

impl Verdict {
    fn new(scenario: &'static str, what: &'static str, limit: f64, found: Option<f64>) -> Self {
        Self { scenario, what, limit, found, met: found.map(|found| found <= limit) }
    }
}

/// Judges all that was run.
pub(super) fn judge(scenarios: &[ScenarioReport], memory: &[MemoryReport]) -> Vec<Verdict> {
    scenarios.iter().flat_map(judge_scenario).chain(memory.iter().flat_map(judge_memory)).collect()
}

fn judge_scenario(report: &ScenarioReport) -> Vec<Verdict> {
    let cpu = |proxy| report.median(proxy).map(|median| median.cpu_us);
    let p99 = |proxy| report.median(proxy).and_then(|median| median.latency).map(|latency| latency.p99);
    let ratio = |of: Option<f64>, to: Option<f64>| of.zip(to).map(|(of, to)| of / to);
    let target = &report.scenario.target;
    let mut verdicts = Vec::new();
    if let Some(limit) = target.cpu_to_envoy {
        verdicts.push(Verdict::new(report.name, "CPU / Envoy", limit, ratio(cpu(Sampan), cpu(Envoy))));
    }
    if let Some(limit) = target.cpu_to_haproxy {
        verdicts.push(Verdict::new(report.name, "CPU / HAProxy", limit, ratio(cpu(Sampan), cpu(Haproxy))));
    }
    if let Some(limit) = target.cpu_us {
        verdicts.push(Verdict::new(report.name, "CPU us", limit, cpu(Sampan)));
    }
    if report.unit == "req" && !report.scenario.is_difference() {
        verdicts.push(Verdict::new(report.name, "p99 / Envoy", 1.0, ratio(p99(Sampan), p99(Envoy))));
    }
    verdicts
}

fn judge_memory(report: &MemoryReport) -> Vec<Verdict> {
    let median = report.rows.iter().find(|row| row.proxy == Sampan).and_then(|row| row.median);
    let target = report.scenario.target();
    let rss = median.map(|median| median.memory.rss_kib as f64 / 1024.0);
    let mut verdicts = vec![Verdict::new(report.name, "RSS, MiB", target.rss_mib, rss)];
    if let Some(limit) = target.start_seconds {
        verdicts.push(Verdict::new(
            report.name,
            "start, s",
            limit,
            median.map(|median| median.start_seconds),
        ));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Memory;
    use crate::report::{Row, Sample};
    use crate::scenario::SCENARIOS;

    fn row(proxy: crate::binaries::ProxyKind, cpu_us: f64) -> Row {
        let mut row = Row::new(proxy);
        row.take(Ok(Sample { rate: 1.0, cpu_us, busy: 1.0, latency: None, memory: Memory::default() }));
        row
    }

    #[test]
    fn a_ratio_at_the_limit_is_met_and_an_unmeasured_one_is_neither() {
        let report = ScenarioReport::new(&SCENARIOS[0], vec![row(Sampan, 5.5), row(Envoy, 10.0)]);
        let verdicts = judge(&[report], &[]);
        let met: Vec<_> = verdicts.iter().map(|verdict| verdict.met).collect();
        assert_eq!(met, [Some(true), None, None]);
    }
}
