//! Programs of other projects that a test runs beside a proxy: prepared once by a script in `tests/peers/`, started, and ended with
//! the test. Used by `tests/tests/peers.rs`.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::poll;

/// Runs `tests/peers/<name>/prepare`; the folder it prints.
///
/// # Panics
/// It fails; the message is the script's.
pub fn prepare(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name).join("prepare");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed:\n{errors}", script.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Holds the machine's fixed ports while it lives: a peer that cannot be told its ports runs only once at a time, also
/// beside the tests of another checkout.
pub struct FixedPorts(#[allow(dead_code, reason = "the lock lives as long as the file is open")] File);

impl FixedPorts {
    /// Waits for its turn.
    pub fn take() -> Self {
        let path = std::env::temp_dir().join("sampan-tests-fixed-ports.lock");
        let file = File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        flock(&file, FlockOperation::LockExclusive).expect("a lock on a file of our own");
        Self(file)
    }
}

/// A running program whose output goes to a file. Dropping it kills it and what it has started: it has a process group of its own.
pub struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts a program in `dir`; its output goes to `<dir>/<name>.log`.
    pub fn start(name: &str, program: &Path, arguments: &[&str], dir: &Path) -> Self {
        Self::start_with(name, Command::new(program).args(arguments), dir)
    }

    /// The same with a command that is set up already.
    pub fn start_with(name: &str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).expect("the test directory is writable");
        let errors = file.try_clone().expect("a file can be duplicated");
        let child = command
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { child, log }
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for a text in its output.
    pub fn await_output(&self, text: &str, limit: Duration) -> bool {
        poll(limit, || self.output().contains(text).then_some(())).is_some()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.child.wait().ok();
    }
}
