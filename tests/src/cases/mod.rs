//! The differential cases, one file for each topic.

use crate::case::Group;

pub mod access_log;
pub mod clusters;
pub mod dns;
pub mod h1_syntax;
pub mod h1_upstream;
pub mod h2_syntax;
pub mod hcm;
pub mod headers;
pub mod hosts;
pub mod listeners;
pub mod mix;
pub mod paths;
pub mod rewrite;
pub mod routing;
pub mod tcp;
pub mod timeouts;
pub mod upgrades;

/// Every group, for what is checked of the cases themselves.
pub fn all() -> Vec<Group> {
    vec![
        access_log::group(),
        clusters::group(),
        dns::group(),
        h1_syntax::group(),
        h1_upstream::group(),
        h2_syntax::group(),
        hcm::group(),
        headers::group(),
        hosts::group(),
        listeners::group(),
        mix::group(),
        paths::group(),
        rewrite::group(),
        routing::group(),
        tcp::group(),
        timeouts::group(),
        upgrades::group(),
    ]
}
