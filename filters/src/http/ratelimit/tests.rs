//! Which descriptors are asked about, and what an answer does. The service itself is played by the differential cases.

use std::pin::Pin;

use prost::Message as _;
use sampan_api::envoy::extensions::filters::http::ratelimit::v3 as pb;
use sampan_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use sampan_filters_api::call::{Call, CallFuture, Membership, NoCalls};
use sampan_filters_api::{CounterStore, LocalReply};

use super::follow::tell;
use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

const SERVICE: &str = "domain: d, rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: rls}}}";
const LIMITS: &str = "rate_limits: [{actions: [{request_headers: {header_name: x-h, descriptor_key: h}}]}]";

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn HttpFilterFactory> {
    let yaml = format!("{{{SERVICE}, {fields}}}");
    config::compile(&bytes::<pb::RateLimit>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

async fn ask(factory: &dyn HttpFilterFactory, fields: &[(&str, &str)]) -> Option<LocalReply> {
    let (mut head, mut info) = (request(fields), info());
    let cluster: Arc<str> = "c".into();
    let start = testing::start(&head, &info, &[]);
    let mut filter = factory.create(&Start { cluster: Some(&cluster), ..start })?;
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let mut flow = filter.on_request_head(&mut stream, true);
    loop {
        match flow {
            Flow::Await(future) => flow = future.await(&mut stream),
            Flow::Reply(reply) => return Some(*reply),
            Flow::Continue | Flow::Hold(_) | Flow::Anew(_) => return None,
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let store = Arc::<CounterStore>::default();
    let open = factory(LIMITS, &store);
    assert!(ask(&*open, &[("x-h", "1")]).await.is_none());
    assert_eq!(
        counted(&store),
        ["cluster.c.ratelimit.error: 1", "cluster.c.ratelimit.failure_mode_allowed: 1"]
    );
    let closed =
        factory(&format!("{LIMITS}, failure_mode_deny: true, status_on_error: {{code: 503}}"), &store);
    let refused = ask(&*closed, &[("x-h", "1")]).await.unwrap();
    assert_eq!((refused.status, &*refused.details), (503, "rate_limiter_error"));
    assert!(ask(&*closed, &[]).await.is_none(), "there is no descriptor");
    let internal = factory(&format!("{LIMITS}, failure_mode_deny: true, request_type: internal"), &store);
    assert!(ask(&*internal, &[("x-h", "1")]).await.is_none());
    assert!(ask(&*internal, &[("x-h", "1"), ("x-envoy-internal", "true")]).await.is_some());
}

/// Counts the calls that are begun and left alone.
#[derive(Clone, Default)]
struct Beside(Rc<Cell<usize>>);

impl Calls for Beside {
    fn call(&self, call: Call) -> CallFuture {
        NoCalls.call(call)
    }

    fn share(&self) -> Rc<dyn Calls> {
        Rc::new(self.clone())
    }

    fn charge(&self, _: &str, _: u16) {}

    fn membership(&self, _: &str) -> Option<Membership> {
        None
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()>>>) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn some_limits_count_when_a_stream_is_over() {
    let beside = Beside::default();
    let asked = |fields: &str, limits: &str, request_fields: &[(&str, &str)]| {
        let factory = factory(&format!("rate_limits: [{limits}]{fields}"), &Arc::default());
        let (mut head, mut info) = (request(request_fields), info());
        let start = testing::start(&head, &info, &[]);
        let mut filter = factory.create(&Start { calls: &beside, ..start }).unwrap();
        let mut stream =
            Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
        let waits = matches!(filter.on_request_head(&mut stream, true), Flow::Await(_));
        filter.on_complete(&mut stream);
        (waits, beside.0.take())
    };
    let done =
        "{apply_on_stream_done: true, actions: [{request_headers: {header_name: x-h, descriptor_key: h}}]}";
    let now = "{actions: [{generic_key: {descriptor_value: g}}]}";
    let field = &[("x-h", "1")];
    assert_eq!(asked("", done, field), (false, 1));
    assert_eq!(asked("", done, &[]), (false, 0));
    assert_eq!(asked("", now, field), (true, 0));
    assert_eq!(asked("", &format!("{now}, {done}"), field), (true, 0), "it was given up while it waited");
    assert_eq!(asked(", request_type: internal", done, field), (false, 0));
}

#[test]
fn descriptors_are_told() {
    let one = Descriptor {
        entries: vec![("k".into(), "v".into())],
        hits: Some(-2.0),
        limit: Some((7, "HOUR".into())),
        told: None,
    };
    let asked = RateLimitRequest::decode(&*wire::request("d", &[one])).unwrap();
    let descriptor = &asked.descriptors[0];
    assert_eq!((&*asked.domain, &*descriptor.entries[0].value), ("d", "v"));
    assert!(descriptor.is_negative_hits && descriptor.hits_addend.as_ref().unwrap().value == 2);
    assert_eq!(descriptor.limit.as_ref().unwrap().requests_per_unit, 7);
}

#[test]
fn the_tightest_limit_is_told() {
    let answer = bytes::<RateLimitResponse>(
        "{overall_code: OVER_LIMIT, statuses: [{code: OK, limit_remaining: 5, current_limit: {requests_per_unit: 9, unit: HOUR}}, {code: OVER_LIMIT, current_limit: {requests_per_unit: 1, unit: MINUTE, name: first}, duration_until_reset: 30s}, {code: OK}]}",
    );
    let answer = wire::answer(&answer).unwrap();
    assert!(answer.over && answer.statuses[1].over);
    let mut headers = Headers::new();
    tell(&answer.statuses, &mut headers);
    assert_eq!(
        shown(&headers),
        [
            "x-ratelimit-limit: 1, 9;w=3600, 1;w=60;name=\"first\"",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 30"
        ]
    );
    assert!(wire::answer(b"\xff\xff").is_none());
}

#[test]
fn refusals_tell_where() {
    let yaml = "{request_type: some, rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: a}}}}";
    let found = config::compile(&bytes::<pb::RateLimit>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["domain", "rate_limit_service.transport_api_version", "request_type"]);
}
