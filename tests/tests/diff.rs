//! `sampan diff` against a running proxy: what a user sees of an update, and of a mistake in the call.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::path::Path;

use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::{PATIENCE, invoke, poll};

fn bootstrap(file: &Path) -> String {
    format!(
        "node: {{id: one, cluster: test}}\n\
         admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         dynamic_resources: {{cds_config: {{path_config_source: {{path: {}}}}}}}\n",
        file.display()
    )
}

/// Puts clusters in the place that the proxy watches, by a move as it wants it.
fn serve(file: &Path, version: &str, clusters: &[(&str, &str)]) {
    let url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let resource = |(name, timeout): &(&str, &str)| {
        format!("- {{\"@type\": {url}, name: {name}, type: STATIC, connect_timeout: {timeout}}}\n")
    };
    let resources = clusters.iter().map(resource).collect::<Vec<_>>().concat();
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, format!("version_info: {version}\nresources:\n{resources}")).unwrap();
    std::fs::rename(&fresh, file).unwrap();
}

fn diff(dir: &Path, arguments: &[&str]) -> invoke::Outcome {
    let arguments: Vec<&str> = ["diff"].iter().chain(arguments).copied().collect();
    invoke::run(Program::Sampan, dir, &arguments, PATIENCE * 3)
}

#[test]
fn an_update_is_shown_field_by_field() {
    if std::env::var("SAMPAN_TESTS_ONLY").is_ok_and(|only| only == "envoy") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cds.yaml");
    serve(&file, "one", &[("a", "1s"), ("b", "1s")]);
    let process = Process::start(Program::Sampan, &bootstrap(&file), dir.path(), &[]);
    let admin = process.admin.to_string();
    serve(&file, "two", &[("a", "2s"), ("c", "1s")]);
    let list = poll(PATIENCE, || {
        let list = diff(dir.path(), &["--admin", &admin, "--list"]);
        list.text.contains("one -> two").then_some(list)
    });
    let list = list.unwrap_or_else(|| panic!("the update did not arrive:\n{}", process.stderr()));
    assert_eq!(list.code, Some(0));
    for line in ["~ cluster a  version one -> two", "- cluster b  version one", "+ cluster c  version two"] {
        assert!(list.text.contains(line), "no {line:?}:\n{}", list.text);
    }
    assert!(list.text.starts_with("generation  time"), "{}", list.text);
    assert!(!list.text.contains('\u{1b}'), "colours in a file: {}", list.text);

    let last = diff(dir.path(), &["--admin", &admin]);
    let shown = "    connect_timeout\n      - 1s\n      + 2s\n";
    assert!(last.code == Some(0) && last.text.contains(shown), "{}", last.text);
    let lost = diff(dir.path(), &["--admin", &admin, "77"]);
    assert_eq!(lost.code, Some(1));
    assert!(lost.text.contains("generation 77 is not kept; "), "{}", lost.text);
}

#[test]
fn a_mistake_in_the_call_is_explained() {
    if std::env::var("SAMPAN_TESTS_ONLY").is_ok_and(|only| only == "envoy") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string();
    let calls: [(&[&str], &str); 4] = [
        (&["--admin", &unused], "is the proxy running"),
        (&["--admin", "/nowhere/admin.sock"], "cannot connect to /nowhere/admin.sock"),
        (&["latest"], "'latest' is no generation"),
        (&["--admin"], "'--admin' needs an IP address"),
    ];
    for (arguments, says) in calls {
        let outcome = diff(dir.path(), arguments);
        assert_eq!(outcome.code, Some(1), "{arguments:?}");
        assert!(outcome.text.contains(says), "{arguments:?}: {}", outcome.text);
    }
    let help = diff(dir.path(), &["--help"]);
    assert!(help.code == Some(0) && help.text.contains("NO_COLOR"), "{}", help.text);
}
