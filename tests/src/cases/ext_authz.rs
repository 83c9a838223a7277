//! External authorization: what the service is asked by gRPC and HTTP, and what becomes of its answers.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;
use crate::harness::service::{check, failure};
use crate::harness::upstream::h2::{Answer, Ending};
use crate::harness::upstream::{Play, Step};

/// External authorization.
pub fn group() -> Group {
    let cases = [by_grpc(), answers(), failures(), bodies(), routes(), by_http(), connections()].concat();
    Group { name: "ext_authz", bootstrap: bootstrap(), cases }
}

const TYPE: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
const PER_ROUTE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
const NAME: &str = "envoy.filters.http.ext_authz";

fn grpc(cluster: &str, fields: &str) -> String {
    format!(
        "- {{name: {NAME}, typed_config: {{{TYPE}, transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}, timeout: 5s}}, {fields}}}}}"
    )
}

fn http(cluster: &str, service: &str, fields: &str) -> String {
    format!(
        "- {{name: {NAME}, typed_config: {{{TYPE}, transport_api_version: V3, http_service: {{server_uri: {{uri: 'http://authz/', cluster: {cluster}, timeout: 5s}}, {service}}}, {fields}}}}}"
    )
}

fn per_route(path: &str, fields: &str) -> String {
    format!(
        "- {{match: {{prefix: {path}}}, route: {{cluster: a}}, typed_per_filter_config: {{{NAME}: {{{PER_ROUTE}, {fields}}}}}}}"
    )
}

const EXACT: &str = "{patterns: [{exact: x-a}, {prefix: x-b}]}";

fn bootstrap() -> Bootstrap {
    let shown = "request_headers_to_add: [{header: {key: x-meta, value: '%DYNAMIC_METADATA(envoy.filters.http.ext_authz:who)%'}}]";
    let route = &format!(
        "- {{match: {{prefix: /other}}, route: {{cluster: b}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {shown}}}"
    );
    let routed = [
        per_route("/off", "disabled: true"),
        per_route("/extended", "check_settings: {context_extensions: {k: v, a: b}}"),
        per_route("/unbuffered", "check_settings: {disable_request_body_buffering: true}"),
        per_route(
            "/less",
            "check_settings: {with_request_body: {max_request_bytes: 3, allow_partial_message: true}}",
        ),
        per_route(
            "/http",
            "check_settings: {http_service: {server_uri: {uri: 'http://authz/', cluster: b, timeout: 5s}}}",
        ),
        "- {match: {prefix: /}, route: {cluster: a}}".to_owned(),
    ]
    .join("\n");
    let short = "- {name: envoy.filters.http.ext_authz, typed_config: {".to_owned()
        + TYPE
        + ", transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: h2}, timeout: 0.1s}}}";
    let lists = format!(
        "path_prefix: /check, authorization_request: {{headers_to_add: [{{key: x-added, value: 'yes'}}]}}, authorization_response: {{allowed_upstream_headers: {{patterns: [{{exact: x-user}}]}}, allowed_upstream_headers_to_append: {{patterns: [{{exact: x-group}}]}}, allowed_client_headers: {EXACT}, allowed_client_headers_on_success: {EXACT}, dynamic_metadata_from_headers: {{patterns: [{{exact: who}}]}}}}"
    );
    let tcp = |name: &str, cluster: &str, fields: &str| {
        format!(
            r#"
filter_chains:
- filters:
  - name: envoy.filters.network.ext_authz
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz, stat_prefix: {name}, transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}, timeout: 5s}}, {fields}}}
  - name: tcp
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: {name}, cluster: tcp, access_log: $ACCESS_LOG}}
"#
        )
    };
    let body = |fields: &str| grpc("h2", &format!("with_request_body: {{max_request_bytes: 8, {fields}}}"));
    Bootstrap::new()
        .http_filters("grpc", &grpc("h2", ""), route)
        .http_filters("told", &grpc("h2", "include_peer_certificate: true, include_tls_session: true, allowed_headers: {patterns: [{prefix: x-, ignore_case: true}]}, disallowed_headers: {patterns: [{exact: x-secret}]}, stat_prefix: own"), route)
        .top("node: {id: node, cluster: c, metadata: {LABELS: {app: web, number: 1, version: v1}}}")
        .http_filters(
            "configured",
            &grpc("h2", "bootstrap_metadata_labels_key: LABELS, route_metadata_context_namespaces: [own, none]"),
            "- {match: {prefix: /}, metadata: {filter_metadata: {own: {of: the route}, other: {a: b}}}, route: {cluster: a}}",
        )
        .http_filters("raw", &grpc("h2", "encode_raw_headers: true"), route)
        .http_filters("clear", &grpc("h2", "clear_route_cache: true"), route)
        .http_filters("valid", &grpc("h2", "validate_mutations: true"), route)
        .http_filters("rules", &grpc("h2", "decoder_header_mutation_rules: {disallow_expression: {regex: 'x-no.*'}}"), route)
        .http_filters("strict", &grpc("h2", "decoder_header_mutation_rules: {allow_all_routing: true, disallow_is_error: true}"), route)
        .http_filters("open", &grpc("h2", "failure_mode_allow: true, failure_mode_allow_header_add: true"), route)
        .http_filters("status", &grpc("h2", "status_on_error: {code: 503}"), route)
        .http_filters("short", &short, route)
        .http_filters("refused", &grpc("refused", ""), route)
        .http_filters("empty", &grpc("empty", ""), route)
        .http_filters("unknown", &grpc("nowhere", ""), route)
        .http_filters("disabled", &grpc("h2", "filter_enabled: {default_value: {numerator: 0}}"), route)
        .http_filters("disabled-denied", &grpc("h2", "filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: deny.at, default_value: true}"), route)
        .http_filters("metadata", &grpc("h2", "filter_enabled_metadata: {filter: f, path: [{key: k}], value: {string_match: {exact: v}}}"), route)
        .http_filters("no-metadata", &grpc("h2", "enable_dynamic_metadata_ingestion: false"), route)
        .http_filters("cut", &grpc("h2", "max_denied_response_body_bytes: 3, charge_cluster_response_stats: false"), route)
        .http_filters("body", &body(""), route)
        .http_filters("partial", &body("allow_partial_message: true"), route)
        .http_filters("bytes", &body("pack_as_bytes: true"), route)
        .http_filters("routes", &body(""), &routed)
        .http_filters("http", &http("b", "", ""), route)
        .http_filters("http-lists", &http("b", &lists, &format!("allowed_headers: {EXACT}, clear_route_cache: true")), route)
        .http_filters("http-path", &http("b", "path_override: /fixed", "failure_mode_allow: true"), route)
        .http_filters("http-body", &http("b", "", "with_request_body: {max_request_bytes: 8, allow_partial_message: true}"), route)
        .http_filters("http-h2", &http("h2", "", ""), route)
        .http_filters("http-refused", &http("refused", "", ""), route)
        .listener_of("tcp", &tcp("tcp", "h2", ""))
        .listener_of("tcp-labels", &tcp("tcp-labels", "h2", "bootstrap_metadata_labels_key: LABELS"))
        .listener_of("tcp-open", &tcp("tcp-open", "refused", "failure_mode_allow: true"))
        .listener_of("tcp-refused", &tcp("tcp-refused", "refused", ""))
}

fn ok(fields: &str) -> Play {
    check(&format!("{{status: {{code: 0}}, ok_response: {{{fields}}}}}"))
}

fn denied(fields: &str) -> Play {
    check(&format!("{{status: {{code: 7}}, denied_response: {{{fields}}}}}"))
}

fn passes() -> Play {
    check("{status: {code: 0}}")
}

fn header(name: &str, value: &str, more: &str) -> String {
    format!("{{header: {{key: {name}, value: '{value}'}}{more}}}")
}

fn by_grpc() -> Vec<Case> {
    vec![
        case("allowed", "grpc").play("h2", passes()).get("/p?q=1").status(200).want("2.up", "a"),
        case("told-headers", "grpc")
            .play("h2", passes())
            .get_with("/p", "host: test\r\nX-Two: 1\r\nx-two: 2\r\nx-envoy-downstream-service-cluster: c\r\ncookie: a=b\r\n")
            .want("up:m:attributes.request.http.headers.x-two", "1,2"),
        case("told-http2", "grpc").play("h2", passes()).call(Call::get("/p").header("x-a", "1")).status(200),
        case("told-grpc", "grpc").play("h2", passes()).call(Call::grpc("/s/m")).want("2.up", "a"),
        case("told-part", "told")
            .play("h2", passes())
            .get_with("/p", "host: test\r\nx-a: 1\r\nx-secret: 2\r\naccept: any\r\n")
            .status(200),
        case("told-configured", "configured")
            .play("h2", passes())
            .get("/p")
            .status(200)
            .want("up:m:attributes.destination.labels.version", "v1"),
        case("told-raw", "raw")
            .play("h2", passes())
            .get_with("/p", "host: test\r\nx-two: 1\r\nx-two: 2\r\n")
            .status(200)
            .ignore("up:m:attributes.request.http.header_map"),
        case("told-post", "grpc").play("h2", passes()).post("/p", "body").status(200),
        case("disabled", "disabled").get("/").via("a"),
        case("disabled-denied", "disabled-denied").get("/").refused(403, "UAEX", "ext_authz_error"),
        case("off-by-metadata", "metadata").get("/").via("a"),
    ]
}

fn answers() -> Vec<Case> {
    let set = |action: &str| {
        let more = format!(", append_action: {action}");
        ok(&format!("headers: [{}, {}]", header("x-there", "new", &more), header("x-fresh", "new", &more)))
    };
    let there = "host: test\r\nx-there: old\r\n";
    vec![
        case("set", "grpc")
            .play("h2", set("OVERWRITE_IF_EXISTS_OR_ADD"))
            .get_with("/", there)
            .want("2.up:h:x-there", "new"),
        case("append", "grpc").play("h2", set("APPEND_IF_EXISTS_OR_ADD")).get_with("/", there).status(200),
        case("add-absent", "grpc").play("h2", set("ADD_IF_ABSENT")).get_with("/", there).status(200),
        case("overwrite-there", "grpc").play("h2", set("OVERWRITE_IF_EXISTS")).get_with("/", there).status(200),
        case("append-true", "grpc")
            .play("h2", ok(&format!("headers: [{}, {}]", header("x-there", "new", ", append: true"), header("x-fresh", "new", ", append: true"))))
            .get_with("/", there)
            .status(200),
        case("append-false", "grpc")
            .play("h2", ok(&format!("headers: [{}]", header("x-there", "new", ", append: false"))))
            .get_with("/", there)
            .want("2.up:h:x-there", "new"),
        case("request-line", "grpc")
            .play("h2", ok(&format!("headers: [{}, {}]", header(":path", "/other", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"), header(":authority", "vip", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"))))
            .get("/")
            .want("2.up", "a"),
        case("route-again", "clear")
            .play("h2", ok(&format!("headers: [{}]", header(":path", "/other", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"))))
            .get("/")
            .want("2.up", "b"),
        case("remove", "grpc")
            .play("h2", ok("headers_to_remove: [x-there, host, ':path', X-Case]"))
            .get_with("/", "host: test\r\nx-there: old\r\nx-case: 1\r\n")
            .absent("2.up:h:x-there"),
        case("query", "grpc")
            .play("h2", ok("query_parameters_to_set: [{key: a, value: '9'}, {key: new, value: x}], query_parameters_to_remove: [b]"))
            .get("/p?a=1&b=2&c=3")
            .status(200),
        case("query-none-left", "grpc").play("h2", ok("query_parameters_to_remove: [b]")).get("/p?b=2").status(200),
        case("response-headers", "grpc")
            .play("h2", ok(&format!("response_headers_to_add: [{}, {}]", header("x-down", "1", ""), header("x-down", "2", ""))))
            .get("/")
            .status(200),
        case("response-set", "grpc")
            .play("h2", ok(&format!("response_headers_to_add: [{}]", header("content-length", "9", ", append_action: ADD_IF_ABSENT"))))
            .get("/")
            .status(200),
        case("metadata", "grpc")
            .play("h2", check("{status: {code: 0}, dynamic_metadata: {who: me}}"))
            .get("/")
            .want("2.up:h:x-meta", "me"),
        case("metadata-older", "grpc")
            .play("h2", ok("dynamic_metadata: {who: older}"))
            .get("/")
            .want("2.up:h:x-meta", "older"),
        case("metadata-ignored", "no-metadata")
            .play("h2", check("{status: {code: 0}, dynamic_metadata: {who: me}}"))
            .get("/")
            .stats("ext_authz.ignored"),
        case("invalid-name", "valid")
            .play("h2", ok(&format!("headers: [{}]", header("'x y'", "1", ""))))
            .get("/")
            .status(500)
            .details("ext_authz_invalid")
            .stats("no-such-stat"),
        case("invalid-query", "valid")
            .play("h2", ok("query_parameters_to_set: [{key: 'a b', value: '9'}]"))
            .get("/")
            .status(500),
        case("rules-allow", "rules")
            .play("h2", ok(&format!("headers: [{}]", header("x-yes", "1", ""))))
            .get("/")
            .want("2.up:h:x-yes", "1"),
        case("rules-ignore", "rules")
            .play("h2", ok(&format!("headers: [{}]", header("x-no-more", "1", ""))))
            .get("/")
            .absent("2.up:h:x-no-more"),
        case("rules-default", "rules")
            .play("h2", ok(&format!("headers: [{}, {}]", header("x-envoy-a", "1", ""), header(":authority", "vip", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"))))
            .get("/")
            .want("2.up:h:host", "test"),
        case("rules-error", "strict")
            .play("h2", ok(&format!("headers: [{}]", header("x-envoy-a", "1", ""))))
            .get("/")
            .status(500),
        case("rules-error-routing", "strict")
            .play("h2", ok(&format!("headers: [{}]", header(":authority", "vip", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD"))))
            .get("/")
            .want("2.up:h:host", "vip"),
        case("denied", "grpc").play("h2", check("{status: {code: 7}}")).get("/").status(403).flags("UAEX").details("ext_authz_denied"),
        case("denied-status", "grpc")
            .play("h2", denied(&format!("status: {{code: 401}}, body: 'go away', headers: [{}, {}, {}]", header("www-authenticate", "Basic", ""), header("set-cookie", "a=1", ""), header("set-cookie", "b=2", ""))))
            .get("/")
            .status(401)
            .want("body", "go away"),
        case("denied-set", "grpc")
            .play("h2", denied(&format!("headers: [{}, {}, {}, {}]", header("x-a", "1", ", append: false"), header("x-a", "2", ", append: true"), header("x-b", "3", ", append: true"), header("content-type", "text/html", ""))))
            .get("/")
            .status(403),
        case("denied-with-body", "grpc").play("h2", denied("body: 'no'")).post("/", "body").status(403),
        case("denied-http2", "grpc").play("h2", denied("body: 'no'")).call(Call::get("/")).status(403),
        case("denied-grpc", "grpc").play("h2", denied("body: 'no'")).call(Call::grpc("/")).want("h:grpc-status", 7),
        case("denied-cut", "cut").play("h2", denied("body: 'go away'")).get("/").want("body", "go "),
        case("denied-metadata", "grpc")
            .play("h2", check("{status: {code: 7}, dynamic_metadata: {who: me}}"))
            .get("/")
            .status(403),
    ]
}

fn failures() -> Vec<Case> {
    let hang = || Play::H2(Answer { end: Ending::Hang, ..Answer::default() });
    let reset =
        || Play::H2(Answer { end: Ending::ResetInstead(h2::Reason::INTERNAL_ERROR), ..Answer::default() });
    let answer = |status, body| Play::H2(Answer { status, body, ..Answer::default() });
    vec![
        case("failed", "grpc").play("h2", failure("14")).get("/").status(403).flags("UAEX").details("ext_authz_error"),
        case("failed-status", "status").play("h2", failure("5")).get("/").status(503),
        case("failed-open", "open").play("h2", failure("14")).get("/").status(200).want("2.up:h:x-envoy-auth-failure-mode-allowed", "true"),
        case("reset", "grpc").play("h2", reset()).get("/").status(403),
        case("not-grpc", "grpc").play("h2", answer(200, b"nonsense")).get("/").status(403),
        case("not-grpc-status", "grpc").play("h2", answer(503, b"")).get("/").status(403),
        case("garbage", "grpc")
            .play("h2", Play::H2(Answer { body: b"\0\0\0\0\x02\xff\xff", trailers: vec![("grpc-status", "0")], ..Answer::default() }))
            .get("/")
            .status(403),
        case("late", "short").play("h2", hang()).get("/").status(403).details("ext_authz_error"),
        case("error-response", "grpc")
            .play("h2", check(&format!("{{status: {{code: 13}}, error_response: {{status: {{code: 502}}, body: broken, headers: [{}]}}}}", header("x-why", "1", ""))))
            .get("/")
            .status(502),
        case("error-response-open", "open")
            .play("h2", check("{status: {code: 13}, error_response: {status: {code: 502}}}"))
            .get("/")
            .status(200),
        case("refused", "refused").get("/").refused(403, "UAEX", "ext_authz_error"),
        case("no-host", "empty").get("/").refused(403, "UAEX", "ext_authz_error"),
        case("no-cluster", "unknown").get("/").refused(403, "UAEX", "ext_authz_error"),
        case("stats", "grpc").play("h2", passes()).play("h2", denied("")).play("h2", failure("14")).get("/").get("/").get("/").stats("ext_authz"),
        case("stats-cluster", "told").play("h2", denied("status: {code: 418}")).get("/").stats("([.]own[.]|cluster.a.*_rq_418)"),
    ]
}

fn bodies() -> Vec<Case> {
    let chunked =
        "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    vec![
        case("body", "body")
            .play("h2", passes())
            .post("/", "body")
            .want("up:m:attributes.request.http.body", "body"),
        case("body-none", "body").play("h2", passes()).get("/").status(200),
        case("body-at-limit", "body").play("h2", passes()).post("/", "12345678").status(200),
        case("body-too-long", "body").post("/", "123456789").status(413),
        case("body-chunked", "body").play("h2", passes()).send(chunked).want("2.up:body", "abcde"),
        case("body-http2", "body")
            .play("h2", passes())
            .call(Call::new("POST", "/").data(b"ab").data(b"cd"))
            .status(200),
        case("body-trailers", "body")
            .play("h2", passes())
            .call(Call::new("POST", "/").data(b"ab").trailer("x-t", "1"))
            .status(200),
        case("body-denied", "body").play("h2", denied("body: 'no'")).post("/", "body").status(403),
        case("body-partial-whole", "partial").play("h2", passes()).post("/", "body").status(200),
        case("body-partial", "partial")
            .play("h2", passes())
            .post("/", "0123456789abcdef")
            .want("2.up:body", "0123456789abcdef"),
        case("body-bytes", "bytes").play("h2", passes()).post("/", "body").status(200),
        case("body-not-text", "body")
            .play("h2", passes())
            .send(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\na\xffb")
            .status(200),
        case("body-continue", "body")
            .play("h2", passes())
            .talk([
                Talk::Send(
                    b"POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody"
                        .to_vec(),
                ),
                Talk::Read,
            ])
            .status(200),
    ]
}

fn routes() -> Vec<Case> {
    vec![
        case("route-off", "routes").get("/off").via("a"),
        case("route-extensions", "routes")
            .play("h2", passes())
            .get("/extended")
            .want("up:m:attributes.context_extensions.k", "v"),
        case("route-unbuffered", "routes").play("h2", passes()).post("/unbuffered", "0123456789").status(200),
        case("route-less", "routes")
            .play("h2", passes())
            .post("/less", "abcdef")
            .want("up:m:attributes.request.http.body", "abc"),
        case("route-http", "routes").get("/http").status(200).want("up", "b"),
        case("route-none", "routes").play("h2", passes()).get("/").status(200),
    ]
}

fn by_http() -> Vec<Case> {
    let says = |text: &str| Play::AfterRequest(vec![Step::Send(text.as_bytes().to_vec())]);
    let ok = "HTTP/1.1 200 OK\r\nx-user: me\r\nx-group: g2\r\nx-a: 1\r\nx-b1: 2\r\nwho: them\r\nx-envoy-auth-headers-to-remove: x-gone, x-else\r\ncontent-length: 2\r\n\r\nok";
    let no = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\nx-a: 1\r\nx-c: 3\r\nlocation: /login\r\ncontent-type: text/html\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 4\r\n\r\nstop";
    let sent = "host: test\r\nauthorization: Bearer t\r\nx-a: 1\r\nx-b9: 2\r\nx-c: 3\r\nx-user: mallory\r\nx-group: g1\r\nx-gone: 1\r\n";
    vec![
        case("http-allowed", "http")
            .play("b", says(ok))
            .get_with("/p?q=1", sent)
            .status(200)
            .want("2.up", "a"),
        case("http-post", "http").play("b", says(ok)).post("/p", "body").status(200),
        case("http-lists", "http-lists")
            .play("b", says(ok))
            .get_with("/p", sent)
            .status(200)
            .want("2.up:h:x-user", "me"),
        case("http-denied", "http").play("b", says(no)).get("/").status(401).want("body", "stop"),
        case("http-denied-lists", "http-lists").play("b", says(no)).get("/").status(401).absent("h:x-c"),
        case("http-denied-head", "http")
            .play("b", says("HTTP/1.1 403 Forbidden\r\n\r\n"))
            .send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n")
            .ignore("h:transfer-encoding"),
        case("http-redirect", "http")
            .play("b", says("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"))
            .get("/")
            .status(302)
            .want("h:location", "/login"),
        case("http-204", "http").play("b", says("HTTP/1.1 204 No Content\r\n\r\n")).get("/").status(204),
        case("http-500", "http")
            .play("b", says("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"))
            .get("/")
            .status(403)
            .details("ext_authz_error"),
        case("http-500-open", "http-path")
            .play("b", says("HTTP/1.1 503 Oops\r\ncontent-length: 0\r\n\r\n"))
            .get("/")
            .status(200),
        case("http-path", "http-path").get("/p?q=1").status(200).want("up:line", "GET /fixed HTTP/1.1"),
        case("http-body", "http-body").post("/p", "body").want("up:body", "body"),
        case("http-body-partial", "http-body").post("/p", "0123456789").want("up:body", "01234567"),
        case("http-h2", "http-h2").play("h2", Play::H2(Answer::default())).get_with("/p", sent).status(200),
        case("http-h2-denied", "http-h2")
            .play("h2", Play::H2(Answer { status: 429, body: b"later", ..Answer::default() }))
            .get("/p")
            .status(429),
        case("http-refused", "http-refused").get("/").refused(403, "UAEX", "ext_authz_error"),
        case("http-stats", "http")
            .play("b", says(no))
            .get("/")
            .stats("cluster.(a|b).*(upstream_rq_(total|200|401|4xx|completed)|ext_authz)"),
    ]
}

fn connections() -> Vec<Case> {
    let spoken = || [Talk::Send(b"hello".to_vec()), Talk::ReadBytes(5), Talk::Fin, Talk::AwaitClose];
    let closed = || [Talk::Send(b"hello".to_vec()), Talk::AwaitClose];
    vec![
        case("tcp-labels", "tcp-labels")
            .play("h2", check("{status: {code: 7}}"))
            .talk(closed())
            .logs(1)
            .by_upstream()
            .want("up:m:attributes.destination.labels.app", "web")
            .ignore("up:connection")
            .ignore("2.up"),
        case("tcp-denied", "tcp")
            .play("h2", check("{status: {code: 7}}"))
            .talk(closed())
            .logs(1)
            .by_upstream()
            .ignore("up:connection")
            .ignore("2.up"),
        case("tcp-allowed", "tcp").play("h2", passes()).talk(spoken()).logs(1).ignore("up").ignore("2.up"),
        case("tcp-error", "tcp-refused").talk(closed()).logs(1).ignore("up"),
        case("tcp-open", "tcp-open").talk(spoken()).logs(1),
        case("tcp-stats", "tcp")
            .play("h2", passes())
            .talk(spoken())
            .logs(1)
            .by_upstream()
            .ignore("up:connection")
            .ignore("2.up:connection")
            .stats("^ext_authz"),
    ]
}
