//! Matchers that many messages share: of strings, headers and metadata.

#![expect(deprecated, reason = "1.40 accepts the older spellings of header matchers")]

use sampan_api::envoy::config::route::v3::HeaderMatcher;
use sampan_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use sampan_api::envoy::r#type::matcher::v3 as types;
use sampan_api::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use sampan_api::{MessageSupport, Support};
use sampan_model::pattern::FullRegex;
use sampan_model::route::{HeaderMatch, HeaderRule, StringMatch};

use super::Scope;
use crate::telemetry::access_log::{MetadataMatch, ValueMatch};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.type.matcher.v3.StringMatcher",
        &[
            ("exact", YES),
            ("prefix", YES),
            ("suffix", YES),
            ("safe_regex", YES),
            ("contains", YES),
            ("custom", Support::Later("there are no string matcher extensions")),
            ("ignore_case", YES),
        ],
    ),
    (
        "envoy.type.matcher.v3.RegexMatcher",
        &[("google_re2", Support::Ignored("there is one engine")), ("regex", YES)],
    ),
    ("envoy.type.matcher.v3.RegexMatcher.GoogleRE2", &[("*", Support::Ignored("there is one engine"))]),
    ("envoy.config.route.v3.HeaderMatcher", &[("*", YES)]),
    ("envoy.type.v3.Int64Range", &[("*", YES)]),
    (
        "envoy.type.matcher.v3.MetadataMatcher",
        &[("*", YES), ("invert", Support::Ignored("filters of access logs ignore it, as in Envoy"))],
    ),
    ("envoy.type.matcher.v3.MetadataMatcher.PathSegment", &[("*", YES)]),
    ("envoy.type.matcher.v3.ValueMatcher", &[("*", YES)]),
    ("envoy.type.matcher.v3.ValueMatcher.NullMatch", &[]),
    ("envoy.type.matcher.v3.ListMatcher", &[("*", YES)]),
    ("envoy.type.matcher.v3.OrMatcher", &[("*", YES)]),
    ("envoy.type.matcher.v3.DoubleMatcher", &[("*", YES)]),
    ("envoy.type.v3.DoubleRange", &[("*", YES)]),
];

/// A condition on a text.
pub fn string(proto: &types::StringMatcher, at: &Scope<'_>) -> Option<StringMatch> {
    use types::string_matcher::MatchPattern;
    let ignore = proto.ignore_case;
    match &proto.match_pattern {
        Some(MatchPattern::Exact(text)) => Some(StringMatch::exact(text, ignore)),
        Some(MatchPattern::Prefix(text)) => Some(StringMatch::prefix(text, ignore)),
        Some(MatchPattern::Suffix(text)) => Some(StringMatch::suffix(text, ignore)),
        Some(MatchPattern::Contains(text)) => Some(StringMatch::contains(text, ignore)),
        Some(MatchPattern::SafeRegex(_)) if ignore => at
            .field("ignore_case")
            .reject("ignore_case has no effect for safe_regex; begin the regex with (?i)"),
        Some(MatchPattern::SafeRegex(pattern)) => {
            regex(pattern, &at.field("safe_regex")).map(StringMatch::Regex)
        }
        Some(MatchPattern::Custom(extension)) => at.field("custom").reject_value(
            &extension.name,
            "string matcher extensions are not supported by this version",
            "use exact, prefix, suffix, contains or safe_regex",
        ),
        None => at.reject("no pattern is given"),
    }
}

/// A regular expression that must match the whole text.
pub fn regex(proto: &types::RegexMatcher, at: &Scope<'_>) -> Option<FullRegex> {
    match FullRegex::new(&proto.regex) {
        Ok(pattern) => Some(pattern),
        Err(error) => at.field("regex").reject_value(&proto.regex, error.to_string(), ""),
    }
}

/// A condition on a request header.
pub fn header(proto: &HeaderMatcher, at: &Scope<'_>) -> Option<HeaderMatch> {
    let rule = match &proto.header_match_specifier {
        None => HeaderRule::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderRule::Present(*present),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            HeaderRule::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => HeaderRule::String(StringMatch::exact(text, false)),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => HeaderRule::String(StringMatch::prefix(text, false)),
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => HeaderRule::String(StringMatch::suffix(text, false)),
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => {
            HeaderRule::String(StringMatch::contains(text, false))
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => {
            HeaderRule::String(StringMatch::Regex(regex(pattern, &at.field("safe_regex_match"))?))
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            HeaderRule::String(string(matcher, &at.field("string_match"))?)
        }
    };
    Some(
        HeaderMatch::new(&proto.name, rule)
            .inverted(proto.invert_match)
            .missing_as_empty(proto.treat_missing_header_as_empty),
    )
}

/// A condition on dynamic metadata, for a filter of access logs; `missing` is its result where there is no value.
pub fn metadata(proto: &types::MetadataMatcher, missing: bool, at: &Scope<'_>) -> Option<MetadataMatch> {
    let keys = proto.path.iter().filter_map(|step| step.segment.as_ref());
    let path = keys.map(|Segment::Key(key)| key.as_str().into());
    let value_at = at.field("value");
    let value = match &proto.value {
        Some(matcher) => value(matcher, &value_at, 0)?,
        None => return value_at.reject("is required"),
    };
    Some(MetadataMatch { namespace: proto.filter.as_str().into(), path: path.collect(), value, missing })
}

/// Deeper conditions are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

fn value(proto: &types::ValueMatcher, at: &Scope<'_>, depth: usize) -> Option<ValueMatch> {
    use types::value_matcher::MatchPattern;
    if depth > DEEPEST {
        return at.reject(format!("nested more than {DEEPEST} deep"));
    }
    match &proto.match_pattern {
        Some(MatchPattern::NullMatch(_)) => Some(ValueMatch::Null),
        Some(MatchPattern::DoubleMatch(number)) => match &number.match_pattern {
            Some(types::double_matcher::MatchPattern::Range(range)) => {
                Some(ValueMatch::Range(range.start, range.end))
            }
            Some(types::double_matcher::MatchPattern::Exact(number)) => Some(ValueMatch::Exactly(*number)),
            None => at.field("double_match").reject("no pattern is given"),
        },
        Some(MatchPattern::StringMatch(text)) => {
            string(text, &at.field("string_match")).map(ValueMatch::String)
        }
        Some(MatchPattern::BoolMatch(wanted)) => Some(ValueMatch::Bool(*wanted)),
        Some(MatchPattern::PresentMatch(wanted)) => Some(ValueMatch::Present(*wanted)),
        Some(MatchPattern::ListMatch(list)) => {
            let at = at.field("list_match");
            let Some(types::list_matcher::MatchPattern::OneOf(one)) = &list.match_pattern else {
                return at.reject("no pattern is given");
            };
            value(one, &at.field("one_of"), depth + 1).map(|one| ValueMatch::OneOf(Box::new(one)))
        }
        Some(MatchPattern::OrMatch(any)) => {
            let at = at.field("or_match");
            let at = at.field("value_matchers");
            let each = any.value_matchers.iter().enumerate();
            let matchers: Vec<_> =
                each.filter_map(|(i, matcher)| value(matcher, &at.index(i), depth + 1)).collect();
            (matchers.len() == any.value_matchers.len()).then_some(ValueMatch::Or(matchers))
        }
        None => at.reject("no pattern is given"),
    }
}
