//! HTTP/1 framing and syntax: each row of the catalogue of bad input, and the good neighbours of each.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk::{Read, Send};

/// HTTP/1 requests as bytes.
pub fn group() -> Group {
    let mut cases = lengths();
    cases.extend(encodings());
    cases.extend(heads());
    cases.extend(lines());
    cases.extend(chunks());
    cases.extend(connections());
    Group { name: "h1_syntax", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let to_a = "- {name: all, match: {prefix: /}, route: {cluster: a}}";
    Bootstrap::new()
        .http("plain", "", to_a)
        .http("trailers", "http_protocol_options: {enable_trailers: true}", to_a)
        .http(
            "no-underscores",
            "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
            to_a,
        )
        .http(
            "drop-underscores",
            "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
            to_a,
        )
        .http("keep-open", "stream_error_on_invalid_http_message: true", to_a)
}

/// A POST with these header lines and this body.
fn posted(name: &'static str, lines: &str, body: &str) -> Case {
    case(name, "plain").send(format!("POST / HTTP/1.1\r\nhost: test\r\n{lines}\r\n\r\n{body}"))
}

/// A request that ends in a codec's error: status, details; the connection is closed and nothing went upstream.
fn rejected(case: Case, status: u16, details: &str) -> Case {
    case.closes("2.end").refused(status, "DPE", details)
}

fn lengths() -> Vec<Case> {
    let both = "http1.content_length_and_chunked_not_allowed";
    let codec = "http1.codec_error";
    vec![
        posted("length", "content-length: 2", "hi").via("a").want("up:body", "hi"),
        posted("length-zero", "content-length: 0", "").via("a").want("up:h:content-length", "0"),
        rejected(
            posted("cl-then-te", "content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            400,
            both,
        ),
        rejected(
            posted("te-then-cl", "transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n"),
            400,
            both,
        ),
        rejected(posted("cl-twice-different", "content-length: 2\r\ncontent-length: 3", "hi!"), 400, codec),
        rejected(posted("cl-twice-equal", "content-length: 2\r\ncontent-length: 2", "hi"), 400, codec),
        rejected(posted("cl-list", "content-length: 2, 2", "hi"), 400, codec),
        rejected(posted("cl-plus", "content-length: +2", "hi"), 400, codec),
        rejected(posted("cl-minus", "content-length: -1", ""), 400, codec),
        rejected(posted("cl-hex", "content-length: 0x2", "hi"), 400, codec),
        rejected(posted("cl-empty", "content-length:", ""), 400, codec),
        rejected(posted("cl-overflow", "content-length: 18446744073709551616", ""), 400, codec),
        posted("cl-leading-zero", "content-length: 02", "hi").want("status", 200),
    ]
}

fn encodings() -> Vec<Case> {
    let te = "http1.invalid_transfer_encoding";
    let empty = "0\r\n\r\n";
    vec![
        posted("chunked", "transfer-encoding: chunked", "2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n")
            .via("a")
            .want("up:body", "hi yo"),
        posted("chunked-upper-case", "Transfer-Encoding: Chunked", "2\r\nhi\r\n0\r\n\r\n")
            .via("a")
            .want("up:body", "hi"),
        rejected(posted("te-unknown", "transfer-encoding: xchunked", empty), 501, te),
        rejected(posted("te-identity", "transfer-encoding: identity", ""), 501, te),
        rejected(posted("te-gzip-chunked", "transfer-encoding: gzip, chunked", empty), 501, te),
        rejected(posted("te-chunked-twice", "transfer-encoding: chunked, chunked", empty), 501, te),
        rejected(
            posted("te-two-lines", "transfer-encoding: chunked\r\ntransfer-encoding: identity", empty),
            501,
            te,
        ),
        posted("te-trailing-space", "transfer-encoding: chunked ", "2\r\nhi\r\n0\r\n\r\n")
            .via("a")
            .want("up:body", "hi"),
        posted("te-tab-before", "transfer-encoding:\tchunked", "2\r\nhi\r\n0\r\n\r\n")
            .via("a")
            .want("up:body", "hi"),
        rejected(
            posted("te-vertical-tab", "transfer-encoding: \x0bchunked", empty),
            400,
            "http1.invalid_characters",
        ),
        rejected(posted("te-nul", "transfer-encoding: chunked\0", empty), 400, "http1.invalid_characters"),
    ]
}

fn heads() -> Vec<Case> {
    let codec = "http1.codec_error";
    let with = |name, lines: &str| {
        case(name, "plain").send(format!("GET / HTTP/1.1\r\nhost: test\r\n{lines}\r\n\r\n"))
    };
    vec![
        with("obs-fold", "x: a\r\n b").want("status", 200),
        case("bare-lf", "plain").send("GET / HTTP/1.1\nhost: test\nx: 1\n\n").want("status", 200),
        with("bare-cr-in-value", "x: a\rb").want("status", 200),
        rejected(with("nul-in-value", "x: a\0b"), 400, "http1.invalid_characters"),
        rejected(with("control-in-value", "x: a\x01b"), 400, "http1.invalid_characters"),
        rejected(with("space-before-colon", "x : 1"), 400, codec),
        rejected(with("pseudo-header", ":path: /x"), 400, codec),
        rejected(with("no-colon", "nonsense"), 400, codec),
        rejected(with("empty-name", ": x"), 400, codec),
        with("empty-value", "x:").via("a").want("up:h:x", ""),
        with("value-trimmed", "x:   a b \t").via("a").want("up:h:x", "a b"),
        with("high-bytes-in-value", "x: caf\u{e9}").via("a"),
        case("no-host", "plain")
            .send("GET / HTTP/1.1\r\n\r\n")
            .refused(400, "-", "missing_host_header")
            .want("body", ""),
        case("two-hosts", "plain").send("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").want("status", 200),
        case("empty-host", "plain").send("GET / HTTP/1.1\r\nhost:\r\n\r\n").want("status", 200),
        with("header-order-and-repeats", "b: 1\r\na: 1\r\nb: 2").via("a").want("up:h:b", "1 | 2"),
        with("header-names-lowered", "X-Mixed-Case: 1").via("a").want("up:h:x-mixed-case", "1"),
        with("underscore-allowed", "x_y: 1").via("a").want("up:h:x_y", "1"),
        with("underscore-rejected", "x_y: 1").at("no-underscores").refused(
            400,
            "DPE",
            "http1.unexpected_underscore",
        ),
        with("underscore-dropped", "x_y: 1").at("drop-underscores").via("a").absent("up:h:x_y"),
        with("101-headers", &vec!["x: 1"; 101].join("\r\n"))
            .closes("2.end")
            .status(431)
            .flags("DPE")
            .absent("up"),
        with("70-kb-header", &format!("x: {}", "a".repeat(70 << 10)))
            .closes("2.end")
            .status(431)
            .flags("DPE")
            .absent("up"),
        case("66-kb-path", "plain")
            .send(format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "a".repeat(66 << 10)))
            .want("status", 431)
            .absent("up"),
        with("50-kb-header", &format!("x: {}", "a".repeat(50 << 10))).via("a"),
    ]
}

fn lines() -> Vec<Case> {
    let line = |name, line: &str| case(name, "plain").send(format!("{line}\r\nhost: test\r\n\r\n"));
    let bad = |name, text: &str| rejected(line(name, text), 400, "http1.codec_error");
    let old = |name, text: &str| {
        line(name, text).closes("2.end").refused(426, "DPE", "low_version").want("body", "Upgrade Required")
    };
    vec![
        old("http-1.0", "GET / HTTP/1.0"),
        old("http-0.9", "GET / HTTP/0.9"),
        old("http-1.2", "GET / HTTP/1.2"),
        bad("garbage", "nonsense"),
        old("no-version", "GET /"),
        bad("bad-version", "GET / HTPP/1.1"),
        bad("bad-method", "G@T / HTTP/1.1"),
        bad("lower-case-version", "GET / http/1.1"),
        bad("space-in-path", "GET /a b HTTP/1.1"),
        line("leading-empty-line", "\r\nGET / HTTP/1.1").via("a"),
        bad("unknown-method", "BREW /pot HTTP/1.1"),
        line("uncommon-method", "PROPFIND /x HTTP/1.1").via("a").want("up:line", "PROPFIND /x HTTP/1.1"),
        line("options-star", "OPTIONS * HTTP/1.1").refused(404, "-", "absolute_path_rejected"),
        bad("no-slash", "GET x HTTP/1.1"),
        line("fragment", "GET /a#b HTTP/1.1").refused(400, "-", "path_normalization_failed"),
        line("non-ascii-path", "GET /\u{e9} HTTP/1.1").closes("2.end").want("status", 400).absent("up"),
        line("absolute-form", "GET http://other/x HTTP/1.1")
            .via("a")
            .want("up:h:host", "other")
            .want("up:line", "GET /x HTTP/1.1"),
        line("absolute-form-https", "GET https://other/x HTTP/1.1").via("a").want("up:h:host", "other"),
        line("absolute-form-no-path", "GET http://other HTTP/1.1").via("a").want("up:line", "GET / HTTP/1.1"),
        line("absolute-form-query", "GET http://other?x=1 HTTP/1.1").want("status", 404).absent("up"),
        line("absolute-form-port", "GET http://other:81/x HTTP/1.1").via("a").want("up:h:host", "other:81"),
        line("absolute-form-userinfo", "GET http://user@other/x HTTP/1.1").want("status", 200),
        line("connect-unmatched", "CONNECT other:443 HTTP/1.1").want("status", 404).absent("up"),
    ]
}

fn chunks() -> Vec<Case> {
    let te = "transfer-encoding: chunked";
    // The head may be upstream already when a chunk turns out to be bad; what matters is that the body never ends there.
    let bad = |name, body: &str| {
        posted(name, te, body).closes("2.end").want("log.details", "http1.codec_error").ignore("up")
    };
    vec![
        bad("chunk-size-lf", "2\nhi\r\n0\r\n\r\n"),
        bad("chunk-size-hex-prefix", "0x2\r\nhi\r\n0\r\n\r\n"),
        bad("chunk-size-underscore", "2_\r\nhi\r\n0\r\n\r\n"),
        bad("chunk-size-space-before", " 2\r\nhi\r\n0\r\n\r\n"),
        bad("chunk-size-overflow", "11111111111111111\r\nhi\r\n0\r\n\r\n"),
        bad("chunk-size-missing", "\r\nhi\r\n0\r\n\r\n"),
        bad("chunk-extension-lf", "2;a\nhi\r\n0\r\n\r\n"),
        bad("chunk-extension-cr", "2;a\rb\r\nhi\r\n0\r\n\r\n"),
        posted("chunk-spill", te, "2\r\nhello\r\n0\r\n\r\n").ignore("up"),
        posted("chunk-extension", te, "2;name=value\r\nhi\r\n0\r\n\r\n").via("a").want("up:body", "hi"),
        posted("chunk-extension-control-byte", te, "2;a\x01\r\nhi\r\n0\r\n\r\n").want("status", 200),
        posted("chunk-final-lf", te, "2\r\nhi\r\n0\r\n\n").want("status", 200),
        posted("chunk-upper-hex", te, "A\r\n0123456789\r\n0\r\n\r\n").via("a").want("up:body", "0123456789"),
        posted("trailers-dropped", te, "2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n").via("a").absent("up:trailer:x-t"),
        posted("trailers-to-plain-upstream", te, "2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n").at("trailers").via("a"),
        posted("trailer-bad-name", te, "2\r\nhi\r\n0\r\nx t: 1\r\n\r\n").ignore("up"),
    ]
}

fn connections() -> Vec<Case> {
    let lines = |name, lines: &str| {
        case(name, "plain").send(format!("GET / HTTP/1.1\r\nhost: test\r\n{lines}\r\n\r\n"))
    };
    let get = "GET /1 HTTP/1.1\r\nhost: test\r\n\r\nGET /2 HTTP/1.1\r\nhost: test\r\n\r\nGET /3 HTTP/1.1\r\nhost: test\r\n\r\n";
    vec![
        case("keep-alive", "plain")
            .get("/1")
            .get("/2")
            .via("a")
            .want("2.up:connection", 1)
            .want("2.status", 200),
        case("pipelining", "plain")
            .talk([Send(get.into()), Read, Read, Read])
            .via("a")
            .want("up:line", "GET /1 HTTP/1.1")
            .want("2.up:line", "GET /2 HTTP/1.1")
            .want("3.up:line", "GET /3 HTTP/1.1")
            .want("3.status", 200),
        lines("connection-close", "connection: close").via("a").want("h:connection", "close").closes("2.end"),
        lines("connection-names-header", "x-auth: 1\r\nconnection: x-auth, keep-alive").via("a"),
        lines("connection-names-two", "x-one: 1\r\nx-two: 2\r\nconnection: x-one\r\nconnection: x-two")
            .via("a"),
        lines("proxy-connection", "proxy-connection: keep-alive").via("a").absent("up:h:proxy-connection"),
        lines("keep-alive-header", "keep-alive: timeout=5").via("a").absent("up:h:keep-alive"),
        lines("te-trailers", "te: trailers").via("a"),
        lines("te-gzip", "te: gzip").via("a").absent("up:h:te"),
        lines(
            "h2c-upgrade",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
        )
        .via("a")
        .absent("up:h:upgrade"),
        lines("upgrade-not-allowed", "connection: upgrade\r\nupgrade: websocket").refused(
            403,
            "-",
            "upgrade_failed",
        ),
        case("get-with-body", "plain")
            .send("GET / HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\nhi")
            .get("/2")
            .via("a")
            .want("up:body", "hi")
            .want("2.up:line", "GET /2 HTTP/1.1"),
        lines("expect-unknown", "expect: something").want("status", 200),
    ]
}
