//! When a connection is asked about, and what becomes of it.

use sampan_api::envoy::extensions::filters::network::rbac::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info};

const FROM: &str = "policies: {p: {permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 10.0.0.1, prefix_len: 32}}]}}";

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn NetworkFilterFactory> {
    let yaml = format!("{{stat_prefix: tcp., {fields}}}");
    config::compile(&bytes::<pb::Rbac>(&yaml), &testing::with_counters(store))
        .unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn the_first_bytes_decide() {
    let store = Arc::<CounterStore>::default();
    let factory = factory(&format!("rules: {{action: DENY, {FROM}}}, shadow_rules: {{{FROM}}}"), &store);
    let mut info = info();
    let mut filter = factory.create(&info);
    assert!(matches!(filter.on_open(&mut info), NetworkFlow::Continue));
    let flow = filter.on_data(&mut info, &mut BytesMut::from("x"), false);
    let NetworkFlow::Close { details, .. } = flow else { panic!("{flow:?}") };
    assert_eq!(details, "rbac_access_denied_matched_policy[p]");
    assert_eq!(counted(&store), ["http.h.tcp.rbac.denied: 1", "http.h.tcp.rbac.shadow_allowed: 1"]);
}

#[test]
fn asked_once_or_always() {
    for (fields, asked) in [("", 1), (", enforcement_type: CONTINUOUS", 2)] {
        let store = Arc::<CounterStore>::default();
        let factory = factory(&format!("rules: {{{FROM}}}{fields}"), &store);
        let mut info = info();
        let mut filter = factory.create(&info);
        for _ in 0..2 {
            let flow = filter.on_data(&mut info, &mut BytesMut::from("x"), false);
            assert!(matches!(flow, NetworkFlow::Continue));
        }
        assert_eq!(counted(&store), [format!("http.h.tcp.rbac.allowed: {asked}")]);
    }
}

#[test]
fn the_end_can_be_put_off() {
    let store = Arc::<CounterStore>::default();
    let factory = factory("rules: {}, delay_deny: 1s", &store);
    let mut info = info();
    let flow = factory.create(&info).on_data(&mut info, &mut BytesMut::new(), true);
    assert!(matches!(flow, NetworkFlow::CloseLater { after, .. } if after == Duration::from_secs(1)));
}

#[test]
fn refusals_tell_where() {
    let store = Arc::<CounterStore>::default();
    let yaml = "{stat_prefix: s, rules: {policies: {p: {permissions: [{not_rule: {header: {name: x}}}], principals: [{any: true}]}}}}";
    let found = config::compile(&bytes::<pb::Rbac>(yaml), &testing::with_counters(&store)).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["rules.policies[\"p\"]"]);
}
