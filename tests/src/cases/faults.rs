//! Faults on purpose: who gets them, what they look like, how they are counted.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;

/// Fault injection.
pub fn group() -> Group {
    Group { name: "faults", bootstrap: bootstrap(), cases: cases() }
}

const ALL: &str = "percentage: {numerator: 100}";

fn bootstrap() -> Bootstrap {
    let message = "'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let filter =
        |fields: &str| format!("- {{name: envoy.filters.http.fault, typed_config: {{{message}, {fields}}}}}");
    let told = "response_headers_to_add: [{header: {key: x-told, value: '%DYNAMIC_METADATA(envoy.filters.http.fault)%'}}]";
    let routes = format!(
        "- {{match: {{prefix: /b}}, route: {{cluster: b}}, {told}}}\n- {{match: {{prefix: /own}}, route: {{cluster: a}}, typed_per_filter_config: {{envoy.filters.http.fault: {{{message}, abort: {{http_status: 418, {ALL}}}}}}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {told}}}\n"
    );
    let headers = format!(
        "delay: {{header_delay: {{}}, {ALL}}}, abort: {{header_abort: {{}}, {ALL}}}, response_rate_limit: {{header_limit: {{}}, {ALL}}}"
    );
    Bootstrap::new()
        .http_filters("headers", &filter(&headers), &routes)
        .http_filters(
            "matched",
            &filter(&format!(
                "abort: {{http_status: 503, {ALL}, response_body: gone}}, headers: [{{name: x, string_match: {{exact: v}}}}], upstream_cluster: a"
            )),
            &routes,
        )
        .http_filters("full", &filter(&format!("abort: {{http_status: 503, {ALL}}}, max_active_faults: 0")), &routes)
        .http_filters(
            "delayed",
            &filter(&format!(
                "delay: {{fixed_delay: 0.02s, {ALL}}}, response_rate_limit: {{fixed_limit: {{limit_kbps: 100}}, {ALL}}}, filter_metadata: {{why: test}}"
            )),
            &routes,
        )
        .http_filters("grpc", &filter(&format!("abort: {{grpc_status: 5, {ALL}}}")), &routes)
}

fn cases() -> Vec<Case> {
    let with = |name: &'static str, listener, path: &str, lines: &str| {
        case(name, listener).get_with(path, &format!("host: test\r\n{lines}"))
    };
    let headers = |name, lines: &str| with(name, "headers", "/", lines);
    vec![
        headers("none", "").via("a"),
        headers("header-abort", "x-envoy-fault-abort-request: 404\r\n").refused(
            404,
            "FI",
            "fault_filter_abort",
        ),
        headers("header-abort-invalid", "x-envoy-fault-abort-request: 100\r\n").via("a"),
        headers(
            "header-abort-never",
            "x-envoy-fault-abort-request: 404\r\nx-envoy-fault-abort-request-percentage: 0\r\n",
        )
        .via("a"),
        headers("header-grpc-abort", "x-envoy-fault-abort-grpc-request: 7\r\n"),
        headers("header-delay", "x-envoy-fault-delay-request: 10\r\n").via("a").flags("DI"),
        headers("header-both", "x-envoy-fault-delay-request: 10\r\nx-envoy-fault-abort-request: 500\r\n")
            .status(500),
        headers("header-rate", "x-envoy-fault-throughput-response: 1000\r\n").via("a"),
        with("route", "headers", "/own", "x-envoy-fault-abort-request: 404\r\n").status(418),
        with("matched", "matched", "/", "x: v\r\n").status(503).want("body", "gone"),
        with("not-matched", "matched", "/", "x: w\r\n").via("a"),
        with("other-cluster", "matched", "/b", "x: v\r\n").via("b"),
        with("overflow", "full", "/", "").via("a"),
        with("delayed", "delayed", "/", "").via("a").flags("DI").want_in("h:x-told", "why"),
        with("grpc-for-others", "grpc", "/", "").status(200),
        case("grpc", "grpc").call(Call::grpc("/a.B/C")).want("h:grpc-status", 5),
        case("counted", "headers").get("/").stats(r"http\.headers\.fault\."),
        case("overflow-counted", "full").get("/").stats(r"http\.full\.fault\."),
        case("delays-counted", "delayed").get("/").stats(r"http\.delayed\.fault\."),
    ]
}
