//! `HeaderMatcher`: a condition on one request header.
//!
//! A repeated header is compared value by value, and an inverted rule holds only if no value matches; joining the values,
//! as old Envoys did, lets a client defeat a rule by adding a value (CVE-2026-26308). Without the header every rule but
//! presence fails, inverted or not, unless `treat_missing_header_as_empty` says that it is the empty string.

use super::request::{HeaderName, RequestView};
use super::string::StringMatch;

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    field: HeaderField,
    rule: HeaderRule,
    invert: bool,
    missing_as_empty: bool,
}

/// What is asked of the header's value.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderRule {
    /// The header is there (`true`) or not (`false`).
    Present(bool),
    /// A decimal integer in `start..end`.
    Range {
        /// First value inside.
        start: i64,
        /// First value outside.
        end: i64,
    },
    /// The value compares as told; covers the deprecated `exact_match`, `prefix_match` and so on.
    String(StringMatch),
}

/// Where the values of a name come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:authority`, which `host` stands for as well.
    Authority,
    /// `:scheme`
    Scheme,
    /// A header.
    Named(HeaderName),
}

impl HeaderField {
    /// What a name stands for.
    pub fn new(name: &str) -> Self {
        let name = HeaderName::new(name);
        match name.as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            _ => Self::Named(name),
        }
    }

    /// The first value that a request has.
    pub fn first<'r>(&'r self, request: &'r impl RequestView) -> Option<&'r [u8]> {
        match self {
            Self::Method => single(request.method()).next(),
            Self::Path => single(request.path()).next(),
            Self::Authority => single(request.authority()).next(),
            Self::Scheme => single(request.scheme()).next(),
            Self::Named(name) => request.header_values(name).next(),
        }
    }
}

impl HeaderMatch {
    /// A rule on header `name`, which may be a pseudo-header; `host` is `:authority`.
    pub fn new(name: &str, rule: HeaderRule) -> Self {
        Self { field: HeaderField::new(name), rule, invert: false, missing_as_empty: false }
    }

    /// Sets `invert_match`.
    pub fn inverted(mut self, invert: bool) -> Self {
        self.invert = invert;
        self
    }

    /// Sets `treat_missing_header_as_empty`.
    pub fn missing_as_empty(mut self, treat: bool) -> Self {
        self.missing_as_empty = treat;
        self
    }

    /// Whether the request satisfies the rule.
    #[inline]
    pub fn is_match(&self, request: &impl RequestView) -> bool {
        match &self.field {
            HeaderField::Method => self.holds(single(request.method())),
            HeaderField::Path => self.holds(single(request.path())),
            HeaderField::Authority => self.holds(single(request.authority())),
            HeaderField::Scheme => self.holds(single(request.scheme())),
            HeaderField::Named(name) => self.holds(request.header_values(name)),
        }
    }

    /// The method, where the rule is that the request has this one.
    pub fn exact_method(&self) -> Option<&[u8]> {
        match (&self.field, &self.rule) {
            (HeaderField::Method, HeaderRule::String(StringMatch::Exact(text)))
                if !self.invert && !self.missing_as_empty =>
            {
                text.exactly()
            }
            _ => None,
        }
    }

    fn holds<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        if let HeaderRule::Present(wanted) = self.rule {
            let present = self.missing_as_empty || values.next().is_some();
            return (present == wanted) != self.invert;
        }
        let Some(first) = values.next() else {
            return self.missing_as_empty && self.rule.accepts(b"") != self.invert;
        };
        let any = self.rule.accepts(first) || values.any(|value| self.rule.accepts(value));
        any != self.invert
    }
}

impl HeaderRule {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(wanted) => *wanted,
            Self::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim().parse::<i64>().ok())
                .is_some_and(|number| *start <= number && number < *end),
            Self::String(matcher) => matcher.is_match(value),
        }
    }
}

/// A pseudo-header as an iterator; an empty one counts as missing.
fn single(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    (!value.is_empty()).then_some(value).into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Request;
    use super::*;

    fn exact(name: &str, value: &str) -> HeaderMatch {
        HeaderMatch::new(name, HeaderRule::String(StringMatch::exact(value, false)))
    }

    #[test]
    fn repeated_headers_match_value_by_value() {
        let request = Request::get("/").header("x", "v").header("x", "w");
        assert!(exact("X", "v").is_match(&request));
        assert!(exact("x", "w").is_match(&request));
        assert!(!exact("x", "v,w").is_match(&request));
        assert!(!exact("x", "w").inverted(true).is_match(&request));
        assert!(exact("x", "z").inverted(true).is_match(&request));
    }

    #[test]
    fn missing_header_fails_even_inverted() {
        let request = Request::get("/");
        assert!(!exact("x", "v").is_match(&request));
        assert!(!exact("x", "v").inverted(true).is_match(&request));
        assert!(exact("x", "v").inverted(true).missing_as_empty(true).is_match(&request));
        assert!(exact("x", "").missing_as_empty(true).is_match(&request));
    }

    #[test]
    fn presence() {
        let with = Request::get("/").header("x", "");
        let without = Request::get("/");
        for (wanted, invert) in [(true, false), (false, true)] {
            let rule = HeaderMatch::new("x", HeaderRule::Present(wanted)).inverted(invert);
            assert!(rule.is_match(&with) && !rule.is_match(&without));
        }
        let absent = HeaderMatch::new("x", HeaderRule::Present(false));
        assert!(!absent.is_match(&with) && absent.is_match(&without));
    }

    #[test]
    fn range_takes_whole_decimal_numbers() {
        let rule = HeaderMatch::new("n", HeaderRule::Range { start: -5, end: 10 });
        let yes = |value: &str| rule.is_match(&Request::get("/").header("n", value));
        assert!(yes("-5") && yes("9") && yes("+3"));
        assert!(!yes("10") && !yes("3x") && !yes("") && !yes("3.0"));
    }

    #[test]
    fn pseudo_headers() {
        let request = Request::get("/a?b").authority("Host:1");
        assert!(exact(":method", "GET").is_match(&request));
        assert!(exact(":path", "/a?b").is_match(&request));
        assert!(exact("host", "Host:1").is_match(&request));
        assert!(exact(":authority", "Host:1").is_match(&request));
        assert!(exact(":scheme", "http").is_match(&request));
    }
}
