//! Path and host rewrites of `RouteAction` and of redirects.
//!
//! A path is always given and returned with its query; only the part before `?` is rewritten.

use super::matcher::{PathMatch, RouteMatch};
use super::request::{HeaderName, path_without_query};
use super::uri_template::UriTemplateRewrite;
use crate::pattern::RegexRewrite;

/// What becomes of the path.
#[derive(Clone, Debug, Default)]
pub enum PathRewrite {
    /// Nothing.
    #[default]
    None,
    /// `prefix_rewrite`: the matched prefix, or the whole path of a match that is not a prefix, is replaced.
    Prefix(Box<str>),
    /// `regex_rewrite`.
    Regex(RegexRewrite),
    /// `path_rewrite_policy` with a URI template; the route must match by one too.
    UriTemplate(UriTemplateRewrite),
    /// `path_rewrite` without substitutions: the whole path is replaced.
    Whole(Box<str>),
}

/// What becomes of the host (`RouteAction.host_rewrite_specifier`).
#[derive(Clone, Debug, Default)]
pub enum HostRewrite {
    /// Nothing.
    #[default]
    None,
    /// `host_rewrite_literal`.
    Literal(Box<str>),
    /// `auto_host_rewrite`: the chosen host's name; the caller supplies it.
    Auto,
    /// `host_rewrite_header`: the value of a request header, if there is one.
    Header(HeaderName),
    /// `host_rewrite_path_regex`: computed from the path without query.
    PathRegex(RegexRewrite),
}

impl PathRewrite {
    /// Whether paths stay as they are.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The rewritten path of a request with `path` that `matcher` took; `None` if it stays.
    pub fn apply(&self, matcher: &RouteMatch, path: &[u8]) -> Option<Vec<u8>> {
        let plain = path_without_query(path);
        let query = &path[plain.len()..];
        let mut out = match self {
            Self::None => return None,
            Self::Prefix(replacement) => {
                let rest = &plain[matcher.matched_length(plain)..];
                [replacement.as_bytes(), rest].concat()
            }
            Self::Regex(rewrite) => rewrite.replace_all(plain),
            Self::UriTemplate(rewrite) => match &matcher.path {
                PathMatch::UriTemplate(template) => rewrite.apply(template, plain)?,
                _ => return None,
            },
            Self::Whole(replacement) => replacement.as_bytes().to_vec(),
        };
        if out.is_empty() {
            // Envoy forwards the original rather than a request without a path.
            return None;
        }
        out.extend_from_slice(query);
        Some(out)
    }
}

impl HostRewrite {
    /// The rewritten host, given a request header look-up, the request's path and the chosen host's name; `None` if the
    /// host stays as it is.
    pub fn apply<'a>(
        &self,
        header: impl FnOnce(&HeaderName) -> Option<&'a [u8]>,
        path: &[u8],
        upstream_name: &str,
    ) -> Option<Vec<u8>> {
        let host = match self {
            Self::None => return None,
            Self::Literal(host) => host.as_bytes().to_vec(),
            Self::Auto => upstream_name.as_bytes().to_vec(),
            Self::Header(name) => header(name)?.to_vec(),
            Self::PathRegex(rewrite) => rewrite.replace_all(path_without_query(path)),
        };
        (!host.is_empty()).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::super::uri_template::UriTemplate;
    use super::*;
    use crate::pattern::FullRegex;

    fn prefix_rewrite(path_match: PathMatch, rewrite: &str, path: &str) -> String {
        let matcher = RouteMatch::new(path_match);
        let out = PathRewrite::Prefix(rewrite.into()).apply(&matcher, path.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prefix_rewrite_replaces_what_matched() {
        assert_eq!(prefix_rewrite(PathMatch::Prefix("/a/".into()), "/", "/a/b?c=/a/"), "/b?c=/a/");
        assert_eq!(prefix_rewrite(PathMatch::Prefix("/a".into()), "/", "/a/b"), "//b");
        assert_eq!(prefix_rewrite(PathMatch::SeparatedPrefix("/a".into()), "/x", "/a?b"), "/x?b");
        assert_eq!(prefix_rewrite(PathMatch::Exact("/a".into()), "/x", "/a?b"), "/x?b");
        assert_eq!(prefix_rewrite(PathMatch::Regex(FullRegex::new(".*").unwrap()), "/x", "/a/b?c"), "/x?c");
    }

    #[test]
    fn regex_rewrite_leaves_the_query() {
        let matcher = RouteMatch::new(PathMatch::Prefix("/".into()));
        let rewrite = PathRewrite::Regex(RegexRewrite::new("a", "b").unwrap());
        assert_eq!(rewrite.apply(&matcher, b"/aa?a=a").unwrap(), b"/bb?a=a");
        let rewrite = PathRewrite::Regex(RegexRewrite::new("a*", "-").unwrap());
        assert_eq!(rewrite.apply(&matcher, b"/baac?aa").unwrap(), b"-/-b-c-?aa");
        let empty = PathRewrite::Regex(RegexRewrite::new("^/(.*)$", "").unwrap());
        assert_eq!(empty.apply(&matcher, b"/b?c"), None);
    }

    #[test]
    fn template_rewrite() {
        let template = UriTemplate::new("/{one}/{two}").unwrap();
        let rewrite = UriTemplateRewrite::new("/{two}/{one}", &template).unwrap();
        let matcher = RouteMatch::new(PathMatch::UriTemplate(template));
        assert_eq!(PathRewrite::UriTemplate(rewrite).apply(&matcher, b"/cat/dog?x").unwrap(), b"/dog/cat?x");
    }

    #[test]
    fn host_rewrites() {
        let none = |_: &HeaderName| None;
        assert_eq!(HostRewrite::None.apply(none, b"/", "up"), None);
        assert_eq!(HostRewrite::Literal("h".into()).apply(none, b"/", "up").unwrap(), b"h");
        assert_eq!(HostRewrite::Auto.apply(none, b"/", "up").unwrap(), b"up");
        assert_eq!(HostRewrite::Auto.apply(none, b"/", ""), None);
        let header = HostRewrite::Header(HeaderName::new("x"));
        assert_eq!(header.apply(|_| Some(&b"v"[..]), b"/", "").unwrap(), b"v");
        assert_eq!(header.apply(none, b"/", ""), None);
        let regex = HostRewrite::PathRegex(RegexRewrite::new("^/(.+)/.+$", r"\1").unwrap());
        assert_eq!(regex.apply(none, b"/envoyproxy.io/some/path?q/x", "").unwrap(), b"envoyproxy.io/some");
    }
}
