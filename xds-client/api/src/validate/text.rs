//! The checks of strings and bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::validate as pgv;
use pgv::string_rules::WellKnown;
use regex::Regex;

/// How large a compiled pattern of the API may get.
const REGEX_SIZE: usize = 1 << 20;

/// What a string must be.
#[derive(Debug)]
pub(super) struct TextCheck {
    rules: pgv::StringRules,
    pattern: Option<Regex>,
}

impl TextCheck {
    pub(super) fn new(rules: pgv::StringRules) -> Self {
        let compile =
            |pattern: &String| regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE).build().ok();
        let pattern = rules.pattern.as_ref().and_then(compile);
        Self { rules, pattern }
    }

    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let rules = &self.rules;
        if text.is_empty() && rules.ignore_empty.unwrap_or_default() {
            return Ok(());
        }
        if let Some(constant) = rules.r#const.as_ref().filter(|constant| *constant != text) {
            return Err(format!("value must equal {constant}"));
        }
        lengths("characters", text.chars().count() as u64, rules.len, rules.min_len, rules.max_len)?;
        lengths("bytes", text.len() as u64, rules.len_bytes, rules.min_bytes, rules.max_bytes)?;
        if let Some(prefix) = rules.prefix.as_ref().filter(|prefix| !text.starts_with(*prefix)) {
            return Err(format!("value does not have prefix {prefix:?}"));
        }
        if let Some(suffix) = rules.suffix.as_ref().filter(|suffix| !text.ends_with(*suffix)) {
            return Err(format!("value does not have suffix {suffix:?}"));
        }
        if let Some(part) = rules.contains.as_ref().filter(|part| !text.contains(*part)) {
            return Err(format!("value does not contain substring {part:?}"));
        }
        if let Some(part) = rules.not_contains.as_ref().filter(|part| text.contains(*part)) {
            return Err(format!("value contains substring {part:?}"));
        }
        if !rules.r#in.is_empty() && !rules.r#in.iter().any(|one| one == text) {
            return Err(format!("value must be in list [{}]", rules.r#in.join(", ")));
        }
        if rules.not_in.iter().any(|one| one == text) {
            return Err(format!("value must not be in list [{}]", rules.not_in.join(", ")));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            return Err(format!("value does not match regex pattern {:?}", pattern.as_str()));
        }
        rules.well_known.map_or(Ok(()), |form| well_known(form, rules.strict.unwrap_or(true), text))
    }
}

/// What bytes must be.
#[derive(Debug)]
pub(super) struct BytesCheck {
    rules: pgv::BytesRules,
}

impl BytesCheck {
    pub(super) fn new(rules: pgv::BytesRules) -> Self {
        Self { rules }
    }

    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let rules = &self.rules;
        if bytes.is_empty() && rules.ignore_empty.unwrap_or_default() {
            return Ok(());
        }
        lengths("bytes", bytes.len() as u64, rules.len, rules.min_len, rules.max_len)?;
        let differs = rules.r#const.as_ref().is_some_and(|constant| constant != bytes)
            || rules.prefix.as_ref().is_some_and(|prefix| !bytes.starts_with(prefix))
            || rules.suffix.as_ref().is_some_and(|suffix| !bytes.ends_with(suffix))
            || (!rules.r#in.is_empty() && !rules.r#in.iter().any(|one| one == bytes))
            || rules.not_in.iter().any(|one| one == bytes);
        if differs { Err("value is not one of the allowed byte strings".to_owned()) } else { Ok(()) }
    }
}

fn lengths(
    unit: &str,
    len: u64,
    exact: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
) -> Result<(), String> {
    if let Some(exact) = exact.filter(|exact| *exact != len) {
        return Err(format!("value length must be {exact} {unit}"));
    }
    match (min, max) {
        (Some(min), Some(max)) if len < min || len > max => {
            Err(format!("value length must be between {min} and {max} {unit}, inclusive"))
        }
        (Some(min), None) if len < min => Err(format!("value length must be at least {min} {unit}")),
        (None, Some(max)) if len > max => Err(format!("value length must be at most {max} {unit}")),
        _ => Ok(()),
    }
}

fn well_known(form: WellKnown, strict: bool, text: &str) -> Result<(), String> {
    let (fulfilled, what) = match form {
        WellKnown::Email(true) => (
            text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_hostname(host)),
            "email address",
        ),
        WellKnown::Hostname(true) => (is_hostname(text), "hostname"),
        WellKnown::Ip(true) => (text.parse::<IpAddr>().is_ok(), "ip address"),
        WellKnown::Ipv4(true) => (text.parse::<Ipv4Addr>().is_ok(), "ipv4 address"),
        WellKnown::Ipv6(true) => (text.parse::<Ipv6Addr>().is_ok(), "ipv6 address"),
        WellKnown::Uri(true) => (is_uri(text), "absolute URI"),
        WellKnown::UriRef(true) => (!text.contains([' ', '<', '>', '"']), "URI"),
        WellKnown::Address(true) => {
            (is_hostname(text) || text.parse::<IpAddr>().is_ok(), "hostname, or ip address")
        }
        WellKnown::Uuid(true) => (is_uuid(text), "UUID"),
        WellKnown::WellKnownRegex(number) => match pgv::KnownRegex::try_from(number) {
            Ok(pgv::KnownRegex::HttpHeaderName) if strict => (is_header_name(text), "HTTP header name"),
            Ok(pgv::KnownRegex::HttpHeaderValue) if strict => (is_header_value(text), "HTTP header value"),
            Ok(pgv::KnownRegex::Unknown) | Err(_) => (true, ""),
            Ok(_) => (!text.contains(['\0', '\n', '\r']), "HTTP header text without NUL, CR and LF"),
        },
        _ => (true, ""),
    };
    if fulfilled { Ok(()) } else { Err(format!("value must be a valid {what}")) }
}

/// A token, a colon in front allowed.
fn is_header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*'..=b'.' | b'^' | b'_' | b'|' | b'~' | b'`')
    };
    !name.is_empty() && name.bytes().all(allowed)
}

/// No control characters but the tab.
fn is_header_value(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127))
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    }) && !text.contains([' ', '<', '>', '"'])
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
