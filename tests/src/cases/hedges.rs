//! Hedging: another attempt beside one that takes too long.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::upstream::Play::{self, AfterRequest};
use crate::harness::upstream::Step::{Close, Hang, Send};

/// Hedging.
pub fn group() -> Group {
    Group { name: "hedges", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    let hedge = "timeout: 0.9s, hedge_policy: {hedge_on_per_try_timeout: true}";
    let routes = format!(
        "
- {{match: {{prefix: /plain}}, route: {{cluster: a, timeout: 0.9s, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.15s}}}}}}
- {{match: {{prefix: /twice}}, route: {{cluster: a, {hedge}, retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 0.15s}}}}}}
- {{match: {{prefix: /idle}}, route: {{cluster: a, {hedge}, retry_policy: {{retry_on: connect-failure, per_try_idle_timeout: 0.15s}}}}}}
- {{match: {{prefix: /none}}, route: {{cluster: a, {hedge}, retry_policy: {{retry_on: 5xx, num_retries: 0, per_try_timeout: 0.15s}}}}}}
- {{match: {{prefix: /unasked}}, route: {{cluster: a, {hedge}}}}}
- {{match: {{prefix: /}}, route: {{cluster: a, {hedge}, retry_policy: {{retry_on: 5xx, per_try_timeout: 0.15s}}}}}}
"
    );
    let host_level = "virtual_hosts:\n- name: v\n  domains: [\"*\"]\n  include_request_attempt_count: true\n  include_is_timeout_retry_header: true\n  \
        hedge_policy: {hedge_on_per_try_timeout: true}\n  retry_policy: {retry_on: 5xx, per_try_timeout: 0.15s}\n  routes:\n  \
        - {match: {prefix: /off}, route: {cluster: a, hedge_policy: {}}}\n  \
        - {match: {prefix: /}, route: {cluster: a}}";
    let internal = "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    Bootstrap::new()
        .http("hedges", "", &routes)
        .http_config("of-host", "", host_level)
        .http("asked", internal, &routes)
}

fn cases() -> Vec<Case> {
    let hangs = || AfterRequest(vec![Hang]);
    let says = |status: u16| -> Play {
        AfterRequest(vec![Send(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nno").into_bytes())])
    };
    let left = |case: Case| {
        case.ignore("2.up:h:x-envoy-expected-rq-timeout-ms").ignore("3.up:h:x-envoy-expected-rq-timeout-ms")
    };
    let get = |name, path: &str| case(name, "hedges").get(path);
    let all = vec![
        get("second-wins", "/").play("a", hangs()).via("a").want("2.up", "a").want("log.attempts", 2),
        case("second-wins-with-body", "hedges")
            .post("/", "some body")
            .play("a", hangs())
            .via("a")
            .want("2.up:body", "some body"),
        get("third-wins", "/twice").play("a", hangs()).play("a", hangs()).via("a").want("3.up", "a"),
        get("both-hang", "/").play("a", hangs()).play("a", hangs()).status(504).details("response_timeout"),
        get("second-is-bad", "/").play("a", hangs()).play("a", says(503)).status(504),
        get("second-breaks", "/").play("a", hangs()).play("a", AfterRequest(vec![Close])).status(504),
        get("second-is-no-error", "/").play("a", hangs()).play("a", says(404)).status(404),
        get("first-is-bad", "/").play("a", says(503)).via("a").want("2.up", "a"),
        get("in-time", "/").via("a").absent("2.up"),
        get("none-left", "/none").play("a", hangs()).status(504).details("response_timeout"),
        get("no-retries", "/unasked").play("a", hangs()).status(504).details("response_timeout"),
        get("idle", "/idle").play("a", hangs()).via("a").want("2.up", "a"),
        case("of-host", "of-host")
            .get("/")
            .play("a", hangs())
            .via("a")
            .want("2.up:h:x-envoy-attempt-count", 2),
        case("off-on-route", "of-host").get("/off").play("a", hangs()).via("a").want("2.up", "a"),
        case("client-asks", "asked")
            .get_with("/plain", "host: test\r\nx-envoy-hedge-on-per-try-timeout: true\r\n")
            .play("a", hangs())
            .play("a", hangs())
            .status(504)
            .details("response_timeout"),
        case("client-refuses", "asked")
            .get_with("/", "host: test\r\nx-envoy-hedge-on-per-try-timeout: false\r\n")
            .play("a", hangs())
            .play("a", hangs())
            .status(504)
            .details("upstream_per_try_timeout"),
        get("stats", "/").stats("cluster.a.upstream_rq_(retry|per_try|timeout|total)"),
    ];
    all.into_iter().map(left).collect()
}
