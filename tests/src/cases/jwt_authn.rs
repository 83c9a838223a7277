//! JSON Web Tokens: where they come from, what is asked of them, what they leave behind.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::jwt::{self, jwks, token};
use crate::harness::upstream::{Play, Step};

/// JSON Web Tokens.
pub fn group() -> Group {
    let cases = [tokens(), algorithms(), places(), claims(), requirements(), rules(), remote()].concat();
    Group { name: "jwt_authn", bootstrap: bootstrap(), cases }
}

const NAME: &str = "envoy.filters.http.jwt_authn";
const TYPE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

fn filter(fields: &str) -> String {
    format!("- {{name: {NAME}, typed_config: {{{TYPE}, {fields}}}}}")
}

/// One provider `p`, which every path asks for.
fn one(provider: &str) -> String {
    let keys = jwks().replace('\'', "''");
    let source = if provider.contains("_jwks") {
        String::new()
    } else {
        format!("local_jwks: {{inline_string: '{keys}'}}, ")
    };
    filter(&format!(
        "providers: {{p: {{{source}{provider}}}}}, rules: [{{match: {{prefix: /}}, requires: {{provider_name: p}}}}]"
    ))
}

/// Providers `a` and `b`, and what is asked.
fn two(requirement: &str) -> String {
    let keys = jwks().replace('\'', "''");
    let provider = |name: &str, more: &str| {
        format!(
            "{name}: {{issuer: {name}, local_jwks: {{inline_string: '{keys}'}}, payload_in_metadata: {name}, {more}}}"
        )
    };
    filter(&format!(
        "providers: {{{}, {}}}, rules: [{{match: {{prefix: /}}, requires: {{{requirement}}}}}]",
        provider("a", "from_headers: [{name: x-a}], audiences: [one, https://two/]"),
        provider("b", "from_headers: [{name: x-b}]")
    ))
}

fn bootstrap() -> Bootstrap {
    let metadata = |key: &str| {
        format!(
            "{{header: {{key: x-meta-{}, value: '%DYNAMIC_METADATA({NAME}:{key})%'}}}}",
            key.replace(':', "-")
        )
    };
    let shown: Vec<String> = ["pay", "head", "failed", "a", "b"].map(metadata).into();
    let down: Vec<String> = ["failed"].map(metadata).into();
    let route = &format!(
        "- {{match: {{prefix: /other}}, route: {{cluster: b}}}}\n- {{match: {{prefix: /, headers: [{{name: x-sub, string_match: {{exact: moved}}}}]}}, route: {{cluster: b}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, request_headers_to_add: [{}], response_headers_to_add: [{}]}}",
        shown.join(", "),
        down.join(", ")
    );
    let keys = jwks().replace('\'', "''");
    let per = |path: &str, fields: &str| {
        format!(
            "- {{match: {{prefix: {path}}}, route: {{cluster: a}}, typed_per_filter_config: {{{NAME}: {{{PER_ROUTE}, {fields}}}}}}}"
        )
    };
    let routes = [
        per("/off", "disabled: true"),
        per("/named", "requirement_name: strict"),
        per("/misnamed", "requirement_name: nobody"),
        "- {match: {prefix: /}, route: {cluster: a}}".to_owned(),
    ]
    .join("\n");
    let rules = filter(&format!(
        "providers: {{p: {{local_jwks: {{inline_string: '{keys}'}}}}}}, bypass_cors_preflight: true, stat_prefix: own, requirement_map: {{strict: {{provider_name: p}}, lax: {{allow_missing: {{}}}}}}, rules: [{{match: {{path: /exact}}, requirement_name: strict}}, {{match: {{prefix: /open}}}}, {{match: {{safe_regex: {{regex: '/re.*'}}}}, requirement_name: strict}}, {{match: {{path_separated_prefix: /sep}}, requirement_name: strict}}, {{match: {{prefix: /h, headers: [{{name: x-h}}]}}, requirement_name: strict}}, {{match: {{prefix: /q, query_parameters: [{{name: q}}]}}, requirement_name: strict}}, {{match: {{prefix: /CASE, case_sensitive: false}}, requirement_name: strict}}, {{match: {{prefix: /lax}}, requirement_name: lax}}, {{match: {{prefix: /empty}}, requires: {{}}}}]"
    ));
    let state = format!(
        "- {{name: state, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{{object_key: sel, factory_key: envoy.string, format_string: {{text_format_source: {{inline_string: '%REQ(x-sel)%'}}}}}}]}}}}\n{}",
        filter(&format!(
            "providers: {{p: {{local_jwks: {{inline_string: '{keys}'}}}}}}, filter_state_rules: {{name: sel, requires: {{s: {{provider_name: p}}}}}}"
        ))
    );
    let remote = |fields: &str| {
        one(&format!(
            "remote_jwks: {{http_uri: {{uri: 'http://keys/jwks?x=1', cluster: b, timeout: 5s}}, cache_duration: 600s{fields}}}"
        ))
    };
    Bootstrap::new()
        .http_filters("plain", &one("issuer: me"), route)
        .http_filters("any-issuer", &one("forward: true, payload_in_metadata: pay, header_in_metadata: head, failed_status_in_metadata: failed"), route)
        .http_filters("silent", &filter(&format!("strip_failure_response: true, providers: {{p: {{local_jwks: {{inline_string: '{keys}'}}}}}}, rules: [{{match: {{prefix: /}}, requires: {{provider_name: p}}}}]")), route)
        .http_filters("audiences", &one("audiences: [one, https://two/]"), route)
        .http_filters("subjects", &one("subjects: {prefix: 'spiffe://'}"), route)
        .http_filters("expires", &one("require_expiration: true, clock_skew_seconds: 10"), route)
        .http_filters("lifetime", &one("max_lifetime: 3600s"), route)
        .http_filters("places", &one("from_headers: [{name: X-Token}, {name: x-pre, value_prefix: 'Token='}], from_params: [t], from_cookies: [c]"), route)
        .http_filters("claims", &one("forward: true, forward_payload_header: x-payload, claim_to_headers: [{header_name: x-sub, claim_name: sub}, {header_name: x-nested, claim_name: obj.deep}, {header_name: x-number, claim_name: num}, {header_name: x-real, claim_name: real}, {header_name: x-negative, claim_name: neg}, {header_name: x-bool, claim_name: ok}, {header_name: x-list, claim_name: list}, {header_name: x-object, claim_name: obj}, {header_name: x-path, claim_path: [{key: dot.ted}]}, {header_name: x-none, claim_name: none}]"), route)
        .http_filters("padded", &one("forward_payload_header: x-payload, pad_forward_payload_header: true"), route)
        .http_filters("clear", &one("clear_route_cache: true, claim_to_headers: [{header_name: x-sub, claim_name: sub}]"), route)
        .http_filters("normal", &one("payload_in_metadata: pay, normalize_payload_in_metadata: {space_delimited_claims: [scope]}"), route)
        .http_filters("cached", &one("jwt_cache_config: {jwt_cache_size: 2}"), route)
        .http_filters("any", &two("requires_any: {requirements: [{provider_name: a}, {provider_name: b}]}"), route)
        .http_filters("all", &two("requires_all: {requirements: [{provider_name: a}, {provider_name: b}]}"), route)
        .http_filters("any-missing", &two("requires_any: {requirements: [{provider_name: a}, {allow_missing: {}}]}"), route)
        .http_filters("any-failed", &two("requires_any: {requirements: [{allow_missing: {}}, {provider_name: a}, {allow_missing_or_failed: {}}]}"), route)
        .http_filters("missing", &two("allow_missing: {}"), route)
        .http_filters("failed", &two("allow_missing_or_failed: {}"), route)
        .http_filters("other-audience", &two("provider_and_audiences: {provider_name: a, audiences: [three]}"), route)
        .http_filters("nested", &two("requires_any: {requirements: [{requires_all: {requirements: [{provider_name: a}, {provider_name: b}]}}, {provider_and_audiences: {provider_name: b, audiences: [nine]}}]}"), route)
        .http_filters("rules", &rules, route)
        .http_filters("routes", &rules, &routes)
        .http_filters("state", &state, route)
        .http_filters("remote", &remote(""), route)
        .http_filters("remote-failing", &remote(""), route)
        .http_filters("remote-bad", &remote(""), route)
        .http_filters("remote-retried", &remote(", retry_policy: {num_retries: 1, retry_back_off: {base_interval: 0.01s}}"), route)
        .http_filters("remote-unknown", &one("remote_jwks: {http_uri: {uri: 'http://keys/jwks', cluster: nowhere, timeout: 5s}}"), route)
        .http_filters("remote-refused", &one("remote_jwks: {http_uri: {uri: 'http://keys/jwks', cluster: refused, timeout: 5s}}"), route)
}

fn bearer(name: &'static str, listener: &'static str, token: &str) -> Case {
    case(name, listener).get_with("/p?q=1", &format!("host: test\r\nauthorization: Bearer {token}\r\n"))
}

fn with(name: &'static str, listener: &'static str, path: &str, lines: &str) -> Case {
    case(name, listener).get_with(path, &format!("host: test\r\n{lines}"))
}

/// A token of HS256.
fn hs(claims: &str) -> String {
    token("HS256", "h", claims)
}

fn denied(case: Case, why: &str) -> Case {
    let details = format!("jwt_authn_access_denied{{{}}}", why.replace(' ', "_"));
    case.status(401).want("body", why).details(&details)
}

fn tokens() -> Vec<Case> {
    let far = jwt::FAR;
    let signed = hs("{\"iss\":\"me\"}");
    let (head, rest) = signed.split_once('.').expect("a token");
    let (payload, signature) = rest.split_once('.').expect("a token");
    vec![
        bearer("good", "plain", &hs(&format!("{{\"iss\":\"me\",\"sub\":\"s\",\"exp\":{far}}}")))
            .status(200)
            .absent("up:h:authorization"),
        denied(with("missing", "plain", "/", ""), "Jwt is missing")
            .want("h:www-authenticate", "Bearer realm=\"http://test/\""),
        denied(bearer("wrong-issuer", "plain", &hs("{\"iss\":\"you\"}")), "Jwt issuer is not configured"),
        bearer("no-issuer", "plain", &hs("{}")).status(401),
        bearer("any-issuer", "any-issuer", &hs("{\"iss\":\"you\"}"))
            .status(200)
            .want_in("up:h:x-meta-pay", "you"),
        denied(bearer("expired", "plain", &hs("{\"iss\":\"me\",\"exp\":1000}")), "Jwt is expired"),
        denied(
            bearer("not-yet", "plain", &hs(&format!("{{\"iss\":\"me\",\"nbf\":{far}}}"))),
            "Jwt not yet valid",
        ),
        denied(
            bearer(
                "forged",
                "plain",
                &format!("{head}.{payload}.{}", signature.chars().rev().collect::<String>()),
            ),
            "Jwt verification fails",
        ),
        bearer("two-sections", "plain", "a.b").status(401),
        bearer("four-sections", "plain", &format!("{signed}.x")).status(401),
        bearer("bad-base64", "plain", &format!("{head}!.{payload}.{signature}")).status(401),
        bearer("bad-payload-base64", "plain", &format!("{head}.{payload}!.{signature}")).status(401),
        bearer("bad-signature-base64", "plain", &format!("{signed}!")).status(401),
        bearer("header-no-json", "plain", &format!("YWJj.{payload}.{signature}")).status(401),
        bearer("payload-no-json", "plain", &format!("{head}.YWJj.{signature}")).status(401),
        bearer("alg-none", "plain", &format!("{}.{payload}.", jwt::encode("{\"alg\":\"none\"}"))).status(401),
        bearer("alg-missing", "plain", &format!("{}.{payload}.", jwt::encode("{}"))).status(401),
        bearer("alg-number", "plain", &format!("{}.{payload}.", jwt::encode("{\"alg\":1}"))).status(401),
        bearer(
            "kid-number",
            "plain",
            &format!("{}.{payload}.", jwt::encode("{\"alg\":\"HS256\",\"kid\":1}")),
        )
        .status(401),
        bearer("iss-number", "plain", &hs("{\"iss\":1}")).status(401),
        bearer("sub-number", "plain", &hs("{\"sub\":1}")).status(401),
        bearer("exp-text", "plain", &hs("{\"exp\":\"soon\"}")).status(401),
        bearer("nbf-text", "plain", &hs("{\"nbf\":\"soon\"}")).status(401),
        bearer("iat-text", "plain", &hs("{\"iat\":\"soon\"}")).status(401),
        bearer("exp-negative", "plain", &hs("{\"exp\":-1}")).status(401),
        bearer("exp-fraction", "any-issuer", &hs(&format!("{{\"exp\":{far}.5}}"))),
        bearer("aud-number", "plain", &hs("{\"aud\":1}")).status(401),
        bearer("aud-mixed", "plain", &hs("{\"aud\":[\"a\",1]}")).status(401),
        bearer("jti-number", "plain", &hs("{\"jti\":1}")).status(401),
        bearer("unknown-kid", "plain", &token("HS256", "zz", "{\"iss\":\"me\"}")).status(401),
        bearer("no-kid", "plain", &token("HS256", "", "{\"iss\":\"me\"}")).status(200),
        bearer("alg-of-other-key", "plain", &token("HS512", "h", "{\"iss\":\"me\"}")).status(401),
        bearer("silent", "silent", "a.b.c").status(401).want("body", "").absent("h:www-authenticate"),
        bearer("failed-status", "any-issuer", &hs("{\"exp\":1000}")).status(401),
        bearer("failed-status-forged", "any-issuer", &format!("{head}.{payload}.AAAA")).status(401),
        bearer("failed-status-kid", "any-issuer", &token("HS256", "zz", "{}")).status(401),
        bearer("failed-status-format", "any-issuer", "a.b").status(401),
        bearer("failed-status-json", "any-issuer", &hs("{\"aud\":1}")).status(401),
        bearer("failed-status-range", "any-issuer", &hs("{\"nbf\":-1}")).status(401),
        bearer("audience", "audiences", &hs("{\"aud\":\"one\"}")).status(200),
        bearer("audience-list", "audiences", &hs("{\"aud\":[\"nine\",\"http://two\"]}")).status(200),
        bearer("audience-wrong", "audiences", &hs("{\"aud\":\"nine\"}")).status(403),
        bearer("audience-none", "audiences", &hs("{}")).status(403),
        bearer("subject", "subjects", &hs("{\"sub\":\"spiffe://a\"}")).status(200),
        bearer("subject-wrong", "subjects", &hs("{\"sub\":\"http://a\"}")).status(401),
        bearer("expires-not", "expires", &hs("{}")).status(401),
        bearer("expires", "expires", &hs(&format!("{{\"exp\":{far}}}"))).status(200),
        bearer("lives-too-long", "lifetime", &hs(&format!("{{\"exp\":{far}}}"))).status(401),
        bearer("lives-for-ever", "lifetime", &hs("{}")).status(401),
        bearer("cached", "cached", &hs("{}"))
            .get_with("/", &format!("host: test\r\nauthorization: Bearer {}\r\n", hs("{}")))
            .status(200)
            .stats("http.cached.jwt_authn"),
        case("http2", "plain").call(Call::get("/")).status(401),
        case("grpc", "plain").call(Call::grpc("/")).want("h:grpc-status", 16),
        case("post", "plain").post("/", "body").status(401),
        bearer("stats", "silent", &hs("{}")).stats("http.silent.jwt_authn"),
    ]
}

fn algorithms() -> Vec<Case> {
    let good = |name, algorithm, kid| {
        bearer(name, "any-issuer", &token(algorithm, kid, "{\"sub\":\"x\"}")).status(200)
    };
    vec![
        good("hs384", "HS384", "h384"),
        good("hs512", "HS512", "h512"),
        good("rs256", "RS256", "r"),
        good("rs384", "RS384", "r"),
        good("rs512", "RS512", "r"),
        good("ps256", "PS256", "r"),
        good("ps384", "PS384", "r"),
        good("ps512", "PS512", "r"),
        good("es256", "ES256", "e256"),
        good("es384", "ES384", "e384"),
        good("es512", "ES512", "e521"),
        good("eddsa", "EdDSA", "ed"),
    ]
}

fn places() -> Vec<Case> {
    let good = &hs("{}");
    let at = |name, path: &str, lines: &str| with(name, "places", path, lines);
    vec![
        at("from-header", "/", &format!("x-token: {good}\r\n")).status(200).absent("up:h:x-token"),
        at("from-header-prefix", "/", &format!("x-pre: Token={good}\r\n")).status(200),
        at("from-header-no-prefix", "/", &format!("x-pre: {good}\r\n")).status(401),
        at("from-header-prefix-later", "/", &format!("x-pre: a Token= {good}\r\n")),
        at("from-parameter", &format!("/p?a=1&t={good}&b=2"), "")
            .status(200)
            .want("up:line", "GET /p?a=1&b=2 HTTP/1.1"),
        at("from-parameter-alone", &format!("/p?t={good}"), "").status(200),
        at("from-cookie", "/", &format!("cookie: a=b; c={good}\r\n")).status(200),
        at("not-from-authorization", "/", &format!("authorization: Bearer {good}\r\n")).status(401),
        at("two-good", &format!("/?t={good}"), &format!("x-token: {good}\r\n")).status(200),
        at("one-bad", &format!("/?t={good}"), "x-token: a.b.c\r\n").status(401),
        with("access-token", "plain", &format!("/p?access_token={}", hs("{\"iss\":\"me\"}")), "").status(200),
        with("bearer-lower", "plain", "/", &format!("authorization: bearer {good}\r\n")).status(401),
        with(
            "bearer-twice",
            "plain",
            "/",
            &format!("authorization: Bearer {0}\r\nauthorization: Bearer {0}\r\n", hs("{\"iss\":\"me\"}")),
        ),
        with("basic", "plain", "/", "authorization: Basic abc\r\n").status(401),
    ]
}

fn claims() -> Vec<Case> {
    let all = hs(
        "{\"sub\":\"me\",\"obj\":{\"deep\":\"d\"},\"num\":5,\"real\":1.5,\"neg\":-3,\"ok\":true,\"list\":[1,\"a\"],\"dot.ted\":\"x\"}",
    );
    vec![
        bearer("claims", "claims", &all).status(200).want("up:h:x-nested", "d"),
        with(
            "claims-sanitized",
            "claims",
            "/",
            &format!(
                "x-sub: mallory\r\nx-payload: fake\r\nx-none: fake\r\nauthorization: Bearer {}\r\n",
                hs("{\"sub\":\"me\"}")
            ),
        )
        .status(200)
        .want("up:h:x-sub", "me")
        .absent("up:h:x-none"),
        bearer("padded", "padded", &hs("{\"a\":1}")).status(200),
        bearer("route-again", "clear", &hs("{\"sub\":\"moved\"}")).status(200).want("up", "b"),
        bearer("normalized", "normal", &hs("{\"scope\":\"a b  c\",\"x\":\"a b\"}")).status(200),
        bearer("header-in-metadata", "any-issuer", &hs("{}")).want_in("up:h:x-meta-head", "HS256"),
    ]
}

fn requirements() -> Vec<Case> {
    let a = &hs("{\"iss\":\"a\",\"aud\":\"one\"}");
    let b = &hs("{\"iss\":\"b\"}");
    let bad = "a.b.c";
    let on = |name, listener, xa: &str, xb: &str| {
        let line = |name: &str, token: &str| {
            if token.is_empty() { String::new() } else { format!("{name}: {token}\r\n") }
        };
        with(name, listener, "/", &format!("{}{}", line("x-a", xa), line("x-b", xb)))
    };
    vec![
        on("any-first", "any", a, "").status(200),
        on("any-second", "any", "", b).status(200),
        on("any-second-first-bad", "any", bad, b).status(200),
        on("any-none", "any", "", "").status(401),
        on("any-bad-missing", "any", bad, "").status(401),
        on("any-missing-bad", "any", "", bad).status(401),
        on("any-audience-missing", "any", &hs("{\"iss\":\"a\"}"), "").status(403),
        on("any-issuer-missing", "any", b, "").status(401),
        on("all", "all", a, b).status(200),
        on("all-one", "all", a, "").status(401),
        on("all-bad", "all", a, bad).status(401),
        on("any-missing-none", "any-missing", "", "").status(200),
        on("any-missing-good", "any-missing", a, "").status(200),
        on("any-missing-bad-token", "any-missing", bad, "").status(401),
        on("any-missing-other", "any-missing", "", bad).status(200),
        on("any-failed-bad", "any-failed", bad, "").status(200),
        on("missing-none", "missing", "", "").status(200),
        on("missing-good", "missing", a, b).status(200),
        on("missing-bad", "missing", "", bad).status(401),
        on("missing-other-place", "missing", b, "").status(401),
        on("failed-bad", "failed", bad, bad).status(200),
        on("failed-some", "failed", bad, b).status(200),
        on("failed-unknown", "failed", &hs("{\"iss\":\"c\"}"), "").status(200),
        on("other-audience", "other-audience", a, "").status(403),
        on("other-audience-good", "other-audience", &hs("{\"iss\":\"a\",\"aud\":\"three\"}"), "").status(200),
        on("nested-all", "nested", a, b).status(200),
        on("nested-other", "nested", "", &hs("{\"iss\":\"b\",\"aud\":\"nine\"}")).status(200),
        on("nested-none", "nested", a, "").status(401),
    ]
}

fn rules() -> Vec<Case> {
    let at = |name, path: &str, lines: &str| with(name, "rules", path, lines);
    let good = format!("authorization: Bearer {}\r\n", hs("{}"));
    vec![
        at("rule-exact", "/exact?x=1", "").status(401),
        at("rule-exact-not", "/exactly", "").status(200),
        at("rule-open", "/open", "").status(200),
        at("rule-regex", "/regex", "").status(401),
        at("rule-separated", "/sep/x", "").status(401),
        at("rule-separated-not", "/sepx", "").status(200),
        at("rule-header", "/h", "x-h: 1\r\n").status(401),
        at("rule-header-not", "/h", "").status(200),
        at("rule-query", "/q?q=1", "").status(401),
        at("rule-query-not", "/q", "").status(200),
        at("rule-case", "/case", "").status(401),
        at("rule-lax", "/lax", "").status(200),
        at("rule-empty", "/empty", "").status(200),
        at("rule-good", "/exact", &good).status(200),
        case("preflight", "rules").send("OPTIONS /exact HTTP/1.1\r\nhost: test\r\norigin: http://a\r\naccess-control-request-method: GET\r\n\r\n").status(200),
        case("preflight-not", "rules").send("OPTIONS /exact HTTP/1.1\r\nhost: test\r\norigin: http://a\r\n\r\n").status(401),
        at("rule-stats", "/exact", "").stats("http.rules.jwt_authn"),
        with("route-off", "routes", "/off/exact", "").status(200),
        with("route-named", "routes", "/named", "").status(401),
        with("route-misnamed", "routes", "/misnamed", "").status(403),
        with("route-none", "routes", "/exact", "").status(401),
        with("state", "state", "/", "x-sel: s\r\n").status(401),
        with("state-other", "state", "/", "x-sel: t\r\n").status(200),
    ]
}

fn remote() -> Vec<Case> {
    let says = |head: &str, body: &str| {
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Play::AfterRequest(vec![Step::Send(text.into_bytes())])
    };
    let keys = || says("200 OK", &jwks());
    let good = &hs("{}");
    let again = |case: Case| case.get_with("/", &format!("host: test\r\nauthorization: Bearer {good}\r\n"));
    vec![
        again(bearer("remote", "remote", good).play("b", keys()))
            .status(200)
            .want("up", "b")
            .want("2.up", "a")
            .want("3.up", "a"),
        bearer("remote-kept", "remote", good).via("a"),
        bearer("remote-missing", "remote", "").status(401),
        again(
            bearer("remote-failing", "remote-failing", good)
                .play("b", says("503 Oops", ""))
                .play("b", keys()),
        )
        .want("status", 401)
        .want("2.status", 200),
        bearer("remote-bad", "remote-bad", good).play("b", says("200 OK", "nonsense")).status(401),
        bearer("remote-no-keys", "remote-bad", good).play("b", says("200 OK", "{\"keys\":[]}")).status(401),
        bearer("remote-retried", "remote-retried", good)
            .play("b", says("503 Oops", ""))
            .play("b", keys())
            .status(200)
            .ignore("up:h:x-envoy-expected")
            .ignore("2.up:h:x-envoy-expected")
            .ignore("2.up:h:transfer-encoding"),
        bearer("remote-unknown", "remote-unknown", good).status(401),
        bearer("remote-refused", "remote-refused", good).status(401),
        bearer("remote-stats", "remote-failing", good).stats("http.remote-failing.jwt_authn"),
    ]
}
