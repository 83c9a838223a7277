//! Which requests get a fault, and configurations that are refused.

use sampan_api::envoy::extensions::filters::http::fault::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info, request, start, with_counters};

const ALWAYS: &str = "percentage: {numerator: 100}";

struct Made {
    fault: Fault,
    store: Arc<CounterStore>,
}

impl Made {
    fn new(yaml: &str) -> Self {
        let store: Arc<CounterStore> = Arc::default();
        let route = config::compile_route(&bytes::<pb::HttpFault>(yaml), &testing::context())
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        let counters = store.counters("fault.", COUNTERS);
        Self { fault: Fault { faults: route.downcast().unwrap(), active: Arc::default(), counters }, store }
    }

    fn draw(&self, head: &RequestHead, dice: [u64; 3]) -> Option<Instance> {
        self.fault.instance(&self.fault.faults, &start(head, &info(), &[]), |which| dice[which])
    }

    fn is_drawn(&self, fields: &[(&str, &str)]) -> bool {
        self.draw(&request(fields), [0; 3]).is_some()
    }
}

#[test]
fn the_dice_choose_each_fault_on_its_own() {
    let made = Made::new(
        "{delay: {fixed_delay: 1s, percentage: {numerator: 10}}, abort: {grpc_status: 5, percentage: {numerator: 5000, denominator: TEN_THOUSAND}}, response_rate_limit: {fixed_limit: {limit_kbps: 2}, percentage: {numerator: 1}}}",
    );
    let drawn = |dice| {
        made.draw(&request(&[]), dice)
            .map(|found| (found.delay, found.abort.map(|abort| abort.status), found.rate))
    };
    let second = Some(Duration::from_secs(1));
    assert_eq!(drawn([9, 4999, 0]), Some((second, Some(200), Some(2048))));
    assert_eq!(drawn([9, 5000, 1]), Some((second, None, None)));
    assert_eq!(drawn([10, 0, 1]), Some((None, Some(200), None)));
    assert_eq!(drawn([10, 5000, 1]), None);
    assert_eq!(made.fault.active.load(Ordering::Relaxed), 0);
}

#[test]
fn there_are_no_more_faults_than_may_be() {
    let made = Made::new(&format!("{{abort: {{http_status: 503, {ALWAYS}}}, max_active_faults: 1}}"));
    let first = made.draw(&request(&[]), [0; 3]);
    assert!(first.is_some() && !made.is_drawn(&[]));
    assert_eq!(counted(&made.store), ["fault.faults_overflow: 1"]);
    drop(first);
    assert!(made.is_drawn(&[]));
}

#[test]
fn only_those_that_match() {
    let abort = format!("abort: {{http_status: 503, {ALWAYS}}}");
    let nodes = Made::new(&format!("{{{abort}, downstream_nodes: [node]}}"));
    assert!(!nodes.is_drawn(&[]) && nodes.is_drawn(&[("x-envoy-downstream-service-node", "node")]));
    let headers = Made::new(&format!("{{{abort}, headers: [{{name: x, string_match: {{exact: v}}}}]}}"));
    assert!(!headers.is_drawn(&[("x", "w")]) && headers.is_drawn(&[("x", "v")]));
    let cluster = Made::new(&format!("{{{abort}, upstream_cluster: c}}"));
    assert!(!cluster.is_drawn(&[]));
    let (head, info, name) = (request(&[]), info(), Arc::from("c"));
    let to = Start { cluster: Some(&name), ..start(&head, &info, &[]) };
    assert!(cluster.fault.instance(&cluster.fault.faults, &to, |_| 0).is_some());
}

#[test]
fn headers_control_faults() {
    let made = Made::new(&format!(
        "{{delay: {{header_delay: {{}}, {ALWAYS}}}, abort: {{header_abort: {{}}, {ALWAYS}}}, response_rate_limit: {{header_limit: {{}}, {ALWAYS}}}}}"
    ));
    let drawn = |fields: &[(&str, &str)], dice| {
        made.draw(&request(fields), [dice; 3]).map(|found| {
            (
                found.delay.map(|delay| delay.as_millis()),
                found.abort.map(|a| (a.status, a.grpc_status)),
                found.rate,
            )
        })
    };
    assert_eq!(drawn(&[], 0), None);
    assert_eq!(drawn(&[("x-envoy-fault-delay-request", "20")], 0), Some((Some(20), None, None)));
    assert_eq!(drawn(&[("x-envoy-fault-abort-request", "404")], 0), Some((None, Some((404, None)), None)));
    assert_eq!(drawn(&[("x-envoy-fault-abort-request", "40")], 0), None);
    assert_eq!(
        drawn(&[("x-envoy-fault-abort-grpc-request", "5")], 0),
        Some((None, Some((200, Some(5))), None))
    );
    assert_eq!(drawn(&[("x-envoy-fault-throughput-response", "1")], 0), Some((None, None, Some(1024))));
    let half = [("x-envoy-fault-abort-request", "404"), ("x-envoy-fault-abort-request-percentage", "50")];
    assert!(drawn(&half, 49).is_some() && drawn(&half, 50).is_none());
}

#[test]
fn refusals_tell_where() {
    let yaml = "{delay: {fixed_delay: 0s}, abort: {http_status: 100}, response_rate_limit: {fixed_limit: {}}, headers: [{name: x, string_match: {}}]}";
    let found = config::compile(&bytes::<pb::HttpFault>(yaml), &with_counters(&Arc::default()));
    let paths: Vec<_> = found.err().unwrap().into_iter().map(|error| error.path).collect();
    assert_eq!(
        paths,
        [
            "delay.fixed_delay",
            "abort.http_status",
            "response_rate_limit.fixed_limit.limit_kbps",
            "headers[0].string_match"
        ]
    );
}
