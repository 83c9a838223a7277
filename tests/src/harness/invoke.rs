//! Runs a proxy to its end and looks at what it said: for flags, validation and versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::poll;
use super::process::Program;

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; none if the process had to be killed.
    pub code: Option<i32>,
    /// Standard output and standard error, in this order.
    pub text: String,
}

/// The programs to test: both, or Envoy alone with `SAMPAN_TESTS_ONLY=envoy`.
pub fn programs() -> Vec<Program> {
    let only = std::env::var("SAMPAN_TESTS_ONLY").unwrap_or_default();
    if only == "envoy" { vec![Program::Envoy] } else { vec![Program::Envoy, Program::Sampan] }
}

/// Runs `program` with `arguments` in `dir` until it ends; one that does not end is killed after `limit`.
pub fn run(program: Program, dir: &Path, arguments: &[&str], limit: Duration) -> Outcome {
    let file = |name: &str| -> (PathBuf, Stdio) {
        let path = dir.join(format!("{program:?}.{name}"));
        let stdio = std::fs::File::create(&path).expect("the test directory is writable").into();
        (path, stdio)
    };
    let (out, stdout) = file("out");
    let (err, stderr) = file("err");
    let mut child = Command::new(program.path())
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the program can be started");
    let status = poll(limit, || child.try_wait().ok().flatten());
    if status.is_none() {
        child.kill().ok();
        child.wait().ok();
    }
    let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    Outcome { code: status.and_then(|status| status.code()), text: read(out) + &read(err) }
}
