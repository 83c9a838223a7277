//! What routing needs to see of a request.
//!
//! The codec's head type implements [`RequestView`]; the matchers are generic over it, so a look-up compiles to direct
//! calls. Header values are bytes: nothing here assumes UTF-8.

use std::borrow::Cow;

use crate::fraction::{NoRuntime, RuntimeValues};

/// A header name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(Cow<'static, str>);

impl HeaderName {
    /// Takes `name`, lowering ASCII letters.
    pub fn new(name: &str) -> Self {
        Self(Cow::Owned(name.to_ascii_lowercase()))
    }

    /// A constant name, which must be in lower case.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's bytes, in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

static CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

/// A request's head, as routing reads it.
pub trait RequestView {
    /// `:path`, query included; empty when the request has none (plain CONNECT).
    fn path(&self) -> &[u8];
    /// `:method`.
    fn method(&self) -> &[u8];
    /// `:authority` (the `Host` header of HTTP/1); empty when there is none.
    fn authority(&self) -> &[u8];
    /// `:scheme`, as the connection manager settled it.
    fn scheme(&self) -> &[u8];
    /// Every value of the header `name`, in order. Of the pseudo-headers only `:protocol` is asked for this way, and
    /// `host` never is.
    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>;

    /// Whether this is a CONNECT (or CONNECT-UDP) request. An extended CONNECT that the codec turned into an upgrade
    /// request is not.
    fn is_connect(&self) -> bool {
        self.method() == b"CONNECT"
    }

    /// Whether the content type says gRPC: `application/grpc`, or that with a `+suffix`.
    fn is_grpc(&self) -> bool {
        self.header_values(&CONTENT_TYPE).next().is_some_and(is_grpc_content_type)
    }

    /// Whether the client showed a certificate; `None` without TLS.
    fn peer_certificate_presented(&self) -> Option<bool> {
        None
    }

    /// Whether the client's certificate was validated; `None` without TLS.
    fn peer_certificate_validated(&self) -> Option<bool> {
        None
    }
}

/// What a match depends on besides the request.
#[derive(Clone, Copy)]
pub struct MatchContext<'a> {
    /// The stream's random value, uniform over `u64`; the same one chooses the weighted cluster.
    pub random: u64,
    /// The runtime layers, for `runtime_fraction`.
    pub runtime: &'a dyn RuntimeValues,
}

impl MatchContext<'static> {
    /// A context with no runtime entries.
    pub fn with_random(random: u64) -> Self {
        Self { random, runtime: &NoRuntime }
    }
}

/// `path` up to its query or fragment, which is what path matchers compare.
#[inline]
pub fn path_without_query(path: &[u8]) -> &[u8] {
    memchr::memchr2(b'?', b'#', path).map_or(path, |end| &path[..end])
}

/// Whether a `content-type` value is gRPC's.
pub fn is_grpc_content_type(value: &[u8]) -> bool {
    value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_ends_at_query_or_fragment() {
        assert_eq!(path_without_query(b"/a?b#c"), b"/a");
        assert_eq!(path_without_query(b"/a#c?b"), b"/a");
        assert_eq!(path_without_query(b"/a"), b"/a");
    }

    #[test]
    fn grpc_content_types() {
        assert!(is_grpc_content_type(b"application/grpc"));
        assert!(is_grpc_content_type(b"application/grpc+proto"));
        assert!(!is_grpc_content_type(b"application/grpc-web"));
        assert!(!is_grpc_content_type(b"application/json"));
    }
}
