//! Services that filters ask more than once: the `RetryPolicy` of gRPC and HTTP services, shown with external authorization.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::service::{check, failure};
use crate::harness::upstream::h2::{Answer, Ending};
use crate::harness::upstream::{Play, Step};

/// Side calls that are made again.
pub fn group() -> Group {
    Group { name: "side_calls", bootstrap: bootstrap(), cases: [by_http(), by_grpc()].concat() }
}

const FILTER: &str = "name: envoy.filters.http.ext_authz, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, transport_api_version: V3";
/// At most half a second for each attempt.
const SOON: &str = "retry_back_off: {base_interval: 0.01s, max_interval: 0.5s}";

fn http(cluster: &str, policy: &str, more: &str) -> String {
    format!(
        "- {{{FILTER}, http_service: {{server_uri: {{uri: 'http://authz/', cluster: {cluster}, timeout: 5s}}, retry_policy: {{{policy}}}}}, {more}}}}}"
    )
}

fn grpc(cluster: &str, policy: &str) -> String {
    format!(
        "- {{{FILTER}, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}, timeout: 5s, retry_policy: {{{policy}}}}}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let route = "- {match: {prefix: /}, route: {cluster: a}}";
    let body = "with_request_body: {max_request_bytes: 8}";
    let any = &format!("retry_on: 5xx, num_retries: 2, {SOON}");
    let unavailable = &format!("retry_on: unavailable, num_retries: 2, {SOON}");
    Bootstrap::new()
        .http_filters("again", &http("b", any, ""), route)
        .http_filters("counted", &http("counted", any, ""), route)
        .http_filters("once-more", &http("b", &format!("retry_on: gateway-error, {SOON}"), ""), route)
        .http_filters("body", &http("b", any, body), route)
        .http_filters("unasked", &http("b", &format!("num_retries: 2, {SOON}"), ""), route)
        .http_filters("standard", &http("b", "retry_on: 5xx", ""), route)
        .http_filters(
            "refused",
            &http(
                "refused",
                "retry_on: connect-failure, num_retries: 3, retry_back_off: {base_interval: 0.001s}",
                "",
            ),
            route,
        )
        .http_filters("no-room", &http("no-room", any, ""), route)
        .http_filters("grpc", &grpc("h2", unavailable), route)
        .http_filters("grpc-reset", &grpc("h2", &format!("retry_on: reset, {SOON}")), route)
        .http_filters("grpc-unasked", &grpc("h2", SOON), route)
        .http_filters("grpc-counted", &grpc("h2-counted", unavailable), route)
        .cluster("counted", "b", "")
        .cluster("no-room", "b", "circuit_breakers: {thresholds: [{max_retries: 0}]}")
        .h2_cluster("h2-counted", "h2", "")
}

const COUNTED: &str = "cluster.(h2-)?counted.(upstream_rq_(total|retry|200|503|5xx|completed|per_try|timeout)|retry|internal.upstream_rq_[0-9c])";

fn by_http() -> Vec<Case> {
    let says = |status: u16| {
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        Play::AfterRequest(vec![Step::Send(text.into_bytes())])
    };
    let long = || {
        let text = b"HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nlong".to_vec();
        Play::AfterRequest(vec![Step::Send(text)])
    };
    let leaves = || Play::AfterRequest(vec![Step::Close]);
    let hangs = || Play::AfterRequest(vec![Step::Hang]);
    vec![
        case("again", "again").play("b", says(503)).get("/p").status(200).want("3.up", "a"),
        case("again-twice", "again")
            .play("b", says(503))
            .play("b", long())
            .get("/p")
            .status(200)
            .want("4.up", "a"),
        case("too-often", "again")
            .play("b", says(503))
            .play("b", says(503))
            .play("b", says(503))
            .get("/p")
            .status(403),
        case("denied-at-once", "again").play("b", says(403)).get("/p").status(403).absent("2.up"),
        case("reset", "again").play("b", leaves()).get("/p").status(200).want("3.up", "a"),
        case("late", "again").play("b", hangs()).get("/p").status(200).want("3.up", "a"),
        case("once-more", "once-more").play("b", says(502)).get("/p").status(200),
        case("condition", "once-more").play("b", says(500)).get("/p").status(403),
        case("body", "body").play("b", says(503)).post("/p", "body").status(200).want("2.up:body", "body"),
        case("unasked", "unasked")
            .play("b", says(503))
            .get("/p")
            .status(403)
            .want("up:h:x-envoy-expected-rq-timeout-ms", 500),
        case("standard", "standard").get("/p").status(200).want("up:h:x-envoy-expected-rq-timeout-ms", 5000),
        case("refused", "refused")
            .get("/p")
            .refused(403, "UAEX", "ext_authz_error")
            .stats("cluster.refused.upstream_rq_(retry|pending_failure|503|5xx)"),
        case("no-room", "no-room")
            .play("b", says(503))
            .get("/p")
            .status(403)
            .stats("cluster.no-room.upstream_rq_(retry|503)"),
        case("counted", "counted")
            .play("b", says(503))
            .play("b", says(500))
            .get("/p")
            .status(200)
            .stats(COUNTED),
    ]
}

fn by_grpc() -> Vec<Case> {
    let passes = || check("{status: {code: 0}}");
    let hang = || Play::H2(Answer { end: Ending::Hang, ..Answer::default() });
    let reset =
        || Play::H2(Answer { end: Ending::ResetInstead(h2::Reason::INTERNAL_ERROR), ..Answer::default() });
    vec![
        case("grpc", "grpc")
            .play("h2", failure("14"))
            .play("h2", passes())
            .get("/p")
            .status(200)
            .want("3.up", "a"),
        case("grpc-too-often", "grpc")
            .play("h2", failure("14"))
            .play("h2", failure("14"))
            .play("h2", failure("14"))
            .get("/p")
            .status(403),
        case("grpc-condition", "grpc").play("h2", failure("5")).get("/p").status(403).absent("2.up"),
        case("grpc-denied", "grpc")
            .play("h2", check("{status: {code: 7}}"))
            .get("/p")
            .status(403)
            .absent("2.up"),
        case("grpc-reset", "grpc-reset").play("h2", reset()).play("h2", passes()).get("/p").status(200),
        case("grpc-late", "grpc-reset").play("h2", hang()).play("h2", passes()).get("/p").status(200),
        case("grpc-unasked", "grpc-unasked")
            .play("h2", failure("14"))
            .get("/p")
            .status(403)
            .want("up:h:x-envoy-expected-rq-timeout-ms", 500),
        case("grpc-counted", "grpc-counted")
            .play("h2", failure("14"))
            .play("h2", passes())
            .get("/p")
            .status(200)
            .stats(COUNTED),
    ]
}
