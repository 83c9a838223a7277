//! Which checks are answered, and how.

use sampan_api::envoy::extensions::filters::http::health_check::v3 as pb;
use sampan_filters_api::{CounterStore, ResponseHead};

use super::*;
use crate::config::FilterContext;
use crate::testing::{self, bytes, counted, info, request, shown};

/// The status of the answer (0 for none), the fields of the response, whether it counts as a check; the counters.
fn asked(pass_through: bool, failing: bool, path: &str) -> (u16, Vec<String>, bool, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let failing = Arc::new(AtomicBool::new(failing));
    let context = FilterContext { failing: &failing, ..testing::with_counters(&store) };
    let yaml = format!(
        "{{pass_through_mode: {pass_through}, headers: [{{name: ':path', string_match: {{exact: /health}}}}]}}"
    );
    let factory = config::compile(&bytes::<pb::HealthCheck>(&yaml), &context).unwrap();
    let (mut head, mut info, mut response) = (request(&[(":path", path)]), info(), ResponseHead::default());
    let mut filter = factory.create(&testing::start(&head, &info, &[])).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let status = match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => reply.status,
        _ => 0,
    };
    stream.response = Some(&mut response);
    filter.on_response_head(&mut stream, true);
    (status, shown(&response.headers), info.health_check, counted(&store))
}

#[test]
fn checks_are_answered_or_pass() {
    let mark = || vec!["x-envoy-upstream-healthchecked-cluster: cluster".to_owned()];
    let counted = |what: &str| {
        vec![format!("http.h.health_check.{what}: 1"), "http.h.health_check.request_total: 1".to_owned()]
    };
    assert_eq!(asked(false, false, "/health"), (200, mark(), true, counted("ok")));
    assert_eq!(asked(true, false, "/health"), (0, mark(), true, vec![]));
    assert_eq!(asked(false, false, "/other"), (0, vec![], false, vec![]));
}

#[test]
fn a_failing_proxy_says_so() {
    let fail = "x-envoy-immediate-health-check-fail: true".to_owned();
    for pass_through in [true, false] {
        let (status, fields, ..) = asked(pass_through, true, "/health");
        assert_eq!((status, fields.last()), (503, Some(&fail)));
    }
    assert_eq!(asked(true, true, "/other"), (0, vec![fail], false, vec![]));
}

#[test]
fn refusals_tell_where() {
    let yaml = "{cache_time: 1s, cluster_min_healthy_percentages: {a: {value: 1}}}";
    let found = config::compile(&bytes::<pb::HealthCheck>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["pass_through_mode", "cache_time", "cluster_min_healthy_percentages"]);
}
