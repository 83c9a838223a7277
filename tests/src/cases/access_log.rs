//! Access log formats, operators and filters. Here the log itself is what is looked at: each listener writes its own format to
//! the common file, with the client's port so that lines can be told apart.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::answer;

/// Access logs.
pub fn group() -> Group {
    let mut cases = operators();
    cases.extend(filters());
    Group { name: "access_log", bootstrap: bootstrap(), cases }
}

/// Leaves out `x-envoy-upstream-service-time`, whose length varies and with it the byte counts.
const QUIET_ROUTER: &str = "http_filters: [{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}}]";

const PEER: &str = "peer: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%\"";

const OPERATORS: &str = r#"
method: "%REQ(:METHOD)%", scheme: "%REQ(:SCHEME)%", first: "%REQ(x-none?x-some)%", cut: "%REQ(x-some):2%",
query: "%QUERY_PARAM(q)%", path_nq: "%PATH(NQ)%", path_wq: "%PATH(WQ:ORIG)%", missing: "%REQ(x-none)%",
mixed: "a %REQ(x-none)% b", number: "%RESPONSE_CODE%", typed_received: "%BYTES_RECEIVED%", text_number: "x%RESPONSE_CODE%",
resp: "%RESP(x-app)%", trailer: "%TRAILER(x-t)%", flags_long: "%RESPONSE_FLAGS_LONG%", listener: "%LISTENER_NAME%", chain: "%FILTER_CHAIN_NAME%",
type: "%ACCESS_LOG_TYPE%", cluster_raw: "%UPSTREAM_CLUSTER_RAW%", upstream_name: "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
local_ip: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", direct_ip: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", upstream_ip: "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", upstream_remote_ip: "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
sni: "%REQUESTED_SERVER_NAME%", tls: "%DOWNSTREAM_TLS_VERSION%",
request_head_bytes: "%REQUEST_HEADERS_BYTES%", response_head_bytes: "%RESPONSE_HEADERS_BYTES%", response_trailer_bytes: "%RESPONSE_TRAILERS_BYTES%",
wire_in: "%DOWNSTREAM_WIRE_BYTES_RECEIVED%", wire_out: "%DOWNSTREAM_WIRE_BYTES_SENT%", up_wire_in: "%UPSTREAM_WIRE_BYTES_RECEIVED%",
grpc: "%GRPC_STATUS%", grpc_number: "%GRPC_STATUS_NUMBER%", grpc_snake: "%GRPC_STATUS(SNAKE_STRING)%",
local_reply: "%LOCAL_REPLY_BODY%", attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", vcluster: "%VIRTUAL_CLUSTER_NAME%", nested: {inner: "%PROTOCOL%", list: ["%RESPONSE_FLAGS%", fixed]}
"#;

fn bootstrap() -> Bootstrap {
    let routes = r"
- {name: meta, match: {prefix: /meta}, route: {cluster: a}}
- {name: h2, match: {prefix: /h2}, route: {cluster: h2}}
- {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
- {name: rest, match: {prefix: /}, route: {cluster: a}}
";
    let logger = |filter: &str, format: &str| {
        format!(
            "access_log: [{{name: file, {filter} typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: \"$LOG\", log_format: {format}}}}}]"
        )
    };
    let json = |fields: &str| format!("{{json_format: {{{PEER}, {}}}}}", fields.trim().replace('\n', " "));
    let text = |format: &str| {
        format!("{{text_format_source: {{inline_string: \"{}\\n\"}}}}", format.replace('"', "\\\""))
    };
    let filtered = |filter: &str| {
        logger(&format!("filter: {filter},"), &json("code: \"%RESPONSE_CODE%\", path: \"%REQ(:PATH)%\""))
    };
    let omit = format!(
        "{{omit_empty_values: true, json_format: {{{PEER}, some: \"%REQ(x-some)%\", none: \"%REQ(x-none)%\"}}}}"
    );
    let without_query = format!(
        "{{json_format: {{{PEER}, path: \"%REQ_WITHOUT_QUERY(:path)%\", other: \"%REQ_WITHOUT_QUERY(x-none?referer):9%\", none: \"%REQ_WITHOUT_QUERY(x-none)%\"}}, formatters: [{{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}}}]}}"
    );
    // Text formats are written as JSON lines too, so that they can be read back.
    let line = text(
        r#"{"peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "line": "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(x-none)% [%REQ(x-some):3%] %%"}"#,
    );
    let cel = |expression: &str| {
        format!(
            "{{extension_filter: {{name: c, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter, expression: \"{expression}\"}}}}}}"
        )
    };
    let filters: [(&str, &str); 15] = [
        (
            "only-errors",
            "{status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: none}}}}",
        ),
        (
            "only-exact",
            "{status_code_filter: {comparison: {op: EQ, value: {default_value: 204, runtime_key: none}}}}",
        ),
        ("only-header", "{header_filter: {header: {name: x-log, string_match: {exact: \"yes\"}}}}"),
        ("only-flag", "{response_flag_filter: {flags: [UF]}}"),
        ("any-flag", "{response_flag_filter: {}}"),
        (
            "both",
            "{and_filter: {filters: [{header_filter: {header: {name: x-log, present_match: true}}}, {status_code_filter: {comparison: {op: LE, value: {default_value: 299, runtime_key: none}}}}]}}",
        ),
        (
            "either",
            "{or_filter: {filters: [{header_filter: {header: {name: x-log, present_match: true}}}, {response_flag_filter: {flags: [UF]}}]}}",
        ),
        ("no-health-checks", "{not_health_check_filter: {}}"),
        ("grpc-only", "{grpc_status_filter: {statuses: [NOT_FOUND]}}"),
        (
            "slow-only",
            "{duration_filter: {comparison: {op: GE, value: {default_value: 60000, runtime_key: none}}}}",
        ),
        ("never", "{runtime_filter: {runtime_key: none, percent_sampled: {numerator: 0}}}"),
        ("cel", &cel("response.code >= 500 || request.headers['x-log'] == 'yes'")),
        ("cel-fails", &cel("request.headers['x-none'] == 'yes'")),
        ("cel-no-condition", &cel("request.path")),
        ("traceable", "{traceable_filter: {}}"),
    ];
    let base = Bootstrap::new()
        .http("json", &format!("{}\n{QUIET_ROUTER}", logger("", &json(OPERATORS))), routes)
        .http("omit", &logger("", &omit), routes)
        .http("without-query", &logger("", &without_query), routes)
        .http("text", &logger("", &line), routes);
    filters
        .into_iter()
        .fold(base, |bootstrap, (name, filter)| bootstrap.http(name, &filtered(filter), routes))
}

fn operators() -> Vec<Case> {
    vec![
        case("json", "json")
            .play("a", answer("HTTP/1.1 200 OK\r\nx-app: me\r\ncontent-length: 2\r\n\r\nhi"))
            .get_with("/meta/x?q=7&r=8", "host: test\r\nx-some: abcdef\r\n")
            .want("status", 200)
            .want("log.first", "abcdef")
            .want("log.cut", "ab")
            .want("log.query", 7)
            .want("log.path_nq", "/meta/x")
            .want("log.mixed", "a - b")
            .want("log.type", "DownstreamEnd")
            .ignore("log.up_wire_in"),
        case("json-refused", "json")
            .get("/refused")
            .want("status", 503)
            .want("log.flags_long", "UpstreamConnectionFailure")
            .ignore("log.up_wire_in"),
        case("json-no-such-header", "json")
            .get("/none")
            .want("status", 200)
            .absent("log.missing")
            .want("log.mixed", "a - b")
            .ignore("log.up_wire_in"),
        case("json-h2", "json")
            .call(Call::get("/h2").header("content-type", "application/grpc"))
            .want("status", 200)
            .ignore("log.up_wire_in")
            .ignore("log.wire_"),
        case("json-empty-omitted", "omit").get("/").want("status", 200).absent("log.none").absent("log.some"),
        case("without-query", "without-query")
            .get_with("/a/b?q=1&r=2", "host: test\r\nreferer: http://x/y?z=secret\r\n")
            .want("status", 200)
            .want("log.path", "/a/b")
            .want("log.other", "http://x/")
            .absent("log.none"),
        case("text", "text")
            .get_with("/x", "host: test\r\nx-some: abcdef\r\n")
            .want("log.line", "GET /x HTTP/1.1 200 - - [abc] %"),
        case("text-bad-request", "text")
            .send("nonsense\r\n\r\n")
            .want("log.line", "- - HTTP/1.1 400 DPE - [-] %"),
    ]
}

/// Two requests on one listener: the second must be logged; whether the first is depends on the filter.
fn filters() -> Vec<Case> {
    let only_second = |name, listener, first: &str, second: &str, path: &str| {
        let get = |rest: &str| format!("GET {rest}\r\n\r\n");
        case(name, listener)
            .send(get(first))
            .send(get(second))
            .logs(1)
            .want("log.path", path)
            .absent("2.log.path")
    };
    let log = "HTTP/1.1\r\nhost: test\r\nx-log: yes";
    let plain = "HTTP/1.1\r\nhost: test";
    vec![
        only_second(
            "filter-status-ge",
            "only-errors",
            &format!("/ok {plain}"),
            &format!("/refused {plain}"),
            "/refused",
        ),
        only_second(
            "filter-status-eq",
            "only-exact",
            &format!("/ok {plain}"),
            &format!("/none {plain}"),
            "/none",
        )
        .play("a", answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
        .play("a", answer("HTTP/1.1 204 No\r\n\r\n")),
        only_second("filter-header", "only-header", &format!("/1 {plain}"), &format!("/2 {log}"), "/2"),
        only_second(
            "filter-flag",
            "only-flag",
            &format!("/1 {plain}"),
            &format!("/refused {plain}"),
            "/refused",
        ),
        only_second(
            "filter-any-flag",
            "any-flag",
            &format!("/1 {plain}"),
            &format!("/refused {plain}"),
            "/refused",
        ),
        only_second("filter-and", "both", &format!("/refused {log}"), &format!("/2 {log}"), "/2"),
        only_second("filter-or", "either", &format!("/1 {plain}"), &format!("/refused {plain}"), "/refused"),
        case("filter-health-check", "no-health-checks")
            .get("/1")
            .get("/2")
            .want("log.path", "/1")
            .want("2.log.path", "/2"),
        case("filter-grpc-status", "grpc-only")
            .play(
                "h2",
                crate::harness::upstream::Play::H2(crate::harness::upstream::h2::Answer {
                    headers: vec![("content-type", "application/grpc"), ("grpc-status", "5")],
                    ..Default::default()
                }),
            )
            .call(Call::grpc("/h2"))
            .want("log.code", 200),
        case("filter-duration", "slow-only").get("/").logs(0).want("status", 200).absent("log.code"),
        case("filter-runtime-never", "never").get("/").logs(0).want("status", 200).absent("log.code"),
        only_second("filter-cel", "cel", &format!("/1 {plain}"), &format!("/2 {log}"), "/2"),
        only_second(
            "filter-cel-code",
            "cel",
            &format!("/1 {plain}"),
            &format!("/refused {plain}"),
            "/refused",
        ),
        case("filter-cel-fails", "cel-fails").get("/").logs(0).want("status", 200).absent("log.code"),
        case("filter-cel-no-condition", "cel-no-condition")
            .get("/")
            .logs(0)
            .want("status", 200)
            .absent("log.code"),
        case("filter-traceable", "traceable").get("/").logs(0).want("status", 200).absent("log.code"),
    ]
}
