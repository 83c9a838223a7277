//! HTTP/1 upstreams that fail, lie or talk out of turn, and the ones that only look as if they did.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk;
use crate::harness::upstream::Play::{self, AfterRequest, AtAccept, AtHead};
use crate::harness::upstream::Step::{Close, Fin, Hang, Reset, Send};
use crate::harness::upstream::answer;

/// Faults of HTTP/1 upstreams.
pub fn group() -> Group {
    let mut cases = before_the_response();
    cases.extend(bad_responses());
    cases.extend(cut_bodies());
    cases.extend(good_responses());
    cases.extend(pooling());
    Group { name: "h1_upstream", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .http(
            "faults",
            "",
            r"
- {match: {prefix: /refused}, route: {cluster: refused}}
- {match: {prefix: /blackhole}, route: {cluster: blackhole}}
- {match: {prefix: /empty}, route: {cluster: empty}}
- {match: {prefix: /slow}, route: {cluster: a, timeout: 0.15s}}
- {match: {prefix: /trailers}, route: {cluster: trailing}}
- {match: {prefix: /}, route: {cluster: a}}
",
        )
        .http(
            "trailers",
            "http_protocol_options: {enable_trailers: true}",
            "- {match: {prefix: /}, route: {cluster: trailing}}",
        )
        .http("informational", "proxy_100_continue: true", "- {match: {prefix: /}, route: {cluster: a}}")
        .options_cluster(
            "trailing",
            "a",
            "explicit_http_config: {http_protocol_options: {enable_trailers: true}}",
        )
}

fn answered(name: &'static str, bytes: &str) -> Case {
    case(name, "faults").play("a", answer(bytes)).get("/")
}

fn played(name: &'static str, play: Play) -> Case {
    case(name, "faults").play("a", play).get("/")
}

fn before_the_response() -> Vec<Case> {
    let terminated = "upstream_reset_before_response_started{connection_termination}";
    let reset_body =
        |why: &str| format!("upstream connect error or disconnect/reset before headers. reset reason: {why}");
    let early = |name, play| {
        played(name, play)
            .status(503)
            .flags("UC")
            .details(terminated)
            .want("body", reset_body("connection termination"))
    };
    vec![
        case("refused", "faults")
            .get("/refused")
            .refused(503, "UF", "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}")
            .want("body", reset_body("remote connection failure")),
        case("connect-timeout", "faults")
            .get("/blackhole")
            .status(503)
            .flags("UF")
            .want("body", reset_body("connection timeout")),
        case("no-hosts", "faults").get("/empty").refused(503, "UH", "no_healthy_upstream").want("body", "no healthy upstream"),
        early("fin-before-response", AfterRequest(vec![Close])),
        early("rst-before-response", AfterRequest(vec![Reset])),
        early("fin-at-accept", AtAccept(vec![Close])).ignore("up"),
        case("timeout", "faults")
            .play("a", AfterRequest(vec![Hang]))
            .get("/slow")
            .status(504)
            .flags("UT")
            .details("response_timeout")
            .want("body", "upstream request timeout"),
        case("timeout-after-head", "faults")
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi".to_vec()), Hang]))
            .get("/slow")
            .want("status", 200)
            .want("body", "hi")
            .want("end", "eof")
            .flags("UT"),
    ]
}

fn bad_responses() -> Vec<Case> {
    let details = "upstream_reset_before_response_started{protocol_error}";
    let bad = |name, bytes: &str| {
        answered(name, bytes)
            .status(502)
            .flags("UPE")
            .details(details)
            .want_in("body", "reset reason: protocol error")
    };
    let head = "HTTP/1.1 200 OK\r\n";
    vec![
        bad("garbage", "SSH-2.0-OpenSSH_9.0\r\n\r\n"),
        bad("cl-and-te", &format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        bad("two-lengths", &format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\nhi!")),
        bad("length-not-a-number", &format!("{head}content-length: two\r\n\r\nhi")),
        bad("nul-in-header", &format!("{head}x: a\0b\r\ncontent-length: 0\r\n\r\n")),
        bad("204-with-length", "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nhi"),
        bad("204-chunked", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        bad("te-unknown", &format!("{head}transfer-encoding: odd\r\n\r\n")),
        bad("101-headers", &format!("{head}{}content-length: 0\r\n\r\n", "x: 1\r\n".repeat(101))),
        bad("80-kb-header", &format!("{head}x: {}\r\n\r\n", "a".repeat(80 << 10))),
        bad("no-version", "200 OK\r\n\r\n"),
        played("fin-in-head", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), Close]))
            .status(502)
            .flags("UPE")
            .details(details),
        bad("header-without-colon", &format!("{head}nonsense\r\ncontent-length: 0\r\n\r\n")),
        answered("cr-in-header", &format!("{head}x: a\rb\r\ncontent-length: 0\r\n\r\n")).want("status", 200),
        answered("obs-fold", &format!("{head}x: a\r\n b\r\ncontent-length: 0\r\n\r\n")).want("status", 200),
        answered(
            "unsolicited-101",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        ),
    ]
}

fn cut_bodies() -> Vec<Case> {
    let cut = |name, steps: Vec<_>| played(name, AfterRequest(steps)).want("status", 200).flags("UPE");
    let length = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec();
    let after = "upstream_reset_after_response_started{protocol_error}";
    vec![
        cut("fin-in-length-body", vec![Send(length.clone()), Close]).details(after).want("end", "eof"),
        cut("fin-in-chunked-body", vec![Send(chunked.clone()), Close]).details(after).want("end", "eof"),
        cut("bad-chunk", vec![Send([&chunked[..], b"xyz\r\n"].concat())]).want("end", "eof"),
        played("rst-in-length-body", AfterRequest(vec![Send(length), Reset])).ignore(""),
    ]
}

fn good_responses() -> Vec<Case> {
    let ok = |name, bytes: &str| answered(name, bytes).flags("-");
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    vec![
        ok("1xx-swallowed", interim).status(200).want("body", "hi").absent("1xx"),
        ok("1xx-with-continue-proxied", interim).at("informational").status(200).want("body", "hi"),
        ok("status-999", "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n").status(999),
        ok("status-without-reason", "HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n").status(404),
        ok("http-1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi").status(200).want("body", "hi"),
        ok("chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").want("body", "hi"),
        ok("empty-chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").want("body", ""),
        played(
            "close-delimited",
            AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec()), Fin, Close]),
        )
        .status(200)
        .want("body", "to the end"),
        ok("204", "HTTP/1.1 204 No Content\r\n\r\n").status(204).want("body", ""),
        ok("304-with-length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: x\r\n\r\n").status(304),
        case("head-with-length", "faults")
            .play("a", answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"))
            .send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n")
            .get("/2")
            .status(200)
            .want("h:content-length", 5)
            .want("2.status", 200),
        ok("trailers-dropped", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n").absent("trailer:x-t"),
        ok("trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n").at("trailers").want("trailer:x-t", 1),
        case("request-trailers", "trailers")
            .send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n")
            .via("a")
            .want("up:trailer:x-t", 1),
        ok("repeated-headers", "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n").want("h:set-cookie", "a=1 | b=2"),
        ok("hop-headers", "HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nconnection: keep-alive\r\nx: 1\r\ncontent-length: 0\r\n\r\n"),
        ok("own-server-and-date", "HTTP/1.1 200 OK\r\nserver: app\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n").want("h:server", "envoy"),
        case("early-200", "faults")
            .play("a", AtHead(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec())]))
            .send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\npart")
            .want("status", 200)
            .want("body", "hi")
            .ignore("up"),
        case("early-413", "faults")
            .play("a", AtHead(vec![Send(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec()), Fin]))
            .send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\npart")
            .want("status", 413)
            .ignore("up"),
    ]
}

fn pooling() -> Vec<Case> {
    let two = |name, first: &str| {
        case(name, "faults").play("a", answer(first)).get("/1").get("/2").status(200).want("2.status", 200)
    };
    vec![
        two("extra-bytes-after-body", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiEXTRA")
            .want("2.up:connection", 2)
            .want("2.body", "a"),
        two(
            "second-response-unasked",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        )
        .want("2.up:connection", 2)
        .want("2.body", "a"),
        two("connection-close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
            .want("2.up:connection", 2),
        two("http-1.0-not-reused", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            .want("2.up:connection", 2),
        two("reused", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").want("2.up:connection", 1),
        case("closed-while-idle", "faults")
            .play(
                "a",
                AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec()), Close]),
            )
            .get("/1")
            // Envoy may read the response before the close that follows it, and would lose a request in between.
            .talk([Talk::AwaitStat("cluster.a.upstream_cx_active", 0)])
            .get("/2")
            .status(200)
            .want("2.status", 200)
            .want("2.up:connection", 2),
    ]
}
