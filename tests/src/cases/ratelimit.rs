//! The rate limit service: which descriptors it is asked about, and what becomes of its answers.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;
use crate::harness::service::{failure, limit};
use crate::harness::upstream::Play;
use crate::harness::upstream::h2::{Answer, Ending};

/// The rate limit service.
pub fn group() -> Group {
    let cases = [descriptors(), answers(), failures(), done()].concat();
    Group { name: "ratelimit", bootstrap: bootstrap(), cases }
}

const NAME: &str = "envoy.filters.http.ratelimit";
const TYPE: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit";
const PER_ROUTE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute";

fn filter(cluster: &str, fields: &str) -> String {
    let timeout = if fields.contains("timeout") { "" } else { "timeout: 5s, " };
    format!(
        "- {{name: {NAME}, typed_config: {{{TYPE}, domain: d, {timeout}rate_limit_service: {{transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}}}}}, {fields}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let by_header = "{actions: [{request_headers: {header_name: x-h, descriptor_key: h}}]}";
    let shown = "request_headers_to_add: [{header: {key: x-meta, value: '%DYNAMIC_METADATA(envoy.filters.http.ratelimit:who)%'}}]";
    let route =
        &format!("- {{match: {{prefix: /}}, route: {{cluster: a, rate_limits: [{by_header}]}}, {shown}}}");
    let own = |path: &str, more: &str, fields: &str| {
        format!(
            "  - {{match: {{prefix: {path}}}, route: {{cluster: a, {more}}}, typed_per_filter_config: {{{NAME}: {{{PER_ROUTE}, {fields}}}}}}}\n"
        )
    };
    let limits = &format!("rate_limits: [{by_header}]");
    let kinds = "{generic_key: {descriptor_value: g}}, {remote_address: {}}, {query_parameters: {query_parameter_name: q, descriptor_key: q}}, {header_value_match: {descriptor_value: m, headers: [{name: x-m}]}}, {source_cluster: {}}, {destination_cluster: {}}, {masked_remote_address: {v4_prefix_mask_len: 8}}, {query_parameter_value_match: {descriptor_value: qm, query_parameters: [{name: q}]}}, {metadata: {descriptor_key: md, metadata_key: {key: f, path: [{key: k}]}, default_value: none}}";
    let hosts = format!(
        "virtual_hosts:\n- name: v\n  domains: ['*']\n  rate_limits: [{{actions: [{{generic_key: {{descriptor_value: host}}}}]}}]\n  routes:\n\
         \x20 - {{match: {{prefix: /kinds}}, route: {{cluster: a, rate_limits: [{{actions: [{kinds}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /hits}}, route: {{cluster: a, rate_limits: [{{hits_addend: {{number: 5}}, actions: [{{generic_key: {{descriptor_value: five}}}}]}}, {{hits_addend: {{format: '%REQ(x-n)%'}}, actions: [{{generic_key: {{descriptor_value: en}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /brought}}, route: {{cluster: a, rate_limits: [{{limit: {{dynamic_metadata: {{metadata_key: {{key: lim, path: [{{key: it}}]}}}}}}, actions: [{{generic_key: {{descriptor_value: b}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /both}}, route: {{cluster: a, include_vh_rate_limits: true, {limits}}}}}\n\
         \x20 - {{match: {{prefix: /keyed}}, route: {{cluster: a, rate_limits: [{{disable_key: k, actions: [{{generic_key: {{descriptor_value: keyed}}}}]}}, {{stage: 1, actions: [{{generic_key: {{descriptor_value: other}}}}]}}]}}}}\n{}{}{}{}\
         \x20 - {{match: {{prefix: /route}}, route: {{cluster: a, {limits}}}}}\n\
         \x20 - {{match: {{prefix: /done/status}}, route: {{cluster: a, rate_limits: [{{apply_on_stream_done: true, hits_addend: {{format: '%RESPONSE_CODE%'}}, actions: [{{request_headers: {{header_name: x-h, descriptor_key: h}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /done/both}}, route: {{cluster: a, rate_limits: [{by_header}, {{apply_on_stream_done: true, actions: [{{generic_key: {{descriptor_value: done}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /done/refused}}, route: {{cluster: refused, rate_limits: [{{apply_on_stream_done: true, actions: [{{generic_key: {{descriptor_value: done}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /done/stage}}, route: {{cluster: a, rate_limits: [{{stage: 1, apply_on_stream_done: true, actions: [{{generic_key: {{descriptor_value: done}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /done}}, route: {{cluster: a, rate_limits: [{{apply_on_stream_done: true, actions: [{{generic_key: {{descriptor_value: done}}}}]}}]}}}}\n\
         \x20 - {{match: {{prefix: /direct}}, direct_response: {{status: 418}}}}\n\
         \x20 - {{match: {{prefix: /}}, route: {{cluster: a}}}}\n",
        own("/include", limits, "vh_rate_limits: INCLUDE"),
        own("/ignore", limits, "vh_rate_limits: IGNORE"),
        own("/ignored", "", "vh_rate_limits: IGNORE"),
        own(
            "/own",
            limits,
            "domain: other, rate_limits: [{actions: [{generic_key: {descriptor_value: own}}]}]"
        ),
    );
    let router = "- {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
    let brings = "- {name: meta, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: lim, value: {it: {requests_per_unit: 42, unit: HOUR}}}]}}";
    let own_hits = "rate_limits: [{hits_addend: {number: 5}, actions: [{generic_key: {descriptor_value: five}}]}, {hits_addend: {format: '%REQ(x-n)%'}, actions: [{generic_key: {descriptor_value: en}}]}]";
    let own_limits = "rate_limits: [{actions: [{generic_key: {descriptor_value: filter}}]}]";
    Bootstrap::new()
        .top("node: {id: tests, cluster: tests}")
        .http_filters("plain", &filter("h2", ""), route)
        .http_config("hosts", &format!("http_filters:\n{brings}\n{}\n{router}", filter("h2", "")), &hosts)
        .http_filters("own", &filter("h2", own_limits), route)
        .http_filters("own-hits", &filter("h2", own_hits), route)
        .http_filters("own-done", &filter("h2", "rate_limits: [{apply_on_stream_done: true, actions: [{generic_key: {descriptor_value: own}}]}]"), route)
        .http_filters("internal-done", &filter("h2", "request_type: internal, rate_limits: [{apply_on_stream_done: true, actions: [{generic_key: {descriptor_value: own}}]}]"), route)
        .http_filters("internal", &filter("h2", "request_type: internal"), route)
        .http_filters("external", &filter("h2", "request_type: external"), route)
        .http_filters("told", &filter("h2", "enable_x_ratelimit_headers: DRAFT_VERSION_03, disable_x_envoy_ratelimited_header: true, enable_retry_after_header: true"), route)
        .http_filters("status", &filter("h2", "rate_limited_status: {code: 503}, response_headers_to_add: [{header: {key: x-why, value: '%REQ(:path)%'}}], rate_limited_as_resource_exhausted: true, stat_prefix: mine, metadata_namespace: envoy.other"), route)
        .http_filters("low", &filter("h2", "rate_limited_status: {code: 200}"), route)
        .http_filters("unenforced", &filter("h2", "filter_enforced: {default_value: {numerator: 0}}"), route)
        .http_filters("disabled", &filter("h2", "filter_enabled: {default_value: {numerator: 0}}"), route)
        .http_filters("deny", &filter("h2", "failure_mode_deny: true"), route)
        .http_filters("deny-status", &filter("h2", "failure_mode_deny: true, status_on_error: {code: 503}"), route)
        .http_filters("deny-share", &filter("h2", "failure_mode_deny: true, failure_mode_deny_percent: {default_value: {numerator: 0}, runtime_key: deny.share}"), route)
        .http_filters("short", &filter("h2", "timeout: 0.05s, failure_mode_deny: true"), route)
        .http_filters("refused", &filter("refused", "failure_mode_deny: true"), route)
        .http_filters("unknown", &filter("nowhere", "failure_mode_deny: true"), route)
}

const FIELDS: &str = "host: test\r\nx-h: v\r\n";

fn ok() -> Play {
    limit("overall_code: OK")
}

fn over() -> Play {
    limit("overall_code: OVER_LIMIT")
}

fn descriptors() -> Vec<Case> {
    let hosts = |name, path: &str| case(name, "hosts").play("h2", ok()).get_with(path, FIELDS);
    let value = "up:m:descriptors.0.entries.0.value";
    vec![
        case("header", "plain").play("h2", ok()).get_with("/", FIELDS).status(200).want(value, "v"),
        case("no-descriptor", "plain").get("/").via("a"),
        case("http2", "plain").play("h2", ok()).call(Call::get("/").header("x-h", "v")).status(200),
        case("kinds", "hosts")
            .play("h2", ok())
            .get_with("/kinds?q=1", "host: test\r\nx-m: 1\r\n")
            .status(200),
        case("kinds-one-missing", "hosts").play("h2", ok()).get("/kinds?q=1").status(200),
        case("hits", "hosts").play("h2", ok()).get_with("/hits", "host: test\r\nx-n: 3\r\n").status(200),
        case("hits-no-number", "hosts")
            .play("h2", ok())
            .get_with("/hits", "host: test\r\nx-n: x\r\n")
            .status(200),
        case("own-hits", "own-hits").play("h2", ok()).get_with("/", "host: test\r\nx-n: 3\r\n").status(200),
        case("own-hits-no-number", "own-hits")
            .play("h2", ok())
            .get_with("/", "host: test\r\nx-n: x\r\n")
            .status(200),
        hosts("limit-brought", "/brought").want("up:m:descriptors.0.limit.requests_per_unit", 42),
        hosts("host-and-route", "/both").want("up:m:descriptors.1.entries.0.value", "host"),
        hosts("host-included", "/include").want("up:m:descriptors.1.entries.0.value", "host"),
        hosts("host-ignored", "/ignore").absent("up:m:descriptors.1.entries.0.value"),
        hosts("host-alone", "/").want(value, "host"),
        case("host-alone-ignored", "hosts").get("/ignored").via("a"),
        hosts("route-alone", "/route").want(value, "v"),
        hosts("route-own", "/own").want("up:m:domain", "other").want(value, "own"),
        hosts("keyed", "/keyed").want(value, "keyed"),
        case("direct", "hosts").get("/direct").status(418),
        case("filter-own", "own").play("h2", ok()).get_with("/", FIELDS).want(value, "filter"),
        case("internal-not", "internal").get_with("/", FIELDS).via("a"),
        case("external", "external").play("h2", ok()).get_with("/", FIELDS).want(value, "v"),
        case("disabled", "disabled").get_with("/", FIELDS).via("a"),
        case("post", "plain")
            .play("h2", ok())
            .send("POST / HTTP/1.1\r\nhost: test\r\nx-h: v\r\ncontent-length: 4\r\n\r\nbody")
            .status(200)
            .want("2.up:body", "body"),
    ]
}

fn answers() -> Vec<Case> {
    let told = "overall_code: OK, statuses: [{code: OK, limit_remaining: 5, current_limit: {requests_per_unit: 9, unit: HOUR, name: second}}, {code: OK, limit_remaining: 3, current_limit: {requests_per_unit: 4, unit: MINUTE}, duration_until_reset: 30s}, {code: OK}]";
    let many = "overall_code: OVER_LIMIT, statuses: [{code: OVER_LIMIT, current_limit: {requests_per_unit: 1, unit: WEEK}, duration_until_reset: 70s}, {code: OVER_LIMIT, current_limit: {requests_per_unit: 1, unit: MONTH}, duration_until_reset: 90s}, {code: OK, current_limit: {requests_per_unit: 1, unit: YEAR}, duration_until_reset: 99s}]";
    let fields = "response_headers_to_add: [{key: x-down, value: '1'}, {key: x-down, value: '2'}], request_headers_to_add: [{key: x-up, value: '1'}]";
    let play = |name, listener, yaml: &str| {
        case(name, listener).play("h2", limit(&format!("{{{yaml}}}"))).get_with("/", FIELDS)
    };
    vec![
        play("over", "plain", "overall_code: OVER_LIMIT").status(429).flags("RL").details("request_rate_limited").want("h:x-envoy-ratelimited", "true"),
        play("over-told", "told", many).status(429).absent("h:x-envoy-ratelimited"),
        play("ok-told", "told", told).status(200).want("h:x-ratelimit-remaining", 3),
        play("ok-told-nothing", "told", "overall_code: OK").status(200).absent("h:x-ratelimit-limit"),
        play("retry-after-theirs", "told", "overall_code: OVER_LIMIT, statuses: [{code: OVER_LIMIT, duration_until_reset: 9s}], response_headers_to_add: [{key: retry-after, value: '5'}]").want("h:retry-after", 5),
        play("ok-fields", "plain", &format!("overall_code: OK, {fields}")).want("2.up:h:x-up", "1").want("h:x-down", "1 | 2"),
        play("over-fields", "plain", &format!("overall_code: OVER_LIMIT, {fields}")).status(429).want("h:x-down", "1 | 2"),
        play("over-body", "plain", "overall_code: OVER_LIMIT, raw_body: c2xvdw==").want("body", "slow"),
        play("over-body-type", "plain", "overall_code: OVER_LIMIT, raw_body: e30=, response_headers_to_add: [{key: content-type, value: application/json}]").want("h:content-type", "application/json"),
        play("over-status", "status", "overall_code: OVER_LIMIT").status(503).want("h:x-why", "/"),
        play("over-status-low", "low", "overall_code: OVER_LIMIT").status(429),
        play("unenforced", "unenforced", &format!("overall_code: OVER_LIMIT, {fields}")).status(200),
        play("unknown-code", "plain", "overall_code: UNKNOWN").status(200),
        play("metadata", "plain", "overall_code: OK, dynamic_metadata: {who: me}").want("2.up:h:x-meta", "me"),
        play("metadata-elsewhere", "status", "overall_code: OK, dynamic_metadata: {who: me}").status(200),
        case("over-http2", "plain").play("h2", over()).call(Call::get("/").header("x-h", "v")).status(429),
        case("over-grpc", "plain").play("h2", over()).call(Call::grpc("/").header("x-h", "v")).want("h:grpc-status", 14),
        case("over-grpc-exhausted", "status").play("h2", over()).call(Call::grpc("/").header("x-h", "v")).want("h:grpc-status", 8),
        play("stats", "status", "overall_code: OVER_LIMIT").stats("cluster.a.*(ratelimit|_429|_503)"),
    ]
}

fn failures() -> Vec<Case> {
    let hang = || Play::H2(Answer { end: Ending::Hang, ..Answer::default() });
    let on = |name, listener| case(name, listener).get_with("/", FIELDS);
    vec![
        on("failed", "plain").play("h2", failure("14")).status(200),
        on("failed-denied", "deny")
            .play("h2", failure("14"))
            .status(500)
            .flags("RLSE")
            .details("rate_limiter_error"),
        on("failed-status", "deny-status").play("h2", failure("8")).status(503),
        on("failed-share", "deny-share").play("h2", failure("14")).status(200),
        on("late", "short").play("h2", hang()).status(500).flags("RLSE"),
        on("refused", "refused").refused(500, "RLSE", "rate_limiter_error"),
        on("unknown", "unknown").refused(500, "RLSE", "rate_limiter_error"),
        on("failure-stats", "plain").play("h2", failure("14")).stats("ratelimit"),
    ]
}

/// Rate limits that are applied when a stream is over; nobody waits for the answers.
fn done() -> Vec<Case> {
    let ask = |name: &'static str, listener, path: &str, asked: usize| {
        let request = format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n");
        case(name, listener).talk([Talk::Send(request.into_bytes()), Talk::Read, Talk::AwaitUpstream(asked)])
    };
    let value = "2.up:m:descriptors.0.entries.0.value";
    vec![
        ask("done", "hosts", "/done", 2).play("h2", ok()).want("up", "a").want(value, "done"),
        ask("done-over", "hosts", "/done", 2).play("h2", over()).status(200).want(value, "done"),
        ask("done-failure", "hosts", "/done", 2).play("h2", failure("13")).status(200),
        ask("done-status", "hosts", "/done/status", 2).play("h2", ok()).want(value, "v"),
        ask("done-both", "hosts", "/done/both", 3).play("h2", ok()).play("h2", ok()).want("2.up", "a"),
        ask("done-both-over", "hosts", "/done/both", 2).play("h2", over()).play("h2", ok()).status(429),
        ask("done-refused", "hosts", "/done/refused", 1).play("h2", ok()).status(503),
        ask("done-stage", "hosts", "/done/stage", 1).via("a"),
        ask("done-own", "own-done", "/", 2).play("h2", ok()).want(value, "own"),
        ask("done-internal", "internal-done", "/", 1).play("h2", ok()).via("a"),
        ask("done-counted", "hosts", "/direct", 0).stats("cluster.*ratelimit"),
    ]
}
