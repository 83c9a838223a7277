//! Changes on a stream, and configurations that are refused.

use std::rc::Rc;

use sampan_api::envoy::extensions::filters::http::header_mutation::v3 as pb;
use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_filters_api::{Address, ConnectionInfo, ResponseHead};

use super::*;
use crate::config::ConfigError;

fn bytes<M: prost::Message + prost::Name + Default>(yaml: &str) -> Vec<u8> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    decode::<M>(Descriptors::load(), &document, Policy::default()).unwrap().value.encode_to_vec()
}

fn refusals(yaml: &str) -> Vec<ConfigError> {
    config::compile(&bytes::<pb::HeaderMutation>(yaml)).err().unwrap_or_default()
}

fn info() -> StreamInfo {
    let address = Address::Pipe("".into());
    let connection = ConnectionInfo {
        id: 1,
        local: address.clone(),
        direct_remote: address,
        start: Instant::now(),
        listener_name: "".into(),
        filter_chain_name: "".into(),
        requested_server_name: None,
        tls: None,
    };
    StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
}

fn shown(headers: &Headers) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
}

#[test]
fn the_filters_changes_come_first_then_the_routes() {
    let factory = config::compile(&bytes::<pb::HeaderMutation>(
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
    ))
    .unwrap_or_else(|errors| panic!("{errors:?}"));
    let own = config::compile_route(&bytes::<pb::HeaderMutationPerRoute>(
        "mutations: {request_mutations: [{append: {header: {key: a, value: route}}}]}",
    ))
    .unwrap_or_else(|errors| panic!("{errors:?}"));
    let (mut request, mut response, mut info) = (RequestHead::default(), ResponseHead::default(), info());
    request.set_path(b"/old");
    request.headers.append("gone", "1");
    request.headers.append("c", "kept");
    response.headers.append("r", "1");
    let mut filter = factory.create(&request, &info, Some(&own)).unwrap();
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
  query_parameter_mutations: [{remove: a}]",
    );
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "mutations.query_parameter_mutations",
            "mutations.request_mutations[0].remove",
            "mutations.request_mutations[1].append.header.value",
            "mutations.response_mutations[0].append.header.key",
        ]
    );
}
