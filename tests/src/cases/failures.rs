//! Answers of the proxy's own on a route that forwards: they carry the route's response headers.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::Play::AfterRequest;
use crate::harness::upstream::Step::Hang;

/// Failures after routing.
pub fn group() -> Group {
    Group { name: "failures", bootstrap: bootstrap(), cases: cases() }
}

fn add(key: &str, value: &str) -> String {
    format!("response_headers_to_add: [{{header: {{key: {key}, value: \"{value}\"}}}}]")
}

fn bootstrap() -> Bootstrap {
    let (all, host) = (add("x-all", "1"), add("x-host", "%RESPONSE_CODE%"));
    let (route, weighted) = (add("x-route", "%ROUTE_NAME%"), add("x-weighted", "1"));
    let routes = format!(
        r"
{all}
virtual_hosts:
- name: all
  domains: ['*']
  include_attempt_count_in_response: true
  {host}
  routes:
  - {{name: refused, match: {{prefix: /refused}}, route: {{cluster: refused}}, {route}}}
  - {{name: weighted, match: {{prefix: /weighted}}, route: {{weighted_clusters: {{clusters: [{{name: refused, weight: 1, {weighted}}}]}}}}, {route}}}
  - {{name: unknown, match: {{prefix: /unknown}}, route: {{cluster_header: x-cluster}}, {route}}}
  - {{name: empty, match: {{prefix: /empty}}, route: {{cluster: empty}}, {route}}}
  - {{name: late, match: {{prefix: /late}}, route: {{cluster: a, timeout: 0.1s}}, {route}}}
  - {{name: none, match: {{prefix: /none}}, non_forwarding_action: {{}}, {route}}}
  - {{name: rest, match: {{prefix: /rest}}, route: {{cluster: a}}, {route}}}
"
    );
    let fault = r#"
http_filters:
- name: fault
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    abort: {http_status: 418, percentage: {numerator: 100}}
- name: router
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;
    Bootstrap::new().http_config("plain", "", &routes).http_config("fault", fault, &routes)
}

/// A GET, and the names of levels whose headers must be there.
fn get(name: &'static str, path: &str, levels: &[&str]) -> Case {
    levels.iter().fold(case(name, "plain").get(path), |case, level| case.want_in(&format!("h:x-{level}"), ""))
}

fn cases() -> Vec<Case> {
    let three = ["route", "host", "all"];
    vec![
        get("refused", "/refused", &three).status(503).want("h:x-host", 0).want("h:x-route", "refused"),
        get("weighted", "/weighted", &["weighted", "route", "host", "all"]).status(503),
        get("unknown-cluster", "/unknown", &three),
        get("no-host", "/empty", &three).status(503),
        get("late", "/late", &three).play("a", AfterRequest(vec![Hang])).status(504),
        get("not-forwarding", "/none", &[]),
        get("no-route", "/", &[]).status(404).absent("h:x-all"),
        get("filter", "/rest", &three).at("fault").status(418),
        case("upgrade-refused", "plain")
            .get_with("/rest", "host: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
            .status(403),
        case("over-http2", "plain").call(Call::get("/refused")).status(503).want("h:x-route", "refused"),
    ]
}
