//! `RouteMatch`: all the conditions under which a route takes a request.
//!
//! [`RouteMatch::is_match`] is the plain definition, evaluated from left to right. The look-up in [`super::table`] finds
//! candidates through an index first and then asks [`RouteMatch::conditions_hold`] for the rest; a property test holds the
//! two against each other.

use super::header::HeaderMatch;
use super::query::QueryMatch;
use super::request::{HeaderName, MatchContext, RequestView};
use super::string::StringMatch;
use super::uri_template::UriTemplate;
use crate::fraction::RuntimeFraction;
use crate::pattern::FullRegex;

static COOKIE: HeaderName = HeaderName::from_static("cookie");

/// The path part of a match (`RouteMatch.path_specifier`).
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// The path begins with this.
    Prefix(Box<str>),
    /// The path is this.
    Exact(Box<str>),
    /// The path is this, or goes on with `/` after it.
    SeparatedPrefix(Box<str>),
    /// All of the path matches.
    Regex(FullRegex),
    /// `connect_matcher`: CONNECT requests, whatever their path.
    Connect,
    /// `envoy.path.match.uri_template`.
    UriTemplate(UriTemplate),
}

/// `RouteMatch.tls_context`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsContextMatch {
    /// Whether a client certificate must have been shown.
    pub presented: Option<bool>,
    /// Whether a client certificate must have been validated.
    pub validated: Option<bool>,
}

/// `envoy.config.route.v3.RouteMatch`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Whether prefixes and exact paths compare with case. Regexes and templates always do.
    pub case_sensitive: bool,
    /// All must hold.
    pub headers: Vec<HeaderMatch>,
    /// All must hold.
    pub query: Vec<QueryMatch>,
    /// All must hold (`cookies`).
    pub cookies: Vec<CookieMatch>,
    /// The share of requests for which the route is considered at all.
    pub runtime_fraction: Option<RuntimeFraction>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// The client's certificate.
    pub tls_context: Option<TlsContextMatch>,
}

/// `CookieMatcher`: a condition on one cookie.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieMatch {
    /// The cookie's name.
    pub name: Box<str>,
    /// What is asked of its value.
    pub matcher: StringMatch,
    /// Turns the result over.
    pub invert: bool,
}

impl RouteMatch {
    /// A match on the path alone, case-sensitive.
    pub fn new(path: PathMatch) -> Self {
        Self {
            path,
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            runtime_fraction: None,
            grpc: false,
            tls_context: None,
        }
    }

    /// Whether there is anything to ask besides the path.
    pub fn has_conditions(&self) -> bool {
        !(self.headers.is_empty()
            && self.query.is_empty()
            && self.cookies.is_empty()
            && self.runtime_fraction.is_none()
            && !self.grpc
            && self.tls_context.is_none())
    }

    /// Whether the request takes this route.
    pub fn is_match(&self, request: &impl RequestView, path: &[u8], context: &MatchContext<'_>) -> bool {
        self.path_matches(request, path) && self.conditions_hold(request, context)
    }

    /// Whether `path`, without its query, matches.
    pub fn path_matches(&self, request: &impl RequestView, path: &[u8]) -> bool {
        if path.is_empty() && self.path != PathMatch::Connect {
            return false;
        }
        match &self.path {
            PathMatch::Prefix(prefix) => starts_with(path, prefix.as_bytes(), self.case_sensitive),
            PathMatch::Exact(exact) => {
                path.len() == exact.len() && starts_with(path, exact.as_bytes(), self.case_sensitive)
            }
            PathMatch::SeparatedPrefix(prefix) => {
                starts_with(path, prefix.as_bytes(), self.case_sensitive)
                    && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            PathMatch::Regex(regex) => regex.is_match(path),
            PathMatch::Connect => request.is_connect(),
            PathMatch::UriTemplate(template) => template.is_match(path),
        }
    }

    /// Whether everything but the path matches.
    pub fn conditions_hold(&self, request: &impl RequestView, context: &MatchContext<'_>) -> bool {
        self.runtime_fraction.as_ref().is_none_or(|f| f.contains(context.random, context.runtime))
            && (!self.grpc || request.is_grpc())
            && self.headers.iter().all(|rule| rule.is_match(request))
            && self.query.iter().all(|rule| rule.is_match(request.path()))
            && self.cookies.iter().all(|rule| rule.is_match(request))
            && self.tls_context.is_none_or(|rule| rule.is_match(request))
    }

    /// The part of `path` (without query) that a `prefix_rewrite` replaces, as a length: the prefix of a prefix match,
    /// the whole path otherwise.
    pub fn matched_length(&self, path: &[u8]) -> usize {
        match &self.path {
            PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.len().min(path.len()),
            _ => path.len(),
        }
    }
}

impl TlsContextMatch {
    fn is_match(self, request: &impl RequestView) -> bool {
        let agrees = |wanted: Option<bool>, is: Option<bool>| wanted.is_none_or(|wanted| is == Some(wanted));
        agrees(self.presented, request.peer_certificate_presented())
            && agrees(self.validated, request.peer_certificate_validated())
    }
}

impl CookieMatch {
    fn is_match(&self, request: &impl RequestView) -> bool {
        let value = cookie_value(request, &self.name);
        value.is_some_and(|value| self.matcher.is_match(value)) != self.invert
    }
}

/// The value of the first cookie of a name, without surrounding quotes.
pub(super) fn cookie_value<'r>(request: &'r impl RequestView, name: &str) -> Option<&'r [u8]> {
    let name = name.as_bytes();
    let value = request
        .header_values(&COOKIE)
        .flat_map(|header| header.split(|byte| *byte == b';'))
        .find_map(|pair| pair.trim_ascii_start().strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")));
    value.map(unquoted)
}

/// A cookie value without its surrounding quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

fn starts_with(path: &[u8], prefix: &[u8], case_sensitive: bool) -> bool {
    if case_sensitive {
        path.starts_with(prefix)
    } else {
        path.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::path_without_query;
    use super::super::testing::Request;
    use super::*;

    fn path_hit(matcher: PathMatch, path: &str) -> bool {
        let request = Request::get(path);
        RouteMatch::new(matcher).path_matches(&request, path_without_query(request.path()))
    }

    #[test]
    fn path_kinds() {
        assert!(path_hit(PathMatch::Prefix("/a".into()), "/ab?x"));
        assert!(!path_hit(PathMatch::Prefix("/a?".into()), "/a?x"));
        assert!(path_hit(PathMatch::Exact("/a".into()), "/a?x"));
        assert!(!path_hit(PathMatch::Exact("/a".into()), "/a/"));
        assert!(path_hit(PathMatch::SeparatedPrefix("/a".into()), "/a"));
        assert!(path_hit(PathMatch::SeparatedPrefix("/a".into()), "/a/b"));
        assert!(path_hit(PathMatch::SeparatedPrefix("/a".into()), "/a?b"));
        assert!(!path_hit(PathMatch::SeparatedPrefix("/a".into()), "/ab"));
        assert!(path_hit(PathMatch::Regex(FullRegex::new("/a.").unwrap()), "/ab?c"));
        assert!(!path_hit(PathMatch::Connect, "/"));
    }

    #[test]
    fn connect_takes_requests_without_a_path() {
        let request = Request::get("").method("CONNECT");
        assert!(RouteMatch::new(PathMatch::Connect).path_matches(&request, b""));
        assert!(!RouteMatch::new(PathMatch::Prefix("".into())).path_matches(&request, b""));
    }

    #[test]
    fn case_is_ignored_on_request() {
        let mut matcher = RouteMatch::new(PathMatch::Prefix("/Ab".into()));
        let request = Request::get("/aBc");
        assert!(!matcher.path_matches(&request, b"/aBc"));
        matcher.case_sensitive = false;
        assert!(matcher.path_matches(&request, b"/aBc"));
    }

    #[test]
    fn cookies_and_certificates() {
        let mut matcher = RouteMatch::new(PathMatch::Prefix("/".into()));
        matcher.cookies.push(CookieMatch {
            name: "s".into(),
            matcher: StringMatch::exact("1", false),
            invert: false,
        });
        let context = MatchContext::with_random(0);
        assert!(matcher.conditions_hold(&Request::get("/").header("cookie", "ss=2; s=\"1\""), &context));
        assert!(
            matcher
                .conditions_hold(&Request::get("/").header("cookie", "a").header("cookie", "s=1"), &context)
        );
        for other in ["s=2", "s=2; s=1", "s= 1", "s =1", "s=1 ; b=2"] {
            assert!(
                !matcher.conditions_hold(&Request::get("/").header("cookie", other), &context),
                "{other}"
            );
        }
        let mut matcher = RouteMatch::new(PathMatch::Prefix("/".into()));
        matcher.tls_context = Some(TlsContextMatch { presented: Some(true), validated: None });
        assert!(!matcher.conditions_hold(&Request::get("/"), &context));
    }
}
