//! Changes on a stream, and configurations that are refused.

use sampan_api::envoy::extensions::filters::http::header_mutation::v3 as pb;
use sampan_filters_api::ResponseHead;

use super::*;
use crate::config::ConfigError;
use crate::testing::{self, bytes, info, shown};

fn refusals(yaml: &str) -> Vec<ConfigError> {
    config::compile(&bytes::<pb::HeaderMutation>(yaml), &testing::context()).err().unwrap_or_default()
}

#[test]
fn the_filters_changes_come_first_then_the_routes() {
    let factory = config::compile(
        &bytes::<pb::HeaderMutation>(
            "
mutations:
  request_mutations:
  - append: {header: {key: a, value: '%REQ(:path)%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - append: {header: {key: ':path', value: /new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - append: {header: {key: b, value: x}, append_action: OVERWRITE_IF_EXISTS}
  - append: {header: {key: c, value: x}, append_action: ADD_IF_ABSENT}
  - append: {header: {key: empty, value: '%REQ(nope)%'}}
  - remove: gone
  response_mutations:
  - append: {header: {key: r, value: '2'}}",
        ),
        &testing::context(),
    )
    .unwrap_or_else(|errors| panic!("{errors:?}"));
    let own = config::compile_route(
        &bytes::<pb::HeaderMutationPerRoute>(
            "mutations: {request_mutations: [{append: {header: {key: a, value: route}}}]}",
        ),
        &testing::context(),
    )
    .unwrap_or_else(|errors| panic!("{errors:?}"));
    let (mut request, mut response, mut info) = (RequestHead::default(), ResponseHead::default(), info());
    request.set_path(b"/old");
    request.headers.append("gone", "1");
    request.headers.append("c", "kept");
    response.headers.append("r", "1");
    let mut filter = factory.create(&testing::start(&request, &info, &[&own])).unwrap();
    let mut stream = Stream {
        request: &mut request,
        response: Some(&mut response),
        info: &mut info,
        clear_route: &mut false,
    };
    assert!(matches!(filter.on_request_head(&mut stream, true), Flow::Continue));
    assert!(matches!(filter.on_response_head(&mut stream, true), Flow::Continue));
    assert_eq!(shown(&request.headers), ["c: kept", "a: /old", "a: route"]);
    assert_eq!(request.path(), b"/new");
    assert_eq!(shown(&response.headers), ["r: 1", "r: 2"]);
}

#[test]
fn refusals_tell_where() {
    let found = refusals(
        "
mutations:
  request_mutations: [{remove: ':path'}, {append: {header: {key: x, value: '%NOPE%'}}}]
  response_mutations: [{append: {header: {key: ':status', value: '1'}}}]
  query_parameter_mutations:
  - {}
  - {append: {}}
  - {append: {record: {key: a, value: 1}}}
  - {append: {record: {key: '', value: a}}}
  - {append: {record: {key: a, value: '%NOPE%'}}}
  - {append: {record: {key: a, value: a}}, remove: b}
  - {append: {entry: {key: a}}}",
    );
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "mutations.query_parameter_mutations[0]",
            "mutations.query_parameter_mutations[1].append.record",
            "mutations.query_parameter_mutations[2].append.record.value",
            "mutations.query_parameter_mutations[3].append.record.key",
            "mutations.query_parameter_mutations[4].append.record.value",
            "mutations.query_parameter_mutations[5].remove",
            "mutations.query_parameter_mutations[6].append.entry",
            "mutations.request_mutations[0].remove",
            "mutations.request_mutations[1].append.header.value",
            "mutations.response_mutations[0].append.header.key",
        ]
    );
}

#[test]
fn levels_come_in_order_and_trailers_change_too() {
    let route = |yaml: &str| {
        config::compile_route(&bytes::<pb::HeaderMutationPerRoute>(yaml), &testing::context()).unwrap()
    };
    let append = |name: &str| {
        route(&format!(
            "mutations: {{request_mutations: [{{append: {{header: {{key: l, value: {name}}}}}}}]}}"
        ))
    };
    let (specific, general) = (append("route"), append("host"));
    for (last, expected) in [(false, ["l: route", "l: host"]), (true, ["l: host", "l: route"])] {
        let yaml = format!(
            "{{most_specific_header_mutations_wins: {last}, mutations: {{response_trailers_mutations: [{{remove_on_match: {{key_matcher: {{prefix: x-}}}}}}, {{append: {{header: {{key: t, value: '1'}}}}}}]}}}}"
        );
        let factory = config::compile(&bytes::<pb::HeaderMutation>(&yaml), &testing::context()).unwrap();
        let (mut request, mut info) = (RequestHead::default(), info());
        let mut filter = factory.create(&testing::start(&request, &info, &[&specific, &general])).unwrap();
        let mut stream =
            Stream { request: &mut request, response: None, info: &mut info, clear_route: &mut false };
        filter.on_request_head(&mut stream, true);
        let mut trailers = Headers::new();
        trailers.append("X-Gone", "1");
        trailers.append("kept", "1");
        filter.on_response_trailers(&mut stream, &mut trailers);
        assert_eq!(shown(&trailers), ["kept: 1", "t: 1"]);
        assert_eq!(shown(&request.headers), expected);
    }
}

#[test]
fn parameters_change_and_keep_their_encoding() {
    let factory = config::compile(
        &bytes::<pb::HeaderMutation>(
            "
mutations:
  query_parameter_mutations:
  - {remove: 'a b'}
  - {append: {record: {key: x, value: '%REQ(v)%'}}}
  - {append: {record: {key: o, value: new}, action: OVERWRITE_IF_EXISTS}}
  - {append: {record: {key: s, value: ''}, action: OVERWRITE_IF_EXISTS_OR_ADD}}
  - {append: {record: {key: d, value: '1'}, action: ADD_IF_ABSENT}}
  - {append: {record: {key: '?', value: '1'}, action: ADD_IF_ABSENT}}",
        ),
        &testing::context(),
    )
    .unwrap();
    for (path, changed) in [
        ("/", "/?%3F=1&d=1&s=&x=%2F%20%26"),
        ("/p?s=1&s=2&o=1&a+b=1&a%20b=2&d&x=%26%", "/p?%3F=1&a+b=1&d=&o=new&s=&x=%26%&x=%2F%20%26"),
        ("/?&=1&%6f=1&z=%2", "/?=&=1&%3F=1&d=1&o=new&s=&x=%2F%20%26&z=%2"),
        ("", ""),
    ] {
        let (mut request, mut info) = (RequestHead::default(), info());
        request.set_path(path.as_bytes());
        request.headers.append("v", "/ &");
        let mut filter = factory.create(&testing::start(&request, &info, &[])).unwrap();
        let mut stream =
            Stream { request: &mut request, response: None, info: &mut info, clear_route: &mut false };
        filter.on_request_head(&mut stream, true);
        assert_eq!(String::from_utf8_lossy(request.path()), changed, "{path}");
    }
}
