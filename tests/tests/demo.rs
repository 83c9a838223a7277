//! `sampan demo`, as a user's first command: it must work on whatever machine, show what it promises, lose nothing, and end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sampan_tests::harness::process::Program;
use sampan_tests::harness::{PATIENCE, invoke, poll};

/// The numbers of the summary: requests sent and lost, and those that reached each upstream.
fn counts(text: &str) -> Option<[u64; 5]> {
    let line = text.lines().find(|line| line.contains(" requests sent in "))?;
    let before = |what: &str| line.split(what).next()?.rsplit(' ').next()?.parse().ok();
    Some([
        before(" requests sent")?,
        before(" lost")?,
        before(" to v1,")?,
        before(" to v2-a,")?,
        before(" to v2-b;")?,
    ])
}

fn is_skipped() -> bool {
    std::env::var("SAMPAN_TESTS_ONLY").is_ok_and(|only| only == "envoy")
}

#[test]
fn the_summary_is_read_right() {
    let text =
        "\n  1  2\n590 requests sent in 3.0 s, 1 lost; 530 to v1, 40 to v2-a, 20 to v2-b; p50 0.2 ms\n";
    assert_eq!(counts(text), Some([590, 1, 530, 40, 20]));
}

#[test]
fn the_control_plane_changes_everything_and_nothing_is_lost_although_the_usual_ports_are_taken() {
    if is_skipped() {
        return;
    }
    // Whoever holds them already does just as well.
    let _held = [10_000, 9901].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let dir = tempfile::tempdir().unwrap();
    let outcome = invoke::run(Program::Sampan, dir.path(), &["demo", "--seconds", "7"], PATIENCE * 6);
    let text = &outcome.text;
    assert_eq!(outcome.code, Some(0), "{text}");
    let [sent, lost, v1, a, b] = counts(text).unwrap_or_else(|| panic!("no summary: {text}"));
    assert_eq!(lost, 0, "{text}");
    assert!(
        sent > 200 && v1 > 0 && a > v1 && b > 0 && v1 + a + b >= sent,
        "not as the script has it: {text}"
    );
    assert_eq!(text.matches(" accepted after ").count(), 5, "{text}");
    assert!(text.contains("5 updates accepted, 1 refused"), "{text}");
    for told in [
        "virtual_hosts[0].routes[0].match.safe_regex.regex = /users/([0-9]+: ",
        "request_headers_to_add[0].header.key = :path: ",
        "(host_rewrite_literal, prefix_rewrite and regex_rewrite change them)",
    ] {
        assert!(text.contains(told), "the refusal does not say {told:?}: {text}");
    }
    let generations: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("generation ")).collect();
    assert!(generations[1].contains("~ endpoints v2  version 5 -> 6"), "{text}");
    assert_eq!(
        generations.iter().filter(|line| line.contains("~ route configuration demo")).count(),
        3,
        "{text}"
    );
    assert!(!text.contains("http://127.0.0.1:10000/ "), "a taken port is used: {text}");
}

#[test]
fn it_goes_on_for_ever_when_asked_to_until_it_is_interrupted() {
    if is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut child = Command::new(Program::Sampan.path())
        .args(["demo", "--seconds", "7", "--forever"])
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let text = || std::fs::read_to_string(&out).unwrap_or_default();
    let began_again = poll(PATIENCE * 6, || text().contains("100 % to v1").then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = poll(PATIENCE * 3, || child.try_wait().unwrap());
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(began_again.is_some(), "the script is not repeated: {}", text());
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", text());
    assert_eq!(counts(&text()).map(|[_, lost, ..]| lost), Some(0), "{}", text());
    assert!(text().contains("generation  time"), "{}", text());
}
