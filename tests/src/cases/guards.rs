//! Filters that let requests pass or not, and the one that holds them: CSRF, basic authentication, API keys, buffer.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;

/// Filters that let requests pass or not.
pub fn group() -> Group {
    Group { name: "guards", bootstrap: bootstrap(), cases: cases() }
}

fn typed(message: &str, fields: &str) -> String {
    format!("{{'@type': type.googleapis.com/envoy.extensions.filters.http.{message}, {fields}}}")
}

fn filter(name: &str, message: &str, fields: &str) -> String {
    format!("- {{name: envoy.filters.http.{name}, typed_config: {}}}", typed(message, fields))
}

fn own(name: &str, message: &str, fields: &str) -> String {
    format!("typed_per_filter_config: {{envoy.filters.http.{name}: {}}}", typed(message, fields))
}

/// The password is `test1`.
const USER: &str = "users: {inline_string: \"user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\"}";

fn bootstrap() -> Bootstrap {
    let routes = |own: &str| {
        format!(
            "- {{match: {{prefix: /own}}, route: {{cluster: a}}, {own}}}\n- {{match: {{prefix: /2}}, route: {{cluster: h2}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, response_headers_to_add: [{{header: {{key: x-user, value: '%DYNAMIC_METADATA(envoy.filters.http.basic_auth)%'}}}}]}}\n"
        )
    };
    let always = "{default_value: {numerator: 100}}";
    let never = "{default_value: {numerator: 0}}";
    let csrf = |fields: &str| filter("csrf", "csrf.v3.CsrfPolicy", fields);
    let keys = "credentials: [{key: k1, client: c1}, {key: k2, client: c2}], key_sources: [{header: x-key}, {query: key}, {cookie: ck}]";
    Bootstrap::new()
        .http_filters(
            "csrf",
            &csrf(&format!("filter_enabled: {always}, additional_origins: [{{exact: other.com}}]")),
            &routes(&own("csrf", "csrf.v3.CsrfPolicy", &format!("filter_enabled: {never}"))),
        )
        .http_filters(
            "csrf-shadow",
            &csrf(&format!("filter_enabled: {never}, shadow_enabled: {always}")),
            &routes("name: own"),
        )
        .http_filters(
            "basic",
            &filter(
                "basic_auth",
                "basic_auth.v3.BasicAuth",
                &format!("{USER}, forward_username_header: x-user, emit_dynamic_metadata: true"),
            ),
            &routes(&own(
                "basic_auth",
                "basic_auth.v3.BasicAuthPerRoute",
                "users: {inline_string: \"me:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\"}",
            )),
        )
        .http_filters(
            "basic-missing",
            &filter(
                "basic_auth",
                "basic_auth.v3.BasicAuth",
                &format!("{USER}, allow_missing: true, authentication_header: x-auth"),
            ),
            &routes("name: own"),
        )
        .http_filters(
            "keys",
            &filter(
                "api_key_auth",
                "api_key_auth.v3.ApiKeyAuth",
                &format!("{keys}, forwarding: {{header: x-client, hide_credentials: true}}"),
            ),
            &routes(&own("api_key_auth", "api_key_auth.v3.ApiKeyAuthPerRoute", "allowed_clients: [c2]")),
        )
        .http_filters(
            "keys-shown",
            &filter("api_key_auth", "api_key_auth.v3.ApiKeyAuth", keys),
            &routes("name: own"),
        )
        .http_filters(
            "health",
            &filter(
                "health_check",
                "health_check.v3.HealthCheck",
                "pass_through_mode: false, headers: [{name: ':path', string_match: {exact: /health}}]",
            ),
            &routes("name: own"),
        )
        .http_filters(
            "health-through",
            &filter(
                "health_check",
                "health_check.v3.HealthCheck",
                "pass_through_mode: true, headers: [{name: ':path', string_match: {exact: /health}}]",
            ),
            &routes("name: own"),
        )
        .http_filters(
            "buffer",
            &filter("buffer", "buffer.v3.Buffer", "max_request_bytes: 10"),
            &routes(&own("buffer", "buffer.v3.BufferPerRoute", "disabled: true")),
        )
}

fn post(name: &'static str, listener: &'static str, path: &str, lines: &str) -> Case {
    case(name, listener)
        .send(format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n{lines}\r\n"))
}

fn with(name: &'static str, listener: &'static str, path: &str, lines: &str) -> Case {
    case(name, listener).get_with(path, &format!("host: test\r\n{lines}"))
}

fn chunked(name: &'static str, path: &str, chunks: &[&str]) -> Case {
    use std::fmt::Write as _;
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in chunks {
        write!(request, "{:x}\r\n{chunk}\r\n", chunk.len()).ok();
    }
    case(name, "buffer").send(format!("{request}0\r\n\r\n"))
}

fn cases() -> Vec<Case> {
    const CSRF: &str = "csrf_origin_mismatch";
    const GOOD: &str = "Basic dXNlcjE6dGVzdDE=";
    let auth = |name, value: &str| with(name, "basic", "/p?q=1", &format!("authorization: {value}\r\n"));
    let key = |name, path: &str, lines: &str| with(name, "keys", path, lines);
    vec![
        post("csrf-same", "csrf", "/", "origin: http://test\r\n").via("a"),
        post("csrf-none", "csrf", "/", "").refused(403, "-", CSRF),
        post("csrf-null", "csrf", "/", "origin: null\r\nreferer: http://test/\r\n").refused(403, "-", CSRF),
        post("csrf-other", "csrf", "/", "origin: https://evil.com\r\n")
            .refused(403, "-", CSRF)
            .want("body", "Invalid origin"),
        post("csrf-port", "csrf", "/", "origin: http://test:80\r\n").refused(403, "-", CSRF),
        post("csrf-additional", "csrf", "/", "origin: https://other.com\r\n").via("a"),
        post("csrf-referer", "csrf", "/", "referer: http://test/page?x\r\n").via("a"),
        post("csrf-no-url", "csrf", "/", "origin: test\r\n").via("a"),
        post("csrf-path", "csrf", "/", "origin: http://test/evil\r\n").via("a"),
        with("csrf-get", "csrf", "/", "origin: x\r\n").via("a"),
        post("csrf-route-off", "csrf", "/own", "").via("a"),
        post("csrf-shadow", "csrf-shadow", "/", "origin: x\r\n").via("a"),
        post("csrf-stats", "csrf", "/", "origin: http://test\r\n").stats("csrf.csrf"),
        auth("basic", GOOD).via("a").want("up:h:x-user", "user1"),
        with("basic-missing", "basic", "/", "")
            .refused(401, "-", "no_credential_for_basic_auth")
            .want("h:www-authenticate", "Basic realm=\"http://test/\""),
        auth("basic-scheme", "Bearer x").refused(401, "-", "invalid_scheme_for_basic_auth"),
        auth("basic-scheme-case", "basic dXNlcjE6dGVzdDE=").status(401),
        auth("basic-format", "Basic bm9jb2xvbg==").refused(401, "-", "invalid_format_for_basic_auth"),
        auth("basic-not-base64", "Basic !!!").status(401),
        auth("basic-unpadded", "Basic dXNlcjE6dGVzdDE").via("a"),
        auth("basic-wrong", "Basic dXNlcjE6YmFk").refused(401, "-", "invalid_credential_for_basic_auth"),
        auth("basic-unknown", "Basic bm86eA==").status(401),
        with("basic-route-users", "basic", "/own", "authorization: Basic bWU6dGVzdDE=\r\n").via("a"),
        with("basic-route-other-users", "basic", "/own", &format!("authorization: {GOOD}\r\n")).status(401),
        case("basic-grpc", "basic").call(Call::grpc("/")).want("h:grpc-status", 16),
        with("basic-allow-missing", "basic-missing", "/", "").via("a"),
        with("basic-own-header", "basic-missing", "/", "x-auth: Basic dXNlcjE6YmFk\r\n").status(401),
        with("basic-stats", "basic", "/", "").stats("basic_auth"),
        key("key-header", "/", "x-key: k1\r\n").via("a").want("up:h:x-client", "c1").absent("up:h:x-key"),
        key("key-bearer", "/", "x-key: Bearer k1\r\n").status(200),
        key("key-query", "/p?a=1&key=k2&b=2", "").via("a").want("up:h:x-client", "c2"),
        key("key-query-alone", "/p?key=k2", "").via("a"),
        key("key-cookie", "/", "cookie: a=1; ck=k1; b=2\r\n").via("a"),
        key("key-cookie-alone", "/", "cookie: ck=k1\r\n").via("a").absent("up:h:cookie"),
        key("key-first-source", "/?key=k2", "x-key: k1\r\n").via("a"),
        key("key-missing", "/", "").refused(401, "-", "missing_api_key"),
        key("key-empty", "/", "x-key: \r\n").status(401),
        key("key-unknown", "/", "x-key: k3\r\n").refused(401, "-", "unknown_api_key"),
        key("key-not-allowed", "/own", "x-key: k1\r\n").refused(403, "-", "client_not_allowed"),
        key("key-allowed", "/own", "x-key: k2\r\n").via("a"),
        with("key-shown", "keys-shown", "/", "x-key: k2\r\n")
            .via("a")
            .want("up:h:x-key", "k2")
            .absent("up:h:x-client"),
        key("key-stats", "/", "").stats("api_key_auth"),
        case("health", "health").get("/health").refused(200, "-", "health_check_ok"),
        case("health-other", "health")
            .get("/other")
            .via("a")
            .absent("h:x-envoy-upstream-healthchecked-cluster"),
        case("health-through", "health-through").get("/health").via("a"),
        case("health-stats", "health").get("/health").stats("health.health_check"),
        case("health-not-counted", "health").get("/health").stats("http.health.downstream_rq_2xx"),
        case("buffer-length", "buffer").post("/", "12345").via("a").want("up:body", "12345"),
        chunked("buffer-chunked", "/", &["123", "45"])
            .via("a")
            .want("up:body", "12345")
            .want("up:h:content-length", 5),
        chunked("buffer-chunked-too-long", "/", &["123456", "789012"])
            .refused(413, "-", "request_payload_too_large")
            .want("body", "Payload Too Large"),
        chunked("buffer-off", "/own", &["123456", "789012"]).via("a"),
        case("buffer-length-too-long", "buffer").post("/", "123456789012").status(413),
        case("buffer-no-body", "buffer").get("/").via("a"),
        case("buffer-to-h2", "buffer").post("/2", "12345").via("h2").want("up:body", "12345"),
        case("buffer-h2", "buffer")
            .call(Call::new("POST", "/").data(b"one").data(b"two"))
            .via("a")
            .want("up:body", "onetwo"),
        case("buffer-h2-h2", "buffer")
            .call(Call::new("POST", "/2").data(b"one").data(b"two"))
            .via("h2")
            .want("up:body", "onetwo"),
        case("buffer-keeps-the-connection", "buffer")
            .post("/", "12345")
            .post("/", "678")
            .want("status", 200)
            .want("2.up:body", "678"),
        case("buffer-expect-continue", "buffer")
            .send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi")
            .status(200),
    ]
}
