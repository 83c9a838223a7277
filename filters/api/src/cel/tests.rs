use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::*;
use crate::head::{Protocol, RequestHead, ResponseHead};
use crate::info::{
    Address, ConnectionInfo, FilterState, HostFacts, ListenerFacts, LocalityFacts, MetadataValue, RouteFacts,
    StateObject, StreamInfo, VirtualHostFacts,
};
use crate::node::{Direction, NodeFacts};

/// Metadata of one value.
fn metadata(value: &str) -> MetadataValue {
    let own = MetadataValue::Struct(vec![("k".into(), MetadataValue::String(value.into()))]);
    MetadataValue::Struct(vec![("ns".into(), own)])
}

fn info() -> StreamInfo {
    let address = |port| Address::Socket(([10, 0, 0, 1], port).into());
    let connection = ConnectionInfo::new(
        7,
        address(80),
        address(4242),
        Arc::new(ListenerFacts {
            name: "l".into(),
            metadata: Some(metadata("listener")),
            direction: Direction::Outbound,
            node: Arc::new(NodeFacts { id: "n".into(), zone: "z".into(), ..NodeFacts::default() }),
        }),
    );
    let mut info = StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now());
    info.protocol = Some(Protocol::Http11);
    info.route = Some(Arc::new(RouteFacts { name: Some("r".into()), ..RouteFacts::default() }));
    info.metadata.set("ns", "k", MetadataValue::String("v".into()));
    info.bytes.received = 3;
    info
}

/// An object of the filter state.
struct Word;

impl StateObject for Word {
    fn plain(&self) -> String {
        "word".into()
    }
}

fn request() -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_path(b"/a/b?q=1");
    head.set_authority(b"h.example");
    head.set_scheme(b"http");
    head.headers.append("X-A", "1");
    head.headers.append("x-a", "2");
    head.headers.append("user-agent", "u");
    head
}

/// The value as text, or `-`.
fn value(text: &str) -> String {
    let (info, head) = (info(), request());
    let base = FormatContext::new(&info, Instant::now(), SystemTime::now());
    let context = FormatContext { request: Some(&head), ..base };
    let mut out = Vec::new();
    let written = Expression::parse(text).unwrap().write(&context, &mut out);
    if written { String::from_utf8(out).unwrap() } else { "-".to_owned() }
}

#[test]
fn attributes_of_a_request() {
    for (text, expected) in [
        ("request.path", "/a/b?q=1"),
        ("request.url_path", "/a/b"),
        ("request.query", "q=1"),
        ("request.host", "h.example"),
        ("request.method == 'GET' && request.scheme == 'http'", "true"),
        ("request.headers['x-a']", "1,2"),
        ("request.headers[':method']", "GET"),
        ("'x-a' in request.headers", "true"),
        ("request.useragent", "u"),
        ("request.protocol", "HTTP/1.1"),
        ("request.size + 1", "4"),
        ("request.time > timestamp('2001-01-01T00:00:00Z')", "true"),
        ("source.address", "10.0.0.1:4242"),
        ("destination.port == 80", "true"),
        ("connection.id == 7u", "true"),
        ("connection.mtls", "false"),
        ("metadata.filter_metadata['ns']['k']", "v"),
        ("metadata.filter_metadata.ns.k", "v"),
        ("xds.route_name", "r"),
        ("request.path.startsWith('/a') ? 'yes' : 'no'", "yes"),
        ("request.path.matches('^/a/[a-z]')", "true"),
        ("size(request.headers) > 3", "true"),
        ("has(request.referer)", "false"),
        ("has(request.useragent)", "true"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn what_the_configuration_says_has_the_shape_of_metadata() {
    let mut info = info();
    let host = VirtualHostFacts { name: "vh".into(), metadata: Some(metadata("host")) };
    let route = RouteFacts { name: None, metadata: Some(metadata("route")), host: Arc::new(host) };
    info.route = Some(Arc::new(route));
    let place = LocalityFacts { region: "r".into(), ..LocalityFacts::default() };
    info.upstream.host = Some(Rc::new(HostFacts { metadata: None, locality: place }));
    let mut upstream = FilterState::default();
    upstream.set("key", Rc::new(Word));
    info.upstream.state = Some(Rc::new(RefCell::new(upstream)));
    let context = FormatContext::new(&info, Instant::now(), SystemTime::now());
    let holds = |text: &str| Expression::parse(text).unwrap().holds(&context);
    assert!(holds("xds.route_metadata.filter_metadata['ns']['k'] == 'route'"));
    assert!(holds("xds.virtual_host_metadata.filter_metadata.ns.k == 'host'"));
    assert!(holds("xds.listener_metadata.filter_metadata.ns.k == 'listener' && xds.listener_direction == 2"));
    assert!(holds("xds.virtual_host_name == 'vh' && !has(xds.route_name)"));
    assert!(holds("xds.node.id == 'n' && xds.node.locality.zone == 'z' && xds.node.cluster == ''"));
    assert!(holds("upstream.locality.region == 'r' && upstream.locality.zone == ''"));
    assert!(!holds("xds.cluster_metadata.filter_metadata['ns']['k'] == 'v'"));
    assert!(!holds("has(xds.upstream_host_metadata)"));
    assert!(holds("upstream_filter_state['key'] == b'word' && !('key' in filter_state)"));
}

#[test]
fn what_is_absent_makes_no_value() {
    for text in [
        "request.headers['absent']",
        "request.referer",
        "response.code",
        "response.code == 200",
        "no_such == 1",
        "request.no_such == 1",
        "metadata.filter_metadata['other']['k']",
        "1 / 0",
        "request.path > 1",
    ] {
        assert_eq!(value(text), "-", "{text}");
    }
}

#[test]
fn a_response_has_its_own() {
    let (mut info, head) = (info(), request());
    info.response_code = 503;
    info.details = "via_upstream".into();
    let mut response = ResponseHead::default();
    response.headers.append("grpc-status", "14");
    let base = FormatContext::new(&info, Instant::now(), SystemTime::now());
    let context = FormatContext { request: Some(&head), response: Some(&response), ..base };
    let holds = |text| Expression::parse(text).unwrap().holds(&context);
    assert!(holds("response.code >= 500 && response.code_details == 'via_upstream'"));
    assert!(holds("response.headers['grpc-status'] == '14'"));
    assert!(!holds("response.code"), "a number does not hold");
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |text: &str| Expression::parse(text).unwrap_err().reason;
    assert!(refused("[1, 2].exists(x, x > 1)").contains("comprehensions"));
    assert!(
        refused("xds.upstream_host_locality_metadata.filter_metadata == ''").contains("is not supported")
    );
    for bad in ["", "1 +", "request.", &"(".repeat(200), &"1+".repeat(20_000)] {
        assert!(Expression::parse(bad).is_err(), "{bad:.20}");
    }
}

#[test]
fn any_bytes_are_refused_or_evaluated() {
    let mut state = 1u64;
    let words = [
        "request", ".", "path", "(", ")", "[", "]", "'", "==", "&&", "!", "-", "1", "has", "?", ":", "in",
        " ",
    ];
    for _ in 0..300 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(words[(state >> 33) as usize % words.len()]);
        }
        if Expression::parse(&text).is_ok() {
            let _ = value(&text);
        }
    }
}
