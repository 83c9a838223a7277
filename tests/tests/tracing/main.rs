//! Tracing: the same configuration and the same requests, once with Envoy and once with Sampan. What collectors were told, what
//! upstreams saw and what the access log says is compared fact by fact. `SAMPAN_TESTS_PRINT=1` prints it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod delivery;
mod spans;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;

use self::stage::{Facts, Stage};

/// Facts that differ on purpose (docs/differences.md): case, or all of them, fact, and the id there.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("whole", "resource/telemetry.sdk.language", "trace-sdk"),
    ("whole", "resource/telemetry.sdk.name", "trace-sdk"),
    ("whole", "resource/telemetry.sdk.version", "trace-sdk"),
];

#[test]
fn spans_and_headers_are_envoys() {
    let said: Vec<(Program, BTreeMap<String, Facts>)> = std::thread::scope(|scope| {
        let playing: Vec<_> = programs()
            .into_iter()
            .map(|program| (program, scope.spawn(move || Stage::set(program).play(cases::CASES))))
            .collect();
        playing.into_iter().map(|(program, thread)| (program, thread.join().unwrap())).collect()
    });
    if std::env::var_os("SAMPAN_TESTS_PRINT").is_some() {
        for (program, said) in &said {
            println!("{program:?}: {said:#?}");
        }
    }
    let [(_, envoy), (_, sampan)] = said.as_slice() else { return };
    assert_eq!(envoy["z-get"]["span 0/name"], "h");
    let report = compare(envoy, sampan);
    assert!(report.is_empty(), "{report}");
}

/// What differs and is not listed, and what is listed and does not differ.
fn compare(envoy: &BTreeMap<String, Facts>, sampan: &BTreeMap<String, Facts>) -> String {
    let mut report = String::new();
    for (case, theirs) in envoy {
        let ours = &sampan[case];
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            let value = |facts: &Facts| facts.get(name).cloned().unwrap_or_else(|| "-".to_owned());
            let (theirs, ours) = (value(theirs), value(ours));
            let listed = DIFFERENT.iter().any(|(of, fact, _)| of == case && fact == name);
            if (theirs != ours) != listed {
                writeln!(report, "{case}: {name}: Envoy {theirs:?}, Sampan {ours:?}").unwrap();
            }
        }
    }
    report
}

#[test]
fn the_comparison_sees_what_differs() {
    let said =
        |value: &str| BTreeMap::from([("get".to_owned(), Facts::from([("a".to_owned(), value.to_owned())]))]);
    assert!(compare(&said("1"), &said("1")).is_empty());
    assert!(compare(&said("1"), &said("2")).contains("Envoy \"1\", Sampan \"2\""));
}

#[test]
fn every_difference_is_explained() {
    let document = include_str!("../../../docs/differences.md");
    for (_, _, id) in DIFFERENT {
        assert!(document.contains(&format!("`{id}`")), "{id}");
    }
}
