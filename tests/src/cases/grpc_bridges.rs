//! Clients that cannot see trailers and call gRPC services: gRPC-Web, and the bridge from HTTP/1.1.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::Play;
use crate::harness::upstream::h2::Answer;

/// gRPC for others.
pub fn group() -> Group {
    let mut cases = web();
    cases.extend(bridged());
    Group { name: "grpc_bridges", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let filter = |name: &str, message: &str, fields: &str| {
        format!(
            "- {{name: envoy.filters.http.{name}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.{name}.v3.{message}{fields}}}}}"
        )
    };
    let routes = "- {match: {prefix: /a.B}, route: {cluster: h2}}\n- {match: {prefix: /local}, direct_response: {status: 403, body: {inline_string: 'no way'}}}\n- {match: {prefix: /empty}, direct_response: {status: 404}}\n- {match: {prefix: /refused}, route: {cluster: refused}}\n- {match: {prefix: /}, route: {cluster: a}}\n";
    let bridge = |fields: &str| filter("grpc_http1_bridge", "Config", fields);
    Bootstrap::new()
        .http_filters("web", &filter("grpc_web", "GrpcWeb", ""), routes)
        .http_filters("bridge", &bridge(""), routes)
        .http_filters(
            "upgrade",
            &bridge(", upgrade_protobuf_to_grpc: true, ignore_query_parameters: true"),
            routes,
        )
}

const MESSAGES: &[u8] = b"\0\0\0\0\x02ok\0\0\0\0\0";

fn answering(status: &'static str) -> Play {
    Play::H2(Answer {
        headers: vec![("content-type", "application/grpc")],
        body: MESSAGES,
        trailers: vec![("grpc-status", status), ("grpc-message", "told"), ("x-other", "1")],
        ..Answer::default()
    })
}

fn trailers_only() -> Play {
    Play::H2(Answer {
        headers: vec![("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no")],
        ..Answer::default()
    })
}

/// A POST of a body in one kind of content.
fn post(name: &'static str, listener: &'static str, path: &str, fields: &str, body: &[u8]) -> Case {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: test\r\n{fields}content-length: {}\r\n\r\n", body.len());
    case(name, listener).send([head.as_bytes(), body].concat())
}

const BINARY: &str = "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n";
const TEXT: &str = "content-type: application/grpc-web-text\r\naccept: application/grpc-web-text\r\n";
const CALL: &[u8] = b"\0\0\0\0\x02hi";

fn web() -> Vec<Case> {
    let binary = |name, path: &str| post(name, "web", path, BINARY, CALL);
    let text = |name, body: &str| post(name, "web", "/a.B/C", TEXT, body.as_bytes());
    let h2 = |name| {
        let call = Call::new("POST", "/a.B/C").header("content-type", "application/grpc-web");
        case(name, "web").call(call.data(CALL))
    };
    vec![
        binary("web-binary", "/a.B/C")
            .play("h2", answering("0"))
            .status(200)
            .want("up:h:content-type", "application/grpc"),
        binary("web-failed", "/a.B/C").play("h2", answering("7")).status(200),
        binary("web-trailers-only", "/a.B/C").play("h2", trailers_only()).want("h:grpc-status", 5),
        text("web-text", "AAAAAAJoaQ==")
            .play("h2", answering("0"))
            .want("up:body", "\\x00\\x00\\x00\\x00\\x02hi"),
        text("web-bad-length", "AAAAA").ignore("up").ignore("log.bytes").want("log.code", 400),
        text("web-bad-text", "!!!!").ignore("up").want("log.details", "grpc_base_64_decode_failed"),
        post(
            "web-answer-in-text",
            "web",
            "/a.B/C",
            &format!("{BINARY}accept: application/grpc-web-text+proto\r\n"),
            CALL,
        )
        .play("h2", answering("0")),
        h2("web-h2").play("h2", answering("0")).status(200),
        binary("web-error-page", "/page").want("h:grpc-status", 2),
        binary("web-local", "/local").want("h:grpc-status", 7),
        binary("web-local-empty", "/empty"),
        binary("web-refused", "/refused").want("h:grpc-status", 14),
        case("web-others", "web").get("/").via("a"),
        post("web-not-this-type", "web", "/", "content-type: application/grpc-web+json\r\n", CALL),
        case("web-stats", "web").get("/").stats(r"grpc-web"),
    ]
}

fn bridged() -> Vec<Case> {
    const GRPC: &str = "content-type: application/grpc\r\n";
    const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
    let call = |name, listener, fields: &str| post(name, listener, "/a.B/C?q=1", fields, CALL);
    vec![
        call("bridge", "bridge", GRPC).play("h2", answering("0")).status(200).want("h:content-length", 12),
        call("bridge-failed", "bridge", GRPC)
            .play("h2", answering("7"))
            .status(503)
            .want("h:grpc-message", "told"),
        call("bridge-trailers-only", "bridge", GRPC).play("h2", trailers_only()),
        call("bridge-not-upgraded", "bridge", PROTOBUF).play("h2", answering("0")),
        call("bridge-without-query", "upgrade", GRPC).play("h2", answering("0")),
        call("bridge-upgraded", "upgrade", PROTOBUF)
            .play("h2", answering("0"))
            .want("up:h:content-type", "application/grpc"),
        call("bridge-upgraded-failed", "upgrade", PROTOBUF).play("h2", answering("5")).status(503),
        case("bridge-h2", "bridge").call(Call::grpc("/a.B/C")).play("h2", answering("0")),
        case("bridge-others", "bridge").get("/").via("a"),
        post("bridge-local", "bridge", "/local", GRPC, CALL),
    ]
}
