//! Answers in the place of responses.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::upstream::answer;

/// Custom responses.
pub fn group() -> Group {
    Group { name: "custom_response", bootstrap: bootstrap(), cases: cases() }
}

const MESSAGE: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse";

fn single(input: &str, value: &str) -> String {
    format!(
        "{{single_predicate: {{input: {{name: i, typed_config: {{'@type': type.googleapis.com/envoy.type.matcher.v3.{input}}}}}, value_match: {{exact: '{value}'}}}}}}"
    )
}

fn policy(fields: &str) -> String {
    format!(
        "{{action: {{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy, {fields}}}}}}}"
    )
}

fn list(branches: &[(String, String)]) -> String {
    let each: Vec<_> = branches.iter().map(|(p, on)| format!("{{predicate: {p}, on_match: {on}}}")).collect();
    format!("custom_response_matcher: {{matcher_list: {{matchers: [{}]}}}}", each.join(", "))
}

fn bootstrap() -> Bootstrap {
    let status = |code: &str| single("HttpResponseStatusCodeMatchInput", code);
    let class = |class: &str| single("HttpResponseStatusCodeClassMatchInput", class);
    let own = list(&[
        (
            status("404"),
            policy(
                "status_code: 499, body: {inline_string: gone}, response_headers_to_add: [{header: {key: x-own, value: 'of %RESPONSE_CODE%'}}, {header: {key: content-type, value: text/own}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
            ),
        ),
        (
            status("410"),
            policy(
                "body_format: {text_format_source: {inline_string: '%REQ(:path)% %LOCAL_REPLY_BODY%.'}}, body: {inline_string: text}",
            ),
        ),
        (
            format!(
                "{{and_matcher: {{predicate: [{}, {}]}}}}",
                class("5xx"),
                single("HttpRequestHeaderMatchInput, header_name: accept", "text/plain")
            ),
            policy("body: {inline_string: plain}, preserve_response_code_details: true"),
        ),
        (
            format!("{{or_matcher: {{predicate: [{}, {}]}}}}", status("501"), status("505")),
            policy("status_code: 200, body: {inline_string: fine}, response_code_details: told"),
        ),
        (single("HttpResponseHeaderMatchInput, header_name: x-kind", "odd"), policy("status_code: 206")),
        (
            single("HttpResponseLocalReplyMatchInput", "true"),
            policy("status_code: 470, body: {inline_string: ours}"),
        ),
    ]);
    let route = list(&[(status("404"), policy("status_code: 444, body: {inline_string: of the route}"))]);
    let routes = format!(
        "- {{match: {{prefix: /route}}, route: {{cluster: a}}, typed_per_filter_config: {{envoy.filters.http.custom_response: {{{MESSAGE}, {route}}}}}}}\n- {{match: {{prefix: /local}}, direct_response: {{status: 404, body: {{inline_string: 'direct'}}}}}}\n- {{match: {{prefix: /kept}}, direct_response: {{status: 403, body: {{inline_string: 'direct'}}}}}}\n- {{match: {{prefix: /refused}}, route: {{cluster: refused}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, response_headers_to_add: [{{header: {{key: x-route, value: '1'}}}}]}}\n"
    );
    Bootstrap::new().http_filters(
        "own",
        &format!("- {{name: envoy.filters.http.custom_response, typed_config: {{{MESSAGE}, {own}}}}}"),
        &routes,
    )
}

fn cases() -> Vec<Case> {
    let answered = |name: &'static str, path: &str, status: &str, lines: &str| {
        case(name, "own")
            .play("a", answer(format!("HTTP/1.1 {status}\r\n{lines}content-length: 4\r\n\r\nbody")))
            .get(path)
    };
    let with = |name: &'static str, status: &str, lines: &str| {
        case(name, "own")
            .play("a", answer(format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nbody")))
            .get_with("/", &format!("host: test\r\n{lines}"))
    };
    let cases = vec![
        answered("none", "/", "200 OK", "").via("a").want("body", "body"),
        answered("replaced", "/", "404 Not Found", "x-gone: 1\r\n")
            .status(499)
            .want("body", "gone")
            .absent("h:x-gone"),
        answered("formatted", "/p", "410 Gone", "").want("body", "/p text."),
        answered("of-the-route", "/route", "404 Not Found", "").status(444),
        answered("of-the-filter", "/route", "410 Gone", "").status(410),
        with("and", "503 Unavailable", "accept: text/plain\r\n")
            .want("body", "plain")
            .details("via_upstream"),
        with("not-and", "503 Unavailable", "").want("body", "body"),
        answered("or", "/", "505 No", "").status(200).details("told"),
        answered("by-header", "/", "200 OK", "x-kind: odd\r\n").status(206),
        case("local", "own").get("/local").status(499),
        case("local-kept", "own").get("/kept").status(470),
        case("failed", "own").get("/refused"),
        case("head", "own")
            .play("a", answer("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n"))
            .send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n"),
        case("h2", "own").call(Call::get("/local")),
        case("grpc", "own").call(Call::grpc("/local")),
    ];
    // Details that are cleared are empty in Envoy's log, and absent in ours.
    let cleared = |case: &Case| !case.wants.iter().any(|(fact, _)| fact == "log.details");
    cases.into_iter().map(|case| if cleared(&case) { case.ignore("log.details") } else { case }).collect()
}
