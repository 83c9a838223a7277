//! `stats_config` -> the plain settings of the stats registry.

use sampan_api::envoy::config::metrics::v3 as pb;
use sampan_api::envoy::config::metrics::v3::stats_matcher::StatsMatcher as Proto;
use sampan_api::envoy::config::metrics::v3::tag_specifier::TagValue as ProtoTag;
use sampan_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use sampan_api::envoy::r#type::matcher::v3::{ListStringMatcher, StringMatcher};
use sampan_api::{MessageSupport, Support};

use super::{Scope, value};
use crate::telemetry::stats::{
    BucketRule, Stats, StatsConfig, StatsMatcher, StringMatch, StringPattern, TagRule, TagValue,
};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.metrics.v3.StatsConfig",
        &[
            ("stats_tags", YES),
            ("use_all_default_tags", YES),
            ("stats_matcher", YES),
            ("histogram_bucket_settings", YES),
        ],
    ),
    ("envoy.config.metrics.v3.TagSpecifier", &[("tag_name", YES), ("regex", YES), ("fixed_value", YES)]),
    (
        "envoy.config.metrics.v3.StatsMatcher",
        &[("reject_all", YES), ("exclusion_list", YES), ("inclusion_list", YES)],
    ),
    (
        "envoy.config.metrics.v3.HistogramBucketSettings",
        &[("match", YES), ("buckets", YES), ("bins", Support::Ignored("bins are always fine enough"))],
    ),
    ("envoy.type.matcher.v3.ListStringMatcher", &[("patterns", YES)]),
];

/// The settings, with the tags of the command line.
pub fn compile(
    proto: Option<&pb::StatsConfig>,
    cli_tags: &[(String, String)],
    at: &Scope<'_>,
) -> StatsConfig {
    let mut config = StatsConfig { cli_tags: cli_tags.to_vec(), ..StatsConfig::default() };
    if let Some(proto) = proto {
        config.use_all_default_tags = value::switch(proto.use_all_default_tags.as_ref()).unwrap_or(true);
        config.tags = proto.stats_tags.iter().map(tag).collect();
        if let Some(matcher) = &proto.stats_matcher {
            config.matcher = stats_matcher(matcher, &at.field("stats_matcher"));
        }
        let at = at.field("histogram_bucket_settings");
        for (index, settings) in proto.histogram_bucket_settings.iter().enumerate() {
            let at = at.index(index);
            let at = at.field("match");
            if let Some(matches) = settings.r#match.as_ref().and_then(|m| string_match(m, &at)) {
                config.buckets.push(BucketRule { matches, bounds: settings.buckets.clone() });
            }
        }
    }
    if let Err(error) = Stats::new(&config) {
        at.reject::<()>(error.to_string());
    }
    config
}

fn tag(proto: &pb::TagSpecifier) -> TagRule {
    let value = match &proto.tag_value {
        Some(ProtoTag::Regex(pattern)) if !pattern.is_empty() => TagValue::Regex(pattern.clone()),
        Some(ProtoTag::FixedValue(text)) => TagValue::Fixed(text.clone()),
        _ => TagValue::Default,
    };
    TagRule { name: proto.tag_name.clone(), value }
}

fn stats_matcher(proto: &pb::StatsMatcher, at: &Scope<'_>) -> StatsMatcher {
    match &proto.stats_matcher {
        Some(Proto::RejectAll(true)) => StatsMatcher::None,
        Some(Proto::RejectAll(false)) => StatsMatcher::All,
        Some(Proto::ExclusionList(list)) => StatsMatcher::Except(patterns(list, &at.field("exclusion_list"))),
        Some(Proto::InclusionList(list)) => StatsMatcher::Only(patterns(list, &at.field("inclusion_list"))),
        None => {
            at.reject::<()>("stats_matcher is required");
            StatsMatcher::All
        }
    }
}

fn patterns(list: &ListStringMatcher, at: &Scope<'_>) -> Vec<StringMatch> {
    let at = at.field("patterns");
    list.patterns
        .iter()
        .enumerate()
        .filter_map(|(index, proto)| string_match(proto, &at.index(index)))
        .collect()
}

fn string_match(proto: &StringMatcher, at: &Scope<'_>) -> Option<StringMatch> {
    let pattern = match &proto.match_pattern {
        Some(MatchPattern::Exact(text)) => StringPattern::Exact(text.clone()),
        Some(MatchPattern::Prefix(text)) => StringPattern::Prefix(text.clone()),
        Some(MatchPattern::Suffix(text)) => StringPattern::Suffix(text.clone()),
        Some(MatchPattern::Contains(text)) => StringPattern::Contains(text.clone()),
        Some(MatchPattern::SafeRegex(regex)) => StringPattern::Regex(regex.regex.clone()),
        Some(MatchPattern::Custom(_)) => return at.field("custom").reject("there is no such matcher"),
        None => return at.reject("match_pattern is required"),
    };
    Some(StringMatch { pattern, ignore_case: proto.ignore_case })
}

#[cfg(test)]
mod tests {
    use super::super::scope::Rejects;
    use super::*;
    use sampan_api::{Descriptors, Document, Format, Policy, decode};

    fn compiled(yaml: &str) -> (StatsConfig, Vec<String>) {
        let document = Document::parse(yaml, Format::Yaml).unwrap();
        let proto =
            decode::<pb::StatsConfig>(Descriptors::load(), &document, Policy::default()).unwrap().value;
        let rejects = Rejects::default();
        let config = compile(Some(&proto), &[], &Scope::root("bootstrap", &rejects));
        (config, rejects.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tags_matcher_and_buckets() {
        let (config, told) = compiled(
            "stats_tags: [{tag_name: a, regex: '^x(?=\\.)((.+))'}, {tag_name: b, fixed_value: v}]
stats_matcher: {inclusion_list: {patterns: [{prefix: cluster.}, {safe_regex: {regex: '.*'}}]}}
histogram_bucket_settings: [{match: {suffix: ms}, buckets: [1, 10]}]",
        );
        assert_eq!(told, Vec::<String>::new());
        assert_eq!(config.tags.len(), 2);
        assert!(matches!(&config.matcher, StatsMatcher::Only(list) if list.len() == 2));
        assert_eq!(config.buckets[0].bounds, [1.0, 10.0]);
    }

    #[test]
    fn a_bad_expression_is_told() {
        let (_, told) = compiled("stats_tags: [{tag_name: a, regex: '('}]");
        assert!(told[0].contains("not a valid regular expression"), "{told:?}");
    }
}
