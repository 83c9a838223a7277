//! Matchers that many messages share, compiled as the filters compile them, with their problems told where they are.

use sampan_api::MessageSupport;
use sampan_api::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use sampan_api::envoy::r#type::matcher::v3 as types;
use sampan_filters::config::{ConfigError, matcher};
use sampan_filters::matcher::MetadataMatch;
use sampan_model::pattern::FullRegex;
use sampan_model::route::{HeaderMatch, QueryMatch, StringMatch};

use super::{Scope, network};

/// What is read here.
pub const SUPPORT: &[MessageSupport] = matcher::SUPPORT;

/// A condition on a text.
pub fn string(proto: &types::StringMatcher, at: &Scope<'_>) -> Option<StringMatch> {
    tell(matcher::string(proto, ""), at)
}

/// A regular expression that must match the whole text.
pub fn regex(proto: &types::RegexMatcher, at: &Scope<'_>) -> Option<FullRegex> {
    tell(matcher::regex(proto, ""), at)
}

/// A condition on a request header.
pub fn header(proto: &HeaderMatcher, at: &Scope<'_>) -> Option<HeaderMatch> {
    tell(matcher::header(proto, ""), at)
}

/// A condition on a parameter of the query.
pub fn query(proto: &QueryParameterMatcher, at: &Scope<'_>) -> Option<QueryMatch> {
    tell(matcher::query(proto, ""), at)
}

/// A condition on dynamic metadata, for a filter of access logs; `missing` is its result where there is no value.
pub fn metadata(proto: &types::MetadataMatcher, missing: bool, at: &Scope<'_>) -> Option<MetadataMatch> {
    tell(matcher::metadata(proto, missing, ""), at)
}

fn tell<T>(result: Result<T, ConfigError>, at: &Scope<'_>) -> Option<T> {
    network::tell(result.map_err(|error| vec![error]), at)
}
