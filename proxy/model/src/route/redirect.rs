//! `RedirectAction`: status and `Location` of a redirect, by Envoy's rules.
//!
//! The scheme changes only if told; a port stays unless it is replaced, or is the default port of the scheme that the
//! redirect leaves. A `path_redirect` with a query replaces the query, and then `strip_query` does not apply.

use super::matcher::RouteMatch;
use super::rewrite::PathRewrite;

/// `envoy.config.route.v3.RedirectAction`.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `https_redirect` is `Some("https")`, `scheme_redirect` any scheme.
    pub scheme: Option<Box<str>>,
    /// `host_redirect`.
    pub host: Option<Box<str>>,
    /// `port_redirect`.
    pub port: Option<u16>,
    /// What becomes of the path.
    pub path: RedirectPath,
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `strip_query`.
    pub strip_query: bool,
}

/// `RedirectAction.path_rewrite_specifier`.
#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// The path stays.
    Keep,
    /// `path_redirect`: this path, which may have a query of its own.
    Replace(Box<str>),
    /// `prefix_rewrite` or `regex_rewrite`.
    Rewrite(PathRewrite),
}

/// The request as a redirect sees it.
#[derive(Clone, Copy, Debug)]
pub struct RedirectRequest<'a> {
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `x-forwarded-proto`, by which the default port is told; usually the scheme.
    pub forwarded_proto: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path`, with its query.
    pub path: &'a [u8],
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            scheme: None,
            host: None,
            port: None,
            path: RedirectPath::Keep,
            status: 301,
            strip_query: false,
        }
    }
}

impl Redirect {
    /// The redirect of a virtual host with `require_tls`.
    pub fn to_https() -> Self {
        Self { scheme: Some("https".into()), ..Self::default() }
    }

    /// The `Location` for a request that `matcher` took.
    pub fn location(&self, request: RedirectRequest<'_>, matcher: &RouteMatch) -> Vec<u8> {
        let scheme = self.scheme.as_ref().map_or(request.scheme, |scheme| scheme.as_bytes());
        let host = match &self.host {
            Some(host) => host.as_bytes(),
            None => kept_host(request, scheme, self.port.is_some()),
        };
        let mut out = Vec::with_capacity(scheme.len() + host.len() + request.path.len() + 16);
        out.extend_from_slice(scheme);
        out.extend_from_slice(b"://");
        out.extend_from_slice(host);
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.push_path(request.path, matcher, &mut out);
        out
    }

    /// The path that a `prefix_rewrite` or `regex_rewrite` makes of the request's.
    pub fn rewritten(&self, path: &[u8], matcher: &RouteMatch) -> Option<Vec<u8>> {
        match &self.path {
            RedirectPath::Rewrite(rewrite) => rewrite.apply(matcher, path),
            RedirectPath::Keep | RedirectPath::Replace(_) => None,
        }
    }

    fn push_path(&self, path: &[u8], matcher: &RouteMatch, out: &mut Vec<u8>) {
        let rewritten;
        let (target, query) = match &self.path {
            RedirectPath::Replace(target) => {
                // A query of the target's own replaces the request's, and is never stripped.
                let keep = !target.contains('?') && !self.strip_query;
                (target.as_bytes(), if keep { query_of(path) } else { b"" })
            }
            RedirectPath::Keep => (self.stripped(path), &b""[..]),
            RedirectPath::Rewrite(rewrite) => {
                rewritten = rewrite.apply(matcher, path);
                (self.stripped(rewritten.as_deref().unwrap_or(path)), &b""[..])
            }
        };
        if !target.starts_with(b"/") {
            out.push(b'/');
        }
        out.extend_from_slice(target);
        out.extend_from_slice(query);
    }

    /// `path`, without its query under `strip_query`.
    fn stripped<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        if self.strip_query { &path[..path.len() - query_of(path).len()] } else { path }
    }
}

/// The query of `path`, its `?` included.
fn query_of(path: &[u8]) -> &[u8] {
    memchr::memchr(b'?', path).map_or(b"", |at| &path[at..])
}

/// The request's host, less its port where the redirect makes that wrong.
fn kept_host<'a>(request: RedirectRequest<'a>, scheme: &[u8], new_port: bool) -> &'a [u8] {
    let host = request.authority;
    let colon = match host.first() {
        Some(b'[') => memchr::memmem::rfind(host, b"]:").map(|at| at + 1),
        _ => memchr::memrchr(b':', host),
    };
    let Some(colon) = colon else { return host };
    let default_port = match request.forwarded_proto {
        b"https" => &b":443"[..],
        b"http" => b":80",
        _ => b"",
    };
    let left_default = scheme != request.forwarded_proto && &host[colon..] == default_port;
    if new_port || left_default { &host[..colon] } else { host }
}

#[cfg(test)]
mod tests {
    use super::super::matcher::PathMatch;
    use super::*;
    use crate::pattern::RegexRewrite;

    fn location(redirect: &Redirect, authority: &str, path: &str) -> String {
        let request = RedirectRequest {
            scheme: b"http",
            forwarded_proto: b"http",
            authority: authority.as_bytes(),
            path: path.as_bytes(),
        };
        let matcher = RouteMatch::new(PathMatch::Prefix("/old".into()));
        String::from_utf8(redirect.location(request, &matcher)).unwrap()
    }

    #[test]
    fn https_drops_port_80_and_keeps_the_rest() {
        let redirect = Redirect::to_https();
        assert_eq!(location(&redirect, "h:80", "/old?q"), "https://h/old?q");
        assert_eq!(location(&redirect, "h:443", "/old"), "https://h:443/old");
        assert_eq!(location(&redirect, "h:8080", "/old"), "https://h:8080/old");
        assert_eq!(location(&redirect, "[::1]:80", "/old"), "https://[::1]/old");
        assert_eq!(location(&redirect, "[::80]", "/old"), "https://[::80]/old");
    }

    #[test]
    fn host_and_port() {
        let host = Redirect { host: Some("new".into()), ..Redirect::default() };
        assert_eq!(location(&host, "h:81", "/old"), "http://new/old");
        let port = Redirect { port: Some(8443), ..Redirect::default() };
        assert_eq!(location(&port, "h:81", "/old"), "http://h:8443/old");
        let same = Redirect::default();
        assert_eq!(location(&same, "h:80", "/old"), "http://h:80/old");
    }

    #[test]
    fn path_redirect_and_the_query() {
        let mut redirect = Redirect { path: RedirectPath::Replace("/new".into()), ..Redirect::default() };
        assert_eq!(location(&redirect, "h", "/old?a=1"), "http://h/new?a=1");
        redirect.strip_query = true;
        assert_eq!(location(&redirect, "h", "/old?a=1"), "http://h/new");
        redirect.path = RedirectPath::Replace("new".into());
        assert_eq!(location(&redirect, "h", "/old?a=1"), "http://h/new");
        redirect.path = RedirectPath::Replace("/new?b=2".into());
        assert_eq!(location(&redirect, "h", "/old?a=1"), "http://h/new?b=2");
    }

    #[test]
    fn rewrites() {
        let mut redirect = Redirect {
            path: RedirectPath::Rewrite(PathRewrite::Prefix("/new".into())),
            ..Redirect::default()
        };
        assert_eq!(location(&redirect, "h", "/old/x?a"), "http://h/new/x?a");
        redirect.strip_query = true;
        assert_eq!(location(&redirect, "h", "/old/x?a"), "http://h/new/x");
        redirect.path = RedirectPath::Rewrite(PathRewrite::Prefix("new".into()));
        assert_eq!(location(&redirect, "h", "/old/x?a"), "http://h/new/x");
        redirect.path =
            RedirectPath::Rewrite(PathRewrite::Regex(RegexRewrite::new("/o(.)d", r"/\1").unwrap()));
        assert_eq!(location(&redirect, "h", "/old/x?a"), "http://h/l/x");
    }
}
