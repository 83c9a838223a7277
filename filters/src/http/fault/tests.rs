//! Which requests get a fault, and configurations that are refused.

use prost::Message as _;
use sampan_api::envoy::extensions::filters::http::fault::v3 as pb;
use sampan_api::{Descriptors, Document, Format, Policy, decode};

use super::*;

fn bytes(yaml: &str) -> Vec<u8> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    decode::<pb::HttpFault>(Descriptors::load(), &document, Policy::default()).unwrap().value.encode_to_vec()
}

fn fault(yaml: &str) -> Fault {
    let route = config::compile_route(&bytes(yaml)).unwrap_or_else(|errors| panic!("{errors:?}"));
    Fault { faults: route.downcast().unwrap(), active: Arc::default() }
}

#[test]
fn the_dice_choose_each_fault_on_its_own() {
    let fault = fault(
        "{delay: {fixed_delay: 1s, percentage: {numerator: 10}}, abort: {grpc_status: 5, percentage: {numerator: 5000, denominator: TEN_THOUSAND}}}",
    );
    let request = RequestHead::default();
    let drawn = |dice| {
        fault
            .instance(&fault.faults, &request, dice)
            .map(|found| (found.delay, found.abort.map(|abort| abort.status)))
    };
    assert_eq!(drawn([9, 4999]), Some((Some(Duration::from_secs(1)), Some(200))));
    assert_eq!(drawn([9, 5000]), Some((Some(Duration::from_secs(1)), None)));
    assert_eq!(drawn([10, 0]), Some((None, Some(200))));
    assert_eq!(drawn([10, 5000]), None);
    assert_eq!(fault.active.load(Ordering::Relaxed), 0);
}

#[test]
fn there_are_no_more_faults_than_may_be() {
    let fault = fault("{abort: {http_status: 503, percentage: {numerator: 100}}, max_active_faults: 1}");
    let request = RequestHead::default();
    let first = fault.instance(&fault.faults, &request, [0, 0]);
    assert!(first.is_some() && fault.instance(&fault.faults, &request, [0, 0]).is_none());
    drop(first);
    assert!(fault.instance(&fault.faults, &request, [0, 0]).is_some());
}

#[test]
fn only_the_nodes_that_are_named() {
    let fault = fault("{abort: {http_status: 503, percentage: {numerator: 100}}, downstream_nodes: [node]}");
    let mut request = RequestHead::default();
    assert!(fault.instance(&fault.faults, &request, [0, 0]).is_none());
    request.headers.append("x-envoy-downstream-service-node", "node");
    assert!(fault.instance(&fault.faults, &request, [0, 0]).is_some());
}

#[test]
fn refusals_tell_where() {
    let found = config::compile(&bytes(
        "{delay: {header_delay: {}}, abort: {header_abort: {}}, upstream_cluster: c}",
    ));
    let paths: Vec<_> = found.err().unwrap().into_iter().map(|error| error.path).collect();
    assert_eq!(paths, ["upstream_cluster", "delay.header_delay", "abort.header_abort"]);
}
