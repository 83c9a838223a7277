//! The heads of a request and of a response, as filters see them: the same for HTTP/1.1 and HTTP/2.

use crate::headers::{Headers, Span};
use crate::known::Known;

/// The HTTP version of one side of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945)
    Http10,
    /// HTTP/1.1 (RFC 9112)
    #[default]
    Http11,
    /// HTTP/2 (RFC 9113)
    Http2,
}

impl Protocol {
    /// As `%PROTOCOL%` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// A request head: pseudo-headers and header fields. Reused from request to request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The header fields, without `:`-names and without `host`.
    pub headers: Headers,
    method: Span,
    scheme: Span,
    authority: Span,
    path: Span,
    /// `:protocol` of an extended CONNECT (RFC 8441), or the `Upgrade` of HTTP/1.1.
    upgrade: Option<Span>,
    /// The name of the `Host` field as it came, where its case is kept.
    host_name: Option<Span>,
    /// A classic CONNECT has no path and no scheme.
    has_path: bool,
}

impl RequestHead {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        let none = Span::default();
        (self.method, self.scheme, self.authority, self.path) = (none, none, none, none);
        self.upgrade = None;
        self.host_name = None;
        self.has_path = false;
    }

    /// `:method`
    pub fn method(&self) -> &[u8] {
        self.headers.text(self.method)
    }

    /// `:scheme`; empty if unknown
    pub fn scheme(&self) -> &[u8] {
        self.headers.text(self.scheme)
    }

    /// `:authority`, or the `Host` field of HTTP/1.1
    pub fn authority(&self) -> &[u8] {
        self.headers.text(self.authority)
    }

    /// `:path` with the query; empty for a CONNECT without path
    pub fn path(&self) -> &[u8] {
        self.headers.text(self.path)
    }

    /// Whether there is a `:path`.
    pub fn has_path(&self) -> bool {
        self.has_path
    }

    /// The protocol to switch to: `:protocol`, or `Upgrade` where `Connection` names it.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| self.headers.text(span))
    }

    /// Sets `:method`.
    pub fn set_method(&mut self, method: &[u8]) {
        self.method = self.headers.store(method);
    }

    /// Sets `:scheme`.
    pub fn set_scheme(&mut self, scheme: &[u8]) {
        self.scheme = self.headers.store(scheme);
    }

    /// Sets `:authority`.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.headers.store(authority);
    }

    /// Sets `:path`.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path = self.headers.store(path);
        self.has_path = true;
    }

    /// The name of the `Host` field, in the case in which it came.
    pub fn host_name(&self) -> &[u8] {
        self.host_name.map_or(b"host", |span| self.headers.text(span))
    }

    /// Remembers the case of the `Host` field's name.
    pub fn set_host_name(&mut self, name: &[u8]) {
        self.host_name = Some(self.headers.store(name));
    }

    /// Sets or clears the upgrade protocol.
    pub fn set_upgrade(&mut self, protocol: Option<&[u8]>) {
        self.upgrade = protocol.map(|p| self.headers.store(p));
    }

    /// Whether the method is CONNECT.
    pub fn is_connect(&self) -> bool {
        self.method() == b"CONNECT"
    }

    /// Whether the method is HEAD, whose response has no body.
    pub fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// Whether `content-type` says gRPC (`application/grpc`, with or without a `+suffix` or parameters).
    pub fn is_grpc(&self) -> bool {
        is_grpc_content_type(self.headers.known(Known::ContentType))
    }

    /// The first value of a field, pseudo-headers and `host` included, as formatters and matchers name them.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        match self.pseudo(name) {
            Some(value) => value,
            None => self.headers.value(name),
        }
    }

    /// The value of a pseudo-header: outer `None` when `name` is no pseudo-header.
    pub fn pseudo(&self, name: &[u8]) -> Option<Option<&[u8]>> {
        let some = |value: &'_ [u8]| !value.is_empty();
        match name.first()? {
            b':' => Some(match name {
                b":method" => Some(self.method()),
                b":path" => self.has_path.then(|| self.path()),
                b":authority" => Some(self.authority()).filter(|v| some(v)),
                b":scheme" => Some(self.scheme()).filter(|v| some(v)),
                b":protocol" => self.upgrade(),
                _ => None,
            }),
            b'h' | b'H' if name.eq_ignore_ascii_case(b"host") => {
                Some(Some(self.authority()).filter(|v| some(v)))
            }
            _ => None,
        }
    }
}

/// A response head. Reused from response to response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The header fields.
    pub headers: Headers,
}

impl ResponseHead {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.headers.clear();
    }
}

/// Whether a `content-type` value is gRPC's.
pub fn is_grpc_content_type(value: Option<&[u8]>) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    value.is_some_and(|v| {
        v.len() >= GRPC.len()
            && v[..GRPC.len()].eq_ignore_ascii_case(GRPC)
            && matches!(v.get(GRPC.len()), None | Some(b'+' | b';'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_headers_are_found_by_name() {
        let mut head = RequestHead::default();
        head.set_method(b"GET");
        head.set_path(b"/a?b");
        head.set_authority(b"h:1");
        head.headers.append("x", "y");
        assert_eq!(head.field(b":path"), Some(&b"/a?b"[..]));
        assert_eq!(head.field(b"HOST"), Some(&b"h:1"[..]));
        assert_eq!(head.field(b":scheme"), None);
        assert_eq!(head.field(b"X"), Some(&b"y"[..]));
        head.clear();
        assert_eq!(head.field(b":path"), None);
    }

    #[test]
    fn grpc_content_types() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC;x=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc_content_type(Some(value.as_bytes())), expected, "{value}");
        }
        assert!(!is_grpc_content_type(None));
    }
}
