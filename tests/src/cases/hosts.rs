//! Which virtual host a request belongs to.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Virtual host choice.
pub fn group() -> Group {
    Group { name: "hosts", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .http_config("hosts", "", HOSTS)
        .http_config("ignore-port", "", &format!("ignore_port_in_host_matching: true\n{HOSTS}"))
        .http_config("strip-any", "strip_any_host_port: true", HOSTS)
        .http_config("strip-matching", "strip_matching_host_port: true", HOSTS)
        .http_config("strip-dot", "strip_trailing_host_dot: true", HOSTS)
        .http_config(
            "tls-only",
            "",
            "virtual_hosts: [{name: v, domains: [\"*\"], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: a}}]}]",
        )
}

const HOSTS: &str = r#"
virtual_hosts:
- {name: exact, domains: [www.example.com], routes: [{name: exact, match: {prefix: /}, route: {cluster: a}}]}
- {name: upper, domains: [MIXED.example.com], routes: [{name: upper, match: {prefix: /}, route: {cluster: a}}]}
- {name: port, domains: ["www.example.com:8080"], routes: [{name: port, match: {prefix: /}, route: {cluster: a}}]}
- {name: suffix, domains: ["*.example.com"], routes: [{name: suffix, match: {prefix: /}, route: {cluster: a}}]}
- {name: longer-suffix, domains: ["*.deep.example.com"], routes: [{name: longer-suffix, match: {prefix: /}, route: {cluster: a}}]}
- {name: dash-suffix, domains: ["*-dash.example.org"], routes: [{name: dash-suffix, match: {prefix: /}, route: {cluster: a}}]}
- {name: prefix, domains: ["www.*"], routes: [{name: prefix, match: {prefix: /}, route: {cluster: a}}]}
- {name: longer-prefix, domains: ["www.shop.*"], routes: [{name: longer-prefix, match: {prefix: /}, route: {cluster: a}}]}
- {name: nothing, domains: ["empty.example.net"]}
- {name: any, domains: ["*"], routes: [{name: any, match: {prefix: /}, route: {cluster: b}}]}
"#;

fn host(name: &'static str, listener: &'static str, host: &str, route: &str) -> Case {
    let upstream = if route == "any" { "b" } else { "a" };
    case(name, listener).get_with("/", &format!("host: {host}\r\n")).via(upstream).want("log.route", route)
}

fn cases() -> Vec<Case> {
    vec![
        host("exact", "hosts", "www.example.com", "exact"),
        host("case-ignored", "hosts", "WWW.Example.COM", "exact"),
        host("upper-case-domain", "hosts", "mixed.example.com", "upper"),
        host("port-exact", "hosts", "www.example.com:8080", "port"),
        host("other-port", "hosts", "www.example.com:81", "prefix"),
        host("suffix", "hosts", "api.example.com", "suffix"),
        host("longest-suffix", "hosts", "x.deep.example.com", "longer-suffix"),
        host("suffix-needs-something", "hosts", ".example.com", "any"),
        host("suffix-without-dot", "hosts", "a-dash.example.org", "dash-suffix"),
        host("suffix-beats-prefix", "hosts", "www.x.example.com", "suffix"),
        host("prefix", "hosts", "www.other.net", "prefix"),
        host("longest-prefix", "hosts", "www.shop.net", "longer-prefix"),
        host("catch-all", "hosts", "example.net", "any"),
        host("trailing-dot", "hosts", "www.example.com.", "prefix"),
        host("port-not-ignored", "hosts", "api.example.com:80", "any"),
        host("port-ignored", "ignore-port", "api.example.com:80", "suffix"),
        case("vhost-without-routes", "hosts").get_with("/", "host: empty.example.net\r\n").refused(
            404,
            "NR",
            "route_not_found",
        ),
        host("strip-any", "strip-any", "www.example.com:81", "exact").want("up:h:host", "www.example.com"),
        host("strip-any-ipv6", "strip-any", "[::1]:81", "any").want("up:h:host", "[::1]"),
        host("strip-matching-other-port", "strip-matching", "www.example.com:81", "prefix")
            .want("up:h:host", "www.example.com:81"),
        host("strip-dot", "strip-dot", "www.example.com.", "exact").want("up:h:host", "www.example.com"),
        host("strip-dot-before-port", "strip-dot", "www.example.com.:8080", "port")
            .want("up:h:host", "www.example.com:8080"),
        case("tls-required", "tls-only")
            .get_with("/x?y", "host: shop.example\r\n")
            .status(301)
            .want("h:location", "https://shop.example/x?y")
            .absent("up"),
    ]
}
