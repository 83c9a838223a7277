//! Calls by status and method, messages, and the filter state.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sampan_api::envoy::extensions::filters::http::grpc_stats::v3 as pb;
use sampan_filters_api::ResponseHead;
use sampan_filters_api::series::Labels;

use super::*;
use crate::config::FilterContext;
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
}

/// What was recorded, as `name: value`.
#[derive(Default)]
struct Times(Arc<Mutex<Vec<String>>>);

struct Time(String, Arc<Mutex<Vec<String>>>);

impl Series for Time {
    fn add(&self, _: u64) {}

    fn set(&self, _: u64) {}

    fn record(&self, value: u64) {
        self.1.lock().unwrap().push(format!("{}: {value}", self.0));
    }
}

impl SeriesStore for Times {
    fn series(&self, wanted: &Wanted<'_>) -> Option<Arc<dyn Series>> {
        assert_eq!((wanted.kind, &*wanted.labels), (SeriesKind::Histogram, &[][..]));
        Some(Arc::new(Time(wanted.name.to_owned(), Arc::clone(&self.0))))
    }

    fn folded(&self, _: &Wanted<'_>) -> Arc<dyn Series> {
        unreachable!("nothing is folded")
    }

    fn constant(&self, _: &str, _: Labels, _: u64) {}
}

#[test]
fn the_time_that_upstreams_take_is_recorded() {
    let recorded = Arc::default();
    let series: Arc<dyn SeriesStore> = Arc::new(Times(Arc::clone(&recorded)));
    let context = FilterContext { series: &series, ..testing::context() };
    let yaml = "{enable_upstream_stats: true, stats_for_all_methods: true}";
    let factory = config::compile(&bytes::<pb::FilterConfig>(yaml), &context).unwrap();
    let cluster: Arc<str> = "c".into();
    let begun = Instant::now();
    let at = |millis| Some(begun + Duration::from_millis(millis));
    // When the request was sent, when the first and the last byte of the response came, and whether it ends with its head.
    for (sent, first, last, end) in [
        (at(10), at(20), at(45), false),
        (at(10), at(17), None, true),
        (None, at(20), at(30), false),
        (at(10), None, None, true),
    ] {
        let mut head = request(&[(":path", "/a.B/C"), ("content-type", "application/grpc")]);
        let (mut info, mut response) = (info(), ResponseHead { status: 200, ..ResponseHead::default() });
        (info.upstream.request_sent.1, info.upstream.response_received) = (sent, (first, last));
        let start = testing::start(&head, &info, &[]);
        let mut filter = factory.create(&Start { cluster: Some(&cluster), ..start }).unwrap();
        let mut stream = Stream {
            request: &mut head,
            response: Some(&mut response),
            info: &mut info,
            clear_route: &mut false,
        };
        filter.on_response_head(&mut stream, end);
        if !end {
            filter.on_response_trailers(&mut stream, &mut Headers::new());
        }
    }
    let name = "cluster.c.grpc.a.B.C.upstream_rq_time";
    assert_eq!(*recorded.lock().unwrap(), [format!("{name}: 35"), format!("{name}: 7")]);
}
