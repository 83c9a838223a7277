//! CORS: preflights, responses, levels of policies, counters.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

const FILTER: &str = "- {name: envoy.filters.http.cors, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}";

/// CORS.
pub fn group() -> Group {
    Group { name: "cors", bootstrap: bootstrap(), cases: cases() }
}

fn policy(fields: &str) -> String {
    format!(
        "typed_per_filter_config: {{envoy.filters.http.cors: {{'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, {fields}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let route = |path: &str, fields: &str| {
        format!("- {{match: {{prefix: /{path}}}, route: {{cluster: a}}, {}}}\n", policy(fields))
    };
    let one = "allow_origin_string_match: [{exact: 'http://a.com'}]";
    let all = "allow_origin_string_match: [{exact: '*'}], allow_methods: '*', allow_headers: '*'";
    let routes = [
        route(
        "one",
        &format!(
            "{one}, allow_methods: 'GET,PUT', allow_headers: x-a, expose_headers: x-b, max_age: '10', allow_credentials: true"
        ),
    ),
        route("all", all),
        route(
        "regex",
        "allow_origin_string_match: [{safe_regex: {regex: 'http://[a-c].com'}}, {prefix: 'https://'}]",
    ),
        route(
        "stop",
        &format!(
            "{one}, allow_methods: GET, max_age: '1', forward_not_matching_preflights: false, allow_credentials: true"
        ),
    ),
        route("private", &format!("{one}, allow_private_network_access: true")),
        route(
        "shadow",
        &format!(
            "{one}, filter_enabled: {{default_value: {{numerator: 0}}}}, shadow_enabled: {{default_value: {{numerator: 100}}}}"
        ),
    ),
        route("off", &format!("{one}, filter_enabled: {{default_value: {{numerator: 0}}}}")),
        route("empty", "allow_methods: GET"),
        "- {match: {prefix: /none}, route: {cluster: a}}\n".to_owned(),
        format!("- {{match: {{prefix: /direct}}, direct_response: {{status: 200}}, {}}}\n", policy(all)),
        format!("- {{match: {{prefix: /refused}}, route: {{cluster: refused}}, {}}}\n", policy(all)),
        format!(
        "- {{match: {{prefix: /headers}}, response_headers_to_add: [{{header: {{key: x-route, value: '1'}}}}], route: {{cluster: a}}, {}}}\n",
        policy(all)
    ),
    ]
    .concat();
    let levels = format!(
        "virtual_hosts:\n- name: v\n  domains: ['*']\n  {}\n  routes:\n  - {{match: {{prefix: /own}}, route: {{cluster: a}}, {}}}\n  - {{match: {{prefix: /}}, route: {{cluster: a}}}}\n",
        policy(&format!("{one}, allow_methods: GET, expose_headers: x-host")),
        policy("allow_methods: PUT")
    );
    let router = "- {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
    Bootstrap::new().http_filters("cors", FILTER, &routes).http_config(
        "levels",
        &format!("http_filters:\n{FILTER}\n{router}"),
        &levels,
    )
}

fn preflight(name: &'static str, path: &str, origin: &str) -> Case {
    case(name, "cors").send(format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\naccess-control-request-method: PUT\r\naccess-control-request-headers: x-q\r\n\r\n"
    ))
}

fn simple(name: &'static str, path: &str, origin: &str) -> Case {
    case(name, "cors").get_with(path, &format!("host: test\r\norigin: {origin}\r\n"))
}

fn cases() -> Vec<Case> {
    let a = "http://a.com";
    let answered = |case: Case| case.status(200).details("cors_response").flags("-").absent("up");
    vec![
        answered(preflight("preflight", "/one", a)).want("h:access-control-allow-methods", "GET,PUT").want("h:access-control-max-age", 10),
        answered(preflight("preflight-all", "/all", "null")).want("h:access-control-allow-methods", "PUT").want("h:access-control-allow-headers", "x-q"),
        answered(preflight("preflight-regex", "/regex", "http://b.com")),
        answered(preflight("preflight-prefix", "/regex", "https://z")),
        preflight("preflight-other-origin", "/one", "http://b.com").via("a").absent("h:access-control-allow-origin"),
        answered(preflight("preflight-other-origin-stopped", "/stop", "http://b.com")).absent("h:access-control-allow-origin"),
        answered(preflight("preflight-route-headers", "/headers", a)).absent("h:x-route"),
        preflight("preflight-no-policy", "/none", a).via("a"),
        preflight("preflight-no-origins", "/empty", a).via("a"),
        preflight("preflight-direct", "/direct", a).status(200).details("direct_response"),
        preflight("preflight-shadow", "/shadow", a).via("a"),
        preflight("preflight-off", "/off", a).via("a"),
        case("options-without-method", "cors").send("OPTIONS /one HTTP/1.1\r\nhost: test\r\norigin: http://a.com\r\n\r\n").via("a").want("h:access-control-allow-origin", a),
        case("preflight-private", "cors")
            .send("OPTIONS /private HTTP/1.1\r\nhost: test\r\norigin: http://a.com\r\naccess-control-request-method: GET\r\naccess-control-request-private-network: true\r\n\r\n")
            .want("h:access-control-allow-private-network", true),
        answered(preflight("preflight-private-not-asked", "/private", a)).absent("h:access-control-allow-private-network"),
        simple("simple", "/one", a).via("a").want("h:access-control-allow-origin", a).want("h:access-control-expose-headers", "x-b").want("h:access-control-allow-credentials", true),
        simple("simple-other", "/one", "http://b.com").via("a").absent("h:access-control-allow-origin"),
        simple("simple-empty-origin", "/one", "").via("a").absent("h:access-control-allow-origin"),
        simple("simple-refused", "/refused", a).status(503).want("h:access-control-allow-origin", a),
        simple("simple-shadow", "/shadow", a).via("a").absent("h:access-control-allow-origin"),
        case("two-origins", "cors").get_with("/one", "host: test\r\norigin: http://a.com\r\norigin: http://b.com\r\n").status(200).absent("h:access-control-allow-origin").ignore("up:h:origin"),
        preflight("levels-own", "/own", a).at("levels").want("h:access-control-allow-methods", "PUT"),
        preflight("levels-host", "/", a).at("levels").want("h:access-control-allow-methods", "GET"),
        simple("levels-simple", "/own", a).at("levels").want("h:access-control-expose-headers", "x-host"),
        simple("stats", "/one", a).stats("cors.origin"),
    ]
}
