//! Scoped routes: which of several route tables a request belongs to, told by a key that is built from its headers.
//!
//! `envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder`. Every fragment must be found, or
//! the request has no key and belongs to no table.

use super::header::HeaderField;
use super::request::RequestView;

/// The key of a scope: its fragments, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeKey(Vec<Box<[u8]>>);

impl ScopeKey {
    /// A key of these fragments.
    pub fn new<'a>(fragments: impl IntoIterator<Item = &'a str>) -> Self {
        Self(fragments.into_iter().map(|fragment| fragment.as_bytes().into()).collect())
    }
}

/// How a request's key is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeKeyBuilder {
    /// One for each fragment.
    pub fragments: Vec<HeaderValueExtractor>,
}

/// How one fragment is taken from a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderValueExtractor {
    /// `name`
    pub name: HeaderField,
    /// `element_separator`; empty where the whole value is the one element.
    pub separator: Box<str>,
    /// What of the elements is the fragment.
    pub extract: Extract,
}

/// `extract_type`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extract {
    /// The element at this place.
    Index(usize),
    /// The value of the first element with this key.
    Element {
        /// Between key and value.
        separator: Box<str>,
        /// The key.
        key: Box<str>,
    },
}

impl ScopeKeyBuilder {
    /// The key of a request; `None` if a fragment is missing.
    pub fn key(&self, request: &impl RequestView) -> Option<ScopeKey> {
        let fragments = self.fragments.iter().map(|fragment| fragment.of(request).map(Box::from));
        fragments.collect::<Option<Vec<_>>>().map(ScopeKey)
    }
}

impl HeaderValueExtractor {
    fn of<'r>(&'r self, request: &'r impl RequestView) -> Option<&'r [u8]> {
        let value = self.name.first(request)?;
        let mut elements = Elements { left: Some(value), separator: self.separator.as_bytes() };
        match &self.extract {
            Extract::Index(index) => elements.nth(*index),
            Extract::Element { separator, key } => elements.find_map(|element| {
                let at = find(element, separator.as_bytes())?;
                (&element[..at] == key.as_bytes()).then(|| &element[at + separator.len()..])
            }),
        }
    }
}

/// The parts of a value between separators.
struct Elements<'v> {
    left: Option<&'v [u8]>,
    separator: &'v [u8],
}

impl<'v> Iterator for Elements<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let left = self.left.take()?;
        match find(left, self.separator) {
            Some(at) if !self.separator.is_empty() => {
                self.left = Some(&left[at + self.separator.len()..]);
                Some(&left[..at])
            }
            _ => Some(left),
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Request;
    use super::*;

    fn extractor(separator: &str, extract: Extract) -> HeaderValueExtractor {
        HeaderValueExtractor { name: HeaderField::new("x-scope"), separator: separator.into(), extract }
    }

    fn element(key: &str) -> Extract {
        Extract::Element { separator: "=".into(), key: key.into() }
    }

    fn key(fragments: Vec<HeaderValueExtractor>, value: &str) -> Option<ScopeKey> {
        ScopeKeyBuilder { fragments }.key(&Request::get("/").header("x-scope", value))
    }

    #[test]
    fn by_place() {
        let at = |index| vec![extractor(";", Extract::Index(index))];
        assert_eq!(key(at(0), "a;b"), Some(ScopeKey::new(["a"])));
        assert_eq!(key(at(1), "a;b"), Some(ScopeKey::new(["b"])));
        assert_eq!(key(at(2), "a;b"), None);
        assert_eq!(key(at(1), "a;"), Some(ScopeKey::new([""])));
        assert_eq!(key(vec![extractor("", Extract::Index(0))], "a;b"), Some(ScopeKey::new(["a;b"])));
    }

    #[test]
    fn by_key() {
        let both = vec![extractor(",", element("x")), extractor(",", element("y"))];
        assert_eq!(key(both.clone(), "y=2=3,x=1"), Some(ScopeKey::new(["1", "2=3"])));
        assert_eq!(key(both, "x=1,z"), None, "a fragment is missing");
        assert_eq!(key(vec![extractor(",", element("x"))], "xx=1"), None);
    }

    #[test]
    fn the_host_is_a_header_too() {
        let extractor = HeaderValueExtractor {
            name: HeaderField::new("Host"),
            separator: ":".into(),
            extract: Extract::Index(0),
        };
        let request = Request::get("/").authority("127.0.0.1:80");
        let builder = ScopeKeyBuilder { fragments: vec![extractor] };
        assert_eq!(builder.key(&request), Some(ScopeKey::new(["127.0.0.1"])));
    }

    #[test]
    fn without_the_header_there_is_no_key() {
        let fragments = vec![extractor("", Extract::Index(0))];
        assert_eq!(ScopeKeyBuilder { fragments }.key(&Request::get("/")), None);
    }
}
