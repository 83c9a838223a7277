//! What external authorization leaves in the filter state: metadata, times, and decisions that are not enforced.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::service::{check, failure};
use crate::harness::upstream::{Play, answer};

/// The filter state of external authorization.
pub fn group() -> Group {
    Group { name: "ext_authz_state", bootstrap: bootstrap(), cases: cases() }
}

const TYPE: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";

fn filter(name: &str, cluster: &str, fields: &str) -> String {
    format!(
        "- {{name: {name}, typed_config: {{{TYPE}, transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}, timeout: 5s}}, {fields}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let shown = |name: &str| {
        let each = [
            ("x-typed", name.to_owned()),
            ("x-plain", format!("{name}:PLAIN")),
            ("x-bytes", format!("{name}:FIELD:nothing")),
            ("x-decision", format!("{name}.shadow")),
            ("x-plain-decision", format!("{name}.shadow:PLAIN")),
            ("x-result", format!("{name}.shadow:FIELD:check_result")),
            ("x-status", format!("{name}.shadow:FIELD:status_code")),
        ];
        let each = each.map(|(header, what)| {
            format!("{{header: {{key: {header}, value: 'is %FILTER_STATE({what})%'}}}}")
        });
        format!("response_headers_to_add: [{}]", each.join(", "))
    };
    let routes = |name: &str| {
        format!(
            "- {{match: {{prefix: /off}}, route: {{cluster: a}}, {}, typed_per_filter_config: {{{name}: {{'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {}}}",
            shown(name),
            shown(name)
        )
    };
    let metadata = "filter_metadata: {b: 1, a: {c: [x, true, null]}}";
    let http = format!(
        "- {{name: own, typed_config: {{{TYPE}, transport_api_version: V3, http_service: {{server_uri: {{uri: 'http://authz/', cluster: b, timeout: 5s}}}}, shadow_mode: true}}}}"
    );
    Bootstrap::new()
        .http_filters("metadata", &filter("own", "h2", metadata), &routes("own"))
        .http_filters("timed", &filter("own", "h2", &format!("emit_filter_state_stats: true, {metadata}")), &routes("own"))
        .http_filters("timed-only", &filter("own", "h2", "emit_filter_state_stats: true"), &routes("own"))
        .http_filters("shadow", &filter("envoy.filters.http.ext_authz", "h2", "shadow_mode: true"), &routes("envoy.filters.http.ext_authz"))
        .http_filters("shadow-open", &filter("own", "h2", "shadow_mode: true, failure_mode_allow: true, failure_mode_allow_header_add: true"), &routes("own"))
        .http_filters("shadow-valid", &filter("own", "h2", "shadow_mode: true, validate_mutations: true"), &routes("own"))
        .http_filters("shadow-refused", &filter("own", "refused", "shadow_mode: true, status_on_error: {code: 503}"), &routes("own"))
        .http_filters("shadow-disabled", &filter("own", "h2", "shadow_mode: true, filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: deny.at, default_value: true}"), &routes("own"))
        .http_filters("shadow-body", &filter("own", "h2", "shadow_mode: true, with_request_body: {max_request_bytes: 3}"), &routes("own"))
        .http_filters("shadow-rules", &filter("own", "h2", "shadow_mode: true, decoder_header_mutation_rules: {disallow_all: true, disallow_is_error: true}"), &routes("own"))
        .http_filters("shadow-http", &http, &routes("own"))
}

fn cases() -> Vec<Case> {
    let ok = |fields: &str| check(&format!("{{status: {{code: 0}}, ok_response: {{{fields}}}}}"));
    let denied = |fields: &str| check(&format!("{{status: {{code: 7}}, denied_response: {{{fields}}}}}"));
    let asked = |name: &'static str, listener: &'static str, play: Play| {
        case(name, listener).play("h2", play).get("/")
    };
    let by_http = |name: &'static str, status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nx-why: no\r\ncontent-length: 4\r\n\r\nbody");
        case(name, "shadow-http").play("b", answer(head)).get("/")
    };
    let changes = "headers: [{header: {key: x-user, value: me}}], response_headers_to_add: [{header: {key: x-down, value: '1'}}], query_parameters_to_set: [{key: q, value: '1'}]";
    // Fields of an object come in another order.
    let told = |case: Case| case.ignore("h:x-decision");
    vec![
        asked("metadata", "metadata", ok("")),
        asked("metadata-denied", "metadata", denied("")),
        case("metadata-off", "metadata").get("/off"),
        asked("timed", "timed", ok("")),
        asked("timed-only", "timed-only", ok("")),
        asked("shadow-ok", "shadow", ok(changes)),
        asked("shadow-ok-plain", "shadow", check("{status: {code: 0}}")),
        asked("shadow-denied", "shadow", denied("")),
        told(asked(
            "shadow-denied-answer",
            "shadow",
            denied(
                "status: {code: 401}, body: text, headers: [{header: {key: x-b, value: b}}, {header: {key: x-a, value: a}}, {header: {key: x-a, value: c}}]",
            ),
        ))
        .want_in("h:x-plain-decision", "\"status_code\":401"),
        asked(
            "shadow-denied-metadata",
            "shadow",
            check("{status: {code: 7}, denied_response: {status: {code: 402}}, dynamic_metadata: {who: me}}"),
        ),
        asked("shadow-error", "shadow", failure("13")),
        asked(
            "shadow-error-answer",
            "shadow",
            check(
                "{status: {code: 13}, error_response: {status: {code: 502}, headers: [{header: {key: x-e, value: e}}]}}",
            ),
        ),
        asked("shadow-open-error", "shadow-open", failure("13")),
        asked("shadow-open-denied", "shadow-open", denied("status: {code: 401}")),
        asked("shadow-invalid", "shadow-valid", ok("headers: [{header: {key: 'a b', value: c}}]")),
        told(asked(
            "shadow-invalid-denied",
            "shadow-valid",
            denied("headers: [{header: {key: 'a b', value: c}}]"),
        )),
        case("shadow-refused", "shadow-refused").get("/"),
        case("shadow-disabled", "shadow-disabled").get("/"),
        case("shadow-off", "shadow").get("/off"),
        case("shadow-body-long", "shadow-body").post("/", "12345"),
        case("shadow-body", "shadow-body").play("h2", denied("")).post("/", "123"),
        asked("shadow-rules", "shadow-rules", ok(changes)),
        // How long the service took is among its fields, as is the status in Envoy.
        told(by_http("shadow-http", "403 No")).ignore("h:x-plain-decision").want("h:x-result", "is DENIED"),
        by_http("shadow-http-error", "500 No"),
        case("stats-disabled", "shadow").get("/off").stats("http.shadow-disabled.ext_authz"),
        case("stats", "shadow").get("/off").stats("http.shadow.ext_authz"),
        case("stats-valid", "shadow").get("/off").stats("http.shadow-valid.ext_authz"),
        case("stats-open", "shadow").get("/off").stats("http.shadow-open.ext_authz"),
        case("stats-body", "shadow").get("/off").stats("http.shadow-body.ext_authz"),
        case("stats-cluster", "shadow").get("/off").stats("cluster.a.ext_authz"),
        case("stats-charged", "shadow").get("/off").stats("cluster.a.upstream_rq_4"),
    ]
}
