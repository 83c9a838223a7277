//! Every row of the bad-input catalogue that concerns a request head, and the good ones beside them.

use super::*;

const OPTIONS: RequestOptions =
    RequestOptions { limits: HeadLimits { bytes: 60 * 1024, fields: 100 }, allow_absolute_url: true };

fn parse_text(text: &str) -> Result<(RequestHead, RequestMeta), CodecError> {
    let mut head = RequestHead::default();
    parse(text.as_bytes(), OPTIONS, &mut head).map(|meta| (head, meta))
}

fn with(fields: &str) -> Result<(RequestHead, RequestMeta), CodecError> {
    parse_text(&format!("POST /p HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
}

#[test]
fn a_plain_request() {
    let (head, meta) = parse_text("GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\n\r\n").unwrap();
    assert_eq!((head.method(), head.path(), head.authority()), (&b"GET"[..], &b"/a?b"[..], &b"h:1"[..]));
    assert_eq!(meta.framing, Framing::None);
    assert!(meta.persistent);
    assert_eq!(head.headers.value("x-a"), Some(&b"1"[..]));
    assert_eq!(head.headers.len(), 1);
}

#[test]
fn statuses_of_bad_heads() {
    for (fields, status, details) in [
        (
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            400,
            "http1.content_length_and_chunked_not_allowed",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
            400,
            "http1.content_length_and_chunked_not_allowed",
        ),
        ("content-length: 2\r\ncontent-length: 3\r\n", 400, "http1.codec_error"),
        ("content-length: 2\r\ncontent-length: 2\r\n", 400, "http1.codec_error"),
        ("content-length: 2, 2\r\n", 400, "http1.codec_error"),
        ("content-length: +2\r\n", 400, "http1.codec_error"),
        ("content-length:\r\n", 400, "http1.codec_error"),
        ("transfer-encoding: xchunked\r\n", 501, "http1.invalid_transfer_encoding"),
        ("transfer-encoding: identity\r\n", 501, "http1.invalid_transfer_encoding"),
        ("transfer-encoding: gzip, chunked\r\n", 501, "http1.invalid_transfer_encoding"),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            501,
            "http1.invalid_transfer_encoding",
        ),
        ("transfer-encoding: \x0bchunked\r\n", 400, "http1.invalid_characters"),
        ("a: b\r\n c\r\n", 400, "http1.codec_error"),
        ("a : b\r\n", 400, "http1.codec_error"),
        (":path: /x\r\n", 400, "http1.codec_error"),
        ("nocolon\r\n", 400, "http1.codec_error"),
        (": empty\r\n", 400, "http1.codec_error"),
        ("a: b\rc\r\n", 400, "http1.invalid_characters"),
        ("a: b\0c\r\n", 400, "http1.invalid_characters"),
        ("a: b\x01c\r\n", 400, "http1.invalid_characters"),
        ("Host: other\r\n", 400, "http1.codec_error"),
        ("Connection: x-forwarded-for\r\n", 400, "http1.connection_header_rejected"),
        ("Connection: Authorization\r\n", 400, "http1.connection_header_rejected"),
    ] {
        let error = with(fields).expect_err(fields);
        assert_eq!((error.status, error.details), (status, details), "{fields:?}");
    }
}

#[test]
fn versions() {
    for (line, status) in [
        ("GET / HTTP/0.9", 426),
        ("GET /", 426),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/x", 400),
        ("GET / http/1.1", 400),
        ("garbage", 400),
        ("GET  / HTTP/1.1", 400),
    ] {
        let error = parse_text(&format!("{line}\r\nHost: h\r\n\r\n")).expect_err(line);
        assert_eq!(error.status, status, "{line}");
    }
    let (_, meta) = parse_text("GET / HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((meta.version, meta.persistent), (Protocol::Http10, false));
    assert_eq!(
        parse_text("GET / HTTP/1.0\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n").unwrap_err().status,
        400
    );
}

#[test]
fn too_many_fields() {
    let fields = "a: b\r\n".repeat(100);
    assert_eq!(with(&fields).unwrap_err().status, 431);
    assert!(with(&"a: b\r\n".repeat(99)).is_ok());
}

#[test]
fn targets() {
    let (head, meta) = parse_text("GET http://Up:8/x?y HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((head.authority(), head.path(), head.scheme()), (&b"Up:8"[..], &b"/x?y"[..], &b"http"[..]));
    assert!(meta.absolute);
    let (head, _) = parse_text("GET http://up?y HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(head.path(), b"?y", "a query without a path is no path");
    let (head, _) = parse_text("CONNECT up:443 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((head.authority(), head.has_path()), (&b"up:443"[..], false));
    assert_eq!(parse_text("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().0.path(), b"*");
    for bad in
        ["GET x", "GET ftp://a/", "GET http://u@h/", "GET http:///", "CONNECT /x", "GET *", "GET /\u{e9}"]
    {
        assert_eq!(
            parse_text(&format!("{bad} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap_err().status,
            400,
            "{bad}"
        );
    }
}

#[test]
fn framing_is_canonical() {
    let (head, meta) = with("content-length: 02\r\n").unwrap();
    assert_eq!(meta.framing, Framing::Length(2));
    assert_eq!(head.headers.known(Known::ContentLength), Some(&b"2"[..]));
    let (_, meta) = with("transfer-encoding:\tchunked \r\n").unwrap();
    assert_eq!(meta.framing, Framing::Chunked);
}

#[test]
fn hop_by_hop_fields_end_here() {
    let (head, meta) =
        with("Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\nProxy-Connection: x\r\n")
            .unwrap();
    let names: Vec<_> = head.headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
    assert_eq!(names, [(b"te".to_vec(), b"trailers".to_vec())]);
    assert!(!meta.persistent);
}

#[test]
fn upgrades() {
    let (head, _) = with("Connection: Upgrade\r\nUpgrade: websocket\r\n").unwrap();
    assert_eq!(head.upgrade(), Some(&b"websocket"[..]));
    let (head, _) = with("Upgrade: websocket\r\n").unwrap();
    assert_eq!(head.upgrade(), None);
    let (head, _) =
        with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n").unwrap();
    assert_eq!((head.upgrade(), head.headers.is_empty()), (None, true));
}

#[test]
fn expectations() {
    assert!(with("Expect: 100-Continue\r\n").unwrap().1.expects_continue);
    assert!(with("Expect: magic\r\n").unwrap().1.unknown_expectation);
}
