//! `xds.type.matcher.v3.IPMatcher` and `CelMatcher`, which the crate of generated types leaves out. Read where matcher trees are
//! compiled.

use envoy_types::pb::xds::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::v3::CelExpression;

/// A tree's branches by IP range.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IpMatcher {
    /// The branches.
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

/// A branch of an [`IpMatcher`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct IpRangeMatcher {
    /// The addresses that it is for.
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    /// What becomes of them.
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
    /// Whether it is left out where a longer range holds the address, even if nothing comes of that.
    #[prost(bool, tag = "3")]
    pub exclusive: bool,
}

/// A condition in CEL.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CelMatcher {
    /// The expression; it holds if it is true.
    #[prost(message, optional, tag = "1")]
    pub expr_match: Option<CelExpression>,
}
