//! Which connections are closed.

use sampan_api::envoy::extensions::filters::network::local_ratelimit::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info};

fn factory(fields: &str, store: &Arc<CounterStore>) -> Arc<dyn NetworkFilterFactory> {
    let yaml = format!("{{stat_prefix: p, token_bucket: {{max_tokens: 1, fill_interval: 600s}}, {fields}}}");
    let context = FilterContext { prefix: "", ..testing::with_counters(store) };
    config::compile(&bytes::<pb::LocalRateLimit>(&yaml), &context)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

use crate::config::FilterContext;

fn is_closed(factory: &dyn NetworkFilterFactory) -> bool {
    let mut info = info();
    matches!(factory.create(&info).on_open(&mut info), NetworkFlow::Close { .. })
}

#[test]
fn connections_beyond_the_tokens_are_closed() {
    let store = Arc::<CounterStore>::default();
    let own = factory("", &store);
    assert_eq!([is_closed(&*own), is_closed(&*own)], [false, true]);
    assert_eq!(counted(&store), ["local_rate_limit.p.rate_limited: 1"]);
    let off = factory("runtime_enabled: {default_value: false, runtime_key: k}", &store);
    assert_eq!([is_closed(&*off), is_closed(&*off)], [false, false]);
}

#[test]
fn a_key_shares_a_bucket() {
    let store = Arc::<CounterStore>::default();
    let key = "share_key: connections_share_this";
    let (one, other) = (factory(key, &store), factory(key, &store));
    assert_eq!([is_closed(&*one), is_closed(&*other)], [false, true]);
}

#[test]
fn refusals_tell_where() {
    let found = config::compile(&bytes::<pb::LocalRateLimit>("{}"), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["stat_prefix", "token_bucket"]);
}
