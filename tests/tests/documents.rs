//! The guides name files; every one of them must exist, or the guide is out of date.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The guides: at the root, in `docs/` and in `deploy/`.
fn guides() -> Vec<PathBuf> {
    let found = ["", "docs", "deploy"].map(|dir| std::fs::read_dir(root().join(dir)).unwrap());
    let paths = found.into_iter().flatten().map(|entry| entry.unwrap().path());
    let guides: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    assert!(guides.len() >= 8, "{guides:?}");
    guides
}

#[test]
fn links_between_them_lead_somewhere() {
    let mut dead = Vec::new();
    for guide in guides() {
        let text = std::fs::read_to_string(&guide).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            if !guide.parent().unwrap().join(file).exists() {
                dead.push(format!("{}: {link}", guide.display()));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn the_architecture_names_files_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let words: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let files: Vec<&str> = words
        .into_iter()
        .filter(|word| word.strip_suffix(".rs").is_some_and(|path| path.contains('/')))
        .collect();
    let exists = |file: &&str| [root(), root().join("proxy/src")].iter().any(|dir| dir.join(file).exists());
    let missing: Vec<&str> = files.iter().copied().filter(|file| !exists(file)).collect();
    assert!(files.len() > 20, "{files:?}");
    assert!(missing.is_empty(), "{missing:?}");
}
