//! Which responses are replaced, and by what.

use sampan_api::envoy::extensions::filters::http::custom_response::v3 as pb;
use sampan_filters_api::ResponseHead;
use sampan_filters_api::http::RouteConfig;

use super::*;
use crate::testing::{self, bytes, info, request, shown, start};

const INPUTS: &str = "'@type': type.googleapis.com/envoy.type.matcher.v3.";

fn single(input: &str, value: &str) -> String {
    format!(
        "{{single_predicate: {{input: {{name: i, typed_config: {{{INPUTS}{input}}}}}, value_match: {{exact: '{value}'}}}}}}"
    )
}

fn policy(fields: &str) -> String {
    let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    format!(
        "{{action: {{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy{fields}}}}}}}"
    )
}

fn list(branches: &[(String, String)]) -> String {
    let each: Vec<_> = branches.iter().map(|(p, on)| format!("{{predicate: {p}, on_match: {on}}}")).collect();
    format!("custom_response_matcher: {{matcher_list: {{matchers: [{}]}}}}", each.join(", "))
}

fn route(yaml: &str) -> RouteConfig {
    config::compile_route(&bytes::<pb::CustomResponse>(yaml), &testing::context())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn answered(
    yaml: &str,
    routes: &[&RouteConfig],
    status: u16,
    fields: &[(&str, &str)],
) -> Option<Box<LocalReply>> {
    let factory = config::compile(&bytes::<pb::CustomResponse>(yaml), &testing::context()).unwrap();
    let (mut head, mut info) = (request(fields), info());
    info.details = "via_upstream".into();
    let mut filter = factory.create(&start(&head, &info, routes)).unwrap();
    let mut response = ResponseHead { status, headers: Headers::new() };
    response.headers.append("x-kind", "known");
    let mut stream = Stream {
        request: &mut head,
        response: Some(&mut response),
        info: &mut info,
        clear_route: &mut false,
    };
    match filter.on_response_head(&mut stream, false) {
        Flow::Reply(reply) => Some(reply),
        _ => None,
    }
}

#[test]
fn a_policy_is_found_by_status_class_and_headers() {
    let yaml = list(&[
        (
            single("HttpResponseStatusCodeMatchInput", "404"),
            policy(
                "status_code: 499, body: {inline_string: gone}, response_headers_to_add: [{header: {key: x, value: '%RESPONSE_CODE%'}}]",
            ),
        ),
        (
            format!(
                "{{and_matcher: {{predicate: [{}, {}]}}}}",
                single("HttpResponseStatusCodeClassMatchInput", "5xx"),
                single("HttpRequestHeaderMatchInput, header_name: accept", "text/plain")
            ),
            policy(
                "body_format: {text_format_source: {inline_string: '%REQ(accept)%'}, content_type: text/x}, preserve_response_code_details: true",
            ),
        ),
        (
            format!("{{not_matcher: {}}}", single("HttpResponseLocalReplyMatchInput", "false")),
            policy("response_code_details: own"),
        ),
    ]);
    let reply = answered(&yaml, &[], 404, &[]).unwrap();
    assert_eq!((reply.status, &reply.body[..], &*reply.details), (499, &b"gone"[..], ""));
    let reply = answered(&yaml, &[], 502, &[("accept", "text/plain")]).unwrap();
    assert_eq!((reply.status, &reply.body[..], &*reply.details), (502, &b"text/plain"[..], "via_upstream"));
    assert_eq!(shown(&reply.headers), ["content-type: text/x"]);
    assert!(answered(&yaml, &[], 502, &[]).is_none() && answered(&yaml, &[], 200, &[]).is_none());
}

#[test]
fn the_most_specific_level_that_knows_one_decides() {
    let own = list(&[(
        single("HttpResponseHeaderMatchInput, header_name: x-kind", "known"),
        policy("status_code: 201"),
    )]);
    let special =
        route(&list(&[(single("HttpResponseStatusCodeMatchInput", "404"), policy("status_code: 202"))]));
    assert_eq!(answered(&own, &[&special], 404, &[]).unwrap().status, 202);
    assert_eq!(answered(&own, &[&special], 403, &[]).unwrap().status, 201);
    let map = format!(
        "custom_response_matcher: {{matcher_tree: {{input: {{name: i, typed_config: {{{INPUTS}HttpResponseStatusCodeMatchInput}}}}, prefix_match_map: {{map: {{'4': {}, '40': {}}}}}}}, on_no_match: {}}}",
        policy("status_code: 240"),
        policy("status_code: 241"),
        policy("status_code: 242"),
    );
    for (status, expected) in [(404, 241), (418, 240), (500, 242)] {
        assert_eq!(answered(&map, &[], status, &[]).unwrap().status, expected);
    }
}

#[test]
fn refusals_tell_where() {
    let refused = |yaml: &str| {
        let errors = config::compile(&bytes::<pb::CustomResponse>(yaml), &testing::context()).err().unwrap();
        errors[0].path.clone()
    };
    let on = |fields: &str| list(&[(single("HttpResponseStatusCodeMatchInput", "404"), policy(fields))]);
    let at = "custom_response_matcher.matcher_list.matchers[0]";
    assert_eq!(refused(&on("status_code: 100")), format!("{at}.on_match.action.typed_config.status_code"));
    let redirect = "{action: {name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy, uri: 'http://a/b'}}}";
    let redirect = list(&[(single("HttpResponseStatusCodeMatchInput", "404"), redirect.to_owned())]);
    assert_eq!(refused(&redirect), format!("{at}.on_match.action.typed_config"));
    let other = list(&[(single("HttpRequestHeaderMatchInput", "x"), policy(""))]);
    assert_eq!(refused(&other), format!("{at}.predicate.single_predicate.input.typed_config.header_name"));
}
