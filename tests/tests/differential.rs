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
