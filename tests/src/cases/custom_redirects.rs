//! Custom responses that are another request's: redirects within the proxy.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::answer;

/// Redirect policies.
pub fn group() -> Group {
    Group { name: "custom_redirects", bootstrap: bootstrap(), cases: cases() }
}

const MESSAGE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse";

fn branch(status: &str, fields: &str) -> String {
    format!(
        "{{predicate: {{single_predicate: {{input: {{name: i, typed_config: {{'@type': type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput}}}}, value_match: {{exact: '{status}'}}}}}}, on_match: {{action: {{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy, {fields}}}}}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let marks = "response_headers_to_add: [{header: {key: x-mark, value: 'of %RESPONSE_CODE%'}}], request_headers_to_add: [{header: {key: x-why, value: sorry}}]";
    let branches = [
        branch("404", "uri: 'http://other.test/gone?q=1#f'"),
        branch("500", &format!("uri: 'https://other.test/gone', status_code: 418, {marks}")),
        branch("501", "redirect_action: {path_redirect: /gone}"),
        branch("502", "redirect_action: {host_redirect: third.test, strip_query: true}"),
        branch(
            "503",
            "redirect_action: {https_redirect: true, host_redirect: other.test, port_redirect: 8443, path_redirect: '/gone?own'}",
        ),
        branch(
            "504",
            "uri: 'http://nowhere.test/', request_headers_to_add: [{header: {key: x-why, value: sorry}}]",
        ),
        branch("505", &format!("uri: 'http://other.test/bad', status_code: 200, {marks}")),
        branch("506", "uri: 'http://other.test/direct'"),
        branch("507", "uri: 'http://other.test'"),
    ];
    let filter = |branches: &[String]| {
        format!(
            "- {{name: envoy.filters.http.custom_response, typed_config: {{{MESSAGE}, custom_response_matcher: {{matcher_list: {{matchers: [{}]}}}}}}}}",
            branches.join(", ")
        )
    };
    let early = "- {name: envoy.filters.http.fault, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 404, percentage: {numerator: 100}}, headers: [{name: x-fault, string_match: {exact: '1'}}]}}";
    let router = "- {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
    let hosts = r"
virtual_hosts:
- name: first
  domains: [test]
  routes:
  - {match: {prefix: /direct}, direct_response: {status: 404, body: {inline_string: direct}}}
  - {match: {prefix: /refused}, route: {cluster: refused}}
  - {match: {prefix: /empty}, route: {cluster: empty}}
  - {match: {prefix: /}, name: first, route: {cluster: a}}
- name: other
  domains: [other.test, 'other.test:8443']
  routes:
  - {match: {prefix: /direct}, direct_response: {status: 404, body: {inline_string: direct}}}
  - {match: {prefix: /}, name: second, route: {cluster: b}, response_headers_to_add: [{header: {key: x-route, value: second}}]}
- name: third
  domains: [third.test]
  routes: [{match: {prefix: /}, route: {cluster: h2}}]
";
    let own = filter(&branches);
    Bootstrap::new()
        .http_config("own", &format!("http_filters:\n{own}\n{early}\n{router}"), hosts)
        .http_config(
            "upgrades",
            &format!(
                "upgrade_configs: [{{upgrade_type: websocket}}]\nhttp_filters:\n{own}\n{early}\n{router}"
            ),
            hosts,
        )
        .http_config("late", &format!("http_filters:\n{early}\n{own}\n{router}"), hosts)
}

fn cases() -> Vec<Case> {
    let of = |name: &'static str, status: &str| {
        let head = format!("HTTP/1.1 {status} No\r\nx-gone: 1\r\ncontent-length: 4\r\n\r\nbody");
        case(name, "own").play("a", answer(head)).logs(2)
    };
    let sorry = || answer("HTTP/1.1 200 OK\r\nx-of: b\r\ncontent-length: 5\r\n\r\nsorry");
    vec![
        of("uri", "404").play("b", sorry()).get("/p").want("status", 404).want("body", "sorry"),
        of("marked", "500").play("b", sorry()).get("/p").want("status", 418).want("h:x-mark", "of 200"),
        of("path", "501").play("a", sorry()).get("/p?q").want("2.up:line", "GET /gone?q HTTP/1.1"),
        of("host", "502").get("/p?q").want("2.up", "h2"),
        of("port", "503").play("b", sorry()).get("/p?q").want("2.up:line", "GET /gone?own HTTP/1.1"),
        of("no-path", "507").play("b", sorry()).get("/p?q").want("2.up:line", "GET / HTTP/1.1"),
        of("no-route", "504").logs(1).get("/p").want("status", 504).want("body", "body"),
        of("error", "505")
            .play("b", answer("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"))
            .get("/p")
            .want("status", 200)
            .want("h:x-mark", "of 500"),
        of("once", "404")
            .play("b", answer("HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno"))
            .get("/p")
            .want("status", 404)
            .want("body", "no"),
        of("to-a-direct-response", "506").get("/p").want("body", "direct"),
        of("fine", "200").logs(1).get("/p").want("body", "body"),
        of("post", "404").play("b", sorry()).post("/p", "12345").want("2.up:body", ""),
        of("head", "404").play("b", sorry()).send("HEAD /p HTTP/1.1\r\nhost: test\r\n\r\n"),
        of("chunked", "404").play("b", sorry()).send(
            "POST /p HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        ),
        of("connection-lives", "404").play("b", sorry()).logs(3).get("/p").get("/q"),
        of("http2", "404").play("b", sorry()).call(Call::get("/p").header("x-a", "1")),
        of("http2-post", "404").play("b", sorry()).call(Call::new("POST", "/p").data(b"one")),
        case("direct", "own").logs(2).play("b", sorry()).get("/direct").want("body", "sorry"),
        case("refused", "own").logs(2).play("b", sorry()).get("/refused"),
        case("empty", "own").logs(2).play("b", sorry()).get("/empty"),
        case("by-a-filter", "own").logs(2).play("b", sorry()).get_with("/", "host: test\r\nx-fault: 1\r\n"),
        case("by-a-filter-before", "late").get_with("/", "host: test\r\nx-fault: 1\r\n").want("status", 404),
        case("stats", "own").get("/p").stats("custom_response"),
        case("http-stats", "own").get("/p").stats("http.own.downstream_rq"),
        case("direct-post", "own").post("/direct", "12345").want("body", "direct"),
        of("upgrade", "404")
            .logs(1)
            .at("upgrades")
            .play("b", sorry())
            .get_with("/p", "host: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"),
        case("first-cluster-stats", "own").get("/p").stats("cluster.a.upstream_rq"),
        case("cluster-stats", "own").get("/p").stats("cluster.b.upstream_rq_total"),
    ]
}
