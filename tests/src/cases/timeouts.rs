//! Timeouts of routes, streams and connections, and the gRPC deadline.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{self, AwaitClose, Read};
use crate::harness::upstream::Play::AfterRequest;
use crate::harness::upstream::Step::{Hang, Send};

/// Timeouts.
pub fn group() -> Group {
    Group { name: "timeouts", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    let routes = r"
- {name: timeout, match: {prefix: /timeout}, route: {cluster: a, timeout: 0.15s}}
- {name: none, match: {prefix: /none}, route: {cluster: a, timeout: 0s, idle_timeout: 0.15s}}
- {name: max, match: {prefix: /max}, route: {cluster: a, timeout: 0s, max_stream_duration: {max_stream_duration: 0.15s}}}
- {name: grpc, match: {prefix: /grpc}, route: {cluster: a, timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0s}}}
- {name: grpc-capped, match: {prefix: /capped}, route: {cluster: a, timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0.15s}}}
- {name: newer, match: {prefix: /newer}, route: {cluster: a, timeout: 0.15s, max_stream_duration: {max_stream_duration: 3s}}}
- {name: older, match: {prefix: /older}, route: {cluster: a, timeout: 3s, max_grpc_timeout: 5s, grpc_timeout_offset: 0.5s}}
- {name: oldest, match: {prefix: /open}, route: {cluster: a, timeout: 3s, max_grpc_timeout: 0s}}
- {name: rest, match: {prefix: /}, route: {cluster: a}}
";
    Bootstrap::new()
        .http("timeouts", "", routes)
        .http("head", "request_headers_timeout: 0.15s", routes)
        .http("request", "request_timeout: 0.15s", routes)
        .http("stream-idle", "stream_idle_timeout: 0.15s", routes)
        .http("idle", "common_http_protocol_options: {idle_timeout: 0.1s}\ndrain_timeout: 0.05s", routes)
        .http(
            "max-connection",
            "common_http_protocol_options: {max_connection_duration: 0.1s}\ndrain_timeout: 0.05s",
            routes,
        )
        .http("max-stream", "common_http_protocol_options: {max_stream_duration: 0.15s}", routes)
}

fn text(bytes: &str) -> Talk {
    Talk::Send(bytes.into())
}

/// A GET that the upstream never answers.
fn hung(name: &'static str, listener: &'static str, path: &str, lines: &str) -> Case {
    case(name, listener).play("a", AfterRequest(vec![Hang])).get_with(path, &format!("host: test\r\n{lines}"))
}

fn cases() -> Vec<Case> {
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec();
    let half = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf";
    let deadline = |name, path: &str, value: &str| {
        let lines = format!("host: test\r\ncontent-type: application/grpc\r\n{value}");
        case(name, "timeouts").get_with(path, &lines).via("a")
    };
    vec![
        case("newer-limit-alone", "timeouts")
            .get("/newer")
            .via("a")
            .absent("up:h:x-envoy-expected-rq-timeout-ms"),
        deadline("legacy-grpc", "/older", "grpc-timeout: 1S\r\n").want("up:h:grpc-timeout", "500m"),
        deadline("legacy-grpc-short", "/older", "grpc-timeout: 100m\r\n").want("up:h:grpc-timeout", "100m"),
        deadline("legacy-grpc-bound", "/older", "grpc-timeout: 10S\r\n").want("up:h:grpc-timeout", "5000m"),
        deadline("legacy-grpc-absent", "/older", "").want("up:h:grpc-timeout", "5000m"),
        deadline("legacy-grpc-open", "/open", "grpc-timeout: 10S\r\n").want("up:h:grpc-timeout", "10000m"),
        deadline("legacy-grpc-open-absent", "/open", "").absent("up:h:grpc-timeout"),
        case("legacy-grpc-for-others", "timeouts")
            .get_with("/older", "host: test\r\ngrpc-timeout: 1S\r\n")
            .via("a")
            .want("up:h:x-envoy-expected-rq-timeout-ms", 3000),
        hung(
            "legacy-grpc-passes",
            "timeouts",
            "/open",
            "content-type: application/grpc\r\ngrpc-timeout: 150m\r\n",
        )
        .details("response_timeout"),
        hung("route", "timeouts", "/timeout", "")
            .status(504)
            .flags("UT")
            .details("response_timeout")
            .want("up:h:x-envoy-expected-rq-timeout-ms", 150),
        hung("route-idle", "timeouts", "/none", "").status(504).flags("SI").details("stream_idle_timeout"),
        hung("route-max-duration", "timeouts", "/max", "").status(504).details("max_duration_timeout"),
        hung("grpc-timeout", "timeouts", "/grpc", "grpc-timeout: 150m\r\n").details("max_duration_timeout"),
        hung(
            "grpc-timeout-for-grpc",
            "timeouts",
            "/grpc",
            "content-type: application/grpc\r\ngrpc-timeout: 150m\r\n",
        )
        .want("status", 200),
        hung(
            "grpc-timeout-zero",
            "timeouts",
            "/grpc",
            "content-type: application/grpc\r\ngrpc-timeout: 0m\r\n",
        )
        .want("status", 200)
        .details("max_duration_timeout")
        .ignore("up")
        // A connection may be there by then, or not.
        .ignore("log.upstream_protocol"),
        hung("grpc-timeout-capped", "timeouts", "/capped", "grpc-timeout: 10S\r\n")
            .details("max_duration_timeout"),
        case("grpc-timeout-absent", "timeouts").get("/grpc").via("a"),
        case("grpc-timeout-garbage", "timeouts")
            .get_with("/grpc", "host: test\r\ngrpc-timeout: soon\r\n")
            .via("a"),
        hung(
            "client-timeout-header-ignored-from-outside",
            "timeouts",
            "/timeout",
            "x-envoy-upstream-rq-timeout-ms: 10\r\n",
        )
        .status(504)
        .want("up:h:x-envoy-expected-rq-timeout-ms", 150),
        hung("stream-idle", "stream-idle", "/none-at-all", "")
            .status(504)
            .flags("SI")
            .details("stream_idle_timeout"),
        case("stream-idle-after-head", "stream-idle")
            .play("a", AfterRequest(vec![Send(begun), Hang]))
            .get("/x")
            .want("status", 200)
            .flags("SI")
            .want("end", "eof"),
        case("stream-idle-in-request-body", "stream-idle")
            .talk([text(half), Read])
            .status(408)
            .flags("SI")
            .ignore("up"),
        case("request-head", "head")
            .talk([text("GET / HTTP/1.1\r\nhost: te"), Read, AwaitClose])
            .status(408)
            .absent("up"),
        case("request-body", "request")
            .talk([text(half), Read, AwaitClose])
            .status(408)
            .details("request_overall_timeout")
            .ignore("up"),
        case("connection-idle", "idle").talk([AwaitClose]).logs(0).want("end", "closed"),
        case("connection-idle-after-request", "idle").get("/x").closes("2.end").via("a"),
        case("connection-duration", "max-connection").get("/x").closes("2.end").via("a"),
        hung("max-stream-duration", "max-stream", "/none", "").status(504).details("max_duration_timeout"),
        case("h2-route", "timeouts")
            .play("a", AfterRequest(vec![Hang]))
            .call(Call::get("/timeout"))
            .status(504)
            .flags("UT"),
        case("h2-max-duration", "timeouts")
            .play("a", AfterRequest(vec![Hang]))
            .call(Call::get("/max"))
            .details("max_duration_timeout"),
    ]
}
