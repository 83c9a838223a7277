//! Matchers that many messages share: of strings, headers, addresses and metadata.

#![expect(deprecated, reason = "1.40 accepts the older spellings of header matchers")]

use sampan_api::envoy::config::core::v3::CidrRange;
use sampan_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use sampan_api::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use sampan_api::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use sampan_api::envoy::r#type::matcher::v3 as types;
use sampan_api::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use sampan_api::{MessageSupport, Support};
use sampan_model::pattern::FullRegex;
use sampan_model::route::{HeaderMatch, HeaderRule, QueryMatch, QueryRule, StringMatch};

use super::ConfigError;
use crate::matcher::{Cidr, MetadataMatch, ValueMatch};

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
    ("envoy.config.core.v3.CidrRange", &[("*", YES)]),
];

/// A field of the message at `path`.
pub fn under(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// A condition on a text.
pub fn string(proto: &types::StringMatcher, path: &str) -> Result<StringMatch, ConfigError> {
    use types::string_matcher::MatchPattern;
    let ignore = proto.ignore_case;
    Ok(match &proto.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatch::exact(text, ignore),
        Some(MatchPattern::Prefix(text)) => StringMatch::prefix(text, ignore),
        Some(MatchPattern::Suffix(text)) => StringMatch::suffix(text, ignore),
        Some(MatchPattern::Contains(text)) => StringMatch::contains(text, ignore),
        Some(MatchPattern::SafeRegex(_)) if ignore => {
            let reason = "ignore_case has no effect for safe_regex; begin the regex with (?i)";
            return Err(ConfigError::new(under(path, "ignore_case"), reason));
        }
        Some(MatchPattern::SafeRegex(pattern)) => {
            StringMatch::Regex(regex(pattern, &under(path, "safe_regex"))?)
        }
        Some(MatchPattern::Custom(extension)) => {
            let reason = "string matcher extensions are not supported by this version";
            let error = ConfigError::new(under(path, "custom"), reason).value(&extension.name);
            return Err(error.hint("use exact, prefix, suffix, contains or safe_regex"));
        }
        None => return Err(ConfigError::new(path, "no pattern is given")),
    })
}

/// A regular expression that must match the whole text.
pub fn regex(proto: &types::RegexMatcher, path: &str) -> Result<FullRegex, ConfigError> {
    FullRegex::new(&proto.regex)
        .map_err(|error| ConfigError::new(under(path, "regex"), error.to_string()).value(&proto.regex))
}

/// A condition on a request header.
pub fn header(proto: &HeaderMatcher, path: &str) -> Result<HeaderMatch, ConfigError> {
    let string_rule = |text| Ok::<_, ConfigError>(HeaderRule::String(text));
    let rule = match &proto.header_match_specifier {
        None => HeaderRule::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderRule::Present(*present),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            HeaderRule::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => string_rule(StringMatch::exact(text, false))?,
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => string_rule(StringMatch::prefix(text, false))?,
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => string_rule(StringMatch::suffix(text, false))?,
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => string_rule(StringMatch::contains(text, false))?,
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => {
            string_rule(StringMatch::Regex(regex(pattern, &under(path, "safe_regex_match"))?))?
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            string_rule(string(matcher, &under(path, "string_match"))?)?
        }
    };
    Ok(HeaderMatch::new(&proto.name, rule)
        .inverted(proto.invert_match)
        .missing_as_empty(proto.treat_missing_header_as_empty))
}

/// A condition on a parameter of the query.
pub fn query(proto: &QueryParameterMatcher, path: &str) -> Result<QueryMatch, ConfigError> {
    let rule = match &proto.query_parameter_match_specifier {
        None => QueryRule::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(wanted)) => QueryRule::Present(*wanted),
        Some(QueryParameterMatchSpecifier::StringMatch(rule)) => {
            QueryRule::String(string(rule, &under(path, "string_match"))?)
        }
    };
    Ok(QueryMatch { name: proto.name.as_str().into(), rule })
}

/// A range of addresses.
pub fn cidr(proto: &CidrRange, path: &str) -> Result<Cidr, ConfigError> {
    let length = proto.prefix_len.map_or(0, |wrapper| wrapper.value);
    Cidr::new(&proto.address_prefix, length).ok_or_else(|| {
        ConfigError::new(path, "not a range of IP addresses")
            .value(format!("{}/{length}", proto.address_prefix))
    })
}

/// A condition on dynamic metadata; `missing` is its result where there is no value, before `invert`.
pub fn metadata(
    proto: &types::MetadataMatcher,
    missing: bool,
    path: &str,
) -> Result<MetadataMatch, ConfigError> {
    let keys = proto.path.iter().filter_map(|step| step.segment.as_ref());
    let keys = keys.map(|Segment::Key(key)| key.as_str().into());
    let at = under(path, "value");
    let value = match &proto.value {
        Some(matcher) => value(matcher, &at, 0)?,
        None => return Err(ConfigError::new(at, "is required")),
    };
    let namespace = proto.filter.as_str().into();
    Ok(MetadataMatch { namespace, path: keys.collect(), value, missing, invert: proto.invert })
}

/// Deeper conditions are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

fn value(proto: &types::ValueMatcher, path: &str, depth: usize) -> Result<ValueMatch, ConfigError> {
    use types::value_matcher::MatchPattern;
    if depth > DEEPEST {
        return Err(ConfigError::new(path, format!("nested more than {DEEPEST} deep")));
    }
    Ok(match &proto.match_pattern {
        Some(MatchPattern::NullMatch(_)) => ValueMatch::Null,
        Some(MatchPattern::DoubleMatch(number)) => match &number.match_pattern {
            Some(types::double_matcher::MatchPattern::Range(range)) => {
                ValueMatch::Range(range.start, range.end)
            }
            Some(types::double_matcher::MatchPattern::Exact(number)) => ValueMatch::Exactly(*number),
            None => return Err(ConfigError::new(under(path, "double_match"), "no pattern is given")),
        },
        Some(MatchPattern::StringMatch(text)) => {
            ValueMatch::String(string(text, &under(path, "string_match"))?)
        }
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatch::Bool(*wanted),
        Some(MatchPattern::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(MatchPattern::ListMatch(list)) => {
            let path = under(path, "list_match");
            let Some(types::list_matcher::MatchPattern::OneOf(one)) = &list.match_pattern else {
                return Err(ConfigError::new(path, "no pattern is given"));
            };
            ValueMatch::OneOf(Box::new(value(one, &under(&path, "one_of"), depth + 1)?))
        }
        Some(MatchPattern::OrMatch(any)) => {
            let each = any.value_matchers.iter().enumerate();
            let each =
                each.map(|(i, one)| value(one, &format!("{path}.or_match.value_matchers[{i}]"), depth + 1));
            ValueMatch::Or(each.collect::<Result<_, _>>()?)
        }
        None => return Err(ConfigError::new(path, "no pattern is given")),
    })
}
