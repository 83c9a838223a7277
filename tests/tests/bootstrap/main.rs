//! The configuration dialect: what Envoy's `--mode validate` takes and refuses, Sampan's must as well.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dialect;
mod http;
mod listeners;

use std::time::Duration;

use sampan_tests::harness::invoke::{programs, run};
use sampan_tests::harness::process::Program;

/// A bootstrap and whether it is valid.
struct Sample {
    name: &'static str,
    /// The file's extension.
    kind: &'static str,
    text: String,
    valid: bool,
}

fn sample(name: &'static str, valid: bool, text: &str) -> Sample {
    Sample { name, kind: "yaml", text: text.to_owned(), valid }
}

/// Samples that Envoy takes and Sampan refuses, with the ids of `docs/differences.md`.
const STRICTER: &[(&str, &str)] =
    &[("hcm without filters", "no-router"), ("substitution of a missing group", "regex-missing-group")];

#[test]
fn stricter_samples_are_explained() {
    let text = include_str!("../../../docs/differences.md");
    assert!(STRICTER.iter().all(|(_, id)| text.contains(&format!("`{id}`"))));
}

fn check(samples: Vec<Sample>) {
    let dir = tempfile::tempdir().unwrap();
    let mut report = Vec::new();
    for sample in &samples {
        let file = format!("sample.{}", sample.kind);
        std::fs::write(dir.path().join(&file), &sample.text).unwrap();
        for program in programs() {
            let arguments = ["--mode", "validate", "-l", "critical", "-c", &file];
            let outcome = run(program, dir.path(), &arguments, Duration::from_secs(5));
            let stricter =
                program == Program::Sampan && STRICTER.iter().any(|(name, _)| *name == sample.name);
            let wanted = i32::from(!sample.valid || stricter);
            if outcome.code != Some(wanted) {
                let text: String = outcome.text.chars().take(300).collect();
                report.push(format!(
                    "{program:?}: {}: code {:?}, wanted {wanted}: {text}",
                    sample.name, outcome.code
                ));
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

#[test]
fn dialect_of_yaml_and_json() {
    check(dialect::dialect());
}

#[test]
fn clusters_valid_and_not() {
    check(dialect::clusters());
}

#[test]
fn connection_managers_valid_and_not() {
    check(http::http());
}

#[test]
fn routes_valid_and_not() {
    check(http::routes());
    check(http::route_parts());
}

#[test]
fn listeners_valid_and_not() {
    check(listeners::listeners());
}
