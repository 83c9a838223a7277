//! HTTP/2 that a well-behaved client would not send, frame by frame, and its good neighbours.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, get, only, post,
};

/// HTTP/2 frames and fields.
pub fn group() -> Group {
    let mut cases = fields();
    cases.extend(pseudo_fields());
    cases.extend(bodies());
    cases.extend(frames());
    cases.extend(floods());
    Group { name: "h2_syntax", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let to_a = "- {name: all, match: {prefix: /}, route: {cluster: a}}";
    Bootstrap::new().http("h2", "", to_a).http(
        "per-stream",
        "http2_protocol_options: {override_stream_error_on_invalid_http_message: true}",
        to_a,
    )
}

/// A request on stream 1 with extra fields.
fn with(name: &'static str, fields: &[(&str, &str)]) -> Case {
    case(name, "h2").frames([get(1, "/", fields)], &[1])
}

/// The connection ends, and no upstream hears of it.
fn fatal(case: Case) -> Case {
    case.want("end", "closed").absent("up").ignore("goaway")
}

fn fields() -> Vec<Case> {
    let crumbs = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")];
    vec![
        with("fine", &[("x", "1")]).want("stream 1", 200).want("end", "alive").want("up:h:x", 1),
        fatal(with("upper-case-name", &[("X", "1")])),
        fatal(with("empty-name", &[("", "1")])),
        fatal(with("colon-in-name", &[("a:b", "1")])),
        fatal(with("space-in-name", &[("a b", "1")])),
        fatal(with("cr-in-value", &[("x", "a\rb")])),
        fatal(with("lf-in-value", &[("x", "a\nb")])),
        fatal(with("nul-in-value", &[("x", "a\0b")])),
        fatal(with("connection-header", &[("connection", "close")])),
        fatal(with("transfer-encoding", &[("transfer-encoding", "chunked")])),
        fatal(with("te-other", &[("te", "gzip")])),
        with("te-trailers", &[("te", "trailers")]).want("stream 1", 200),
        fatal(with("keep-alive-header", &[("keep-alive", "timeout=5")])),
        fatal(with("upgrade-header", &[("upgrade", "websocket")])),
        with("cookie-crumbs", &crumbs).want("up:h:cookie", "a=1; b=2"),
        with("101-fields", &vec![("x", "1"); 101]).absent("up"),
        case("70-kb-field", "h2").frames(long_head(), &[1]).absent("up"),
        with("upper-case-name-per-stream", &[("X", "1")]).at("per-stream").want("end", "alive").absent("up"),
    ]
}

/// A request head of 70 KiB, in as many frames as it takes.
fn long_head() -> Vec<Vec<u8>> {
    let value = "a".repeat(14 << 10);
    let big = [("v", value.as_str()), ("w", &value), ("x", &value), ("y", &value), ("z", &value)];
    let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
    fields.extend(big);
    let block = block(&fields);
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    let last = pieces.len() - 1;
    let piece = |(i, piece): (usize, &&[u8])| {
        let kind = if i == 0 { HEADERS } else { CONTINUATION };
        let flags = if i == 0 { END_STREAM } else { 0 } | if i == last { END_HEADERS } else { 0 };
        frame(kind, flags, 1, piece)
    };
    pieces.iter().enumerate().map(piece).collect()
}

fn pseudo_fields() -> Vec<Case> {
    let of = |name, fields: &[(&str, &str)]| case(name, "h2").frames([only(1, fields)], &[1]);
    let usual = |method, scheme, authority, path| {
        [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    };
    let both =
        [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/"), ("host", "other")];
    vec![
        fatal(with("pseudo-after-regular", &[("x", "1"), (":scheme", "http")])),
        fatal(of(
            "duplicate-pseudo",
            &[
                (":method", "GET"),
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "t"),
                (":path", "/"),
            ],
        )),
        fatal(with("unknown-pseudo", &[(":odd", "1")])),
        fatal(with("response-pseudo", &[(":status", "200")])),
        fatal(of("no-method", &[(":scheme", "http"), (":authority", "test"), (":path", "/")])),
        fatal(of("no-scheme", &[(":method", "GET"), (":authority", "test"), (":path", "/")])),
        fatal(of("no-path", &[(":method", "GET"), (":scheme", "http"), (":authority", "test")])),
        of("no-authority", &[(":method", "GET"), (":scheme", "http"), (":path", "/")]).absent("up"),
        of(
            "host-instead-of-authority",
            &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "test")],
        )
        .want("stream 1", 200)
        .want("up:h:host", "test"),
        of("host-differs", &both).want("up:h:host", "test"),
        fatal(of("path-with-space", &usual("GET", "http", "test", "/a b"))),
        fatal(of("path-without-slash", &usual("GET", "http", "test", "x"))),
        fatal(of("authority-with-slash", &usual("GET", "http", "te/st", "/"))),
        fatal(of("authority-with-user", &usual("GET", "http", "user@test", "/"))),
        fatal(of("scheme-is-url", &usual("GET", "http://x", "test", "/"))),
        of("scheme-https", &usual("GET", "https", "test", "/")).want("stream 1", 200),
        of("scheme-odd", &usual("GET", "ftp", "test", "/")),
        fatal(of("method-with-tab", &usual("G\tT", "http", "test", "/"))),
        of("fragment", &usual("GET", "http", "test", "/a#b")).want("stream 1", 400).absent("up"),
        of("options-star", &usual("OPTIONS", "http", "test", "*")).want("stream 1", 404).absent("up"),
        of("connect-unmatched", &[(":method", "CONNECT"), (":authority", "other:443")])
            .want("stream 1", 404)
            .absent("up"),
        of(
            "extended-connect-unmatched",
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "test"),
                (":path", "/"),
            ],
        )
        .absent("up"),
    ]
}

fn bodies() -> Vec<Case> {
    let length = |name, said: &str, frames: &[Vec<u8>]| {
        let head = post(1, "/", &[("content-length", said)]);
        case(name, "h2").frames([head].into_iter().chain(frames.to_vec()), &[1])
    };
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let trailers = |fields: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    vec![
        length("length-right", "2", &[data(END_STREAM, b"hi")]).want("stream 1", 200).want("up:body", "hi"),
        length("length-too-long", "3", &[data(END_STREAM, b"hi")]).ignore("up"),
        length("length-too-short", "1", &[data(END_STREAM, b"hi")]).ignore("up"),
        with("length-without-body", &[("content-length", "2")]).ignore("up"),
        with("length-twice", &[("content-length", "0"), ("content-length", "1")]).absent("up"),
        length("padded", "2", &[frame(DATA, END_STREAM | 8, 1, b"\x03hi\0\0\0")]).want("up:body", "hi"),
        length("padding-too-long", "2", &[frame(DATA, END_STREAM | 8, 1, b"\x09hi")])
            .want("end", "closed")
            .ignore("up"),
        case("trailers", "h2")
            .frames([post(1, "/", &[]), data(0, b"hi"), trailers(&[("x-t", "1")])], &[1])
            .want("stream 1", 200),
        case("trailers-with-pseudo", "h2")
            .frames([post(1, "/", &[]), data(0, b"hi"), trailers(&[(":path", "/x")])], &[1])
            .ignore("up"),
        case("trailers-not-ending", "h2")
            .frames(
                [post(1, "/", &[]), data(0, b"hi"), frame(HEADERS, END_HEADERS, 1, &block(&[("x-t", "1")]))],
                &[1],
            )
            .ignore("up"),
    ]
}

fn frames() -> Vec<Case> {
    let dead = |name, frames: Vec<Vec<u8>>| {
        case(name, "h2").frames(frames, &[]).want("end", "closed").ignore("up").ignore("goaway")
    };
    let fields = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/"),
        ("x", "12345678"),
    ]);
    let (head, tail) = fields.split_at(20);
    vec![
        dead("data-on-idle-stream", vec![frame(DATA, END_STREAM, 1, b"hi")]).logs(0),
        dead("headers-on-stream-0", vec![get(0, "/", &[])]).logs(0),
        dead("even-stream", vec![get(2, "/", &[])]).logs(0),
        dead("push-promise", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])]).logs(0),
        dead("settings-on-a-stream", vec![frame(SETTINGS, 0, 1, &[])]).logs(0),
        dead("settings-of-odd-length", vec![frame(SETTINGS, 0, 0, &[0, 1, 0])]).logs(0),
        dead("ping-of-odd-length", vec![frame(PING, 0, 0, b"short")]).logs(0),
        dead("window-update-of-0", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])]).logs(0),
        dead("window-overflow", vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]).logs(0),
        dead("rst-on-idle-stream", vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])]).logs(0),
        dead("frame-too-long", vec![frame(DATA, 0, 1, &[0; 16_385])]).logs(0),
        dead("continuation-alone", vec![frame(CONTINUATION, END_HEADERS, 1, &[])]).logs(0),
        dead("bad-hpack-index", vec![frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0x80, 0x80, 0x01])])
            .ignore("log")
            .logs(0),
        dead("headers-interrupted", vec![frame(HEADERS, END_STREAM, 1, head), frame(PING, 0, 0, &[0; 8])])
            .ignore("log")
            .logs(0),
        case("continuation", "h2")
            .frames([frame(HEADERS, END_STREAM, 1, head), frame(CONTINUATION, END_HEADERS, 1, tail)], &[1])
            .want("stream 1", 200)
            .want("up:h:x", "12345678"),
        case("unknown-frame-ignored", "h2")
            .frames([frame(0xbe, 0, 0, b"what"), get(1, "/", &[])], &[1])
            .want("stream 1", 200),
        case("priority-ignored", "h2")
            .frames([frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), get(1, "/", &[])], &[1])
            .want("stream 1", 200),
        case("client-goaway", "h2")
            .frames([get(1, "/", &[]), frame(GOAWAY, 0, 0, &[0; 8])], &[1])
            .want("stream 1", 200),
        case("two-streams", "h2")
            .frames([get(1, "/1", &[]), get(3, "/2", &[])], &[1, 3])
            .logs(2)
            .want("stream 1", 200)
            .want("stream 3", 200)
            .ignore("up")
            .ignore("2.up")
            .ignore("log.path")
            .ignore("2.log.path"),
        case("stream-id-going-down", "h2")
            .frames([get(3, "/", &[]), get(1, "/", &[])], &[3])
            .want("stream 3", 200),
    ]
}

fn floods() -> Vec<Case> {
    let flood = |name, frames: Vec<Vec<u8>>| {
        let case = case(name, "h2").frames(frames, &[]).want("end", "closed");
        case.only(&["end"]).logs(0)
    };
    let ids = |count: u32| (0..count).map(|i| i * 2 + 1);
    let resets = ids(1_000).flat_map(|id| [get(id, "/", &[]), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])]);
    let empties = std::iter::once(post(1, "/", &[])).chain((0..200).map(|_| frame(DATA, 0, 1, &[])));
    vec![
        flood("rapid-reset", resets.collect()),
        flood("empty-data", empties.collect()),
        flood("two-empty-frames", vec![post(1, "/", &[]), frame(DATA, 0, 1, &[]), frame(DATA, 0, 1, &[])]),
        flood("window-updates", (0..2_000).map(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).collect()),
        flood("priority-flood", (0..20_000).map(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])).collect()),
    ]
}
