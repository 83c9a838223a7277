//! Reads `/stats/prometheus`.

use std::collections::HashMap;

use sampan_tests::harness::process::Process;
use sampan_tests::harness::{PATIENCE, poll};

/// Every series that a proxy shows.
pub struct Metrics {
    text: String,
    series: Vec<(String, HashMap<String, String>, u64)>,
}

impl Metrics {
    pub fn of(process: &Process) -> Self {
        let (status, text) = process.admin("GET", "/stats/prometheus");
        assert_eq!(status, 200);
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect();
        Self { text, series }
    }

    /// The sum of the series of a metric that have these labels.
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let has = |known: &HashMap<String, String>| {
            labels.iter().all(|(name, value)| known.get(*name).is_some_and(|known| known == value))
        };
        let found = self.series.iter().filter(|(name, known, _)| name == metric && has(known));
        found.map(|(_, _, value)| *value).reduce(|sum, value| sum + value)
    }

    /// Waits for a value.
    pub fn await_value(process: &Process, metric: &str, labels: &[(&str, &str)], expected: u64) {
        let reached =
            poll(PATIENCE, || (Self::of(process).value(metric, labels) == Some(expected)).then_some(()));
        if reached.is_none() {
            let now = Self::of(process);
            let shown: Vec<_> = now.text.lines().filter(|line| line.starts_with(metric)).collect();
            panic!("{metric} {labels:#?}: wanted {expected}; there is {shown:#?}\n{}", process.stderr());
        }
    }
}

/// `name{label="value",…} 3`
fn series(line: &str) -> Option<(String, HashMap<String, String>, u64)> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse::<f64>().ok()? as u64;
    let Some((name, labels)) = head.split_once('{') else {
        return Some((head.to_owned(), HashMap::new(), value));
    };
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some((name.to_owned(), labels.collect(), value))
}
