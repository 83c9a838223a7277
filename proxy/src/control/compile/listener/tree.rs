//! `filter_chain_matcher` (`xds.type.matcher.v3.Matcher`) -> [`Matcher`], with indices of chains for their names.

use std::collections::HashMap;
use std::net::IpAddr;

use sampan_api::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use sampan_api::envoy::r#type::matcher::v3 as types;
use sampan_api::google::protobuf::StringValue;
use sampan_api::xds::core::v3 as xds_core;
use sampan_api::xds::r#type::matcher::v3 as pb;
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, single_predicate,
};
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_tree::{MatchMap, TreeType};
use sampan_api::xds::r#type::matcher::v3::matcher::{
    MatcherTree, MatcherType, OnMatch as ProtoOnMatch, on_match,
};
use sampan_api::{IpMatcher, MessageSupport, Support, type_url};
use sampan_model::route::StringMatch;

use super::super::{Scope, matcher, value};
use super::chain::cidrs;
use crate::listener::chain_tree::{Branches, Condition, Input, Matcher, OnMatch, Ranges};
use crate::net::cidr::Cidr;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("xds.type.matcher.v3.Matcher", &[("*", YES)]),
    (
        "xds.type.matcher.v3.Matcher.OnMatch",
        &[
            ("matcher", YES),
            ("action", YES),
            (
                "keep_matching",
                Support::Later("a listener that sets it is refused; Envoy does not survive it"),
            ),
        ],
    ),
    ("xds.type.matcher.v3.Matcher.MatcherList", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherList.Predicate", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherTree", &[("*", YES)]),
    ("xds.type.matcher.v3.Matcher.MatcherTree.MatchMap", &[("*", YES)]),
    ("xds.type.matcher.v3.IPMatcher", &[("*", YES)]),
    ("xds.type.matcher.v3.IPMatcher.IPRangeMatcher", &[("*", YES)]),
    (
        "xds.type.matcher.v3.StringMatcher",
        &[("*", YES), ("custom", Support::Later("there are no string matcher extensions"))],
    ),
    ("xds.type.matcher.v3.RegexMatcher", &[("*", YES)]),
    ("xds.type.matcher.v3.RegexMatcher.GoogleRE2", &[("*", YES)]),
    ("xds.core.v3.TypedExtensionConfig", &[("*", YES)]),
    ("xds.core.v3.CidrRange", &[("*", YES)]),
    ("google.protobuf.StringValue", &[("*", YES)]),
    (IP, &[("cidr_ranges", YES), ("stat_prefix", Support::Ignored("it counts nothing"))]),
    ("envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.SourceIPInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.SourcePortInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.ServerNameInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput", &[]),
    ("envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput", &[]),
];

const INPUTS: &str = "envoy.extensions.matching.common_inputs.network.v3.";
const IP: &str = "envoy.extensions.matching.input_matchers.ip.v3.Ip";
const IP_TREE: &str = "xds.type.matcher.v3.IPMatcher";
const CHAIN_NAME: &str = "google.protobuf.StringValue";

/// Deeper trees are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

/// The names of the listener's chains, in their order.
pub struct Names<'n>(pub &'n [&'n str]);

/// A matcher at some depth of the tree.
pub fn compile(proto: &pb::Matcher, names: &Names<'_>, at: &Scope<'_>, depth: usize) -> Option<Matcher> {
    if depth > DEEPEST {
        return at.reject(format!("nested more than {DEEPEST} deep"));
    }
    let otherwise = match &proto.on_no_match {
        Some(next) => Some(on_match(Some(next), names, &at.field("on_no_match"), depth)?),
        None => None,
    };
    let branches = match &proto.matcher_type {
        None => Branches::None,
        Some(MatcherType::MatcherList(list)) => {
            let at = at.field("matcher_list");
            let list_at = at.field("matchers");
            let branch = |(index, field): (usize, &pb::matcher::matcher_list::FieldMatcher)| {
                let at = list_at.index(index);
                let condition = condition(field.predicate.as_ref(), &at.field("predicate"), 0);
                let next = on_match(field.on_match.as_ref(), names, &at.field("on_match"), depth);
                Some((condition?, next?))
            };
            Branches::List(all(list.matchers.iter().enumerate().map(branch))?)
        }
        Some(MatcherType::MatcherTree(tree)) => self::tree(tree, names, &at.field("matcher_tree"), depth)?,
    };
    Some(Matcher { branches, otherwise })
}

fn tree(proto: &MatcherTree, names: &Names<'_>, at: &Scope<'_>, depth: usize) -> Option<Branches> {
    let input = input(proto.input.as_ref(), &at.field("input"));
    let map = |map: &MatchMap, at: &Scope<'_>| {
        let at = at.field("map");
        let entry = |(key, next): (&String, &ProtoOnMatch)| {
            Some((Box::<str>::from(key.as_str()), on_match(Some(next), names, &at.key(key), depth)?))
        };
        all(map.map.iter().map(entry))
    };
    match &proto.tree_type {
        Some(TreeType::ExactMatchMap(exact)) => {
            let entries = map(exact, &at.field("exact_match_map"))?;
            Some(Branches::Exact(input?, entries.into_iter().collect()))
        }
        Some(TreeType::PrefixMatchMap(prefixes)) => {
            let mut entries = map(prefixes, &at.field("prefix_match_map"))?;
            entries.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            Some(Branches::Prefix(input?, entries))
        }
        Some(TreeType::CustomMatch(custom)) => {
            let at = at.field("custom_match");
            let any = match &custom.typed_config {
                Some(any) if type_url::full_name(&any.type_url) == IP_TREE => any,
                _ => {
                    return at.reject_value(
                        shown(custom),
                        "there is no such matcher tree",
                        "use an IPMatcher",
                    );
                }
            };
            let at = at.field("typed_config");
            let input = of_address(input?, &at)?;
            let ranges = self::ranges(&value::payload(any, &at)?, names, &at, depth)?;
            Some(Branches::Ranges(input, Box::new(ranges)))
        }
        None => at.reject("no map is given"),
    }
}

fn ranges(proto: &IpMatcher, names: &Names<'_>, at: &Scope<'_>, depth: usize) -> Option<Ranges> {
    let list = at.field("range_matchers");
    let mut by_range: HashMap<Cidr, Vec<usize>> = HashMap::new();
    let mut branches = Vec::new();
    let found_before = at.rejects().len();
    for (index, branch) in proto.range_matchers.iter().enumerate() {
        let at = list.index(index);
        let ranges_at = at.field("ranges");
        if branch.ranges.is_empty() {
            ranges_at.reject::<()>("at least one range is needed");
        }
        for (number, proto) in branch.ranges.iter().enumerate() {
            if let Some(range) = range(proto, &ranges_at.index(number)) {
                by_range.entry(range).or_default().push(index);
            }
        }
        let next = on_match(branch.on_match.as_ref(), names, &at.field("on_match"), depth);
        branches.extend(next.map(|next| (next, branch.exclusive)));
    }
    (at.rejects().len() == found_before)
        .then(|| Ranges { branches, by_range: by_range.into_iter().collect() })
}

fn range(proto: &xds_core::CidrRange, at: &Scope<'_>) -> Option<Cidr> {
    let Ok(ip) = proto.address_prefix.parse::<IpAddr>() else {
        return at.field("address_prefix").reject_value(&proto.address_prefix, "malformed IP address", "");
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    Cidr::new(ip, value::number_or(proto.prefix_len.as_ref(), 0).min(bits)).ok()
}

fn on_match(
    proto: Option<&ProtoOnMatch>,
    names: &Names<'_>,
    at: &Scope<'_>,
    depth: usize,
) -> Option<OnMatch> {
    let Some(proto) = proto else { return at.reject("is required") };
    if proto.keep_matching {
        return at.field("keep_matching").reject_value(
            "true",
            "a connection goes to one filter chain, so nothing can follow the first that matches",
            "leave it out",
        );
    }
    match &proto.on_match {
        Some(on_match::OnMatch::Matcher(nested)) => {
            let nested = compile(nested, names, &at.field("matcher"), depth + 1)?;
            Some(OnMatch::Matcher(Box::new(nested)))
        }
        Some(on_match::OnMatch::Action(action)) => {
            let at = at.field("action");
            let any = match &action.typed_config {
                Some(any) if type_url::full_name(&any.type_url) == CHAIN_NAME => any,
                _ => {
                    return at.reject_value(
                        shown(action),
                        "this action chooses no filter chain",
                        "give the chain's name as a google.protobuf.StringValue",
                    );
                }
            };
            let name = value::payload::<StringValue>(any, &at.field("typed_config"))?.value;
            Some(OnMatch::Chain(index_of(&name, names, &at)))
        }
        None => at.reject("neither an action nor a matcher is given"),
    }
}

/// The chain of a name. As in Envoy, a name that no chain has refuses the connections that it is found for.
fn index_of(name: &str, names: &Names<'_>, at: &Scope<'_>) -> usize {
    names.0.iter().position(|known| *known == name).unwrap_or_else(|| {
        let place = at.path();
        tracing::warn!(target: "config", "{}: {place}: there is no filter chain {name:?}", at.resource());
        names.0.len()
    })
}

fn condition(proto: Option<&Predicate>, at: &Scope<'_>, depth: usize) -> Option<Condition> {
    if depth > DEEPEST {
        return at.reject(format!("nested more than {DEEPEST} deep"));
    }
    let several = |list: &PredicateList, at: &Scope<'_>| {
        let at = at.field("predicate");
        all(list.predicate.iter().enumerate().map(|(i, one)| condition(Some(one), &at.index(i), depth + 1)))
    };
    match proto.and_then(|predicate| predicate.match_type.as_ref()) {
        Some(MatchType::AndMatcher(list)) => several(list, &at.field("and_matcher")).map(Condition::And),
        Some(MatchType::OrMatcher(list)) => several(list, &at.field("or_matcher")).map(Condition::Or),
        Some(MatchType::NotMatcher(one)) => {
            let one = condition(Some(one), &at.field("not_matcher"), depth + 1)?;
            Some(Condition::Not(Box::new(one)))
        }
        Some(MatchType::SinglePredicate(single)) => {
            let at = at.field("single_predicate");
            let input = input(single.input.as_ref(), &at.field("input"))?;
            match &single.matcher {
                Some(single_predicate::Matcher::ValueMatch(text)) => {
                    Some(Condition::Text(input, string(text, &at.field("value_match"))?))
                }
                Some(single_predicate::Matcher::CustomMatch(custom)) => {
                    let at = at.field("custom_match");
                    let any = match &custom.typed_config {
                        Some(any) if type_url::full_name(&any.type_url) == IP => any,
                        _ => {
                            let hint = "use value_match, or envoy.matching.matchers.ip";
                            return at.reject_value(shown(custom), "there is no such input matcher", hint);
                        }
                    };
                    let at = at.field("typed_config");
                    let input = of_address(input, &at)?;
                    let ip: Ip = value::payload(any, &at)?;
                    let ranges = cidrs(&ip.cidr_ranges, &at.field("cidr_ranges"));
                    (ranges.len() == ip.cidr_ranges.len()).then_some(Condition::Ranges(input, ranges))
                }
                None => at.reject("no matcher is given"),
            }
        }
        None => at.reject("no condition is given"),
    }
}

fn input(proto: Option<&xds_core::TypedExtensionConfig>, at: &Scope<'_>) -> Option<Input> {
    let Some(proto) = proto else { return at.reject("is required") };
    let full_name = proto.typed_config.as_ref().map_or("", |any| type_url::full_name(&any.type_url));
    Some(match full_name.strip_prefix(INPUTS) {
        Some("DestinationIPInput") => Input::DestinationIp,
        Some("DestinationPortInput") => Input::DestinationPort,
        Some("SourceIPInput") => Input::SourceIp,
        Some("SourcePortInput") => Input::SourcePort,
        Some("DirectSourceIPInput") => Input::DirectSourceIp,
        Some("SourceTypeInput") => Input::SourceType,
        Some("ServerNameInput") => Input::ServerName,
        Some("TransportProtocolInput") => Input::TransportProtocol,
        Some("ApplicationProtocolInput") => Input::ApplicationProtocol,
        _ => {
            return at.reject_value(
                shown(proto),
                "filter chains cannot be chosen by this input",
                "addresses, ports, source type, server name, transport and application protocols are known then",
            );
        }
    })
}

fn of_address(input: Input, at: &Scope<'_>) -> Option<Input> {
    if input.is_ip() {
        return Some(input);
    }
    at.reject_value(
        format!("{input:?}"),
        "ranges hold addresses only",
        "use DestinationIPInput or a source's",
    )
}

/// The message has the shape of Envoy's own; so the meaning is one.
fn string(proto: &pb::StringMatcher, at: &Scope<'_>) -> Option<StringMatch> {
    use pb::string_matcher::MatchPattern as From;
    use types::string_matcher::MatchPattern as To;
    let pattern = match &proto.match_pattern {
        Some(From::Exact(text)) => To::Exact(text.clone()),
        Some(From::Prefix(text)) => To::Prefix(text.clone()),
        Some(From::Suffix(text)) => To::Suffix(text.clone()),
        Some(From::Contains(text)) => To::Contains(text.clone()),
        Some(From::SafeRegex(regex)) => To::SafeRegex(types::RegexMatcher {
            regex: regex.regex.clone(),
            ..types::RegexMatcher::default()
        }),
        Some(From::Custom(extension)) => {
            return at.field("custom").reject_value(shown(extension), "there is no such string matcher", "");
        }
        None => return at.reject("no pattern is given"),
    };
    let same = types::StringMatcher { match_pattern: Some(pattern), ignore_case: proto.ignore_case };
    matcher::string(&same, at)
}

fn shown(extension: &xds_core::TypedExtensionConfig) -> &str {
    match &extension.typed_config {
        Some(any) if !any.type_url.is_empty() => &any.type_url,
        _ => &extension.name,
    }
}

/// All values, or none if one is missing; every one is asked for.
fn all<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let (values, missing) = values.fold((Vec::new(), false), |(mut found, missing), value| {
        let missing = missing || value.is_none();
        found.extend(value);
        (found, missing)
    });
    (!missing).then_some(values)
}

#[cfg(test)]
mod tests;
