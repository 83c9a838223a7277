//! The differential suite: one test for each topic; see `sampan_tests::run`.

use sampan_tests::{cases, run};

#[test]
fn routing() {
    run::check(cases::routing::group());
}

#[test]
fn balancing() {
    run::check(cases::balancing::group());
}

#[test]
fn zones() {
    run::check(cases::zones::group());
}

#[test]
fn aggregate() {
    run::check(cases::aggregate::group());
}

#[test]
fn named_hosts() {
    run::check(cases::named_hosts::group());
}

#[test]
fn retries() {
    run::check(cases::retries::group());
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
fn original_dst() {
    run::check(cases::original_dst::group());
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

#[test]
fn failures() {
    run::check(cases::failures::group());
}

#[test]
fn cors() {
    run::check(cases::cors::group());
}

#[test]
fn rbac() {
    run::check(cases::rbac::group());
}

#[test]
fn local_ratelimit() {
    run::check(cases::local_ratelimit::group());
}

#[test]
fn metadata() {
    run::check(cases::metadata::group());
}

#[test]
fn health_filter() {
    run::check(cases::health_filter::group());
}

#[test]
fn custom_redirects() {
    run::check(cases::custom_redirects::group());
}

#[test]
fn side_calls() {
    run::check(cases::side_calls::group());
}

#[test]
fn ext_authz_state() {
    run::check(cases::ext_authz_state::group());
}

#[test]
fn header_mutation() {
    run::check(cases::header_mutation::group());
}

#[test]
fn guards() {
    run::check(cases::guards::group());
}

#[test]
fn cel() {
    run::check(cases::cel::group());
}

#[test]
fn races() {
    run::check(cases::races::group());
}

#[test]
fn mirrors() {
    run::check(cases::mirrors::group());
}

#[test]
fn redirects() {
    run::check(cases::redirects::group());
}

#[test]
fn hedges() {
    run::check(cases::hedges::group());
}

#[test]
fn ext_authz() {
    run::check(cases::ext_authz::group());
}

#[test]
fn ratelimit() {
    run::check(cases::ratelimit::group());
}

#[test]
fn jwt_authn() {
    run::check(cases::jwt_authn::group());
}

#[test]
fn transform() {
    run::check(cases::transform::group());
}

#[test]
fn grpc_bridges() {
    run::check(cases::grpc_bridges::group());
}

#[test]
fn faults() {
    run::check(cases::faults::group());
}

#[test]
fn lua() {
    run::check(cases::lua::group());
}

#[test]
fn custom_response() {
    run::check(cases::custom_response::group());
}
