//! Preflights, responses, levels, and what only counts.

use sampan_api::envoy::extensions::filters::http::cors::v3 as pb;
use sampan_filters_api::http::RouteConfig;
use sampan_filters_api::{CounterStore, ResponseHead};

use super::*;
use crate::testing::{self, bytes, info, request, shown};

fn policy(yaml: &str) -> RouteConfig {
    config::compile_route(&bytes::<pb::CorsPolicy>(yaml), &testing::context())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// What becomes of a request: the preflight's answer, or the fields of the response; and the counters.
fn outcome(
    policies: &[RouteConfig],
    fields: &[(&str, &str)],
) -> (Option<Vec<String>>, Vec<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let factory = config::compile(&[], &testing::with_counters(&store)).unwrap();
    let (mut head, mut info, mut response) = (request(fields), info(), ResponseHead::default());
    let routes: Vec<_> = policies.iter().collect();
    let Some(mut filter) = factory.create(&testing::start(&head, &info, &routes)) else {
        return (None, Vec::new(), Vec::new());
    };
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let reply = match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => Some(shown(&reply.headers)),
        _ => None,
    };
    stream.response = Some(&mut response);
    filter.on_response_head(&mut stream, true);
    (reply, shown(&response.headers), testing::counted(&store))
}

const PREFLIGHT: &[(&str, &str)] =
    &[(":method", "OPTIONS"), ("origin", "http://a.com"), ("access-control-request-method", "PUT")];

#[test]
fn a_preflight_is_answered() {
    let own = policy(
        "{allow_origin_string_match: [{suffix: a.com}], allow_methods: 'GET,PUT', allow_headers: '*', max_age: '5', allow_credentials: true}",
    );
    let (reply, response, counted) = outcome(&[own], PREFLIGHT);
    assert_eq!(
        reply.unwrap(),
        [
            "access-control-allow-origin: http://a.com",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET,PUT",
            "access-control-allow-headers: ",
            "access-control-max-age: 5",
        ]
    );
    assert_eq!(
        response,
        ["access-control-allow-origin: http://a.com", "access-control-allow-credentials: true"]
    );
    assert_eq!(counted, ["http.h.cors.origin_valid: 1"]);
}

#[test]
fn another_origin_goes_on_or_is_told_nothing() {
    let going = policy("{allow_origin_string_match: [{exact: x}]}");
    assert_eq!(
        outcome(&[going], PREFLIGHT),
        (None, vec![], vec!["http.h.cors.origin_invalid: 1".to_owned()])
    );
    let stopped = policy("{allow_origin_string_match: [{exact: x}], forward_not_matching_preflights: false}");
    assert_eq!(outcome(&[stopped], PREFLIGHT).0, Some(vec![]));
}

#[test]
fn each_field_is_that_of_the_most_specific_level_which_has_it() {
    let route = policy("{allow_methods: '*'}");
    let host = policy("{allow_origin_string_match: [{exact: '*'}], allow_methods: GET, expose_headers: x}");
    let (reply, response, _) = outcome(&[route, host], PREFLIGHT);
    assert_eq!(
        reply.unwrap(),
        ["access-control-allow-origin: http://a.com", "access-control-allow-methods: PUT"]
    );
    assert_eq!(response, ["access-control-allow-origin: http://a.com", "access-control-expose-headers: x"]);
}

#[test]
fn a_shadow_only_counts() {
    let shadow = "filter_enabled: {default_value: {}}, shadow_enabled: {default_value: {numerator: 100}}";
    let own = policy(&format!("{{allow_origin_string_match: [{{exact: 'http://a.com'}}], {shadow}}}"));
    assert_eq!(outcome(&[own], PREFLIGHT), (None, vec![], vec!["http.h.cors.origin_valid: 1".to_owned()]));
    let off = policy("{allow_origin_string_match: [{exact: '*'}], filter_enabled: {}}");
    assert_eq!(outcome(&[off], PREFLIGHT), (None, vec![], vec![]));
}

#[test]
fn private_networks_are_granted_to_those_who_ask() {
    let own = policy("{allow_origin_string_match: [{exact: '*'}], allow_private_network_access: true}");
    let asking = [PREFLIGHT, &[("access-control-request-private-network", "true")]].concat();
    let granted = "access-control-allow-private-network: true";
    assert_eq!(outcome(std::slice::from_ref(&own), &asking).0.unwrap()[1], granted);
    assert_eq!(outcome(&[own], PREFLIGHT).0.unwrap().len(), 1);
}

#[test]
fn refusals_tell_where() {
    let yaml = "{allow_origin_string_match: [{exact: a}, {safe_regex: {regex: '('}}], max_age: \"1\\n2\"}";
    let found = config::compile_route(&bytes::<pb::CorsPolicy>(yaml), &testing::context()).unwrap_err();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["allow_origin_string_match[1].safe_regex.regex", "max_age"]);
}
