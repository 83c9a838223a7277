//! The HTTP part of an entry: version, request, response.

use sampan_filters_api::format::{FormatContext, HeaderName};
use sampan_filters_api::{Headers, Known, Protocol, RequestHead, ResponseHead};

use crate::telemetry::access_log::wire::Fields;

/// A header field that is logged by name.
#[derive(Clone, Debug)]
pub struct LoggedHeader {
    /// The name in lower case, as the key of the entry's map.
    pub key: Box<str>,
    /// What is looked for.
    pub name: HeaderName,
}

/// The additional fields to log.
#[derive(Clone, Debug, Default)]
pub struct LoggedHeaders {
    /// `additional_request_headers_to_log`
    pub request: Vec<LoggedHeader>,
    /// `additional_response_headers_to_log`
    pub response: Vec<LoggedHeader>,
    /// `additional_response_trailers_to_log`
    pub trailers: Vec<LoggedHeader>,
}

pub(super) fn write(headers: &LoggedHeaders, context: &FormatContext<'_>, entry: &mut Fields<'_>) {
    entry.number(2, context.info.protocol.map_or(0, version));
    entry.message(3, |fields| {
        if let Some(head) = context.request {
            request(head, &headers.request, fields);
            fields.number(11, if head.method().is_empty() { 0 } else { context.info.bytes.request_headers });
        }
        fields.number(12, context.info.bytes.received);
    });
    entry.message(4, |fields| response(headers, context, fields));
}

/// `HTTPAccessLogEntry.HTTPVersion`
fn version(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Http10 => 1,
        Protocol::Http11 => 2,
        Protocol::Http2 => 3,
    }
}

fn request(head: &RequestHead, logged: &[LoggedHeader], fields: &mut Fields<'_>) {
    fields.number(1, method(head.method()));
    fields.text(2, head.scheme());
    fields.text(3, head.authority());
    fields.text(5, head.path());
    let known = |known| head.headers.known(known).unwrap_or_default();
    fields.text(6, known(Known::UserAgent));
    fields.text(7, head.headers.value("referer").unwrap_or_default());
    fields.text(8, known(Known::XForwardedFor));
    fields.text(9, known(Known::XRequestId));
    fields.text(10, head.headers.value("x-envoy-original-path").unwrap_or_default());
    for header in logged {
        fields.text_entry(13, &header.key, |out| match header.name.field_name() {
            Some(name) => join(&head.headers, name, out),
            None => append(header.name.in_request(head), out),
        });
    }
}

fn response(headers: &LoggedHeaders, context: &FormatContext<'_>, fields: &mut Fields<'_>) {
    let info = context.info;
    if info.response_code != 0 {
        fields.message(1, |wrapper| wrapper.number(1, info.response_code.into()));
    }
    fields.number(2, info.bytes.response_headers);
    fields.number(3, info.bytes.sent);
    for header in &headers.response {
        fields.text_entry(4, &header.key, |out| {
            context.response.is_some_and(|head| response_field(head, &header.name, out))
        });
    }
    for header in &headers.trailers {
        fields.text_entry(5, &header.key, |out| match (context.trailers, header.name.field_name()) {
            (Some(trailers), Some(name)) => join(trailers, name, out),
            _ => false,
        });
    }
    fields.text(6, info.details.as_bytes());
}

fn response_field(head: &ResponseHead, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    match name.field_name() {
        Some(name) => join(&head.headers, name, out),
        None => name.write_response(head, out),
    }
}

/// All values of a field, joined by commas; tells whether there is one.
fn join(headers: &Headers, name: &[u8], out: &mut Vec<u8>) -> bool {
    let mut values = headers.values(name);
    let Some(first) = values.next() else { return false };
    out.extend_from_slice(first);
    for value in values {
        out.push(b',');
        out.extend_from_slice(value);
    }
    true
}

fn append(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(value.unwrap_or_default());
    value.is_some()
}

/// `envoy.config.core.v3.RequestMethod`; 0 for one that it does not list.
fn method(name: &[u8]) -> u64 {
    const METHODS: [&[u8]; 9] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
    METHODS.iter().position(|method| *method == name).map_or(0, |at| at as u64 + 1)
}
