//! Stamps the commit into the binary, for `--version` and `/server_info`.
//!
//! `SAMPAN_BUILD_SHA` in the environment wins (image builds have no repository at hand). Debug builds carry
//! zeros, so that a commit does not recompile the crate.

use std::process::Command;

const UNKNOWN: &str = "0000000000000000000000000000000000000000";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SAMPAN_BUILD_SHA");
    let release = std::env::var("PROFILE").is_ok_and(|p| p == "release");
    let given = std::env::var("SAMPAN_BUILD_SHA").ok();
    let (sha, tree) = match given {
        Some(sha) => (sha, "Clean"),
        None if release => from_git(),
        None => (UNKNOWN.to_owned(), "Clean"),
    };
    let sha = if is_sha(&sha) { sha } else { UNKNOWN.to_owned() };
    println!("cargo:rustc-env=SAMPAN_BUILD_SHA={sha}");
    println!("cargo:rustc-env=SAMPAN_BUILD_TREE={tree}");
}

fn from_git() -> (String, &'static str) {
    for path in ["HEAD", "logs/HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    let sha = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    (sha, if changed { "Modified" } else { "Clean" })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn is_sha(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
