//! The recorder test: the same control plane, once with Envoy and once with Sampan, and what each said, compared request by request.
//!
//! A difference that `sampan_tests::differences::TALK` does not list fails the test, and so does an entry that no longer holds.
//! `SAMPAN_TESTS_ONLY=envoy` plays Envoy alone, `SAMPAN_TESTS_PRINT=1` prints what was said.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use sampan_tests::conversation::{Said, play};
use sampan_tests::differences::TALK;
use sampan_tests::harness::invoke::programs;
use sampan_tests::harness::process::Program;
use sampan_tests::harness::xds::bootstrap::Way;

/// Plays the script to each program and compares.
fn check(way: Way) {
    let mut said: Vec<(Program, Said)> = Vec::new();
    std::thread::scope(|scope| {
        let playing: Vec<_> = programs()
            .into_iter()
            .map(|program| (program, scope.spawn(move || play(program, way))))
            .collect();
        for (program, thread) in playing {
            let facts = thread
                .join()
                .unwrap_or_else(|_| panic!("{way:?}: {program:?}: the script failed, see above"));
            assert!(facts.len() >= 20, "{way:?}: {program:?} said next to nothing: {facts:?}");
            said.push((program, facts));
        }
    });
    if std::env::var_os("SAMPAN_TESTS_PRINT").is_some() {
        for (program, facts) in &said {
            println!("{way:?} {program:?}: {facts:#?}");
        }
    }
    if let [(_, envoy), (_, sampan)] = said.as_slice() {
        let report = compare(way, envoy, sampan);
        assert!(report.is_empty(), "{way:?}:\n{report}");
    }
}

/// What is not as the list says.
fn compare(way: Way, envoy: &Said, sampan: &Said) -> String {
    let mut report = String::new();
    let text = |said: &Said, fact: &str| said.get(fact).map_or_else(|| "-".to_owned(), Clone::clone);
    let listed = TALK.iter().filter(|talk| talk.way == way).map(|talk| talk.fact);
    let facts: BTreeSet<&str> = envoy.keys().chain(sampan.keys()).map(String::as_str).chain(listed).collect();
    for fact in facts {
        let (theirs, ours) = (text(envoy, fact), text(sampan, fact));
        match TALK.iter().find(|talk| talk.way == way && talk.fact == fact) {
            None if theirs == ours => {}
            None => write!(report, "{fact}\n  Envoy:  {theirs}\n  Sampan: {ours}\n").unwrap(),
            Some(talk) if talk.envoy == theirs && talk.sampan == ours && theirs != ours => {}
            Some(talk) => {
                write!(
                    report,
                    "{fact} is listed as {}, and is not so:\n  Envoy:  {theirs}\n  Sampan: {ours}\n",
                    talk.id
                )
                .unwrap();
            }
        }
    }
    report
}

#[test]
fn aggregated() {
    check(Way::Ads);
}

#[test]
fn aggregated_incremental() {
    check(Way::DeltaAds);
}

#[test]
fn a_stream_for_each_type() {
    check(Way::Grpc);
}

#[test]
fn an_incremental_stream_for_each_type() {
    check(Way::DeltaGrpc);
}

#[test]
fn the_comparison_sees_what_differs() {
    let facts = |text: &str| Said::from([("01-start/Cluster".to_owned(), text.to_owned())]);
    assert!(compare(Way::Rest, &facts("a"), &facts("a")).is_empty());
    assert!(compare(Way::Rest, &facts("a"), &facts("b")).contains("01-start/Cluster"));
    assert!(compare(Way::Rest, &facts("a"), &Said::new()).contains("Sampan: -"));
}

#[test]
fn listed_differences_are_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/differences.md");
    let text = std::fs::read_to_string(file).unwrap();
    for talk in TALK {
        assert!(
            text.contains(&format!("`{}`", talk.id)),
            "docs/differences.md does not explain `{}`",
            talk.id
        );
    }
}
