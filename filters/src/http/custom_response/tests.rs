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

fn redirection(fields: &str) -> String {
    let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    format!(
        "{{action: {{name: a, typed_config: {{'@type': type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy{fields}}}}}}}"
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

/// A status, and fields.
type Answer = (u16, Vec<String>);

/// What a policy makes of a POST for `/p?q` that was answered with 404, if there is a route for it or not: the request line, the
/// fields, and those of the other request's response.
fn redirected(fields: &str, found: bool) -> (String, Vec<String>, Option<Answer>) {
    let yaml = list(&[(single("HttpResponseStatusCodeMatchInput", "404"), redirection(fields))]);
    let factory = config::compile(&bytes::<pb::CustomResponse>(&yaml), &testing::context()).unwrap();
    let (mut head, mut info) = (request(&[(":path", "/p?q"), ("content-length", "5"), ("x", "1")]), info());
    head.set_method(b"POST");
    let mut filter = factory.create(&start(&head, &info, &[])).unwrap();
    let mut response = ResponseHead { status: 404, headers: Headers::new() };
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    filter.on_request_head(&mut stream, false);
    stream.response = Some(&mut response);
    let Flow::Anew(anew) = filter.on_response_head(&mut stream, false) else { panic!("no redirect") };
    assert_eq!(shown(&stream.request.headers), ["content-length: 5", "x: 1"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let other = &anew.request;
    let parts = [other.method(), other.scheme(), other.authority(), other.path()].map(text);
    let line = format!("{} {}://{}{}", parts[0], parts[1], parts[2], parts[3]);
    let fields = shown(&other.headers);
    (anew.then)(&mut stream, found);
    if let Some(response) = &mut stream.response {
        response.status = 500;
    }
    let second =
        factory.create(&start(stream.request, stream.info, &[])).unwrap().on_response_head(&mut stream, true);
    assert!(matches!(second, Flow::Continue));
    (line, fields, found.then(|| (response.status, shown(&response.headers))))
}

#[test]
fn another_request_takes_the_place_of_one() {
    let marks = "request_headers_to_add: [{header: {key: x-why, value: '%REQ(:path)%'}}], response_headers_to_add: [{header: {key: x-mark, value: m}}]";
    assert_eq!(
        redirected(&format!("uri: 'https://a.test/s?1#f', status_code: 418, {marks}"), true),
        (
            "GET https://a.test/s?1".to_owned(),
            vec!["x: 1".to_owned(), "x-why: /s?1".to_owned()],
            Some((418, vec!["x-mark: m".to_owned()]))
        )
    );
    for (fields, line) in [
        ("uri: 'http://a.test'", "GET http://a.test/"),
        ("redirect_action: {path_redirect: /s}", "GET http://test/s?q"),
        ("redirect_action: {host_redirect: b, port_redirect: 81, strip_query: true}", "GET http://b:81/p"),
        ("redirect_action: {host_redirect: b, https_redirect: true}", "GET https://b/p?q"),
    ] {
        let (found, _, response) = redirected(fields, true);
        assert_eq!((&*found, response), (line, Some((404, vec![]))), "{fields}");
    }
    assert_eq!(redirected("uri: 'http://a.test'", false).2, None);
}

#[test]
fn urls() {
    use super::redirect::Url;
    for bad in
        ["", "/p", "ftp://a/", "http:/a", "http://", "http:///p", "http://:80/", "http://u@a/", "http://a/ p"]
    {
        assert!(Url::parse(bad.as_bytes()).is_none(), "{bad}");
    }
    assert!(Url::parse(b"HTTPS://a:1?q").is_some());
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
    let redirect = |fields: &str| {
        refused(&list(&[(single("HttpResponseStatusCodeMatchInput", "404"), redirection(fields))]))
    };
    for (fields, path) in [
        ("", ""),
        ("uri: /path", ".uri"),
        ("uri: 'http://a', status_code: 100", ".status_code"),
        ("uri: 'http://a', modify_request_headers_action: {name: a}", ".modify_request_headers_action"),
        ("uri: 'http://a', request_headers_to_add: [{}]", ".request_headers_to_add[0].header"),
        ("redirect_action: {strip_query: true}", ".redirect_action"),
        ("redirect_action: {path_redirect: '/a#b'}", ".redirect_action.path_redirect"),
        ("redirect_action: {prefix_rewrite: /}", ".redirect_action.prefix_rewrite"),
        ("redirect_action: {host_redirect: a, port_redirect: 65536}", ".redirect_action.port_redirect"),
        ("redirect_action: {host_redirect: a, response_code: FOUND}", ".redirect_action.response_code"),
    ] {
        assert_eq!(redirect(fields), format!("{at}.on_match.action.typed_config{path}"), "{fields}");
    }
    let other = list(&[(single("HttpRequestHeaderMatchInput", "x"), policy(""))]);
    assert_eq!(refused(&other), format!("{at}.predicate.single_predicate.input.typed_config.header_name"));
}
