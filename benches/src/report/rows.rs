//! One row per proxy and scenario: its samples, their median, or the reason why there are none.

use super::median;
use crate::binaries::ProxyKind;
use crate::load::Latency;
use crate::process::Absent;
use crate::procfs::Memory;
use crate::scenario::{MemoryScenario, Scenario};
use anyhow::Result;
use serde::Serialize;

/// Whether a row has figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Status {
    /// It has.
    Measured,
    /// The proxy cannot do this.
    Unsupported(String),
    /// The proxy was not found, or did not start or serve.
    Unavailable(String),
    /// A run had errors, so none of its figures may be used.
    Invalid(String),
}

/// One measured run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Units per second.
    pub rate: f64,
    /// CPU time of the proxy per unit, in microseconds.
    pub cpu_us: f64,
    /// CPU time over wall time; 1 is a saturated core.
    pub busy: f64,
    /// Latency, where there is any.
    pub latency: Option<Latency>,
    /// Memory right after the run.
    pub memory: Memory,
}

/// A proxy in a driven scenario.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which proxy.
    pub proxy: ProxyKind,
    /// Whether it has figures.
    pub status: Status,
    /// The median of each figure over the samples.
    pub median: Option<Sample>,
    /// All runs, in order.
    pub samples: Vec<Sample>,
}

/// A driven scenario over all proxies.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What one unit is.
    pub unit: &'static str,
    /// One row per proxy.
    pub rows: Vec<Row>,
    /// The targets it is judged by.
    #[serde(skip)]
    pub scenario: &'static Scenario,
}

/// One start of a proxy in a memory scenario.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemorySample {
    /// Start of the process to its first response, in seconds.
    pub start_seconds: f64,
    /// Memory at the end.
    pub memory: Memory,
    /// Memory before the connections were opened, where the scenario opens any.
    pub before: Option<Memory>,
}

/// A proxy in a memory scenario.
#[derive(Debug, Serialize)]
pub struct MemoryRow {
    /// Which proxy.
    pub proxy: ProxyKind,
    /// Whether it has figures.
    pub status: Status,
    /// The median of each figure.
    pub median: Option<MemorySample>,
    /// All starts, in order.
    pub samples: Vec<MemorySample>,
}

/// A memory scenario over all proxies.
#[derive(Debug, Serialize)]
pub struct MemoryReport {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// One row per proxy.
    pub rows: Vec<MemoryRow>,
    /// The scenario itself.
    #[serde(skip)]
    pub scenario: MemoryScenario,
}

impl Row {
    /// A row that waits for samples.
    pub fn new(proxy: ProxyKind) -> Self {
        Self { proxy, status: Status::Measured, median: None, samples: Vec::new() }
    }

    /// A row that will have none.
    pub fn absent(proxy: ProxyKind, absent: Absent) -> Self {
        Self { status: absent.into(), ..Self::new(proxy) }
    }

    /// Adds a run; one that failed makes the row invalid.
    pub fn take(&mut self, sample: Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.status = Status::Invalid(format!("{error:#}")),
        }
    }

    fn settle(&mut self) {
        let samples = &self.samples;
        if self.status == Status::Measured && !samples.is_empty() {
            let of = |field: fn(&Sample) -> f64| median(samples.iter().map(field));
            self.median = Some(Sample {
                rate: of(|sample| sample.rate),
                cpu_us: of(|sample| sample.cpu_us),
                busy: of(|sample| sample.busy),
                latency: median_latency(samples),
                memory: median_memory(samples.iter().map(|sample| sample.memory)),
            });
        }
    }
}

impl ScenarioReport {
    /// Takes the rows and computes their medians.
    pub fn new(scenario: &'static Scenario, mut rows: Vec<Row>) -> Self {
        rows.iter_mut().for_each(Row::settle);
        Self { name: scenario.name, title: scenario.title, unit: scenario.unit(), rows, scenario }
    }

    /// The median of a proxy, if it was measured.
    pub fn median(&self, proxy: ProxyKind) -> Option<&Sample> {
        self.rows.iter().find(|row| row.proxy == proxy)?.median.as_ref()
    }
}

impl MemoryRow {
    /// A row that waits for samples.
    pub fn new(proxy: ProxyKind) -> Self {
        Self { proxy, status: Status::Measured, median: None, samples: Vec::new() }
    }

    /// Whether it may still be measured.
    pub fn is_measured(&self) -> bool {
        self.status == Status::Measured
    }

    /// Notes why there are no figures.
    pub fn absent(&mut self, absent: Absent) {
        self.status = absent.into();
    }

    /// Adds a start; one that failed makes the row invalid.
    pub fn take(&mut self, sample: Result<MemorySample>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.status = Status::Invalid(format!("{error:#}")),
        }
    }

    fn settle(&mut self) {
        let samples = &self.samples;
        if self.is_measured() && !samples.is_empty() {
            let before: Vec<Memory> = samples.iter().filter_map(|sample| sample.before).collect();
            self.median = Some(MemorySample {
                start_seconds: median(samples.iter().map(|sample| sample.start_seconds)),
                memory: median_memory(samples.iter().map(|sample| sample.memory)),
                before: (!before.is_empty()).then(|| median_memory(before.iter().copied())),
            });
        }
    }
}

impl MemoryReport {
    /// Takes the rows and computes their medians.
    pub fn new(scenario: MemoryScenario, mut rows: Vec<MemoryRow>) -> Self {
        rows.iter_mut().for_each(MemoryRow::settle);
        Self { name: scenario.name(), title: scenario.title(), rows, scenario }
    }
}

impl From<Absent> for Status {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Unsupported(reason) => Self::Unsupported(reason),
            Absent::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

fn median_latency(samples: &[Sample]) -> Option<Latency> {
    let all: Vec<Latency> = samples.iter().filter_map(|sample| sample.latency).collect();
    let of = |field: fn(&Latency) -> f64| median(all.iter().map(field));
    (!all.is_empty()).then(|| Latency { p50: of(|l| l.p50), p90: of(|l| l.p90), p99: of(|l| l.p99) })
}

fn median_memory(samples: impl Iterator<Item = Memory> + Clone) -> Memory {
    let rss_kib = median(samples.clone().map(|memory| memory.rss_kib as f64)) as u64;
    Memory { rss_kib, pss_kib: median(samples.map(|memory| memory.pss_kib as f64)) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;
    use anyhow::anyhow;

    #[test]
    fn one_failed_run_takes_the_whole_row_out() {
        let sample = Sample { rate: 1.0, cpu_us: 2.0, busy: 0.5, latency: None, memory: Memory::default() };
        let mut good = Row::new(ProxyKind::Envoy);
        good.take(Ok(sample));
        let mut bad = Row::new(ProxyKind::Nginx);
        bad.take(Ok(sample));
        bad.take(Err(anyhow!("3 errors")));
        let report = ScenarioReport::new(&SCENARIOS[0], vec![good, bad]);
        assert!(report.median(ProxyKind::Envoy).is_some());
        assert!(report.median(ProxyKind::Nginx).is_none());
    }
}
