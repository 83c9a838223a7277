//! What is counted and closed; the service itself is played by the differential cases.

use sampan_api::envoy::extensions::filters::network::ext_authz::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info};

const SERVICE: &str = "grpc_service: {envoy_grpc: {cluster_name: authz}}, transport_api_version: V3";

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn NetworkFilterFactory> {
    let yaml = format!("{{stat_prefix: tcp, {SERVICE}{fields}}}");
    config::compile(&bytes::<pb::ExtAuthz>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

async fn first_bytes(fields: &str) -> (NetworkFlow, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let factory = factory(fields, &store);
    let mut info = info();
    let mut flow = factory.create(&info).on_data(&mut info, &mut BytesMut::from("x"), false);
    while let NetworkFlow::Await(future) = flow {
        flow = future.await(&mut info);
    }
    (flow, counted(&store))
}

#[tokio::test]
async fn a_service_that_is_not_there_closes_or_not() {
    let (flow, counts) = first_bytes("").await;
    assert!(matches!(flow, NetworkFlow::Close { .. }));
    assert_eq!(counts, ["ext_authz.tcp.cx_closed: 1", "ext_authz.tcp.error: 1", "ext_authz.tcp.total: 1"]);
    let (flow, counts) = first_bytes(", failure_mode_allow: true").await;
    assert!(matches!(flow, NetworkFlow::Continue));
    assert_eq!(
        counts,
        ["ext_authz.tcp.error: 1", "ext_authz.tcp.failure_mode_allowed: 1", "ext_authz.tcp.total: 1"]
    );
}

#[tokio::test]
async fn metadata_can_switch_it_off() {
    let rule = ", filter_enabled_metadata: {filter: f, path: [{key: k}], value: {present_match: true}}";
    let (flow, counts) = first_bytes(rule).await;
    assert!(matches!(flow, NetworkFlow::Continue));
    assert_eq!(counts, ["ext_authz.tcp.disabled: 1"]);
}

#[test]
fn refusals_tell_where() {
    let yaml = "{grpc_service: {google_grpc: {target_uri: 'a:1', stat_prefix: s}}, shadow_mode: true}";
    let found = config::compile(&bytes::<pb::ExtAuthz>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["stat_prefix", "transport_api_version", "shadow_mode", "grpc_service.google_grpc"]);
}
