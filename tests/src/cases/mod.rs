//! The differential cases, one file for each topic.

use crate::case::Group;

pub mod access_log;
pub mod aggregate;
pub mod balancing;
pub mod cel;
pub mod clusters;
pub mod cors;
pub mod custom_redirects;
pub mod custom_response;
pub mod dns;
pub mod ext_authz;
pub mod ext_authz_state;
pub mod failures;
pub mod faults;
pub mod grpc_bridges;
pub mod guards;
pub mod h1_syntax;
pub mod h1_upstream;
pub mod h2_syntax;
pub mod hcm;
pub mod header_mutation;
pub mod headers;
pub mod health_filter;
pub mod hedges;
pub mod hosts;
pub mod jwt_authn;
pub mod listeners;
pub mod local_ratelimit;
pub mod lua;
pub mod metadata;
pub mod mirrors;
pub mod mix;
pub mod named_hosts;
pub mod original_dst;
pub mod paths;
pub mod races;
pub mod ratelimit;
pub mod rbac;
pub mod redirects;
pub mod retries;
pub mod rewrite;
pub mod routing;
pub mod side_calls;
pub mod tcp;
pub mod timeouts;
pub mod transform;
pub mod upgrades;
pub mod zones;

/// Every group, for what is checked of the cases themselves.
pub fn all() -> Vec<Group> {
    vec![
        access_log::group(),
        aggregate::group(),
        balancing::group(),
        cel::group(),
        clusters::group(),
        cors::group(),
        custom_redirects::group(),
        custom_response::group(),
        dns::group(),
        ext_authz::group(),
        ext_authz_state::group(),
        failures::group(),
        faults::group(),
        grpc_bridges::group(),
        guards::group(),
        h1_syntax::group(),
        h1_upstream::group(),
        h2_syntax::group(),
        hcm::group(),
        header_mutation::group(),
        headers::group(),
        health_filter::group(),
        hedges::group(),
        hosts::group(),
        jwt_authn::group(),
        listeners::group(),
        local_ratelimit::group(),
        lua::group(),
        metadata::group(),
        mirrors::group(),
        mix::group(),
        named_hosts::group(),
        original_dst::group(),
        paths::group(),
        ratelimit::group(),
        races::group(),
        rbac::group(),
        redirects::group(),
        retries::group(),
        rewrite::group(),
        routing::group(),
        side_calls::group(),
        tcp::group(),
        timeouts::group(),
        transform::group(),
        upgrades::group(),
        zones::group(),
    ]
}
