//! Heads between the `http` crate's types, which `h2` speaks, and ours.
//!
//! What HTTP/2 forbids and `h2` lets through is refused here: an authority that disagrees with `host`, userinfo,
//! connection-specific fields. Cookie crumbs (RFC 9113 §8.2.3) are joined once.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, request, response};
use sampan_filters_api::{Headers, Known, RequestHead, ResponseHead};

use crate::http::h1::body::forbidden_trailer;
use crate::http::h1::{CodecError, syntax};

const INVALID: &str = "http2.invalid.header.field";

/// More fields than `max_headers_count`.
pub(super) const TOO_MANY: CodecError = CodecError {
    status: 431,
    details: "http2.too_many_headers",
    reason: "more fields than max_headers_count",
};

fn invalid(reason: &'static str) -> CodecError {
    CodecError { status: 400, details: INVALID, reason }
}

/// Fills a clear request head from a received one.
pub fn request_from(parts: &request::Parts, head: &mut RequestHead) -> Result<(), CodecError> {
    let upgrading = parts.extensions.get::<h2::ext::Protocol>().is_some();
    // Within the proxy an extended CONNECT is what it stands for: a GET that asks for an upgrade.
    head.set_method(if upgrading { b"GET" } else { parts.method.as_str().as_bytes() });
    let connect = parts.method == Method::CONNECT;
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    if !connect || protocol.is_some() {
        if let Some(scheme) = parts.uri.scheme_str() {
            head.set_scheme(scheme.as_bytes());
        }
        let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        head.set_path(path.as_bytes());
    }
    if let Some(authority) = parts.uri.authority() {
        if authority.as_str().contains('@') {
            return Err(invalid("the authority has userinfo"));
        }
        head.set_authority(authority.as_str().as_bytes());
    }
    if let Some(protocol) = protocol {
        head.set_upgrade(Some(protocol.as_str().as_bytes()));
    }
    fields_from(&parts.headers, head)
}

fn fields_from(map: &HeaderMap, head: &mut RequestHead) -> Result<(), CodecError> {
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        match Known::classify(name) {
            Some(Known::Host) => {
                if head.authority().is_empty() {
                    if !syntax::is_authority(value) {
                        return Err(invalid("host is not a host and port"));
                    }
                    head.set_authority(value);
                } else if !head.authority().eq_ignore_ascii_case(value) {
                    return Err(invalid("host and :authority disagree"));
                }
            }
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings,
            ) => return Err(invalid("a connection-specific field in HTTP/2")),
            Some(Known::Te) if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(invalid("te is not `trailers`"));
            }
            Some(Known::Cookie) if head.headers.has(Known::Cookie) => {}
            Some(Known::Cookie) => {
                let crumbs: Vec<&[u8]> = map.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
                head.headers.append_known(Known::Cookie, crumbs.join(&b"; "[..]));
            }
            _ => head.headers.append(name, value),
        }
    }
    Ok(())
}

/// A request to be sent.
pub fn request_into(head: &RequestHead) -> Result<http::Request<()>, CodecError> {
    let mut request = http::Request::new(());
    *request.method_mut() = match head.upgrade() {
        Some(_) => Method::CONNECT,
        None => Method::from_bytes(head.method()).map_err(|_| invalid("the method is malformed"))?,
    };
    let mut uri = http::uri::Parts::default();
    if !head.authority().is_empty() {
        uri.authority =
            Some(Authority::try_from(head.authority()).map_err(|_| invalid("the authority is malformed"))?);
    }
    if head.has_path() {
        uri.scheme = Some(if head.scheme() == b"https" { Scheme::HTTPS } else { Scheme::HTTP });
        uri.path_and_query =
            Some(PathAndQuery::try_from(head.path()).map_err(|_| invalid("the path is malformed"))?);
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| invalid("the request has no authority"))?;
    if let Some(protocol) = head.upgrade() {
        let protocol = std::str::from_utf8(protocol).map_err(|_| invalid("the protocol is malformed"))?;
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    fields_into(&head.headers, request.headers_mut())?;
    Ok(request)
}

/// Fills a clear response head from a received one.
pub fn response_from(parts: &response::Parts, head: &mut ResponseHead) {
    head.status = parts.status.as_u16();
    for (name, value) in &parts.headers {
        head.headers.append(name.as_str(), value.as_bytes());
    }
}

/// A response to be sent.
pub fn response_into(head: &ResponseHead) -> Result<http::Response<()>, CodecError> {
    let mut response = http::Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(head.status).map_err(|_| invalid("the status is below 100"))?;
    fields_into(&head.headers, response.headers_mut())?;
    Ok(response)
}

/// Trailers to be passed on.
pub fn trailers_from(map: &HeaderMap) -> Headers {
    let mut trailers = Headers::new();
    for (name, value) in map {
        if !forbidden_trailer(name.as_str().as_bytes()) {
            trailers.append(name.as_str(), value.as_bytes());
        }
    }
    trailers
}

/// Trailers to be sent.
pub fn trailers_into(trailers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(trailers.len());
    // What cannot be a field was refused when it was read.
    let _ = fields_into(trailers, &mut map);
    map
}

fn fields_into(headers: &Headers, map: &mut HeaderMap) -> Result<(), CodecError> {
    map.reserve(headers.len());
    for (known, name, value) in headers.iter_known() {
        if matches!(
            known,
            Some(Known::TransferEncoding | Known::Connection | Known::Upgrade | Known::KeepAlive)
        ) {
            continue;
        }
        let name = match known {
            Some(known) => static_name(known),
            None => HeaderName::from_bytes(name).map_err(|_| invalid("a field name is malformed"))?,
        };
        let value =
            HeaderValue::from_bytes(value).map_err(|_| invalid("a field value has a control byte"))?;
        map.append(name, value);
    }
    Ok(())
}

/// Known names need no parsing.
fn static_name(known: Known) -> HeaderName {
    thread_local! {
        static NAMES: Vec<HeaderName> = Known::ALL.iter().map(|k| HeaderName::from_static(k.name())).collect();
    }
    NAMES.with(|names| names[known as usize].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(request: http::request::Builder) -> Result<RequestHead, CodecError> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut head = RequestHead::default();
        request_from(&parts, &mut head).map(|()| head)
    }

    #[test]
    fn a_request_survives_both_ways() {
        let head = head_of(
            http::Request::get("https://h:1/p?q")
                .header("x-a", "1")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        )
        .unwrap();
        assert_eq!(
            (head.authority(), head.path(), head.scheme()),
            (&b"h:1"[..], &b"/p?q"[..], &b"https"[..])
        );
        assert_eq!(head.headers.known(Known::Cookie), Some(&b"a=1; b=2"[..]));
        let request = request_into(&head).unwrap();
        assert_eq!(request.uri().to_string(), "https://h:1/p?q");
        assert_eq!(request.headers().get_all("cookie").iter().count(), 1);
    }

    #[test]
    fn disagreement_and_connection_fields_are_refused() {
        for (name, value) in
            [("host", "other"), ("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip")]
        {
            let refused = head_of(http::Request::get("http://h/").header(name, value));
            assert_eq!(refused.unwrap_err().details, INVALID, "{name}");
        }
        assert!(head_of(http::Request::get("http://u@h/")).is_err());
        assert!(
            head_of(http::Request::get("http://h/").header("host", "H").header("te", "trailers")).is_ok()
        );
    }
}
