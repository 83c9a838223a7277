//! HTTP/1 and HTTP/2 on either side: the four combinations, with bodies, trailers, gRPC, resets and informational responses.

use h2::Reason;

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::Play;
use crate::harness::upstream::answer;
use crate::harness::upstream::h2::{Answer, Ending};

/// Protocol combinations.
pub fn group() -> Group {
    let mut cases = four_cells();
    cases.extend(trailers());
    cases.extend(grpc());
    cases.extend(h2_upstream_faults());
    cases.extend(upstream_protocol());
    Group { name: "mix", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let routes = r"
- {name: to-1, match: {prefix: /1}, route: {cluster: a}}
- {name: to-2, match: {prefix: /2}, route: {cluster: h2}}
- {name: slow, match: {prefix: /slow}, route: {cluster: h2, timeout: 0.15s}}
- {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
- {name: empty, match: {prefix: /empty}, route: {cluster: empty}}
- {name: same, match: {prefix: /same}, route: {cluster: same-a}}
- {name: same-h2, match: {prefix: /downstream-h2}, route: {cluster: same-h2}}
- {name: trailing, match: {prefix: /trailing}, route: {cluster: trailing}}
- {name: direct, match: {prefix: /direct}, direct_response: {status: 401, body: {inline_string: who}}}
";
    let use_downstream =
        "use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}";
    Bootstrap::new()
        .http("mix", "", routes)
        .http("trailers", "http_protocol_options: {enable_trailers: true}", routes)
        .options_cluster("same-a", "a", use_downstream)
        .options_cluster("same-h2", "h2", use_downstream)
        .options_cluster(
            "trailing",
            "a",
            "explicit_http_config: {http_protocol_options: {enable_trailers: true}}",
        )
}

fn answering(answer: Answer) -> Play {
    Play::H2(answer)
}

fn four_cells() -> Vec<Case> {
    let body = "x".repeat(40_000);
    let posted = |name, path: &str| case(name, "mix").call(Call::new("POST", path).data(b"one").data(b"two"));
    vec![
        case("h1-h1", "mix").post("/1", "body").via("a").want("up:body", "body"),
        case("h1-h2", "mix").post("/2?q=1", "body").via("h2").want("up:body", "body").want("up:line", "POST /2?q=1 HTTP/2"),
        posted("h2-h1", "/1?q=1").via("a").want("up:body", "onetwo").want("up:line", "POST /1?q=1 HTTP/1.1"),
        posted("h2-h2", "/2").via("h2").want("up:body", "onetwo"),
        case("h2-h1-get-without-body", "mix").call(Call::get("/1")).via("a").absent("up:h:content-length").absent("up:h:transfer-encoding"),
        case("h2-h1-length-kept", "mix").call(Call::new("POST", "/1").header("content-length", "3").data(b"one")).via("a").want("up:h:content-length", 3),
        case("h2-h2-length-kept", "mix").call(Call::new("POST", "/2").header("content-length", "3").data(b"one")).via("h2").want("up:h:content-length", 3),
        case("h1-h2-hop-headers", "mix")
            .get_with("/2", "host: test\r\nconnection: x-hop\r\nx-hop: 1\r\nte: trailers\r\nkeep-alive: 1\r\n")
            .via("h2"),
        case("h2-h1-big-body", "mix").call(Call::new("POST", "/1").data(body.as_bytes())).via("a").want("up:body", &body),
        case("h1-h2-big-body", "mix").post("/2", &body).via("h2").want("up:body", &body),
        case("h2-head", "mix").play("a", answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")).call(Call::new("HEAD", "/1")).via("a").want("h:content-length", 5),
        case("h1-h2-head", "mix")
            .play("h2", answering(Answer { headers: vec![("content-length", "5")], ..Answer::default() }))
            .send("HEAD /2 HTTP/1.1\r\nhost: test\r\n\r\n")
            .via("h2")
            .want("h:content-length", 5),
        case("h2-h1-cookies-joined", "mix").call(Call::get("/1").header("cookie", "a=1").header("cookie", "b=2")).via("a").want("up:h:cookie", "a=1; b=2"),
        case("h2-h2-cookies", "mix").call(Call::get("/2").header("cookie", "a=1").header("cookie", "b=2")).via("h2"),
        case("h1-h2-204", "mix").play("h2", answering(Answer { status: 204, ..Answer::default() })).get("/2").status(204),
        case("h2-h1-close-delimited", "mix")
            .play("a", crate::harness::upstream::answer_and_close("HTTP/1.1 200 OK\r\n\r\nto the end"))
            .call(Call::get("/1"))
            .status(200)
            .want("body", "to the end"),
        case("h2-many-requests-one-connection", "mix").call(Call::get("/2")).call(Call::get("/1")).call(Call::get("/2")).via("h2").want("3.up", "h2"),
        case("h2-h1-early-hints", "mix")
            .play("a", answer("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
            .call(Call::get("/1"))
            .status(200),
        case("h2-h2-early-hints", "mix").play("h2", answering(Answer { informational: vec![103], ..Answer::default() })).call(Call::get("/2")).status(200),
        case("h2-names-from-h1-are-lowered", "mix")
            .play("a", answer("HTTP/1.1 200 OK\r\nX-Mixed: 1\r\nConnection: close\r\nKeep-Alive: 5\r\ncontent-length: 0\r\n\r\n"))
            .call(Call::get("/1"))
            .status(200)
            .want("h:x-mixed", 1)
            .absent("h:connection"),
        case("h2-expect-continue", "mix").call(Call::new("POST", "/1").header("expect", "100-continue").data(b"hi")).via("a").want("up:body", "hi"),
    ]
}

fn trailers() -> Vec<Case> {
    let h2_answer = || answering(Answer { body: b"hi", trailers: vec![("x-t", "1")], ..Answer::default() });
    let h1_answer =
        || answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n");
    let chunked = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"
        )
    };
    let call = |path: &str| Call::new("POST", path).data(b"hi").trailer("x-t", "1");
    vec![
        case("trailers-h2-h2", "mix")
            .play("h2", h2_answer())
            .call(call("/2"))
            .via("h2")
            .want("trailer:x-t", 1)
            .want("up:trailer:x-t", 1),
        case("trailers-h2-h1", "mix")
            .play("a", h1_answer())
            .call(call("/trailing"))
            .via("a")
            .want("up:trailer:x-t", 1)
            .want("trailer:x-t", 1),
        case("trailers-h2-h1-not-enabled", "mix")
            .play("a", h1_answer())
            .call(call("/1"))
            .via("a")
            .absent("up:trailer:x-t"),
        case("trailers-h1-h2", "trailers")
            .play("h2", h2_answer())
            .send(chunked("/2"))
            .via("h2")
            .want("up:trailer:x-t", 1)
            .want("trailer:x-t", 1),
        case("trailers-h1-h2-not-enabled", "mix")
            .play("h2", h2_answer())
            .send(chunked("/2"))
            .via("h2")
            .absent("trailer:x-t"),
        case("trailers-h1-h1", "trailers")
            .play("a", h1_answer())
            .send(chunked("/trailing"))
            .via("a")
            .want("up:trailer:x-t", 1)
            .want("trailer:x-t", 1),
        case("trailers-only-response", "mix")
            .play(
                "h2",
                answering(Answer {
                    headers: vec![("x", "1")],
                    trailers: vec![("x-t", "1")],
                    ..Answer::default()
                }),
            )
            .call(Call::get("/2"))
            .status(200)
            .want("trailer:x-t", 1),
    ]
}

fn grpc() -> Vec<Case> {
    let ok = Answer {
        headers: vec![("content-type", "application/grpc")],
        body: b"\0\0\0\0\x02ok",
        trailers: vec![("grpc-status", "0")],
        ..Answer::default()
    };
    let failed = Answer {
        headers: vec![("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "gone")],
        ..Answer::default()
    };
    let local = |name, path: &str, status: &str| {
        case(name, "mix").call(Call::grpc(path)).status(200).want("h:grpc-status", status).absent("up")
    };
    vec![
        case("grpc", "mix").play("h2", answering(ok)).call(Call::grpc("/2")).via("h2").want("trailer:grpc-status", 0).want("log.grpc", "OK"),
        case("grpc-trailers-only", "mix").play("h2", answering(failed)).call(Call::grpc("/2")).via("h2").want("h:grpc-status", 5).want("log.grpc", "NotFound"),
        local("grpc-no-route", "/none", "12"),
        local("grpc-refused", "/refused", "14"),
        local("grpc-no-hosts", "/empty", "14").want("h:grpc-message", "no healthy upstream"),
        local("grpc-direct-401", "/direct", "16"),
        case("grpc-timeout", "mix")
            .play("h2", answering(Answer { end: Ending::Hang, ..Answer::default() }))
            .call(Call::grpc("/slow"))
            .status(200)
            .want("h:grpc-status", 14),
        case("grpc-over-h1-no-route", "mix")
            .send("POST /none HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
            .status(200)
            .want("h:grpc-status", 12),
        case("grpc-http-error-from-upstream", "mix")
            .play("h2", answering(Answer { status: 503, body: b"no", ..Answer::default() }))
            .call(Call::grpc("/2"))
            .status(503),
    ]
}

fn h2_upstream_faults() -> Vec<Case> {
    let ending = |end| answering(Answer { end, body: b"hi", ..Answer::default() });
    let fault = |name, end| case(name, "mix").play("h2", ending(end)).get("/2");
    vec![
        fault("h2-upstream-resets", Ending::ResetInstead(Reason::INTERNAL_ERROR)).status(503).flags("UR"),
        fault("h2-upstream-refuses-stream", Ending::ResetInstead(Reason::REFUSED_STREAM))
            .status(503)
            .flags("UR"),
        fault("h2-upstream-cancels", Ending::ResetInstead(Reason::CANCEL)).status(503),
        fault("h2-upstream-drops-connection", Ending::Drop).status(503).flags("UC"),
        fault("h2-upstream-resets-after-body", Ending::ResetAfter(Reason::INTERNAL_ERROR))
            .want("status", 200)
            .flags("UR")
            .ignore("end"),
        case("h2-upstream-resets-after-body-to-h2", "mix")
            .play("h2", ending(Ending::ResetAfter(Reason::INTERNAL_ERROR)))
            .call(Call::get("/2"))
            .want("status", 200)
            .want_in("end", "reset"),
        case("h2-upstream-goes-away", "mix")
            .play("h2", ending(Ending::GoAwayFirst))
            .get("/2")
            .get("/2")
            .status(200)
            .want("2.status", 200)
            .ignore("up:conn")
            .ignore("2.up:conn"),
        case("h2-upstream-hangs", "mix")
            .play("h2", ending(Ending::Hang))
            .get("/slow")
            .status(504)
            .flags("UT"),
        case("h1-only-upstream-for-h2", "mix")
            .play("a", answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
            .call(Call::get("/1").header("te", "trailers"))
            .via("a"),
        case("cut-body-to-h2", "mix")
            .play(
                "a",
                crate::harness::upstream::answer_and_close("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi"),
            )
            .call(Call::get("/1"))
            .want("status", 200)
            .want_in("end", "reset")
            .flags("UPE"),
    ]
}

fn upstream_protocol() -> Vec<Case> {
    vec![
        case("use-downstream-h1", "mix").get("/same").via("a").want("log.upstream_protocol", "HTTP/1.1"),
        case("use-downstream-h2", "mix")
            .call(Call::get("/downstream-h2"))
            .via("h2")
            .want("log.upstream_protocol", "HTTP/2"),
    ]
}
