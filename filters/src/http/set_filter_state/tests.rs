//! What is set for requests, and for connections.

use sampan_api::envoy::extensions::filters::http::set_filter_state::v3 as pb;
use sampan_api::envoy::extensions::filters::network::set_filter_state::v3 as network;
use sampan_filters_api::network::NetworkFlow;

use super::*;
use crate::testing::{self, bytes, info, request};

fn value(key: &str, more: &str, format: &str) -> String {
    format!(
        "{{object_key: {key}, factory_key: envoy.string, {more} format_string: {{text_format_source: {{inline_string: '{format}'}}}}}}"
    )
}

#[test]
fn values_are_formatted() {
    let yaml = format!(
        "{{clear_route_cache: true, on_request_headers: [{}, {}, {}]}}",
        value("k", "", "%REQ(x)%!"),
        value("empty", "skip_if_empty: true,", ""),
        value("absent", "skip_if_empty: true,", "%REQ(no)%")
    );
    let factory = config::compile(&bytes::<pb::Config>(&yaml), &testing::context()).unwrap();
    let route = format!("on_request_headers: [{}]", value("k", "", "route"));
    let route = config::compile_route(&bytes::<pb::Config>(&route), &testing::context()).unwrap();
    for (routes, expected) in [(vec![], "1!"), (vec![&route], "route")] {
        let (mut head, mut info, mut clear) = (request(&[("x", "1")]), info(), false);
        let mut filter = factory.create(&testing::start(&head, &info, &routes)).unwrap();
        let mut stream =
            Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut clear };
        filter.on_request_head(&mut stream, true);
        assert_eq!(info.state("k").unwrap().plain(), expected);
        assert!(info.state("empty").is_none() && clear);
        assert_eq!(info.state("absent").unwrap().plain(), "-");
    }
}

#[test]
fn a_connection_keeps_what_is_set_for_it() {
    let yaml = format!("on_new_connection: [{}]", value("k", "", "%DOWNSTREAM_REMOTE_PORT%"));
    let bytes = bytes::<network::Config>(&yaml);
    let factory = crate::network::set_filter_state::config::compile(&bytes, &testing::context()).unwrap();
    let mut info = info();
    assert!(matches!(factory.create(&info).on_open(&mut info), NetworkFlow::Continue));
    assert_eq!(info.state("k").unwrap().plain(), "1000");
}

#[test]
fn refusals_tell_where() {
    let yaml = "on_request_headers: [{object_key: k, format_string: {text_format: x}}, {object_key: k, factory_key: envoy.tcp_proxy.cluster, format_string: {text_format: x}}, {object_key: envoy.string}]";
    let found = config::compile(&bytes::<pb::Config>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "on_request_headers[0].object_key",
            "on_request_headers[1].factory_key",
            "on_request_headers[2].format_string"
        ]
    );
}
