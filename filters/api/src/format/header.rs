//! Header names resolved when a format is parsed: a pseudo-header, a number, or text.

use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::known::Known;

/// A header field's name, classified once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderName {
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:authority`, and `host`
    Authority,
    /// `:scheme`
    Scheme,
    /// `:protocol`
    Protocol,
    /// `:status`
    Status,
    /// A field that [`Known`] lists.
    Known(Known),
    /// Any other field, in lower case.
    Other(Box<[u8]>),
}

impl HeaderName {
    /// The name in `text`, whatever its case; none if it holds bytes that no name may have.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        if !name.bytes().all(is_name_byte) {
            return None;
        }
        Some(match name.as_str() {
            ":method" => HeaderName::Method,
            ":path" => HeaderName::Path,
            ":authority" | "host" => HeaderName::Authority,
            ":scheme" => HeaderName::Scheme,
            ":protocol" => HeaderName::Protocol,
            ":status" => HeaderName::Status,
            _ => match Known::classify(name.as_bytes()) {
                Some(known) => HeaderName::Known(known),
                None => HeaderName::Other(name.into_bytes().into()),
            },
        })
    }

    /// The name among the plain fields; none for what is kept apart from them.
    pub fn field_name(&self) -> Option<&[u8]> {
        match self {
            HeaderName::Known(known) => Some(known.name().as_bytes()),
            HeaderName::Other(name) => Some(name),
            _ => None,
        }
    }

    /// The first value in a request head.
    pub fn in_request<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        let present = |text: &'a [u8]| (!text.is_empty()).then_some(text);
        match self {
            HeaderName::Method => present(head.method()),
            HeaderName::Path => head.has_path().then(|| head.path()),
            HeaderName::Authority => present(head.authority()),
            HeaderName::Scheme => present(head.scheme()),
            HeaderName::Protocol => head.upgrade(),
            _ => self.in_fields(&head.headers),
        }
    }

    /// The first value in a block of plain fields; pseudo-headers are in none.
    pub fn in_fields<'a>(&self, headers: &'a Headers) -> Option<&'a [u8]> {
        match self {
            HeaderName::Known(known) => headers.known(*known),
            HeaderName::Other(name) => headers.value(name),
            // A response may carry a `host` field; nobody may carry a pseudo-header here.
            HeaderName::Authority => headers.known(Known::Host),
            _ => None,
        }
    }

    /// Appends the first value in a response head; tells whether there is one.
    pub fn write_response(&self, head: &ResponseHead, out: &mut Vec<u8>) -> bool {
        if *self == HeaderName::Status {
            if head.status != 0 {
                out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
            }
            return head.status != 0;
        }
        write(self.in_fields(&head.headers), out)
    }
}

/// Appends a value, if there is one.
pub(crate) fn write(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    if let Some(value) = value {
        out.extend_from_slice(value);
    }
    value.is_some()
}

/// RFC 9110 `tchar`, and the colon of pseudo-headers.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":!#$%&'*+-.^_`|~".contains(&byte)
}
