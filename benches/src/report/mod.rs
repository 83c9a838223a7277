//! The results: samples, medians, verdicts, and the three forms they are published in.

mod chart;
mod machine;
mod rows;
mod table;
mod verdict;

pub use machine::{Machine, Settings};
pub use rows::{MemoryReport, MemoryRow, MemorySample, Row, Sample, ScenarioReport, Status};
pub use verdict::Verdict;

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Everything one run of `compare` has found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// How it ran.
    pub settings: Settings,
    /// The driven scenarios.
    pub scenarios: Vec<ScenarioReport>,
    /// The memory scenarios.
    pub memory: Vec<MemoryReport>,
    /// Each target, met or not.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// A report without verdicts.
    pub fn new(
        machine: Machine,
        settings: Settings,
        scenarios: Vec<ScenarioReport>,
        memory: Vec<MemoryReport>,
    ) -> Self {
        Self { machine, settings, scenarios, memory, verdicts: Vec::new() }
    }

    /// Judges Sampan against the targets, if it was asked for at all.
    pub fn judge(&mut self, wanted: bool) {
        if wanted {
            self.verdicts = verdict::judge(&self.scenarios, &self.memory);
        }
    }

    /// Whether every target was measured and met.
    pub fn met(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.met == Some(true))
    }
}

/// Prints the table and writes `compare.json` (all samples), `compare.txt` and `compare.svg` to `dir`.
pub fn publish(report: &Report, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let table = table::render(report);
    let files = [
        ("compare.json", serde_json::to_string_pretty(report)?),
        ("compare.txt", table.clone()),
        ("compare.svg", chart::render(report)),
    ];
    for (name, text) in files {
        fs::write(dir.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    print!("{table}");
    println!("\nwritten to {}: compare.json, compare.txt, compare.svg", dir.display());
    Ok(())
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len(), values.get(middle)) {
        (_, None) => 0.0,
        (count, Some(upper)) if count % 2 == 1 => *upper,
        (_, Some(upper)) => f64::midpoint(values[middle - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
    }
}
