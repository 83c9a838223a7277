//! Every configuration that users are shown is valid for both programs, and for Sampan without a single unsupported field.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::invoke::{self, programs};
use sampan_tests::harness::process::Program;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The files of `examples/`. The configurations of `deploy/` are looked at in `deployment/`.
fn configurations() -> Vec<PathBuf> {
    let listed = std::fs::read_dir(root().join("examples")).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    files.sort();
    files
}

#[test]
fn both_programs_accept_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = Vec::new();
    for file in configurations() {
        let file = file.to_string_lossy();
        for program in programs() {
            let strict: &[&str] = if program == Program::Sampan { &["--strict"] } else { &[] };
            let arguments = [&["--mode", "validate", "-c", &file], strict].concat();
            let outcome = invoke::run(program, dir.path(), &arguments, PATIENCE);
            if outcome.code != Some(0) || !outcome.text.contains(&format!("configuration '{file}' OK")) {
                report.push(format!("{program:?} {file}: {:?}\n{}", outcome.code, outcome.text));
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}
