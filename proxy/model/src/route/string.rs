//! `StringMatcher`: how a header or query value is compared.

use super::request::path_without_query;
use crate::pattern::FullRegex;

/// `envoy.type.matcher.v3.StringMatcher`. With `ignore_case` the configured text is lowered at construction.
#[derive(Clone, Debug, PartialEq)]
pub enum StringMatch {
    /// Equal.
    Exact(Text),
    /// Begins with.
    Prefix(Text),
    /// Ends with.
    Suffix(Text),
    /// Contains.
    Contains(Text),
    /// Matches as a whole; `ignore_case` does not apply, as in Envoy.
    Regex(FullRegex),
}

/// The text of a [`StringMatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    text: Box<[u8]>,
    ignore_case: bool,
}

impl Text {
    /// Text to be compared, ASCII case ignored if `ignore_case`.
    pub fn new(text: &str, ignore_case: bool) -> Self {
        let text = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        Self { text: text.into_bytes().into(), ignore_case }
    }

    /// The text, where case counts.
    pub(super) fn exactly(&self) -> Option<&[u8]> {
        (!self.ignore_case).then_some(&*self.text)
    }

    #[inline]
    fn same(&self, value: &[u8]) -> bool {
        if self.ignore_case { value.eq_ignore_ascii_case(&self.text) } else { value == &*self.text }
    }

    fn within(&self, value: &[u8]) -> bool {
        if !self.ignore_case {
            return memchr::memmem::find(value, &self.text).is_some();
        }
        self.text.is_empty()
            || value.windows(self.text.len()).any(|window| window.eq_ignore_ascii_case(&self.text))
    }
}

impl StringMatch {
    /// Equal to `text`.
    pub fn exact(text: &str, ignore_case: bool) -> Self {
        Self::Exact(Text::new(text, ignore_case))
    }

    /// Begins with `text`.
    pub fn prefix(text: &str, ignore_case: bool) -> Self {
        Self::Prefix(Text::new(text, ignore_case))
    }

    /// Ends with `text`.
    pub fn suffix(text: &str, ignore_case: bool) -> Self {
        Self::Suffix(Text::new(text, ignore_case))
    }

    /// Contains `text`.
    pub fn contains(text: &str, ignore_case: bool) -> Self {
        Self::Contains(Text::new(text, ignore_case))
    }

    /// Whether `value` matches.
    #[inline]
    pub fn is_match(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.same(value),
            Self::Prefix(text) => value.get(..text.text.len()).is_some_and(|head| text.same(head)),
            Self::Suffix(text) => {
                value.len().checked_sub(text.text.len()).is_some_and(|start| text.same(&value[start..]))
            }
            Self::Contains(text) => text.within(value),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// Whether a path matches, up to its query or fragment.
    #[inline]
    pub fn is_match_of_path(&self, path: &[u8]) -> bool {
        match self {
            // What is behind the prefix need not be looked at.
            Self::Prefix(text) => {
                self.is_match(path) && path_without_query(&path[..text.text.len()]).len() == text.text.len()
            }
            _ => self.is_match(path_without_query(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_with_case() {
        assert!(StringMatch::exact("ab", false).is_match(b"ab"));
        assert!(!StringMatch::exact("ab", false).is_match(b"aB"));
        assert!(StringMatch::prefix("ab", false).is_match(b"abc"));
        assert!(!StringMatch::prefix("abc", false).is_match(b"ab"));
        assert!(StringMatch::suffix("bc", false).is_match(b"abc"));
        assert!(!StringMatch::suffix("abcd", false).is_match(b"bcd"));
        assert!(StringMatch::contains("b", false).is_match(b"abc"));
        assert!(!StringMatch::contains("x", false).is_match(b"abc"));
    }

    #[test]
    fn a_path_ends_before_its_query() {
        let paths: [&[u8]; 6] = [b"/a", b"/a/b", b"/a?b", b"/a#b", b"/", b"?/a"];
        for rule in [
            StringMatch::prefix("/a", false),
            StringMatch::prefix("/A", true),
            StringMatch::prefix("/a?b", false),
            StringMatch::prefix("/a#", false),
            StringMatch::prefix("", false),
            StringMatch::exact("/a", false),
            StringMatch::suffix("b", false),
        ] {
            for path in paths {
                assert_eq!(rule.is_match_of_path(path), rule.is_match(path_without_query(path)), "{rule:?}");
            }
        }
    }

    #[test]
    fn compares_without_case() {
        assert!(StringMatch::exact("AB", true).is_match(b"aB"));
        assert!(StringMatch::prefix("AB", true).is_match(b"aBc"));
        assert!(StringMatch::suffix("BC", true).is_match(b"abC"));
        assert!(StringMatch::contains("BC", true).is_match(b"xbCx"));
        assert!(StringMatch::contains("", true).is_match(b""));
        assert!(!StringMatch::contains("bcd", true).is_match(b"bc"));
    }
}
