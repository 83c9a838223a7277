//! Local rate limits: buckets, descriptors, headers, connections.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;

/// Local rate limits.
pub fn group() -> Group {
    Group { name: "local_ratelimit", bootstrap: bootstrap(), cases: cases() }
}

const TYPE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const ENABLED: &str = "filter_enabled: {default_value: {numerator: 100}}";
const ENFORCED: &str = "filter_enforced: {default_value: {numerator: 100}}";
const TOLD: &str = "enable_x_ratelimit_headers: DRAFT_VERSION_03";

fn tokens(most: u32) -> String {
    format!("token_bucket: {{max_tokens: {most}, fill_interval: 600s}}")
}

fn filter(fields: &str) -> String {
    format!(
        "- {{name: envoy.filters.http.local_ratelimit, typed_config: {{{TYPE}, stat_prefix: limits, {fields}}}}}"
    )
}

fn descriptor(entries: &str, most: u32, more: &str) -> String {
    format!("{{entries: [{entries}], {}{more}}}", tokens(most))
}

fn entry(key: &str, value: &str) -> String {
    format!("{{key: {key}, value: '{value}'}}")
}

fn bootstrap() -> Bootstrap {
    let route = "- {match: {prefix: /}, route: {cluster: a}}";
    let on = format!("{ENABLED}, {ENFORCED}");
    let by = |actions: &str| format!("rate_limits: [{{actions: [{actions}]}}]");
    let by_header = by("{request_headers: {header_name: x-h, descriptor_key: h}}");
    let descriptors = [
        descriptor(&entry("h", "x"), 1, ""),
        descriptor(&entry("h", ""), 2, ""),
        descriptor(&entry("h", "shadow"), 1, ", shadow_mode: true"),
    ]
    .join(", ");
    let kinds = "{generic_key: {descriptor_value: g}}, {remote_address: {}}, {query_parameters: {query_parameter_name: q, descriptor_key: q}}, {header_value_match: {descriptor_value: m, headers: [{name: x-m}]}}, {source_cluster: {}}, {destination_cluster: {}}, {masked_remote_address: {v4_prefix_mask_len: 8}}";
    let entries = [
        entry("generic_key", "g"),
        entry("remote_address", "127.0.0.1"),
        entry("q", "1"),
        entry("header_match", "m"),
        entry("source_cluster", "tests"),
        entry("destination_cluster", "a"),
        entry("masked_remote_address", "127.0.0.0/8"),
    ]
    .join(", ");
    let own = format!(
        "typed_per_filter_config: {{envoy.filters.http.local_ratelimit: {{{TYPE}, stat_prefix: route, {}, {on}, {TOLD}, status: {{code: 503}}}}}}",
        tokens(1)
    );
    let of_route = "rate_limits: [{actions: [{request_headers: {header_name: x-h, descriptor_key: h}}]}, {stage: 1, actions: [{generic_key: {descriptor_value: other-stage}}]}]";
    let hosts = format!(
        "virtual_hosts:\n- name: v\n  domains: ['*']\n  rate_limits: [{{actions: [{{generic_key: {{descriptor_value: host}}}}]}}]\n  routes:\n  - {{match: {{prefix: /r}}, route: {{cluster: a, {of_route}}}}}\n  - {{match: {{prefix: /done}}, route: {{cluster: a, rate_limits: [{{apply_on_stream_done: true, actions: [{{request_headers: {{header_name: x-h, descriptor_key: h}}}}]}}]}}}}\n  - {{match: {{prefix: /both}}, route: {{cluster: a, include_vh_rate_limits: true, {of_route}}}}}\n  - {{match: {{prefix: /}}, route: {{cluster: a}}}}\n"
    );
    let routed = filter(&format!(
        "{}, {on}, {TOLD}, descriptors: [{}, {}]",
        tokens(100),
        descriptor(&entry("h", "x"), 1, ""),
        descriptor(&entry("generic_key", "host"), 2, "")
    ));
    let router = "- {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
    let network = |name: &str, fields: &str| {
        format!(
            r#"
- name: {name}
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.local_ratelimit
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit, stat_prefix: {name}, {}, {fields}}}
    - name: echo
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}
"#,
            tokens(1)
        )
    };
    Bootstrap::new()
        .top("node: {id: tests, cluster: tests}")
        .http_filters("plain", &filter(&format!("{}, {on}, {TOLD}", tokens(2))), route)
        .http_filters("headers", &filter(&format!("{}, {on}, enable_retry_after_header: true, response_headers_to_add: [{{header: {{key: x-a, value: '%REQ(:path)%'}}}}], status: {{code: 403}}", tokens(0))), route)
        .http_filters("grpc", &filter(&format!("{}, {on}, rate_limited_as_resource_exhausted: true", tokens(0))), route)
        .http_filters("low-status", &filter(&format!("{}, {on}, status: {{code: 204}}", tokens(0))), route)
        .http_filters("unenforced", &filter(&format!("{}, {ENABLED}, request_headers_to_add_when_not_enforced: [{{header: {{key: x-limited, value: 'yes'}}}}]", tokens(0))), route)
        .http_filters("disabled", &filter(&tokens(0)), route)
        .http_filters("unlimited", &filter(&on), route)
        .http_filters("descriptors", &filter(&format!("{}, {on}, {TOLD}, {by_header}, descriptors: [{descriptors}]", tokens(100))), route)
        .http_filters("spared", &filter(&format!("{}, {on}, {TOLD}, {by_header}, always_consume_default_token_bucket: false, descriptors: [{descriptors}]", tokens(1))), route)
        .http_filters("dynamic", &filter(&format!("{}, {on}, {TOLD}, {by_header}, max_dynamic_descriptors: 2, descriptors: [{}]", tokens(100), descriptor(&entry("h", ""), 1, ""))), route)
        .http_filters("kinds", &filter(&format!("{}, {on}, {TOLD}, {}, descriptors: [{}]", tokens(100), by(kinds), descriptor(&entries, 7, ""))), route)
        .http_filters("done", &filter(&format!("{}, {on}, {TOLD}, rate_limits: [{{apply_on_stream_done: true, actions: [{{request_headers: {{header_name: x-h, descriptor_key: h}}}}]}}], descriptors: [{}]", tokens(100), descriptor(&entry("h", "x"), 1, ""))), route)
        .http_filters("connections", &filter(&format!("{}, {on}, {TOLD}, local_rate_limit_per_downstream_connection: true", tokens(1))), route)
        .http_filters("routes", &filter("stage: 0"), &format!("- {{match: {{prefix: /own}}, route: {{cluster: a}}, {own}}}\n{route}"))
        .http_config("routed", &format!("http_filters:\n{routed}\n{router}"), &hosts)
        .listener(&network("net", "runtime_enabled: {default_value: true, runtime_key: net.on}"))
        .listener(&network("net-off", "runtime_enabled: {default_value: false, runtime_key: net.off}"))
}

fn cases() -> Vec<Case> {
    const NAME: &str = "local_rate_limited";
    let by = |case: Case, value: &str| case.get_with("/", &format!("host: test\r\nx-h: {value}\r\n"));
    let descriptors = |name: &'static str, listener, values: &[&str]| {
        values.iter().fold(case(name, listener), |case, value| by(case, value))
    };
    let spoken = || [Talk::Send(b"x".to_vec()), Talk::ReadBytes(1)];
    vec![
        case("tokens", "plain")
            .get("/")
            .get("/")
            .get("/")
            .via("a")
            .want("h:x-ratelimit-remaining", 1)
            .want("3.status", 429)
            .want("3.log.flags", "RL")
            .want("3.log.details", NAME)
            .want("3.body", NAME),
        case("http2", "plain").call(Call::get("/")).status(429),
        case("headers", "headers")
            .get("/p")
            .refused(403, "RL", NAME)
            .want("h:x-a", "/p")
            .absent("h:x-ratelimit-limit"),
        case("grpc", "grpc").call(Call::grpc("/")).want("h:grpc-status", 8),
        case("grpc-unavailable", "headers").call(Call::grpc("/")).want("status", 200),
        case("low-status", "low-status").get("/").status(429),
        case("unenforced", "unenforced").get("/").via("a").want("up:h:x-limited", "yes"),
        case("disabled", "disabled").get("/").via("a"),
        case("unlimited", "unlimited").get("/").via("a"),
        descriptors("descriptor", "descriptors", &["x", "x"]).want("status", 200).want("2.status", 429),
        descriptors("wildcard", "descriptors", &["a", "b", "a", "a", "b"])
            .want("4.status", 429)
            .want("5.status", 200),
        descriptors("shadow", "descriptors", &["shadow", "shadow"]).want("2.status", 200),
        case("default-after-descriptors", "descriptors").get("/").via("a"),
        descriptors("spared-default", "spared", &["x", "a"]).want("2.status", 200),
        case("spared-default-left", "spared").get("/").get("/").want("2.status", 429),
        descriptors("dynamic-evicts", "dynamic", &["a", "b", "a", "c", "b"])
            .want("3.status", 429)
            .want("5.status", 200),
        case("kinds", "kinds").get_with("/?q=1", "host: test\r\nx-m: 1\r\n").want("h:x-ratelimit-limit", 7),
        case("kinds-one-missing", "kinds").get("/?q=1").want("h:x-ratelimit-limit", 100),
        descriptors("done", "done", &["x", "x"]),
        case("done-of-the-route", "routed")
            .get_with("/done", "host: test\r\nx-h: x\r\n")
            .get_with("/done", "host: test\r\nx-h: x\r\n"),
        case("connections", "connections")
            .get("/")
            .get("/")
            .on(1, [Talk::Send(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".to_vec()), Talk::Read])
            .want("2.status", 429)
            .want("3.status", 200),
        case("route-own", "routes")
            .get("/own")
            .get("/own")
            .get("/")
            .want("2.status", 503)
            .want("3.status", 200),
        case("route-limits", "routed")
            .get_with("/r", "host: test\r\nx-h: x\r\n")
            .get_with("/r", "host: test\r\nx-h: x\r\n")
            .want("h:x-ratelimit-limit", 1)
            .want("2.status", 429),
        case("route-limits-no-match", "routed").get("/r").want("h:x-ratelimit-limit", 100),
        case("host-limits", "routed")
            .get("/")
            .get("/both")
            .get("/")
            .want("h:x-ratelimit-limit", 2)
            .want("3.status", 429),
        case("network", "net").on(0, spoken()).on(1, [Talk::AwaitClose]).logs(0),
        case("network-off", "net-off").on(0, spoken()).on(1, spoken()).logs(0),
        case("stats", "disabled").get("/").stats("rate_limit"),
    ]
}
