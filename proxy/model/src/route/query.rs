//! `QueryParameterMatcher`: a condition on one query parameter.
//!
//! Only the first parameter of a name counts, and neither names nor values are percent-decoded, as in Envoy.

use super::string::StringMatch;

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: Box<str>,
    /// What is asked of it.
    pub rule: QueryRule,
}

/// What is asked of a query parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryRule {
    /// It is there (`true`) or not (`false`).
    Present(bool),
    /// It is there and its value compares.
    String(StringMatch),
}

impl QueryMatch {
    /// Whether `path` (with its query) satisfies the rule.
    pub fn is_match(&self, path: &[u8]) -> bool {
        let value = query_value(path, self.name.as_bytes());
        match &self.rule {
            QueryRule::Present(wanted) => value.is_some() == *wanted,
            QueryRule::String(matcher) => value.is_some_and(|value| matcher.is_match(value)),
        }
    }
}

/// The value of the first query parameter `name` in `path`; empty for a parameter without `=`.
pub fn query_value<'a>(path: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = memchr::memchr(b'?', path)? + 1;
    path[start..].split(|byte| *byte == b'&').find_map(|parameter| {
        let rest = parameter.strip_prefix(name)?;
        match rest.first() {
            None => Some(rest),
            Some(b'=') => Some(&rest[1..]),
            Some(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_counts_and_is_raw() {
        assert_eq!(query_value(b"/a?k=1&k=2", b"k"), Some(&b"1"[..]));
        assert_eq!(query_value(b"/a?kk=1&k=%32", b"k"), Some(&b"%32"[..]));
        assert_eq!(query_value(b"/a?k", b"k"), Some(&b""[..]));
        assert_eq!(query_value(b"/a?k=a=b", b"k"), Some(&b"a=b"[..]));
        assert_eq!(query_value(b"/a", b"k"), None);
        assert_eq!(query_value(b"/a?x=k", b"k"), None);
    }

    #[test]
    fn rules() {
        let present = QueryMatch { name: "k".into(), rule: QueryRule::Present(true) };
        assert!(present.is_match(b"/?k") && !present.is_match(b"/?j"));
        let exact = QueryMatch { name: "k".into(), rule: QueryRule::String(StringMatch::exact("v", false)) };
        assert!(exact.is_match(b"/?k=v&k=w") && !exact.is_match(b"/?k=w&k=v"));
    }
}
