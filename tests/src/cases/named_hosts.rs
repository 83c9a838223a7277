//! Hosts that are named: by headers and metadata to the policy `override_host`, by cookies and headers to `stateful_session`.
//!
//! A client does not know the ports of this run's hosts, so a filter before names them.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::raw::Talk;

/// Named hosts.
pub fn group() -> Group {
    Group { name: "named_hosts", bootstrap: bootstrap(), cases: cases() }
}

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";
const SESSION: &str = "type.googleapis.com/envoy.extensions.http.stateful_session";

fn host(upstream: &str, health: &str) -> String {
    format!(
        "{{health_status: {health}, endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: $PORT({upstream})}}}}}}}}"
    )
}

/// A cluster with both upstreams, of which the policy alone would take `a`.
fn cluster(name: &str, fields: &str, health: &str) -> String {
    format!(
        "- {{name: {name}, connect_timeout: 1s, type: STATIC, {fields} load_assignment: {{cluster_name: x, endpoints: \
         [{{priority: 0, lb_endpoints: [{}]}}, {{priority: 1, lb_endpoints: [{}]}}]}}}}\n",
        host("a", "HEALTHY"),
        host("b", health)
    )
}

fn overridden(sources: &str) -> String {
    format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, \
         override_host_sources: [{sources}], fallback_policy: {{policies: [{{typed_extension_config: {{name: inner, typed_config: \
         {{\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}}}}]}}}}}}}}]}},"
    )
}

/// A route that names hosts in `x-to`.
fn naming(path: &str, cluster: &str, hosts: &str, more: &str) -> String {
    format!(
        "- {{match: {{path: /{path}}}, route: {{cluster: {cluster}{more}}}, typed_per_filter_config: {{mutation: {{\"@type\": \
         {FILTERS}.header_mutation.v3.HeaderMutationPerRoute, mutations: {{request_mutations: [{{append: {{header: {{key: x-to, value: \
         \"{hosts}\"}}}}}}]}}}}}}}}\n"
    )
}

fn session(kind: &str, fields: &str) -> String {
    format!(
        "session_state: {{name: envoy.http.stateful_session.{kind}, typed_config: {{\"@type\": {SESSION}.{fields}}}}}"
    )
}

fn filter(fields: &str) -> String {
    format!(
        "- {{name: session, typed_config: {{\"@type\": {FILTERS}.stateful_session.v3.StatefulSession, {fields}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    const RETRY: &str = ", retry_policy: {retry_on: '5xx,connect-failure', num_retries: 2}";
    let clusters = [
        cluster("plain", "", "HEALTHY"),
        cluster("plain-failed", "", "UNHEALTHY"),
        cluster(
            "any-status",
            "common_lb_config: {override_host_status: {statuses: [HEALTHY, UNHEALTHY]}},",
            "UNHEALTHY",
        ),
        cluster("by-header", &overridden("{header: X-To}"), "HEALTHY"),
        cluster("by-header-failed", &overridden("{header: x-to}"), "UNHEALTHY"),
        cluster("by-metadata", &overridden("{metadata: {key: ns, path: [{key: to}]}}"), "HEALTHY"),
        cluster(
            "by-either",
            &overridden("{metadata: {key: none, path: [{key: to}]}}, {header: x-to}"),
            "HEALTHY",
        ),
    ];
    let (a, b) = ("127.0.0.1:$PORT(a)", "127.0.0.1:$PORT(b)");
    let routes = [
        naming("b", "by-header", b, ""),
        naming("list", "by-header", &format!("127.0.0.1:1, {b},{a}"), ""),
        naming("unknown", "by-header", "127.0.0.1:1", ""),
        naming("nonsense", "by-header", ",,x, ", ""),
        naming("failed", "by-header-failed", b, ""),
        naming("either", "by-either", b, ""),
        naming("again", "by-header", &format!("127.0.0.1:1, {b}, {a}"), RETRY),
        "- {match: {path: /none}, route: {cluster: by-header}}\n- {match: {path: /metadata}, route: {cluster: by-metadata}}\n".to_owned(),
    ];
    let mutation = format!(
        "- {{name: mutation, typed_config: {{\"@type\": {FILTERS}.header_mutation.v3.HeaderMutation}}}}"
    );
    let metadata = format!(
        "- {{name: metadata, typed_config: {{\"@type\": {FILTERS}.set_metadata.v3.Config, metadata: [{{metadata_namespace: ns, value: {{to: \"{b}\"}}}}]}}}}"
    );
    let off = format!(
        "- {{match: {{path: /off}}, route: {{cluster: plain}}, typed_per_filter_config: {{session: {{\"@type\": \
         {FILTERS}.stateful_session.v3.StatefulSessionPerRoute, disabled: true}}}}}}\n\
         - {{match: {{path: /own}}, route: {{cluster: plain}}, typed_per_filter_config: {{session: {{\"@type\": \
         {FILTERS}.stateful_session.v3.StatefulSessionPerRoute, stateful_session: {{strict: true, {}}}}}}}}}\n\
         - {{match: {{prefix: /}}, route: {{cluster: plain}}}}\n",
        session("header", "header.v3.HeaderBasedSessionState, name: x-own")
    );
    let header = session("header", "header.v3.HeaderBasedSessionState, name: x-session");
    let cookie = session(
        "cookie",
        "cookie.v3.CookieBasedSessionState, cookie: {name: sticky, path: /in, ttl: 120s, attributes: [{name: SameSite, value: Lax}]}",
    );
    Bootstrap::new()
        .clusters(&clusters.concat())
        .http_filters("override", &format!("{mutation}\n{metadata}"), &routes.concat())
        .http_filters("header", &filter(&format!("stat_prefix: h, {header}")), &off)
        .http_filters("strict", &filter(&format!("strict: true, stat_prefix: s, {header}")), &off)
        .http_filters(
            "gone",
            &filter(&format!("strict: true, status_on_strict_destination_not_found: 410, {header}")),
            &off,
        )
        .http_filters("cookie", &filter(&cookie), &off)
        .http_filters("nothing", &filter("stat_prefix: none"), &off)
        .tcp("tcp", "cluster: by-header")
}

/// `127.0.0.1:1` in base64, and as the cookie of Envoy without an end.
const NOBODY: &str = "MTI3LjAuMC4xOjE=";
const NOBODY_COOKIE: &str = "CgsxMjcuMC4wLjE6MQ==";

fn cases() -> Vec<Case> {
    let get = |name, path: &str| case(name, "override").get(path);
    let with = |name, listener, path: &str, lines: &str| {
        case(name, listener).get_with(path, &format!("host: test\r\n{lines}"))
    };
    vec![
        get("by-header", "/b").via("b"),
        get("by-list", "/list").via("b"),
        get("not-named", "/none").via("a"),
        get("unknown-host", "/unknown").via("a"),
        get("no-host", "/nonsense").via("a"),
        get("whatever-its-health", "/failed").via("b"),
        get("by-metadata", "/metadata").via("b"),
        get("by-the-second-source", "/either").via("b"),
        with("first-value", "override", "/none", "x-to: 127.0.0.1:1\r\nx-to: 127.0.0.1:2\r\n").via("a"),
        case("tcp-has-no-headers", "tcp").get("/").talk([Talk::Close]).logs(1).want("up", "a"),
        with("session-header-is-told", "header", "/", "")
            .via("a")
            .ignore("h:x-session")
            .stats(r"stateful_session\."),
        with("session-header-unknown", "header", "/", &format!("x-session: {NOBODY}\r\n"))
            .via("a")
            .ignore("h:x-session")
            .ignore("up:h:x-session")
            .stats(r"stateful_session\."),
        with("session-header-nonsense", "header", "/", "x-session: %%%\r\n").via("a").ignore("h:x-session"),
        with("session-off", "header", "/off", "").via("a").absent("h:x-session"),
        with("session-of-the-route", "header", "/own", "").via("a").absent("h:x-session").ignore("h:x-own"),
        with("session-of-the-route-is-strict", "header", "/own", &format!("x-own: {NOBODY}\r\n")).refused(
            503,
            "UH",
            "no_healthy_upstream",
        ),
        with("strict", "strict", "/", &format!("x-session: {NOBODY}\r\n"))
            .refused(503, "UH", "no_healthy_upstream")
            .stats(r"stateful_session\."),
        with("strict-without-a-session", "strict", "/", "")
            .via("a")
            .ignore("h:x-session")
            .stats(r"stateful_session\."),
        with("strict-status", "gone", "/", &format!("x-session: {NOBODY}\r\n")).refused(
            410,
            "UH",
            "no_healthy_upstream",
        ),
        with("cookie-is-set", "cookie", "/in", "")
            .via("a")
            .want_in("h:set-cookie", "\"; Max-Age=120; Path=/in; SameSite=Lax; HttpOnly")
            .only(&["status", "up", "log.code"]),
        with("cookie-of-nobody", "cookie", "/in/x", &format!("cookie: sticky={NOBODY_COOKIE}\r\n"))
            .via("a")
            .want_in("h:set-cookie", "sticky=\"")
            .ignore("h:set-cookie"),
        with("cookie-outside-its-path", "cookie", "/inn", "").via("a").absent("h:set-cookie"),
        with("session-without-state", "nothing", "/", "").via("a").stats(r"stateful_session\."),
    ]
}
