//! Which checks are answered, and how.

use std::pin::Pin;
use std::time::Duration;

use sampan_api::envoy::extensions::filters::http::health_check::v3 as pb;
use sampan_filters_api::call::{Call, CallFuture, Membership, NoCalls};
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
fn an_answer_holds_until_its_piece_of_time_ends() {
    let begun = Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let cache = Cache::new(Duration::from_millis(100), begun);
    let well = Answer { status: 204, degraded: false };
    let degraded = Answer { status: 299, degraded: true };
    assert_eq!(cache.answer(at(0)), None);
    cache.keep(well, at(50));
    assert_eq!((cache.answer(at(99)), cache.answer(at(100))), (Some(well), None));
    cache.keep(degraded, at(100));
    assert_eq!((cache.answer(at(199)), cache.answer(at(1_000))), (Some(degraded), None));
}

/// Clusters with so many hosts, of which so many are available.
struct Clusters(&'static [(&'static str, u64, u64)]);

impl Calls for Clusters {
    fn call(&self, call: Call) -> CallFuture {
        NoCalls.call(call)
    }

    fn share(&self) -> Rc<dyn Calls> {
        Rc::new(Self(self.0))
    }

    fn charge(&self, _: &str, _: u16) {}

    fn membership(&self, cluster: &str) -> Option<Membership> {
        let (_, total, available) = *self.0.iter().find(|(name, ..)| *name == cluster)?;
        Some(Membership { total, available })
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()>>>) {}
}

fn asked_about(shares: &str, clusters: &Clusters) -> String {
    let yaml = format!("{{pass_through_mode: false, cluster_min_healthy_percentages: {{{shares}}}}}");
    let factory = config::compile(&bytes::<pb::HealthCheck>(&yaml), &testing::context()).unwrap();
    let (mut head, mut info) = (request(&[]), info());
    let start = Start { calls: clusters, ..testing::start(&head, &info, &[]) };
    let mut filter = factory.create(&start).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => format!("{} {}", reply.status, reply.details),
        _ => String::new(),
    }
}

#[test]
fn clusters_decide() {
    let clusters = Clusters(&[("all", 2, 2), ("most", 3, 2), ("gone", 2, 0), ("empty", 0, 0)]);
    for (shares, answer) in [
        ("all: {value: 100}, most: {value: 66.7}", "200 health_check_ok_cluster_healthy"),
        ("all: {value: 100}, most: {value: 67}", "503 health_check_failed_cluster_unhealthy"),
        ("gone: {value: 0.9}, empty: {value: 0}", "200 health_check_ok_cluster_healthy"),
        ("gone: {value: 1}", "503 health_check_failed_cluster_unhealthy"),
        ("empty: {value: 1}, most: {value: 100}", "503 health_check_failed_cluster_empty"),
        ("absent: {value: 0}", "503 health_check_failed_no_cluster_found"),
    ] {
        assert_eq!(asked_about(shares, &clusters), answer, "{shares}");
    }
}

#[test]
fn refusals_tell_where() {
    let paths = |yaml: &str| {
        let found = config::compile(&bytes::<pb::HealthCheck>(yaml), &testing::context()).err().unwrap();
        found.into_iter().map(|error| error.path).collect::<Vec<_>>()
    };
    let shares = "cluster_min_healthy_percentages: {a: {value: 101}}";
    let at = "cluster_min_healthy_percentages[\"a\"].value";
    assert_eq!(paths(&format!("{{cache_time: 1s, {shares}}}")), ["pass_through_mode", "cache_time", at]);
    assert_eq!(paths(&format!("{{pass_through_mode: true, cache_time: -1s, {shares}}}")), ["cache_time", at]);
}
