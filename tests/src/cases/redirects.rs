//! Internal redirects: which are followed, what becomes of the request, and what is said about it.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::{Bootstrap, indent};
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{Read, Send as Say};
use crate::harness::upstream::Play::{self, AfterRequest, AtHead};
use crate::harness::upstream::Step::Send;

/// Internal redirects.
pub fn group() -> Group {
    Group { name: "redirects", bootstrap: bootstrap(), cases: cases() }
}

const PREDICATES: &str = "type.googleapis.com/envoy.extensions.internal_redirect";

fn bootstrap() -> Bootstrap {
    let predicate = |kind: &str, more: &str| {
        format!("predicates: [{{name: p, typed_config: {{\"@type\": {PREDICATES}.{kind}{more}}}}}]")
    };
    let previous = predicate("previous_routes.v3.PreviousRoutesConfig", "");
    let listed = predicate("allow_listed_routes.v3.AllowListedRoutesConfig", ", allowed_route_names: [to]");
    let safe = predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig", "");
    let route = |path: &str, policy: &str| {
        format!(
            "- {{name: {path}, match: {{prefix: /{path}}}, request_headers_to_add: [{{header: {{key: x-in, value: {path}}}}}], \
             route: {{cluster: a, internal_redirect_policy: {{{policy}}}}}}}\n"
        )
    };
    let routes = [
        route("loop", "max_internal_redirects: 3"),
        route("none", "max_internal_redirects: 0"),
        route("codes", "redirect_response_codes: [303, 307, 308, 404], response_headers_to_copy: [x-copy, x-not]"),
        route("previous", &format!("max_internal_redirects: 5, {previous}")),
        route("listed", &listed),
        route("safe", &format!("allow_cross_scheme_redirect: true, {safe}")),
        route("cross", "allow_cross_scheme_redirect: true"),
        route("in", ""),
        "- {name: rewritten, match: {prefix: /rewritten}, route: {cluster: a, prefix_rewrite: /new, internal_redirect_policy: {}}}\n".into(),
        "- {name: old, match: {prefix: /old}, route: {cluster: a, internal_redirect_action: HANDLE_INTERNAL_REDIRECT}}\n".into(),
        "- {name: small, match: {prefix: /small}, per_request_buffer_limit_bytes: 4, route: {cluster: a, internal_redirect_policy: {}}}\n".into(),
        "- {name: retried, match: {prefix: /retried}, route: {cluster: a, internal_redirect_policy: {}, retry_policy: {retry_on: 5xx}}}\n".into(),
        "- {name: direct, match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: hi}}}\n".into(),
        "- {name: redirecting, match: {prefix: /redirecting}, redirect: {host_redirect: other}}\n".into(),
        "- {name: gone, match: {prefix: /gone}, route: {cluster: empty}}\n".into(),
        "- {name: to, match: {prefix: /to}, request_headers_to_add: [{header: {key: x-to, value: to}}], route: {cluster: b}}\n".into(),
    ]
    .concat();
    let counted = "virtual_hosts:\n- name: v\n  domains: [\"*\"]\n  include_request_attempt_count: true\n  include_attempt_count_in_response: true\n  routes:\n";
    let lines = indent(&routes, 2);
    Bootstrap::new().http("redirects", "", &routes).http_config("counted", "", &format!("{counted}{lines}"))
}

fn to(status: u16, location: &str) -> Play {
    AfterRequest(vec![Send(
        format!(
            "HTTP/1.1 {status} X\r\nlocation: {location}\r\nx-copy: copied\r\ncontent-length: 2\r\n\r\nno"
        )
        .into_bytes(),
    )])
}

/// Followed to the upstream `b`.
fn followed(name: &'static str, path: &str, status: u16, location: &str) -> Case {
    case(name, "redirects")
        .get(path)
        .play("a", to(status, location))
        .logs(2)
        .want("status", 200)
        .want("log.details", "internal_redirect")
        .want("2.up", "b")
}

/// Passed on to the client.
fn kept(name: &'static str, path: &str, status: u16, location: &str) -> Case {
    case(name, "redirects").get(path).play("a", to(status, location)).status(status).absent("2.up")
}

fn post(name: &'static str, path: &str, status: u16) -> Case {
    case(name, "redirects")
        .post(path, "some body")
        .play("a", to(status, "http://test/to"))
        .logs(2)
        .want("2.up", "b")
}

fn cases() -> Vec<Case> {
    let good = "http://other.com/to?z=1#frag";
    let chunked = "POST /in HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    vec![
        followed("followed", "/in?q=1", 302, good),
        followed("attempt-count", "/in", 302, good).at("counted").want("h:x-envoy-attempt-count", 1),
        followed("port", "/in", 302, "http://test:8080/to"),
        followed("user", "/in", 302, "http://u:p@other.com/to"),
        followed("upper-case-scheme", "/in", 302, "HTTP://test/to"),
        followed("after-rewrite", "/rewritten/x", 302, good),
        followed("older-field", "/old", 302, good),
        followed("see-other", "/codes", 303, good),
        followed("listed", "/listed", 302, "http://test/to"),
        followed("cross-scheme", "/cross", 302, "https://test/to"),
        post("body", "/in", 302).want("2.up:body", "some body"),
        post("body-307", "/codes", 307).want("2.up:body", "some body"),
        post("see-other-is-fetched", "/codes", 303).want_in("2.up:line", "GET"),
        case("body-chunked", "redirects")
            .send(chunked)
            .play("a", to(302, "http://test/to"))
            .logs(2)
            .want("2.up:body", "abcde"),
        case("headers-copied", "redirects")
            .get_with("/codes", "host: test\r\nx-not: mine\r\nx-copy: mine\r\n")
            .play("a", to(308, "http://test/to"))
            .logs(2)
            .want("2.up:h:x-copy", "copied")
            .absent("2.up:h:x-not"),
        case("direct-response", "redirects").get("/in").play("a", to(302, "http://test/direct")).logs(2).want("status", 200),
        case("another-redirect", "redirects")
            .get("/in")
            .play("a", to(302, "http://test/redirecting"))
            .logs(2)
            .want("status", 301),
        case("no-host-there", "redirects").get("/in").play("a", to(302, "http://test/gone")).logs(2).want("status", 503),
        case("two-of-three", "redirects")
            .get("/loop0")
            .play("a", to(302, "http://test/loop1"))
            .play("a", to(302, "http://test/loop2"))
            .logs(3)
            .want("status", 200),
        case("too-many", "redirects")
            .get("/loop0")
            .play("a", to(302, "http://test/loop1"))
            .play("a", to(302, "http://test/loop2"))
            .play("a", to(302, "http://test/loop3"))
            .play("a", to(302, "http://test/loop4"))
            .logs(4)
            .want("status", 302)
            .want("h:location", "http://test/loop4"),
        case("same-route-twice", "redirects")
            .get("/previous")
            .play("a", to(302, "http://test/previous1"))
            .play("a", to(302, "http://test/previous2"))
            .logs(2)
            .want("status", 302),
        case("retried-after", "redirects")
            .get("/in")
            .play("a", to(302, "http://test/retried"))
            .play("a", to(503, "http://test/retried"))
            .logs(2)
            .want("status", 200)
            .want("3.up", "a")
            .ignore("3.up:h:x-envoy-expected-rq-timeout-ms"),
        kept("none-allowed", "/none", 302, good),
        kept("other-status", "/in", 301, good),
        kept("status-not-listed", "/codes", 302, good),
        kept("no-redirect-at-all", "/codes", 404, good),
        kept("relative", "/in", 302, "/to"),
        kept("without-scheme", "/in", 302, "//test/to"),
        kept("no-path", "/in", 302, "http://test"),
        kept("no-route", "/in", 302, "http://test/nowhere"),
        kept("https", "/in", 302, "https://test/to"),
        kept("unsafe-scheme", "/safe", 302, "https://test/to"),
        kept("not-listed", "/listed", 302, "http://test/in"),
        case("no-location", "redirects")
            .get("/in")
            .play("a", AfterRequest(vec![Send(b"HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n".to_vec())]))
            .status(302),
        case("body-too-large", "redirects").post("/small", "some body").play("a", to(302, good)).status(302),
        case("request-not-complete", "redirects")
            .talk([Say(b"POST /in HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc".to_vec()), Read])
            .play(
                "a",
                AtHead(vec![Send(b"HTTP/1.1 302 X\r\nlocation: http://test/to\r\ncontent-length: 0\r\n\r\n".to_vec())]),
            )
            .only(&["status", "h:location", "log.code", "log.details"])
            .want("status", 302),
        case("from-h2", "redirects")
            .call(Call::new("POST", "/in").data(b"data"))
            .play("a", to(302, "http://test/to"))
            .logs(2)
            .want("2.up:body", "data"),
        case("kept-alive", "redirects")
            .talk([
                Say(b"POST /in HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc".to_vec()),
                Read,
                Say(b"GET /to HTTP/1.1\r\nhost: test\r\n\r\n".to_vec()),
                Read,
            ])
            .play("a", to(302, "http://test/to"))
            .logs(3)
            .want("2.status", 200),
        case("stats", "redirects").get("/to").stats("internal_redirect|http.redirects.(downstream_rq_(total|completed|[23]xx)|rq_total|rq_redirect|rq_direct_response|no_route)|cluster.a.upstream_rq_3"),
    ]
}
