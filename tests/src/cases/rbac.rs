//! RBAC for requests and for connections: decisions, details, metadata, counters.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;

/// RBAC.
pub fn group() -> Group {
    Group { name: "rbac", bootstrap: bootstrap(), cases: cases() }
}

const ANY: &str = "{any: true}";

fn http(fields: &str) -> String {
    format!(
        "- {{name: envoy.filters.http.rbac, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, {fields}}}}}"
    )
}

fn policy(name: &str, permission: &str, principal: &str) -> String {
    format!("{name}: {{permissions: [{permission}], principals: [{principal}]}}")
}

fn tcp(bootstrap: Bootstrap, name: &str, fields: &str) -> Bootstrap {
    bootstrap.listener_of(
        name,
        &format!(
            r#"
filter_chains:
- filters:
  - name: envoy.filters.network.rbac
    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: {name}, {fields}}}
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: {name}
      cluster: tcp
      access_log: $ACCESS_LOG
"#
        ),
    )
}

fn bootstrap() -> Bootstrap {
    let metadata = "response_headers_to_add: [{header: {key: x-rbac, value: '%DYNAMIC_METADATA(envoy.filters.http.rbac)%'}}, {header: {key: x-hint, value: '%DYNAMIC_METADATA(envoy.common:access_log_hint)%'}}]";
    let off = "typed_per_filter_config: {envoy.filters.http.rbac: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}";
    let own = format!(
        "typed_per_filter_config: {{envoy.filters.http.rbac: {{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {{rules: {{action: DENY, policies: {{{}}}}}}}}}}}",
        policy("own", "{header: {name: x-deny}}", ANY)
    );
    let routes = format!(
        "- {{match: {{prefix: /off}}, route: {{cluster: a}}, {off}}}\n- {{match: {{prefix: /own}}, route: {{cluster: a}}, {own}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {metadata}}}\n"
    );
    let template = "{uri_template: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/t/*/**'}}}";
    let path = |path: &str| format!("{{url_path: {{path: {path}}}}}");
    let header = |fields: &str| format!("{{header: {{{fields}}}}}");
    let permissions: Vec<(&str, String, &str)> = vec![
        ("path", path("{prefix: /a}"), ANY),
        ("exact", path("{exact: /exact}"), ANY),
        ("template", template.to_owned(), ANY),
        ("header", header("name: x, string_match: {exact: v}"), ANY),
        ("inverted", header("name: y-h, string_match: {exact: v}, invert_match: true"), ANY),
        ("authority", header("name: ':authority', string_match: {exact: vip}"), ANY),
        ("method", header("name: ':method', string_match: {exact: PUT}"), ANY),
        ("port", "{destination_port: 1}".to_owned(), ANY),
        (
            "range",
            format!(
                "{{and_rules: {{rules: [{{destination_port_range: {{start: 1024, end: 65536}}}}, {}]}}}}",
                path("{exact: /range}")
            ),
            ANY,
        ),
        (
            "ip",
            format!(
                "{{and_rules: {{rules: [{{destination_ip: {{address_prefix: 127.0.0.0, prefix_len: 8}}}}, {}]}}}}",
                path("{exact: /ip}")
            ),
            ANY,
        ),
        ("remote", path("{exact: /remote}"), "{remote_ip: {address_prefix: 10.1.0.0, prefix_len: 16}}"),
        (
            "direct",
            path("{exact: /direct}"),
            "{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}",
        ),
        ("not", path("{exact: /not}"), "{not_id: {header: {name: x-not}}}"),
        ("tls", path("{exact: /tls}"), "{authenticated: {}}"),
        (
            "sni",
            format!(
                "{{and_rules: {{rules: [{{requested_server_name: {{exact: ''}}}}, {}]}}}}",
                path("{exact: /sni}")
            ),
            ANY,
        ),
        (
            "metadata",
            path("{exact: /metadata}"),
            "{metadata: {filter: none, path: [{key: k}], value: {present_match: true}, invert: true}}",
        ),
        ("or", path("{exact: /or}"), "{or_ids: {ids: [{header: {name: x-one}}, {header: {name: x-two}}]}}"),
    ];
    let all: Vec<String> =
        permissions.iter().map(|(name, permission, principal)| policy(name, permission, principal)).collect();
    let allow = http(&format!("rules: {{policies: {{{}}}}}", all.join(", ")));
    let spaced = policy("'a b\tc'", &path("{exact: /a}"), ANY);
    let deny = http(&format!(
        "rules: {{action: DENY, policies: {{{spaced}}}}}, rules_stat_prefix: own, track_per_rule_stats: true, shadow_rules: {{policies: {{{spaced}}}}}, shadow_rules_stat_prefix: dry_"
    ));
    let log = http(&format!("rules: {{action: LOG, policies: {{{spaced}}}}}"));
    let nobody = "rules: {policies: {}}";
    let from = policy("p", ANY, "{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}");
    let bootstrap = Bootstrap::new()
        .http_filters("allow", &allow, &routes)
        .http_filters("deny", &deny, &routes)
        .http_filters("log", &log, &routes)
        .http_filters("nobody", &http(nobody), &routes)
        .http_filters("nothing", &http("rules_stat_prefix: x"), &routes);
    let bootstrap = tcp(bootstrap, "tcp-allow", &format!("rules: {{policies: {{{from}}}}}"));
    let bootstrap = tcp(
        bootstrap,
        "tcp-deny",
        &format!(
            "rules: {{action: DENY, policies: {{{from}}}}}, shadow_rules: {{policies: {{{from}}}}}, shadow_rules_stat_prefix: dry_"
        ),
    );
    tcp(
        bootstrap,
        "tcp-continuous",
        &format!("rules: {{policies: {{{from}}}}}, enforcement_type: CONTINUOUS"),
    )
}

fn spoken() -> Vec<Talk> {
    vec![Talk::Send(b"hello".to_vec()), Talk::ReadBytes(5), Talk::Fin, Talk::ReadToEnd]
}

fn cases() -> Vec<Case> {
    const NONE: &str = "rbac_access_denied_matched_policy[none]";
    let allowed = |name: &'static str, path: &str| case(name, "allow").get(path).via("a");
    let denied = |name: &'static str, path: &str| case(name, "allow").get(path).refused(403, "-", NONE);
    let with = |name: &'static str, path: &str, lines: &str| {
        case(name, "allow").get_with(path, &format!("host: test\r\ny-h: v\r\n{lines}"))
    };
    vec![
        allowed("path", "/abc?x=/z").want(
            "h:x-rbac",
            r#"{"enforced_effective_policy_id":"path","enforced_engine_result":"allowed"}"#,
        ),
        denied("other-path", "/z?/abc").want("body", "RBAC: access denied"),
        allowed("exact-without-query", "/exact?q"),
        allowed("template", "/t/1/2/3?q"),
        denied("template-too-short", "/t/1"),
        with("header", "/h", "x: v\r\n").via("a"),
        with("header-repeated", "/h", "x: u\r\nx: v\r\n").status(200),
        with("header-joined", "/h", "x: u,v\r\n").status(403),
        with("header-absent", "/h", "").status(403),
        case("header-inverted", "allow").get_with("/h", "host: test\r\ny-h: w\r\n").status(200),
        case("header-inverted-one-of-two", "allow")
            .get_with("/h", "host: test\r\ny-h: w\r\ny-h: v\r\n")
            .status(403),
        case("authority", "allow").get_with("/h", "host: vip\r\ny-h: v\r\n").status(200),
        case("method", "allow")
            .send("PUT /h HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")
            .status(200),
        allowed("port-range", "/range"),
        allowed("destination-ip", "/ip"),
        with("remote-ip", "/remote", "x-forwarded-for: 10.1.2.3\r\n").status(200),
        with("remote-ip-other", "/remote", "x-forwarded-for: 10.2.2.3\r\n").status(403),
        allowed("direct-ip", "/direct"),
        allowed("not", "/not"),
        with("not-not", "/not", "x-not: 1\r\n").status(403),
        denied("without-tls", "/tls"),
        allowed("no-sni", "/sni"),
        allowed("metadata-inverted", "/metadata"),
        with("or", "/or", "x-two: 1\r\n").status(200),
        with("or-none", "/or", "").status(403),
        case("http2", "allow").call(Call::get("/abc")).call(Call::get("/z")).via("a").want("2.status", 403),
        case("grpc", "allow")
            .call(Call::grpc("/z"))
            .want("h:grpc-status", 7)
            .want("h:grpc-message", "RBAC: access denied"),
        case("body-of-a-refused-request", "allow").post("/z", "body").status(403),
        allowed("route-without", "/off").absent("h:x-rbac"),
        case("route-own-allowed", "allow").get("/own").via("a"),
        case("route-own-denied", "allow").get_with("/own", "host: test\r\nx-deny: 1\r\n").refused(
            403,
            "-",
            "rbac_access_denied_matched_policy[own]",
        ),
        case("deny", "deny").get("/a").refused(403, "-", "rbac_access_denied_matched_policy[a_b_c]"),
        case("deny-other", "deny").get("/b").via("a").want_in("h:x-rbac", "dry_shadow_engine_result"),
        case("log-matched", "log").get("/a").via("a").want("h:x-hint", "true"),
        case("log-unmatched", "log").get("/b").via("a").want("h:x-hint", "false"),
        case("no-policies", "nobody").get("/a").refused(403, "-", NONE),
        case("no-rules", "nothing").get("/a").via("a"),
        case("stats", "deny").get("/b").stats("rbac.*(allowed|denied)"),
        case("tcp-allowed", "tcp-allow").talk(spoken()).logs(1).want("raw", "hello"),
        case("tcp-denied", "tcp-deny")
            .talk([Talk::Send(b"hello".to_vec()), Talk::AwaitClose])
            .logs(1)
            .want("log.term", "rbac_access_denied_matched_policy[p]")
            .absent("raw"),
        case("tcp-continuous", "tcp-continuous").talk(spoken()).logs(1).want("raw", "hello"),
        case("tcp-stats", "tcp-allow").talk(spoken()).logs(1).stats("tcp-.*rbac"),
    ]
}
