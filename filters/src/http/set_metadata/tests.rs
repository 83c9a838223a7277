//! What is set, merged and left alone.

use sampan_api::envoy::extensions::filters::http::set_metadata::v3 as pb;
use sampan_filters_api::CounterStore;
use sampan_filters_api::format::write_metadata;

use super::*;
use crate::testing::{self, bytes, counted, info, request};

#[test]
fn values_are_set_merged_or_left() {
    let store = Arc::<CounterStore>::default();
    let yaml = "{metadata_namespace: old, value: {a: 1}, metadata: [{metadata_namespace: ns, value: {a: 1, l: [1], o: {x: 1}}}, {metadata_namespace: ns, value: {a: 2}}, {metadata_namespace: ns, allow_overwrite: true, value: {a: t, l: [2], o: {z: true}}}]}";
    let factory = config::compile(&bytes::<pb::Config>(yaml), &testing::with_counters(&store)).unwrap();
    let (mut head, mut info) = (request(&[]), info());
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    filter.on_request_head(&mut stream, true);
    let shown = |name: &str| {
        let mut out = Vec::new();
        write_metadata(info.metadata.namespace(name).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(shown("old"), r#"{"a":1}"#);
    assert_eq!(shown("ns"), r#"{"a":"t","l":[1,2],"o":{"x":1,"z":true}}"#);
    assert_eq!(counted(&store), ["http.h.set_metadata.overwrite_denied: 1"]);
}

#[test]
fn refusals_tell_where() {
    let found = config::compile(&bytes::<pb::Config>("metadata: [{value: {}}]"), &testing::context());
    assert_eq!(found.err().unwrap()[0].path, "metadata[0].metadata_namespace");
}
