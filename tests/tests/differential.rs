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
