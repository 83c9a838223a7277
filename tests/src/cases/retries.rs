//! Retries: what is tried again, how often, with what body, and what is said about it.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::Play::{self, AfterRequest, AtHead};
use crate::harness::upstream::Step::{Close, Hang, Send};
use crate::harness::upstream::h2::{Answer, Ending};

/// Retries.
pub fn group() -> Group {
    Group { name: "retries", bootstrap: bootstrap(), cases: cases() }
}

/// Paths with the retry policies of their routes; the cluster is the second word.
const POLICIES: &[(&str, &str, &str)] = &[
    ("5xx", "a", "retry_on: 5xx"),
    ("twice", "a", "retry_on: 5xx, num_retries: 2"),
    ("none-left", "a", "retry_on: 5xx, num_retries: 0"),
    ("gateway", "a", "retry_on: gateway-error"),
    ("reset", "a", "retry_on: reset"),
    ("before-request", "a", "retry_on: reset-before-request"),
    ("connect", "a", "retry_on: connect-failure"),
    ("refused", "refused", "retry_on: connect-failure, num_retries: 2"),
    ("conflict", "a", "retry_on: retriable-4xx"),
    ("codes", "a", "retry_on: retriable-status-codes, retriable_status_codes: [418, 429]"),
    (
        "headers",
        "a",
        "retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}]",
    ),
    ("mine", "a", "retry_on: 5xx, retriable_request_headers: [{name: x-mine, present_match: true}]"),
    ("limited", "a", "retry_on: envoy-ratelimited"),
    ("per-try", "a", "retry_on: 5xx, per_try_timeout: 0.2s"),
    ("per-try-unasked", "a", "retry_on: connect-failure, per_try_timeout: 0.2s"),
    ("silent", "a", "retry_on: 5xx, per_try_idle_timeout: 0.2s"),
    ("silent-unasked", "a", "retry_on: connect-failure, per_try_idle_timeout: 0.2s"),
    ("counted", "counted", "retry_on: 5xx, num_retries: 2"),
    ("tracked", "tracked", "retry_on: 5xx"),
    (
        "told",
        "a",
        "retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: retry-after, format: SECONDS}]}",
    ),
    ("grpc", "h2", "retry_on: 'cancelled,unavailable'"),
    ("refused-stream", "h2", "retry_on: refused-stream"),
    (
        "priorities",
        "tiers",
        "retry_on: 5xx, num_retries: 3, retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}",
    ),
    (
        "slow-priorities",
        "tiers",
        "retry_on: 5xx, num_retries: 3, retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 2}}",
    ),
    ("no-room", "no-retries", "retry_on: 5xx"),
    ("budget", "no-budget", "retry_on: 5xx"),
    (
        "others",
        "three",
        "retry_on: 5xx, num_retries: 2, host_selection_retry_max_attempts: 9, retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, \
         typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]",
    ),
    (
        "no-canary",
        "three",
        "retry_on: 5xx, num_retries: 2, host_selection_retry_max_attempts: 9, retry_host_predicate: [{name: envoy.retry_host_predicates.omit_canary_hosts, \
         typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}]",
    ),
];

fn routes() -> String {
    let route = |(path, cluster, policy): &(&str, &str, &str)| {
        format!(
            "- {{match: {{prefix: /{path}}}, route: {{cluster: {cluster}, hash_policy: [{{header: {{header_name: x-key}}}}], retry_policy: {{{policy}}}}}}}\n"
        )
    };
    // Longer paths first: they are prefixes.
    let mut sorted: Vec<_> = POLICIES.iter().collect();
    sorted.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
    sorted.into_iter().map(route).collect::<String>() + "- {match: {prefix: /plain}, route: {cluster: a}}\n"
}

fn bootstrap() -> Bootstrap {
    let host = |upstream: &str, name: &str, more: &str| {
        format!(
            "{{endpoint: {{hostname: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}, metadata: {{filter_metadata: {{envoy.lb: {{hash_key: {name}{more}}}}}}}}}"
        )
    };
    let three = [host("a", "one", ""), host("b", "two", ", canary: true"), host("a", "three", "")].join(", ");
    let host_level = "virtual_hosts:\n- name: v\n  domains: [\"*\"]\n  include_request_attempt_count: true\n  include_attempt_count_in_response: true\n  \
                      include_is_timeout_retry_header: true\n  retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 0.3s}\n  routes:\n  \
                      - {match: {prefix: /own}, route: {cluster: a, retry_policy: {retry_on: reset}}}\n  \
                      - {match: {prefix: /}, route: {cluster: a}}";
    let internal = "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    Bootstrap::new()
        .http("retries", "", &routes())
        .http_config("of-host", "", host_level)
        .http("asked", internal, "- {match: {prefix: /}, route: {cluster: a}}")
        .cluster("counted", "a", "")
        .cluster(
            "tracked",
            "a",
            "circuit_breakers: {thresholds: [{max_connections: 7, max_pending_requests: 6, max_requests: 5, max_retries: 4, track_remaining: true}]}",
        )
        .cluster("no-retries", "a", "circuit_breakers: {thresholds: [{max_retries: 0}]}")
        .cluster(
            "no-budget",
            "a",
            "circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 0}}]}",
        )
        .clusters(
            "- name: tiers\n  type: STATIC\n  connect_timeout: 1s\n  load_assignment: {cluster_name: x, endpoints: [\
             {priority: 0, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(a)}}}}]}, \
             {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT(b)}}}}]}]}\n",
        )
        .clusters(&format!(
            "- name: three\n  type: STATIC\n  connect_timeout: 1s\n  lb_policy: MAGLEV\n  load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{three}]}}]}}\n"
        ))
}

fn says(status: u16, lines: &str) -> Play {
    AfterRequest(vec![Send(
        format!("HTTP/1.1 {status} X\r\n{lines}content-length: 2\r\n\r\nno").into_bytes(),
    )])
}

fn get(name: &'static str, path: &str) -> Case {
    case(name, "retries").get(path)
}

fn cases() -> Vec<Case> {
    let all = [of_responses(), of_failures(), of_bodies(), of_levels(), of_hosts(), over_h2()].concat();
    // What is left of the time is another number each time.
    let left = |case: Case| {
        case.ignore("2.up:h:x-envoy-expected-rq-timeout-ms")
            .ignore("3.up:h:x-envoy-expected-rq-timeout-ms")
            .ignore("4.up:h:x-envoy-expected-rq-timeout-ms")
    };
    all.into_iter().map(left).collect()
}

fn of_responses() -> Vec<Case> {
    let five = || says(503, "");
    vec![
        get("5xx", "/5xx").play("a", five()).via("a").flags("-"),
        get("5xx-twice", "/twice").play("a", five()).play("a", says(500, "")).via("a"),
        get("too-often", "/5xx")
            .play("a", five())
            .play("a", five())
            .status(503)
            .flags("URX")
            .details("via_upstream"),
        get("none-left", "/none-left").play("a", five()).status(503).flags("URX"),
        get("gateway-error", "/gateway").play("a", says(504, "")).via("a"),
        get("gateway-error-is-no-500", "/gateway").play("a", says(500, "")).status(500).flags("-"),
        get("4xx-is-no-error", "/5xx").play("a", says(404, "")).status(404).flags("-"),
        get("retriable-4xx", "/conflict").play("a", says(409, "")).via("a"),
        get("retriable-4xx-is-409", "/conflict").play("a", says(404, "")).status(404),
        get("status-codes", "/codes").play("a", says(418, "")).via("a"),
        get("status-codes-of-the-list", "/codes").play("a", says(503, "")).status(503),
        get("headers", "/headers").play("a", says(200, "x-again: 1\r\n")).via("a"),
        get("headers-absent", "/headers").play("a", says(503, "")).status(503),
        get("rate-limited", "/limited").play("a", says(429, "x-envoy-ratelimited: true\r\n")).via("a"),
        get("rate-limited-is-not-5xx", "/5xx")
            .play("a", says(503, "x-envoy-ratelimited: true\r\n"))
            .status(503),
        get("request-header-missing", "/mine").play("a", five()).status(503).flags("-"),
        case("request-header", "retries")
            .get_with("/mine", "host: test\r\nx-mine: 1\r\n")
            .play("a", five())
            .via("a"),
        get("when-told", "/told").play("a", says(503, "retry-after: 0\r\n")).via("a"),
        get("no-policy", "/plain").play("a", five()).status(503).flags("-"),
        get("no-room", "/no-room").play("a", five()).status(503).flags("UO"),
        get("no-budget", "/budget").play("a", five()).status(503).flags("UO"),
        get("counted", "/counted")
            .play("a", five())
            .play("a", says(500, ""))
            .via("a")
            .stats("cluster.counted.(upstream_rq_retry|retry.|upstream_rq_total)"),
        get("overflow-counted", "/no-room")
            .play("a", five())
            .status(503)
            .stats("cluster.(no-retries|no-budget).upstream_rq_retry"),
        get("remaining", "/tracked")
            .play("a", five())
            .via("a")
            .stats("cluster.tracked.circuit_breakers.default.remaining_(cx|pending|rq|retries)$"),
    ]
}

fn of_failures() -> Vec<Case> {
    let leaves = || AfterRequest(vec![Close]);
    let hangs = || AfterRequest(vec![Hang]);
    vec![
        get("reset", "/reset").play("a", leaves()).via("a"),
        get("reset-twice", "/reset").play("a", leaves()).play("a", leaves()).status(503).flags("URX,UC"),
        get("reset-is-5xx", "/5xx").play("a", leaves()).via("a"),
        get("reset-is-no-connect-failure", "/connect").play("a", leaves()).status(503).flags("UC"),
        get("reset-after-request", "/before-request").play("a", leaves()).status(503).flags("UC"),
        get("refused", "/refused").status(503).flags("URX,UF").want(
            "body",
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure",
        ),
        get("cut-within-the-body", "/reset")
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal".to_vec()), Close]))
            .want("status", 200),
        get("per-try-timeout", "/per-try").play("a", hangs()).via("a"),
        get("per-try-timeout-twice", "/per-try")
            .play("a", hangs())
            .play("a", hangs())
            .status(504)
            .details("upstream_per_try_timeout"),
        get("per-try-idle-timeout", "/silent").play("a", hangs()).via("a"),
        get("per-try-idle-timeout-twice", "/silent")
            .play("a", hangs())
            .play("a", hangs())
            .status(504)
            .details("upstream_per_try_idle_timeout"),
        get("per-try-idle-timeout-not-retried", "/silent-unasked").play("a", hangs()).status(504),
        get("per-try-idle-timeout-within-the-body", "/silent")
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal".to_vec()), Hang]))
            .want("status", 200)
            .details("upstream_per_try_idle_timeout"),
        get("per-try-timeout-not-retried", "/per-try-unasked").play("a", hangs()).status(504),
    ]
}

fn of_bodies() -> Vec<Case> {
    let chunked = "POST /5xx HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    vec![
        case("body", "retries").post("/5xx", "some body").play("a", says(503, "")).via("a"),
        case("body-twice", "retries")
            .post("/twice", "some body")
            .play("a", says(503, ""))
            .play("a", says(503, ""))
            .via("a"),
        case("body-chunked", "retries").send(chunked).play("a", says(503, "")).via("a"),
        case("body-after-reset", "retries")
            .post("/reset", "some body")
            .play("a", AfterRequest(vec![Close]))
            .via("a"),
        case("body-empty", "retries").post("/5xx", "").play("a", says(503, "")).via("a"),
        case("body-reset-at-head", "retries")
            .post("/reset", "some body")
            .play("a", AtHead(vec![Close]))
            .status(200)
            .only(&["status", "log.code", "body"]),
    ]
}

fn of_levels() -> Vec<Case> {
    let asked = |name, lines: &str| {
        case(name, "asked").get_with("/", &format!("host: test\r\n{lines}")).play("a", says(503, ""))
    };
    vec![
        case("host-policy", "of-host")
            .get("/")
            .play("a", says(503, ""))
            .via("a")
            .want("h:x-envoy-attempt-count", 2),
        case("host-policy-twice", "of-host")
            .get("/")
            .play("a", says(503, ""))
            .play("a", AfterRequest(vec![Hang]))
            .via("a")
            .want("h:x-envoy-attempt-count", 3),
        case("route-over-host", "of-host").get("/own").play("a", says(503, "")).status(503),
        asked("client-asks", "x-envoy-retry-on: 5xx\r\n").via("a"),
        asked("client-asks-grpc", "x-envoy-retry-grpc-on: unavailable\r\n").status(503),
        asked("client-asks-for-none", "x-envoy-max-retries: 3\r\n").status(503),
        asked("client-asks-for-zero", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 0\r\n")
            .status(503)
            .flags("URX"),
        asked(
            "client-names-statuses",
            "x-envoy-retry-on: retriable-status-codes\r\nx-envoy-retriable-status-codes: 503\r\n",
        )
        .via("a"),
        case("client-wants-no-error", "asked")
            .get_with("/", "host: test\r\nx-envoy-upstream-rq-timeout-ms: 200\r\nx-envoy-upstream-rq-timeout-alt-response: 1\r\n")
            .play("a", AfterRequest(vec![Hang]))
            .status(204)
            .details("response_timeout"),
        asked(
            "client-names-headers",
            "x-envoy-retry-on: retriable-headers\r\nx-envoy-retriable-header-names: content-length\r\n",
        )
        .status(200),
    ]
}

fn of_hosts() -> Vec<Case> {
    let fails = |case: Case| {
        ["a", "b", "c"].into_iter().fold(case, |case, upstream| {
            case.play(upstream, says(503, "")).play(upstream, says(503, "")).play(upstream, says(503, ""))
        })
    };
    let keys = ["k0", "k1", "k2", "k3"];
    let each = |name: &'static str, path: &'static str, key: &str| {
        fails(case(name, "retries")).get_with(path, &format!("host: test\r\nx-key: {key}\r\n")).status(503)
    };
    vec![
        fails(get("previous-priorities", "/priorities"))
            .status(503)
            .want("2.up", "b")
            .want("3.up", "a")
            .want("4.up", "b"),
        fails(get("previous-priorities-every-two", "/slow-priorities"))
            .status(503)
            .want("2.up", "a")
            .want("3.up", "b"),
        each("previous-hosts", "/others", keys[0]),
        each("previous-hosts-1", "/others", keys[1]),
        each("previous-hosts-2", "/others", keys[2]),
        each("no-canary", "/no-canary", keys[0]),
        each("no-canary-1", "/no-canary", keys[1]),
        each("no-canary-3", "/no-canary", keys[3]),
    ]
}

fn over_h2() -> Vec<Case> {
    let call = |path: &str| {
        Call::new("POST", path).header("content-type", "application/grpc").data(b"\0\0\0\0\x01x")
    };
    let says = |status: &'static str| {
        Play::H2(Answer {
            headers: vec![("content-type", "application/grpc"), ("grpc-status", status)],
            ..Answer::default()
        })
    };
    let refuses =
        Play::H2(Answer { end: Ending::ResetInstead(::h2::Reason::REFUSED_STREAM), ..Answer::default() });
    vec![
        case("grpc-unavailable", "retries").call(call("/grpc")).play("h2", says("14")).status(200),
        case("grpc-other", "retries").call(call("/grpc")).play("h2", says("13")).status(200),
        case("refused-stream", "retries").call(call("/refused-stream")).play("h2", refuses).status(200),
    ]
}
