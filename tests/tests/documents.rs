//! The guides name files; every one of them must exist, or the guide is out of date.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::invoke;
use sampan_tests::harness::process::Program;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The guides: at the root, in `docs/` and in `deploy/`.
fn guides() -> Vec<PathBuf> {
    let found = ["", "docs", "docs/filters/http", "docs/filters/network", "deploy"]
        .map(|dir| std::fs::read_dir(root().join(dir)).unwrap());
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

/// Paths below `docs/filters` of the pages that the filters of the registry must have. The HTTP and the network filter of one name
/// are two.
fn pages_of_the_registry() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("filters/src/registry.rs")).unwrap();
    let mut pages = Vec::new();
    for (kind, entry) in [("http", " HttpEntry { name: \""), ("network", " NetworkEntry { name: \"")] {
        let names = text.split(entry).skip(1).map(|rest| rest.split('"').next().unwrap());
        let short = |name: &str| {
            name.strip_prefix(&format!("envoy.filters.{kind}.")).map_or_else(|| name.to_owned(), Into::into)
        };
        pages.extend(names.map(|name| format!("{kind}/{}.md", short(name))));
    }
    assert!(pages.len() >= 39, "{pages:?}");
    pages.sort();
    pages
}

fn filter_docs() -> PathBuf {
    root().join("docs/filters")
}

#[test]
fn every_filter_has_a_page_that_the_index_names() {
    let mut there = Vec::new();
    for kind in ["http", "network"] {
        let listed = std::fs::read_dir(filter_docs().join(kind)).unwrap();
        there.extend(listed.map(|entry| format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap())));
    }
    there.sort();
    assert_eq!(there, pages_of_the_registry(), "pages on the left, filters of the registry on the right");
    let index = std::fs::read_to_string(root().join("docs/filters.md")).unwrap();
    let unnamed: Vec<&String> =
        there.iter().filter(|page| !index.contains(&format!("](filters/{page})"))).collect();
    assert!(unnamed.is_empty(), "docs/filters.md does not link to {unnamed:?}");
}

#[test]
fn pages_of_filters_name_differences_that_there_are() {
    let differences = std::fs::read_to_string(root().join("docs/differences.md")).unwrap();
    let mut unknown = Vec::new();
    for page in pages_of_the_registry() {
        let text = std::fs::read_to_string(filter_docs().join(&page)).unwrap();
        // "[differences](../../differences.md): `one`, `two`."
        for rest in text.split("differences.md): ").skip(1) {
            let line = rest.lines().next().unwrap();
            let ids = line.split('`').skip(1).step_by(2);
            unknown.extend(
                ids.filter(|id| !differences.contains(&format!("| `{id}` |")))
                    .map(|id| format!("{page}: {id}")),
            );
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The examples of a page: where they go in the skeleton, and what they are.
fn examples(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced.filter_map(|(info, body)| Some((info.strip_prefix("yaml ")?, body))).collect()
}

/// A skeleton with an example at its place, in the column of the place.
fn placed(skeleton: &str, place: &str, example: &str) -> String {
    let marker = format!("# place: {place}");
    let line = skeleton.lines().find(|line| line.trim() == marker);
    let line = line.unwrap_or_else(|| panic!("the skeleton has no place for {place:?}"));
    let indent = &line[..line.len() - marker.len()];
    let lines: Vec<String> = example.lines().map(|line| format!("{indent}{line}")).collect();
    let text = lines.join("\n") + "\n";
    let (before, after) = skeleton.split_once(&format!("{line}\n")).unwrap();
    // What ends a chain takes the place of the filter that ends it in the skeleton.
    let after = if place == "last" { after.split_once("# end\n").unwrap().1 } else { after };
    format!("{before}{text}{after}")
}

#[test]
fn the_examples_on_pages_of_filters_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let skeleton = std::fs::read_to_string(filter_docs().join("skeleton.yaml")).unwrap();
    let mut report = Vec::new();
    for page in pages_of_the_registry() {
        let text = std::fs::read_to_string(filter_docs().join(&page)).unwrap();
        let examples = examples(&text);
        let kinds = text.matches("```yaml").count();
        if examples.is_empty() || kinds != examples.len() {
            report.push(format!("{page}: {} of {kinds} examples say where they go", examples.len()));
        }
        // A route's configuration stands beside the filter's.
        let mut filter = skeleton.clone();
        for (index, (place, example)) in examples.into_iter().enumerate() {
            let whole = match place {
                "route" => placed(&filter, place, example),
                _ => placed(&skeleton, place, example),
            };
            if place == "http" {
                filter.clone_from(&whole);
            }
            let file = dir.path().join("example.yaml");
            std::fs::write(&file, whole).unwrap();
            let arguments = ["--mode", "validate", "--strict", "-c", file.to_str().unwrap()];
            let outcome = invoke::run(Program::Sampan, dir.path(), &arguments, PATIENCE);
            if outcome.code != Some(0) {
                report.push(format!("{page}, example {}: {}", index + 1, outcome.text));
            }
        }
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}
