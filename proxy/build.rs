//! Stamps the commit into the binary, for `--version` and `/server_info`, and tells the linker how to lay it out.
//!
//! `SAMPAN_BUILD_SHA` in the environment wins (image builds have no repository at hand). Debug builds carry
//! zeros, so that a commit does not recompile the crate.
//!
//! A release build for Linux gathers the functions that start-up and serving run (`layout.ld`, made by `just layout`) and packs its
//! relocations: both keep pages out of memory that nobody needs. `SAMPAN_LAYOUT=off` leaves that out, for a linker that knows no
//! linker scripts.

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
    layout(release);
}

fn layout(release: bool) {
    println!("cargo:rerun-if-env-changed=SAMPAN_LAYOUT");
    let off = std::env::var("SAMPAN_LAYOUT").is_ok_and(|value| value == "off");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !release || !linux || off {
        return;
    }
    println!("cargo:rerun-if-changed=layout.ld");
    // From the workspace's root, where the linker runs: a target folder that several checkouts share must not name one of them.
    for argument in ["-Wl,-z,pack-relative-relocs", "-Wl,-T,proxy/layout.ld"] {
        println!("cargo:rustc-link-arg-bin=sampan={argument}");
    }
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
