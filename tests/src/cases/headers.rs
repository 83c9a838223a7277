//! Header changes: added and removed at each level, append actions, formatters.

use crate::case::{Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::upstream::answer;

/// Header mutation.
pub fn group() -> Group {
    Group { name: "headers", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    Bootstrap::new()
        .http_config("levels", "", &format!("{LEVELS}{LEVEL_HOSTS}"))
        .http_config(
            "specific-wins",
            "",
            &format!("most_specific_header_mutations_wins: true\n{LEVELS}{LEVEL_HOSTS}"),
        )
        .http("actions", "", ACTIONS)
        .http("formats", "", FORMATS)
}

const LEVELS: &str = r"
request_headers_to_add: [{header: {key: x-level, value: config}}, {header: {key: x-once, value: config}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
response_headers_to_add: [{header: {key: x-level, value: config}}, {header: {key: x-once, value: config}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
request_headers_to_remove: [x-drop-config]
response_headers_to_remove: [x-drop-config]
";

const LEVEL_HOSTS: &str = r#"virtual_hosts:
- name: v
  domains: ["*"]
  request_headers_to_add: [{header: {key: x-level, value: host}}, {header: {key: x-once, value: host}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  response_headers_to_add: [{header: {key: x-level, value: host}}, {header: {key: x-once, value: host}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  request_headers_to_remove: [x-drop-host]
  response_headers_to_remove: [x-drop-host]
  routes:
  - match: {prefix: /}
    request_headers_to_add: [{header: {key: x-level, value: route}}, {header: {key: x-once, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
    response_headers_to_add: [{header: {key: x-level, value: route}}, {header: {key: x-once, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
    request_headers_to_remove: [x-drop-route]
    response_headers_to_remove: [x-drop-route]
    route:
      weighted_clusters:
        clusters:
        - name: a
          weight: 1
          request_headers_to_add: [{header: {key: x-level, value: cluster}}, {header: {key: x-once, value: cluster}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
          response_headers_to_add: [{header: {key: x-level, value: cluster}}, {header: {key: x-once, value: cluster}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
"#;

const ACTIONS: &str = r#"
- match: {prefix: /request}
  request_headers_to_add:
  - {header: {key: x-append, value: new}}
  - {header: {key: x-append-explicit, value: new}, append_action: APPEND_IF_EXISTS_OR_ADD}
  - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-only, value: new}, append_action: OVERWRITE_IF_EXISTS}
  - {header: {key: x-empty, value: "%REQ(x-missing)%"}}
  - {header: {key: x-kept-empty, value: "%REQ(x-missing)%"}, keep_empty_value: true}
  - {header: {key: x-bool, value: new}, append: false}
  route: {cluster: a}
- match: {prefix: /response}
  response_headers_to_add:
  - {header: {key: x-append, value: new}}
  - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-only, value: new}, append_action: OVERWRITE_IF_EXISTS}
  response_headers_to_remove: [server-side]
  route: {cluster: a}
"#;

const FORMATS: &str = r#"
- match: {prefix: /format}
  name: formatted
  request_headers_to_add:
  - {header: {key: x-method, value: "%REQ(:METHOD)%"}}
  - {header: {key: x-or, value: "%REQ(x-none?x-some)%"}}
  - {header: {key: x-cut, value: "%REQ(x-some):3%"}}
  - {header: {key: x-protocol, value: "%PROTOCOL%"}}
  - {header: {key: x-client, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
  - {header: {key: x-percent, value: "100%%"}}
  - {header: {key: x-query, value: "%QUERY_PARAM(q)%"}}
  - {header: {key: x-path-only, value: "%PATH(NQ)%"}}
  - {header: {key: x-mixed, value: "a-%REQ(x-some)%-b"}}
  - {header: {key: x-hostname-set, value: "%REQUESTED_SERVER_NAME%"}}
  response_headers_to_add:
  - {header: {key: x-code, value: "%RESPONSE_CODE%"}}
  - {header: {key: x-route, value: "%ROUTE_NAME%"}}
  - {header: {key: x-cluster, value: "%UPSTREAM_CLUSTER%"}}
  - {header: {key: x-upstream, value: "%UPSTREAM_HOST%"}}
  - {header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}
  - {header: {key: x-resp, value: "%RESP(x-app)%"}}
  route: {cluster: a}
"#;

fn cases() -> Vec<crate::case::Case> {
    let dropped = "x-drop-config: 1\r\nx-drop-host: 1\r\nx-drop-route: 1\r\nx-stay: 1\r\n";
    let levels = |name, listener, request: &str, once: &str| {
        case(name, listener)
            .play("a", answer(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{dropped}\r\n")))
            .get_with("/", &format!("host: test\r\nx-level: client\r\n{dropped}"))
            .via("a")
            .want("up:h:x-level", request)
            .want("up:h:x-once", once)
            .want("h:x-once", once)
            .want("up:h:x-stay", "1")
            .absent("up:h:x-drop-config")
            .absent("up:h:x-drop-host")
            .absent("up:h:x-drop-route")
            .absent("h:x-drop-config")
            .absent("h:x-drop-host")
            .absent("h:x-drop-route")
    };
    vec![
        levels("levels-in-order", "levels", "client | cluster | route | host | config", "config"),
        levels("levels-specific-wins", "specific-wins", "client | cluster | config | host | route", "route"),
        case("request-actions-on-present", "actions")
            .get_with(
                "/request",
                "host: test\r\nx-append: old\r\nx-append-explicit: old\r\nx-absent: old\r\nx-over: old\r\nx-only: old\r\nx-bool: old\r\n",
            )
            .via("a")
            .want("up:h:x-append", "old | new")
            .want("up:h:x-append-explicit", "old | new")
            .want("up:h:x-absent", "old")
            .want("up:h:x-over", "new")
            .want("up:h:x-only", "new")
            .want("up:h:x-bool", "new"),
        case("request-actions-on-missing", "actions")
            .get("/request")
            .via("a")
            .want("up:h:x-append", "new")
            .want("up:h:x-absent", "new")
            .want("up:h:x-over", "new")
            .absent("up:h:x-only")
            .absent("up:h:x-empty")
            .want("up:h:x-kept-empty", ""),
        case("request-overwrite-of-repeated", "actions")
            .get_with("/request", "host: test\r\nx-over: 1\r\nx-over: 2\r\nx-only: 1\r\nx-only: 2\r\n")
            .via("a")
            .want("up:h:x-over", "new")
            .want("up:h:x-only", "new"),
        case("response-actions-on-present", "actions")
            .play(
                "a",
                answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-append: old\r\nx-absent: old\r\nx-over: old\r\nx-only: old\r\nserver-side: 1\r\n\r\n"),
            )
            .get("/response")
            .via("a")
            .want("h:x-append", "old | new")
            .want("h:x-absent", "old")
            .want("h:x-over", "new")
            .want("h:x-only", "new")
            .absent("h:server-side"),
        case("response-actions-on-missing", "actions")
            .get("/response")
            .via("a")
            .want("h:x-append", "new")
            .want("h:x-absent", "new")
            .absent("h:x-only"),
        case("formatters", "formats")
            .play("a", answer("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nx-app: me\r\n\r\n"))
            .get_with("/format?q=7&r", "host: test\r\nx-some: abcdef\r\n")
            .status(202)
            .want("up:h:x-method", "GET")
            .want("up:h:x-or", "abcdef")
            .want("up:h:x-cut", "abc")
            .want("up:h:x-protocol", "HTTP/1.1")
            .want("up:h:x-client", "127.0.0.1")
            .want("up:h:x-percent", "100%")
            .want("up:h:x-query", "7")
            .want("up:h:x-path-only", "/format")
            .want("up:h:x-mixed", "a-abcdef-b")
            .want("h:x-code", "202")
            .want("h:x-route", "formatted")
            .want("h:x-cluster", "a")
            .want("h:x-upstream", "127.0.0.1:<a>")
            .want("h:x-resp", "me"),
    ]
}
