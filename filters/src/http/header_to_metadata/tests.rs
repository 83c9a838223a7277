//! Values on their way into the metadata.

use sampan_api::envoy::extensions::filters::http::header_to_metadata::v3 as pb;
use sampan_filters_api::{CounterStore, ResponseHead};

use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

/// The metadata, the fields that are left of the request, the counters.
fn copied(rules: &str, fields: &[(&str, &str)]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let yaml = format!("{{stat_prefix: p, {rules}}}");
    let factory = config::compile(&bytes::<pb::Config>(&yaml), &testing::with_counters(&store))
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let (mut head, mut info, mut response) = (request(fields), info(), ResponseHead::default());
    response.status = 201;
    response.headers.append("r", "1");
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut stream = Stream {
        request: &mut head,
        response: Some(&mut response),
        info: &mut info,
        clear_route: &mut false,
    };
    filter.on_request_head(&mut stream, true);
    filter.on_response_head(&mut stream, true);
    let metadata = info.metadata.iter().map(|(name, value)| format!("{name} {value:?}")).collect();
    (metadata, shown(&head.headers), counted(&store))
}

fn metadata(rules: &str, fields: &[(&str, &str)]) -> Vec<String> {
    copied(rules, fields).0
}

#[test]
fn headers_are_copied_and_removed() {
    let rules = "request_rules: [{header: X, remove: true, on_header_present: {metadata_namespace: ns, key: k}}, {header: ':path', on_header_present: {metadata_namespace: ns, key: p}}]";
    let (metadata, left, counters) = copied(rules, &[("x", "1"), ("x", "2"), ("z", "3")]);
    assert_eq!(metadata, [r#"ns Struct([("k", String("1,2")), ("p", String("/"))])"#]);
    assert_eq!(left, ["z: 3"]);
    assert_eq!(
        counters,
        ["http_filter_name.p.request_metadata_added: 2", "http_filter_name.p.request_rules_processed: 2"]
    );
}

#[test]
fn values_are_given_rewritten_or_decoded() {
    let target = |target: &str| {
        format!(
            "request_rules: [{{header: x, on_header_present: {{metadata_namespace: ns, key: k, {target}}}}}]"
        )
    };
    let one = |target_fields: &str, value: &str| metadata(&target(target_fields), &[("x", value)]);
    assert_eq!(one("value: own", "x"), [r#"ns Struct([("k", String("own"))])"#]);
    assert_eq!(one("type: NUMBER", " 1.5"), [r#"ns Struct([("k", Number(1.5))])"#]);
    assert_eq!(one("type: NUMBER", "z"), [""; 0]);
    assert_eq!(one("encode: BASE64", "aGk="), [r#"ns Struct([("k", String("hi"))])"#]);
    assert_eq!(one("encode: BASE64", "!"), [""; 0]);
    let coded = "encode: BASE64, type: PROTOBUF_VALUE";
    assert_eq!(one(coded, "EQAAAAAAAPg/"), [r#"ns Struct([("k", Number(1.5))])"#]);
    assert_eq!(one(coded, "KgkKBwoBYRICIAE="), [r#"ns Struct([("k", Struct([("a", Bool(true))]))])"#]);
    assert_eq!(one(coded, "AAAA"), [""; 0]);
    assert_eq!(one("type: PROTOBUF_VALUE", "text"), [""; 0]);
    assert_eq!(one("", ""), [""; 0]);
    assert_eq!(one("", &"x".repeat(8192)), [""; 0]);
    let rewrite = r"regex_value_rewrite: {pattern: {regex: '^a(.)$'}, substitution: '\1\1'}";
    assert_eq!(one(rewrite, "ab"), [r#"ns Struct([("k", String("bb"))])"#]);
}

#[test]
fn what_is_missing_and_cookies_and_responses() {
    let missing = "request_rules: [{header: x, on_header_missing: {key: k, value: none}}]";
    assert_eq!(
        metadata(missing, &[]),
        [r#"envoy.filters.http.header_to_metadata Struct([("k", String("none"))])"#]
    );
    assert_eq!(metadata(missing, &[("x", "1")]), [""; 0]);
    let cookie = "request_rules: [{cookie: c, on_header_present: {metadata_namespace: ns, key: k}}]";
    assert_eq!(metadata(cookie, &[("cookie", "b=1; c=\"2\"; c=3")]), [r#"ns Struct([("k", String("2"))])"#]);
    let response = "response_rules: [{header: r, on_header_present: {metadata_namespace: ns, key: k}}, {header: ':status', on_header_present: {metadata_namespace: ns, key: s}}]";
    assert_eq!(metadata(response, &[]), [r#"ns Struct([("k", String("1")), ("s", String("201"))])"#]);
}

#[test]
fn refusals_tell_where() {
    let yaml = "request_rules: [{}, {header: a, cookie: b}, {cookie: a, remove: true}, {header: a}, {header: a, on_header_missing: {key: k}}, {header: a, on_header_present: {}}]";
    let found = config::compile(&bytes::<pb::Config>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "request_rules[0]",
            "request_rules[1]",
            "request_rules[2].remove",
            "request_rules[3]",
            "request_rules[4].on_header_missing.value",
            "request_rules[5].on_header_present.key"
        ]
    );
    assert!(config::compile_route(&[], &testing::context()).is_err());
}
