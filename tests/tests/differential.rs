//! The differential suite: one test for each topic; see `sampan_tests::run`.

use sampan_tests::{cases, run};

#[test]
fn routing() {
    run::check(cases::routing::group());
}

#[test]
fn hosts() {
    run::check(cases::hosts::group());
}

#[test]
fn rewrite() {
    run::check(cases::rewrite::group());
}

#[test]
fn headers() {
    run::check(cases::headers::group());
}

#[test]
fn h1_syntax() {
    run::check(cases::h1_syntax::group());
}

#[test]
fn h1_upstream() {
    run::check(cases::h1_upstream::group());
}

#[test]
fn h2_syntax() {
    run::check(cases::h2_syntax::group());
}

#[test]
fn paths() {
    run::check(cases::paths::group());
}

#[test]
fn hcm() {
    run::check(cases::hcm::group());
}

#[test]
fn mix() {
    run::check(cases::mix::group());
}

#[test]
fn tcp() {
    run::check(cases::tcp::group());
}

#[test]
fn upgrades() {
    run::check(cases::upgrades::group());
}

#[test]
fn access_log() {
    run::check(cases::access_log::group());
}

#[test]
fn clusters() {
    run::check(cases::clusters::group());
}

#[test]
fn timeouts() {
    run::check(cases::timeouts::group());
}

#[test]
fn listeners() {
    run::check(cases::listeners::group());
}

#[test]
fn dns() {
    run::check(cases::dns::group());
}
