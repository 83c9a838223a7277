//! Hash policies of a route: from a request to the hash that ring hash and Maglev look up.
//!
//! Values are hashed by xxHash64 and joined as Envoy does it, so that a request hashes the same whichever proxy it meets.

use std::time::Duration;

use smallvec::SmallVec;

use super::matcher::cookie_value;
use super::query::query_value;
use super::request::{HeaderName, RequestView};
use crate::lb::hashing::xx_hash;
use crate::pattern::RegexRewrite;

/// `RouteAction.HashPolicy`.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// The policies after it are left out once there is a hash.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// The values of a header, rewritten.
    Header(HeaderName, Option<RegexRewrite>),
    /// A cookie.
    Cookie(HashCookie),
    /// The client's IP address.
    SourceIp,
    /// The first query parameter of a name.
    Query(Box<str>),
    /// An object of the filter state.
    State(Box<str>),
}

/// A cookie that is hashed, and set where the request has none.
#[derive(Clone, Debug, Default)]
pub struct HashCookie {
    /// Its name.
    pub name: Box<str>,
    /// How long it lasts; none is set without. Zero is for as long as the browser runs.
    pub ttl: Option<Duration>,
    /// `Path`; may be empty.
    pub path: Box<str>,
    /// More attributes, with values that may be empty.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

impl HashCookie {
    /// The `set-cookie` header that gives the client `value`.
    pub fn set(&self, value: &str) -> String {
        let mut out = format!("{}=\"{value}\"", self.name);
        let age = self.ttl.unwrap_or_default().as_secs();
        if age > 0 {
            out += "; Max-Age=";
            out += &age.to_string();
        }
        if !self.path.is_empty() {
            out += "; Path=";
            out += &self.path;
        }
        for (name, value) in &self.attributes {
            out += "; ";
            out += name;
            if !value.is_empty() {
                out += "=";
                out += value;
            }
        }
        out + "; HttpOnly"
    }
}

/// What hashing needs of a stream besides its request.
pub trait HashView {
    /// The client's IP address as text.
    fn source(&self) -> Option<String>;

    /// The hash of an object of the filter state, if it has one.
    fn state(&self, key: &str) -> Option<u64>;

    /// The value of a cookie that the request lacks; `None` where the client cannot be given one.
    fn generate(&mut self, cookie: &HashCookie) -> Option<String>;
}

/// The hash of a request; `None` if it has nothing that is hashed.
pub fn hash(policies: &[HashPolicy], request: &impl RequestView, stream: &mut impl HashView) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        let own = match &policy.source {
            HashSource::Header(name, rewrite) => header(request, name, rewrite.as_ref()),
            HashSource::Cookie(cookie) => match cookie_value(request, &cookie.name) {
                Some(value) if !value.is_empty() => Some(xx_hash(value, 0)),
                _ => {
                    let value = cookie.ttl.and_then(|_| stream.generate(cookie));
                    value.map(|value| xx_hash(value.as_bytes(), 0))
                }
            },
            HashSource::SourceIp => stream.source().map(|ip| xx_hash(ip.as_bytes(), 0)),
            HashSource::State(key) => stream.state(key),
            HashSource::Query(name) => {
                query_value(request.path(), name.as_bytes()).map(|value| xx_hash(value, 0))
            }
        };
        if let Some(own) = own {
            // Turned, so that equal values do not cancel each other out.
            hash = Some(hash.unwrap_or(0).rotate_left(1) ^ own);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

/// Several values are hashed in the order of their bytes, each with the hash before it as the seed.
fn header(request: &impl RequestView, name: &HeaderName, rewrite: Option<&RegexRewrite>) -> Option<u64> {
    let rewritten: SmallVec<[Vec<u8>; 1]>;
    let mut values: SmallVec<[&[u8]; 4]> = request.header_values(name).collect();
    if let Some(rewrite) = rewrite {
        rewritten = values.iter().map(|value| rewrite.replace_all(value)).collect();
        values = rewritten.iter().map(Vec::as_slice).collect();
    }
    if values.is_empty() {
        return None;
    }
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xx_hash(value, seed)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Request;
    use super::*;

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy { source, terminal: false }
    }

    struct Stream;

    impl HashView for Stream {
        fn source(&self) -> Option<String> {
            Some("10.0.0.1".into())
        }

        fn state(&self, key: &str) -> Option<u64> {
            (key == "known").then_some(77)
        }

        fn generate(&mut self, _: &HashCookie) -> Option<String> {
            Some("generated".into())
        }
    }

    fn of(policies: &[HashPolicy], request: &Request) -> Option<u64> {
        hash(policies, request, &mut Stream)
    }

    #[test]
    fn each_source() {
        let header = [policy(HashSource::Header(HeaderName::new("x-key"), None))];
        assert_eq!(of(&header, &Request::get("/")), None);
        assert_eq!(of(&header, &Request::get("/").header("x-key", "a")), Some(xx_hash(b"a", 0)));
        let ab = Request::get("/").header("x-key", "a").header("x-key", "b");
        let ba = Request::get("/").header("x-key", "b").header("x-key", "a");
        assert_eq!(of(&header, &ab), of(&header, &ba));
        let query = [policy(HashSource::Query("k".into()))];
        assert_eq!(of(&query, &Request::get("/?k=v")), Some(xx_hash(b"v", 0)));
        assert_eq!(of(&[policy(HashSource::SourceIp)], &Request::get("/")), Some(xx_hash(b"10.0.0.1", 0)));
        let state = |key: &str| of(&[policy(HashSource::State(key.into()))], &Request::get("/"));
        assert_eq!((state("known"), state("other")), (Some(77), None));
    }

    #[test]
    fn a_cookie_is_generated_with_a_lifetime_only() {
        let mut cookie = HashCookie { name: "c".into(), ..HashCookie::default() };
        let of = |cookie: &HashCookie, request: &Request| {
            of(&[policy(HashSource::Cookie(cookie.clone()))], request)
        };
        assert_eq!(of(&cookie, &Request::get("/")), None);
        assert_eq!(of(&cookie, &Request::get("/").header("cookie", "c=v")), Some(xx_hash(b"v", 0)));
        cookie.ttl = Some(Duration::from_secs(5));
        cookie.attributes = vec![("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())];
        assert_eq!(of(&cookie, &Request::get("/")), Some(xx_hash(b"generated", 0)));
        assert_eq!(cookie.set("v"), "c=\"v\"; Max-Age=5; SameSite=Lax; Secure; HttpOnly");
    }

    #[test]
    fn a_terminal_policy_ends_the_list() {
        let mut policies = [
            policy(HashSource::Header(HeaderName::new("x-key"), None)),
            policy(HashSource::Query("k".into())),
        ];
        let request = Request::get("/?k=v").header("x-key", "a");
        let both = xx_hash(b"a", 0).rotate_left(1) ^ xx_hash(b"v", 0);
        assert_eq!(of(&policies, &request), Some(both));
        policies[0].terminal = true;
        assert_eq!(of(&policies, &request), Some(xx_hash(b"a", 0)));
        assert_eq!(of(&policies, &Request::get("/?k=v")), Some(xx_hash(b"v", 0)));
    }
}
