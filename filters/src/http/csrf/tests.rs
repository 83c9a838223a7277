//! Which requests are refused.

use sampan_api::envoy::extensions::filters::http::csrf::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info, request};

const ON: &str = "filter_enabled: {default_value: {numerator: 100}}";

/// Whether it is refused, and the counters.
fn asked(yaml: &str, fields: &[(&str, &str)]) -> (bool, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let factory = config::compile(&bytes::<pb::CsrfPolicy>(yaml), &testing::with_counters(&store)).unwrap();
    let (mut head, mut info) = (request(fields), info());
    let Some(mut filter) = factory.create(&testing::start(&head, &info, &[])) else {
        return (false, Vec::new());
    };
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let refused = matches!(filter.on_request_head(&mut stream, true), Flow::Reply(_));
    (refused, counted(&store))
}

#[test]
fn the_origin_must_be_the_host() {
    let yaml = format!("{{{ON}, additional_origins: [{{exact: other}}]}}");
    let is = |fields: &[(&str, &str)], refused, counter: &str| {
        let all = [&[(":method", "POST")], fields].concat();
        assert_eq!(asked(&yaml, &all), (refused, vec![format!("http.h.csrf.{counter}: 1")]), "{fields:?}");
    };
    is(&[], true, "missing_source_origin");
    is(&[("origin", "null"), ("referer", "http://test/")], true, "missing_source_origin");
    is(&[("origin", "http://test")], false, "request_valid");
    is(&[("origin", "http://test:80")], true, "request_invalid");
    is(&[("referer", "https://test/page?x")], false, "request_valid");
    is(&[("origin", ""), ("referer", "https://evil/test")], true, "request_invalid");
    is(&[("origin", "https://other/")], false, "request_valid");
}

#[test]
fn other_methods_and_shadows_pass() {
    assert_eq!(asked(ON, &[("origin", "x")]), (false, vec![]));
    let shadow = "{filter_enabled: {}, shadow_enabled: {default_value: {numerator: 100}}}";
    let post = [(":method", "POST"), ("origin", "x")];
    assert_eq!(asked(shadow, &post), (false, vec!["http.h.csrf.request_invalid: 1".to_owned()]));
    assert_eq!(asked("filter_enabled: {}", &post), (false, vec![]));
    assert!(config::compile(&[], &testing::context()).is_err());
}
