//! `sampan demo`, as a user's first command: it must work on whatever machine, and end by itself when asked to.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::invoke;
use sampan_tests::harness::process::Program;

/// Requests to v1 and to v2 in the summary.
fn counts(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find(|line| line.contains(" to v1, "))?;
    let (_, counts) = line.split_once(": ")?;
    let mut numbers = counts.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let v1 = numbers.next()?.parse().ok()?;
    // The digit of "v1" comes next.
    let v2 = numbers.nth(1)?.parse().ok()?;
    Some((v1, v2))
}

#[test]
fn the_summary_is_read_right() {
    let text = "\n  1  2\n590 requests in 3.0 s: 530 to v1, 60 to v2 (90/10), 0 failed; p50 0.2 ms\n";
    assert_eq!(counts(text), Some((530, 60)));
}

#[test]
fn it_serves_splits_and_ends_although_its_ports_are_taken() {
    if std::env::var("SAMPAN_TESTS_ONLY").is_ok_and(|only| only == "envoy") {
        return;
    }
    // Whoever holds them already does just as well.
    let _held = [10_000, 9901].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let dir = tempfile::tempdir().unwrap();
    let outcome = invoke::run(Program::Sampan, dir.path(), &["demo", "--seconds", "3"], PATIENCE * 3);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    let (v1, v2) = counts(&outcome.text).unwrap_or_else(|| panic!("no summary: {}", outcome.text));
    assert!(v2 > 0 && v1 > 4 * v2, "no 90/10 split: {}", outcome.text);
    assert!(outcome.text.contains(" 0 failed"), "{}", outcome.text);
    assert!(!outcome.text.contains("http://127.0.0.1:10000/ "), "a taken port is used: {}", outcome.text);
}
