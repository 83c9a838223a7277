//! Header changes (`HeaderValueOption`) of routes and local replies. Conditions on headers are in [`super::matcher`].

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use sampan_api::envoy::r#type::matcher::v3 as matcher;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::Template;
use sampan_model::pattern::{PatternError, RegexRewrite};

use super::Scope;
use crate::http::config::{AppendAction, HeaderAdd, HeaderOps};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.HeaderValueOption",
        &[("header", YES), ("append", YES), ("append_action", YES), ("keep_empty_value", YES)],
    ),
    ("envoy.config.core.v3.HeaderValue", &[("key", YES), ("value", YES), ("raw_value", YES)]),
    ("envoy.type.matcher.v3.RegexMatchAndSubstitute", &[("pattern", YES), ("substitution", YES)]),
];

/// The header fields of a configuration level, in the order request add, request remove, response add, response remove.
pub type Lists<'a> =
    (&'a [core::HeaderValueOption], &'a [String], &'a [core::HeaderValueOption], &'a [String]);

/// Header changes of one configuration level.
pub fn ops(lists: Lists<'_>, at: &Scope<'_>) -> HeaderOps {
    HeaderOps {
        request_add: adds(lists.0, &at.field("request_headers_to_add")),
        request_remove: removes(lists.1, &at.field("request_headers_to_remove")),
        response_add: adds(lists.2, &at.field("response_headers_to_add")),
        response_remove: removes(lists.3, &at.field("response_headers_to_remove")),
    }
}

/// Headers to add.
pub fn adds(protos: &[core::HeaderValueOption], at: &Scope<'_>) -> Vec<HeaderAdd> {
    protos.iter().enumerate().filter_map(|(index, proto)| add(proto, &at.index(index))).collect()
}

/// A header to add.
pub fn add(proto: &core::HeaderValueOption, at: &Scope<'_>) -> Option<HeaderAdd> {
    let header_at = at.field("header");
    let Some(header) = &proto.header else { return header_at.reject("is required") };
    let name = name(&header.key, "modified", &header_at.field("key"));
    let value = value(header, &header_at);
    let action = action(proto, at);
    Some(HeaderAdd { name: name?, value: value?, action: action?, keep_empty: proto.keep_empty_value })
}

fn action(proto: &core::HeaderValueOption, at: &Scope<'_>) -> Option<AppendAction> {
    #[allow(deprecated)]
    if let Some(append) = &proto.append {
        if proto.append_action != 0 {
            return at.field("append").reject("append and append_action cannot be set together");
        }
        let kept = append.value;
        return Some(if kept {
            AppendAction::AppendIfExistsOrAdd
        } else {
            AppendAction::OverwriteIfExistsOrAdd
        });
    }
    Some(match proto.append_action() {
        HeaderAppendAction::AppendIfExistsOrAdd => AppendAction::AppendIfExistsOrAdd,
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteIfExistsOrAdd,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
    })
}

fn value(header: &core::HeaderValue, at: &Scope<'_>) -> Option<Template> {
    let (text, field) = match (&header.value, &header.raw_value) {
        (value, raw) if value.is_empty() && !raw.is_empty() => match std::str::from_utf8(raw) {
            Ok(text) => (text, "raw_value"),
            Err(_) => return at.field("raw_value").reject("only UTF-8 is supported"),
        },
        (value, _) => (value.as_str(), "value"),
    };
    match Template::parse_header_value(text) {
        Ok(template) => Some(template),
        Err(error) => at.field(field).reject_value(&error.operator, error.reason, error.hint),
    }
}

fn removes(names: &[String], at: &Scope<'_>) -> Vec<Box<str>> {
    names.iter().enumerate().filter_map(|(index, text)| name(text, "removed", &at.index(index))).collect()
}

/// The name of a header that may be changed.
pub fn name(text: &str, change: &str, at: &Scope<'_>) -> Option<Box<str>> {
    if text.is_empty() {
        return at.reject("the header has no name");
    }
    if text.starts_with(':') || text.eq_ignore_ascii_case("host") {
        return at.reject_value(
            text,
            format!(":-prefixed or host headers may not be {change}"),
            "host_rewrite_literal, prefix_rewrite and regex_rewrite change them",
        );
    }
    Some(text.to_ascii_lowercase().into())
}

/// A rewrite by regular expression.
pub fn regex_rewrite(proto: &matcher::RegexMatchAndSubstitute, at: &Scope<'_>) -> Option<RegexRewrite> {
    let Some(pattern) = &proto.pattern else { return at.field("pattern").reject("is required") };
    match RegexRewrite::new(&pattern.regex, &proto.substitution) {
        Ok(rewrite) => Some(rewrite),
        Err(error @ PatternError::Pattern { .. }) => {
            let at = at.field("pattern");
            at.field("regex").reject_value(&pattern.regex, error.to_string(), "")
        }
        Err(error) => at.field("substitution").reject_value(&proto.substitution, error.to_string(), ""),
    }
}

/// A rewrite that Envoy takes as a format; what has operators is refused for now.
pub fn literal(text: &str, at: &Scope<'_>) -> Option<Box<str>> {
    match Template::parse(text) {
        Ok(template) => match template.literal().and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            Some(literal) => Some(literal.into()),
            None => at.reject_value(text, "operators are not supported here yet", "write plain text"),
        },
        Err(error) => at.reject_value(&error.operator, error.reason, error.hint),
    }
}
