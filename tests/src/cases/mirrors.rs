//! Request mirroring: which requests, to which clusters, in which form, and what becomes of copies that go wrong.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{AwaitUpstream, Close as Leave, Read, Send as Say};
use crate::harness::upstream::Play::{AfterRequest, AtHead};
use crate::harness::upstream::Step::{Close, Hang, Send};

/// Mirrors.
pub fn group() -> Group {
    Group { name: "mirrors", bootstrap: bootstrap(), cases: cases() }
}

const ROUTES: &[(&str, &str)] = &[
    ("one", "request_mirror_policies: [{cluster: b}]"),
    ("two", "request_mirror_policies: [{cluster: b}, {cluster: tcp-no}, {cluster: b}]"),
    ("never", "request_mirror_policies: [{cluster: b, runtime_fraction: {default_value: {numerator: 0}}}]"),
    (
        "always",
        "request_mirror_policies: [{cluster: b, runtime_fraction: {default_value: {numerator: 100}}}]",
    ),
    (
        "key",
        "request_mirror_policies: [{cluster: b, runtime_fraction: {default_value: {numerator: 0}, runtime_key: mirror.all}}]",
    ),
    ("by-header", "request_mirror_policies: [{cluster_header: x-mirror}]"),
    ("no-suffix", "request_mirror_policies: [{cluster: b, disable_shadow_host_suffix_append: true}]"),
    (
        "host",
        "host_rewrite_literal: main, request_mirror_policies: [{cluster: b, host_rewrite_literal: copy}]",
    ),
    (
        "rewritten",
        "host_rewrite_literal: main, prefix_rewrite: /new, request_mirror_policies: [{cluster: b}]",
    ),
    (
        "mutated",
        "request_mirror_policies: [{cluster: b, request_headers_mutations: [{append: {header: {key: x-copy, value: '%REQ(:path)%'}}}, {remove: x-gone}, {append: {header: {key: x-there, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}]",
    ),
    (
        "per-try",
        "timeout: 3s, retry_policy: {retry_on: 5xx, per_try_timeout: 1s}, request_mirror_policies: [{cluster: b}]",
    ),
    ("dead", "request_mirror_policies: [{cluster: refused}]"),
    ("empty", "request_mirror_policies: [{cluster: empty}]"),
    ("full", "request_mirror_policies: [{cluster: full}]"),
    ("h2", "request_mirror_policies: [{cluster: h2}]"),
    ("short", "timeout: 0.2s, request_mirror_policies: [{cluster: late}]"),
    ("counted", "request_mirror_policies: [{cluster: counted}]"),
];

fn bootstrap() -> Bootstrap {
    let route = |(path, fields): &(&str, &str)| {
        let fields = fields.replace(", {cluster: tcp-no}", "");
        format!("- {{match: {{prefix: /{path}}}, route: {{cluster: a, {fields}}}}}\n")
    };
    let routes: String =
        ROUTES.iter().map(route).collect::<String>() + "- {match: {prefix: /}, route: {cluster: a}}";
    let host_level = "request_mirror_policies: [{cluster: refused}]\nvirtual_hosts:\n\
        - name: own\n  domains: [own]\n  request_mirror_policies: [{cluster: b}]\n  routes:\n  \
        - {match: {prefix: /route}, route: {cluster: a, request_mirror_policies: [{cluster: h2}]}}\n  \
        - {match: {prefix: /}, route: {cluster: a}}\n\
        - name: all\n  domains: [\"*\"]\n  include_request_attempt_count: true\n  routes: [{match: {prefix: /}, route: {cluster: a}}]";
    let whole = host_level.replacen("refused", "b", 1);
    let inside = "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    Bootstrap::new()
        .http("mirrors", "", &routes)
        .http("inside", inside, &routes)
        .http_config("levels", "", &whole)
        .cluster("full", "b", "circuit_breakers: {thresholds: [{max_requests: 0}]}")
        .cluster("late", "b", "")
        .cluster("counted", "b", "")
        .top("layered_runtime: {layers: [{name: static, static_layer: {mirror: {all: 100}}}]}")
}

/// A request of which an upstream gets a copy; both are waited for.
fn copied(name: &'static str, request: &str) -> Case {
    case(name, "mirrors")
        .talk([Say(request.into()), Read, AwaitUpstream(2)])
        .by_upstream()
        .want("status", 200)
        .want("up", "a")
        .want("2.up", "b")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test:80\r\n\r\n")
}

/// A request of which nobody gets a copy that could be seen.
fn alone(name: &'static str, path: &str) -> Case {
    case(name, "mirrors").get(path).via("a").absent("2.up")
}

fn cases() -> Vec<Case> {
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nsome body");
    let chunked = "POST /one HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let with = |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nhost: test\r\n{lines}\r\n");
    vec![
        copied("one", &get("/one")).want("2.up:h:host", "test-shadow:80"),
        copied("head", "HEAD /one HTTP/1.1\r\nhost: test\r\n\r\n"),
        copied("forwarded-for", &with("/one", "x-forwarded-for: 1.2.3.4\r\n")),
        copied("inside", &get("/one")).at("inside"),
        copied("body", &post("/one")).want("2.up:body", "some body"),
        copied("body-chunked", chunked).want("2.up:body", "abcde"),
        case("two", "mirrors")
            .talk([Say(get("/two").into()), Read, AwaitUpstream(3)])
            .by_upstream()
            .want("3.up", "b")
            .ignore("2.up:connection")
            .ignore("3.up:connection"),
        alone("never", "/never"),
        copied("always", &get("/always")),
        copied("runtime-key", &get("/key")),
        copied("by-header", &with("/by-header", "x-mirror: b\r\n")),
        alone("by-header-absent", "/by-header"),
        case("by-header-unknown", "mirrors")
            .get_with("/by-header", "host: test\r\nx-mirror: nobody\r\n")
            .via("a")
            .absent("2.up"),
        copied("no-suffix", &get("/no-suffix")).want("2.up:h:host", "test:80"),
        copied("host", &get("/host")).want("2.up:h:host", "copy"),
        copied("rewritten", &get("/rewritten")).want("2.up:h:host", "main-shadow"),
        copied("mutated", &with("/mutated", "x-gone: 1\r\nx-there: old\r\n"))
            .want("2.up:h:x-copy", "/mutated"),
        copied("all-the-time", &get("/per-try")).want("2.up:h:x-envoy-expected-rq-timeout-ms", 3000),
        copied("of-host", "GET / HTTP/1.1\r\nhost: own\r\n\r\n").at("levels"),
        copied("of-configuration", &get("/")).at("levels"),
        case("of-route", "levels")
            .talk([Say(b"GET /route HTTP/1.1\r\nhost: own\r\n\r\n".to_vec()), Read, AwaitUpstream(2)])
            .by_upstream()
            .want("2.up", "h2"),
        case("over-h2", "mirrors")
            .talk([Say(post("/h2").into()), Read, AwaitUpstream(2)])
            .by_upstream()
            .want("2.up", "h2")
            .want("2.up:body", "some body"),
        copied("answers-500", &get("/one"))
            .play("b", AfterRequest(vec![Send(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".to_vec())])),
        copied("leaves", &get("/one")).play("b", AfterRequest(vec![Close])),
        copied("leaves-at-head", &post("/one")).play("b", AtHead(vec![Close])).ignore("2.up:body"),
        copied("hangs", &get("/short")).play("b", AfterRequest(vec![Hang])),
        alone("refused", "/dead"),
        alone("no-host", "/empty"),
        alone("breaker-open", "/full"),
        case("client-leaves", "mirrors")
            .talk([
                Say(b"POST /one HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc".to_vec()),
                AwaitUpstream(2),
                Leave,
            ])
            .by_upstream()
            .logs(1)
            .flags("DC")
            .want("2.up:body", "abc"),
        case("from-h2", "mirrors")
            .call(Call::new("POST", "/one").data(b"data"))
            .status(200)
            .only(&["status", "log."]),
        case("retried-once-copied", "mirrors")
            .talk([Say(get("/per-try").into()), Read, AwaitUpstream(3)])
            .by_upstream()
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec())]))
            .want("2.up", "a")
            .want("3.up", "b")
            .ignore("2.up:h:x-envoy-expected-rq-timeout-ms")
            .ignore("3.up:h:x-envoy-expected-rq-timeout-ms"),
        copied("counted", &get("/counted"))
            .stats("cluster.counted.upstream_(rq|cx)_total|async-client.rq_total"),
    ]
}
