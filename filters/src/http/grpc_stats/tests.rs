//! Calls by status and method, messages, and the filter state.

use sampan_api::envoy::extensions::filters::http::grpc_stats::v3 as pb;
use sampan_filters_api::ResponseHead;

use super::*;
use crate::testing::{self, bytes, counted, info, request};

/// One call to `/a.B/C` with the messages `ab` and `c`, in pieces of three bytes; the counters, and the state.
fn called(yaml: &str, path: &str, status: &str) -> (Vec<String>, Option<String>) {
    let store = Arc::<CounterStore>::default();
    let factory = config::compile(&bytes::<pb::FilterConfig>(yaml), &testing::with_counters(&store)).unwrap();
    let mut head = request(&[(":path", path), ("content-type", "application/grpc")]);
    let (mut info, mut response) = (info(), ResponseHead { status: 200, ..ResponseHead::default() });
    response.headers.append("content-type", "application/grpc");
    let cluster: Arc<str> = "c".into();
    let start = testing::start(&head, &info, &[]);
    let mut filter = factory.create(&Start { cluster: Some(&cluster), ..start }).unwrap();
    let mut stream = Stream {
        request: &mut head,
        response: Some(&mut response),
        info: &mut info,
        clear_route: &mut false,
    };
    for piece in b"\0\0\0\0\x02ab\0\0\0\0\x01c".chunks(3) {
        filter.on_request_data(&mut stream, &mut Bytes::from_static(piece), false);
    }
    filter.on_response_head(&mut stream, false);
    filter.on_response_data(&mut stream, &mut Bytes::from_static(b"\0\0\0\0\0"), false);
    let mut trailers = Headers::new();
    trailers.append("grpc-status", status);
    filter.on_response_trailers(&mut stream, &mut trailers);
    (counted(&store), info.state(STATE).map(|object| object.plain()))
}

fn lines(prefix: &str, lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| format!("cluster.c.grpc.{prefix}{line}")).collect()
}

const GOOD: &[&str] =
    &["0: 1", "request_message_count: 2", "response_message_count: 1", "success: 1", "total: 1"];

#[test]
fn calls_are_counted_by_cluster_or_method() {
    assert_eq!(called("{}", "/a.B/C", "0"), (lines("", GOOD), None));
    assert_eq!(called("stats_for_all_methods: true", "/a.B/C?q", "0").0, lines("a.B.C.", GOOD));
    let listed = "{replace_dots_in_grpc_service_name: true, individual_method_stats_allowlist: {services: [{name: a.B, method_names: [C]}]}}";
    assert_eq!(called(listed, "/a.B/C", "0").0, lines("a_B.C.", GOOD));
    let bad = &["5: 1", "failure: 1", "request_message_count: 2", "response_message_count: 1", "total: 1"];
    assert_eq!(called(listed, "/a.B/D", "5").0, lines("", bad));
}

#[test]
fn a_path_that_is_no_methods_is_not_counted() {
    assert_eq!(called("stats_for_all_methods: true", "/a/b/c", "0").0, [""; 0]);
    assert_eq!(called("emit_filter_state: true", "/a", "0"), (vec![], Some("2,1".to_owned())));
}

#[test]
fn other_requests_are_left_alone() {
    let factory = config::compile(&[], &testing::context()).unwrap();
    assert!(factory.create(&testing::start(&request(&[]), &info(), &[])).is_none());
    let refused =
        config::compile(&bytes::<pb::FilterConfig>("enable_upstream_stats: true"), &testing::context());
    assert_eq!(refused.err().unwrap()[0].path, "enable_upstream_stats");
}
