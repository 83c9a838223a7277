//! A complete request head -> [`RequestHead`] and how to go on reading.
//!
//! Called with the exact bytes of a head that [`Scanner`](super::scan::Scanner) found, blank line included.
//! Hop-by-hop fields (RFC 9110 §7.6.1) end here: what they mean is in [`RequestMeta`], and they do not reach filters.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};
use sampan_filters_api::{Known, Protocol, RequestHead};

use super::{CodecError, Framing, HeadLimits, MAX_FIELDS, syntax};

/// What a request head says about the connection and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// HTTP/1.0 or HTTP/1.1
    pub version: Protocol,
    /// The request body's framing.
    pub framing: Framing,
    /// Whether the client would send another request on this connection.
    pub persistent: bool,
    /// `Expect: 100-continue`
    pub expects_continue: bool,
    /// An `Expect` that is not `100-continue`: 417.
    pub unknown_expectation: bool,
    /// Whether the target was in absolute form.
    pub absolute: bool,
    /// Whether the request had a `Host` field or an authority in its target.
    pub has_host: bool,
}

/// Options of the request parser that configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// Limits of the head.
    pub limits: HeadLimits,
    /// `http_protocol_options.allow_absolute_url`
    pub allow_absolute_url: bool,
}

/// Parses a complete head into `head`, which must be clear.
pub fn parse(
    bytes: &[u8],
    options: RequestOptions,
    head: &mut RequestHead,
) -> Result<RequestMeta, CodecError> {
    let version = version(bytes)?;
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let allowed = options.limits.fields.min(MAX_FIELDS);
    match request.parse_with_uninit_headers(bytes, &mut fields[..allowed]) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(CodecError::malformed("the head ends within a line")),
        Err(Error::TooManyHeaders) => {
            return Err(CodecError::new(431, "http1.too_many_headers", "more fields than max_headers_count"));
        }
        Err(Error::HeaderValue) => {
            return Err(CodecError::new(400, "http1.invalid_characters", "a field value has a control byte"));
        }
        Err(e) => return Err(CodecError::malformed(reason(e))),
    }
    let method = request.method.unwrap_or_default().as_bytes();
    let target = request.path.unwrap_or_default().as_bytes();
    if !METHODS.contains(&method) {
        return Err(CodecError::malformed("the method is unknown"));
    }
    head.set_method(method);
    let absolute = parse_target(method, target, options, head)?;
    let mut seen = Seen::default();
    for field in request.headers.iter() {
        seen.take(field.name.as_bytes(), field.value, head, absolute)?;
    }
    seen.finish(version, absolute, head)
}

/// The methods that are let through: those of the HTTP registry and of WebDAV, as Envoy has them.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"M-SEARCH",
    b"MSEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

/// The version at the end of the request line: 426 below 1.0 as for 0.9, 505 from 1.2 on.
fn version(bytes: &[u8]) -> Result<Protocol, CodecError> {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let line = &bytes[..end];
    if line.ends_with(b" HTTP/1.1") {
        return Ok(Protocol::Http11);
    }
    if line.ends_with(b" HTTP/1.0") {
        return Ok(Protocol::Http10);
    }
    if line == b"PRI * HTTP/2.0" {
        return Err(CodecError::malformed("an HTTP/2 preface where HTTP/1.1 is spoken"));
    }
    let last = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    match last.strip_prefix(b"HTTP/") {
        Some([b'0', b'.', b'0'..=b'9']) => Err(LOW_VERSION),
        Some([b'1'..=b'9', b'.', b'0'..=b'9']) => {
            Err(CodecError::new(505, "http1.unsupported_version", "HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        Some(_) => Err(CodecError::malformed("the HTTP version is malformed")),
        // `GET /path` alone is HTTP/0.9.
        None if is_simple_request(line) => Err(LOW_VERSION),
        None => Err(CodecError::malformed("the request line has no HTTP version")),
    }
}

const LOW_VERSION: CodecError = CodecError::new(426, "low_version", "HTTP/0.9");

fn is_simple_request(line: &[u8]) -> bool {
    let mut parts = line.split(|b| *b == b' ');
    let method = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    syntax::is_token(method) && target.starts_with(b"/") && parts.next().is_none()
}

fn reason(error: Error) -> &'static str {
    match error {
        Error::HeaderName => "a field name has a forbidden byte or no colon",
        Error::HeaderValue => "a field value has a control byte",
        Error::NewLine => "a CR is not followed by LF",
        Error::Status => "the status is not a number",
        Error::Token => "the request line has a forbidden byte",
        Error::TooManyHeaders => "too many fields",
        Error::Version => "the HTTP version is malformed",
    }
}

/// Splits the request target (RFC 9112 §3.2); true if it was in absolute form.
fn parse_target(
    method: &[u8],
    target: &[u8],
    options: RequestOptions,
    head: &mut RequestHead,
) -> Result<bool, CodecError> {
    if !target.is_ascii() {
        return Err(CodecError::malformed("the request target is not ASCII"));
    }
    if method == b"CONNECT" {
        if !syntax::is_authority(target) {
            return Err(CodecError::malformed("a CONNECT target is host:port"));
        }
        head.set_authority(target);
        return Ok(true);
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        head.set_path(target);
        return Ok(false);
    }
    let invalid = CodecError::malformed("the request target is neither a path nor an absolute URL");
    if !options.allow_absolute_url {
        // Refused as a path, later.
        head.set_path(target);
        return Ok(false);
    }
    let split = memchr::memmem::find(target, b"://").ok_or(invalid)?;
    let (scheme, rest) = (&target[..split], &target[split + 3..]);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(invalid);
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !syntax::is_authority(authority) {
        return Err(invalid);
    }
    head.set_scheme(&scheme.to_ascii_lowercase());
    head.set_authority(authority);
    // A query without a path stays as it is, and is refused as a path later.
    head.set_path(if path.is_empty() { b"/" } else { path });
    Ok(true)
}

/// What the fields met so far say.
#[derive(Default)]
struct Seen {
    hosts: u8,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_named: bool,
    expects_continue: bool,
    unknown_expectation: bool,
}

impl Seen {
    fn take(
        &mut self,
        name: &[u8],
        value: &[u8],
        head: &mut RequestHead,
        absolute: bool,
    ) -> Result<(), CodecError> {
        let value = syntax::trim(value);
        match Known::classify(name) {
            Some(Known::Host) => self.host(value, head, absolute)?,
            Some(Known::ContentLength) => {
                let length = syntax::content_length(value)
                    .ok_or(CodecError::malformed("content-length is not one decimal number"))?;
                if self.length.replace(length).is_some() {
                    return Err(CodecError::malformed("more than one content-length"));
                }
                head.headers.append_known(Known::ContentLength, itoa::Buffer::new().format(length));
            }
            Some(Known::TransferEncoding) => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(CodecError::new(
                        501,
                        "http1.invalid_transfer_encoding",
                        "transfer-encoding other than one `chunked`",
                    ));
                }
                self.chunked = true;
                head.headers.append_known(Known::TransferEncoding, "chunked");
            }
            Some(Known::Expect) => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue |= known;
                self.unknown_expectation |= !known;
            }
            Some(Known::Connection) => {
                self.close |= syntax::has_token(value, b"close");
                self.keep_alive |= syntax::has_token(value, b"keep-alive");
                self.upgrade_named |= syntax::has_token(value, b"upgrade");
                head.headers.append_known(Known::Connection, value);
            }
            known => head.headers.append_classified(known, name, value),
        }
        if self.hosts == 1 && name.len() == 4 && name[0] == b'H' {
            head.set_host_name(name);
        }
        Ok(())
    }

    fn host(&mut self, value: &[u8], head: &mut RequestHead, absolute: bool) -> Result<(), CodecError> {
        self.hosts = self.hosts.saturating_add(1);
        if self.hosts > 1 {
            return Err(CodecError::malformed("more than one Host"));
        }
        if !value.is_empty() && !syntax::is_authority(value) {
            return Err(CodecError::malformed("Host is not a host and port"));
        }
        // The target's authority wins over Host (RFC 9112 §3.2.2).
        if !absolute {
            head.set_authority(value);
        }
        Ok(())
    }

    fn finish(
        self,
        version: Protocol,
        absolute: bool,
        head: &mut RequestHead,
    ) -> Result<RequestMeta, CodecError> {
        if self.chunked && self.length.is_some() {
            return Err(CodecError::new(
                400,
                "http1.content_length_and_chunked_not_allowed",
                "content-length beside transfer-encoding",
            ));
        }
        if self.chunked && version == Protocol::Http10 {
            return Err(CodecError::malformed("transfer-encoding in HTTP/1.0"));
        }
        self.connection_fields(head)?;
        let framing = match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        // CONNECT leaves nothing behind it that could be another request.
        let persistent =
            !self.close && !head.is_connect() && (version == Protocol::Http11 || self.keep_alive);
        Ok(RequestMeta {
            version,
            framing,
            persistent,
            expects_continue: self.expects_continue && version == Protocol::Http11,
            unknown_expectation: self.unknown_expectation,
            absolute,
            has_host: !head.authority().is_empty(),
        })
    }

    /// Acts on `Connection` and removes it with what it names.
    fn connection_fields(&self, head: &mut RequestHead) -> Result<(), CodecError> {
        let headers = &mut head.headers;
        headers.remove_known(Known::KeepAlive);
        headers.remove_known(Known::ProxyConnection);
        if headers.has(Known::Te) {
            let trailers = headers.values(b"te").any(|v| syntax::has_token(v, b"trailers"));
            headers.remove_known(Known::Te);
            if trailers {
                headers.append_known(Known::Te, "trailers");
            }
        }
        let upgrade = headers
            .known(Known::Upgrade)
            .filter(|v| self.upgrade_named && !syntax::has_token(v, b"h2c"))
            .map(<[u8]>::to_vec);
        headers.remove_known(Known::Upgrade);
        headers.remove_known(Known::Http2Settings);
        if headers.has(Known::Connection) {
            remove_nominated(head)?;
        }
        if let Some(protocol) = upgrade {
            head.set_upgrade(Some(&protocol));
        }
        Ok(())
    }
}

/// Removes the fields that `Connection` names. One that names a field which access decisions rest on is an attack.
fn remove_nominated(head: &mut RequestHead) -> Result<(), CodecError> {
    let mut named: smallvec::SmallVec<[Box<[u8]>; 2]> = smallvec::SmallVec::new();
    for value in head.headers.values(b"connection") {
        for token in syntax::tokens(value) {
            let hop = [&b"close"[..], b"keep-alive", b"upgrade", b"te", b"http2-settings"];
            if !hop.iter().any(|h| token.eq_ignore_ascii_case(h)) {
                named.push(token.into());
            }
        }
    }
    head.headers.remove_known(Known::Connection);
    for name in named {
        if is_trusted(&name) {
            return Err(CodecError::new(
                400,
                "http1.connection_header_rejected",
                "Connection names a field that must reach the upstream",
            ));
        }
        head.headers.remove(&*name);
    }
    Ok(())
}

fn is_trusted(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.starts_with(b"x-forwarded-")
        || lower.starts_with(b"x-envoy-")
        || lower.starts_with(b":")
        || [
            &b"authorization"[..],
            b"cookie",
            b"host",
            b"forwarded",
            b"content-length",
            b"transfer-encoding",
            b"x-request-id",
        ]
        .contains(&&lower[..])
}

#[cfg(test)]
mod tests;
