//! Finds the folder of `.proto` files inside the source of the `envoy-types` crate that this build uses.
//!
//! Cargo itself is asked first, because only it knows about vendored sources and patches. Where it cannot answer
//! without the network, the registry cache is searched for the version that `Cargo.lock` names. The environment
//! variable [`OVERRIDE`] beats both, for build systems that keep crates in a place of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::Failure;

/// Names the folder directly.
pub(crate) const OVERRIDE: &str = "SAMPAN_ENVOY_PROTOS";
const PACKAGE: &str = "envoy-types";

/// The folder that holds `data-plane-api`, `xds` and the other trees.
pub(crate) fn shipped_protos() -> Result<PathBuf, Failure> {
    if let Some(folder) = env::var_os(OVERRIDE) {
        return Ok(folder.into());
    }
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    ask_cargo(&manifest).or_else(|| search_registry(&manifest)).filter(|folder| folder.is_dir()).ok_or_else(
        || {
            format!("cannot find the sources of the crate {PACKAGE}; set {OVERRIDE} to its proto folder")
                .into()
        },
    )
}

fn ask_cargo(manifest: &Path) -> Option<PathBuf> {
    let output = Command::new(env::var_os("CARGO")?)
        .args(["metadata", "--format-version", "1", "--frozen", "--filter-platform"])
        .arg(env::var_os("TARGET")?)
        .arg("--manifest-path")
        .arg(manifest.join("Cargo.toml"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let package = answer["packages"].as_array()?.iter().find(|package| package["name"] == PACKAGE)?;
    Some(Path::new(package["manifest_path"].as_str()?).parent()?.join("proto"))
}

fn search_registry(manifest: &Path) -> Option<PathBuf> {
    let lock = manifest.ancestors().find_map(|folder| fs::read_to_string(folder.join("Cargo.lock")).ok())?;
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{PACKAGE}\"")))?;
    let version = entry.lines().find_map(|line| line.strip_prefix("version = "))?.trim_matches('"');
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    fs::read_dir(home.join("registry/src"))
        .ok()?
        .filter_map(Result::ok)
        .map(|index| index.path().join(format!("{PACKAGE}-{version}")).join("proto"))
        .find(|folder| folder.is_dir())
}
