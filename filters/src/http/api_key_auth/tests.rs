//! Where keys are found, who passes, what is forwarded.

use sampan_api::envoy::extensions::filters::http::api_key_auth::v3 as pb;
use sampan_filters_api::CounterStore;

use super::*;
use crate::testing::{self, bytes, counted, info, request, shown};

const KEYS: &str = "{credentials: [{key: k1, client: c1}, {key: k2, client: c2}], key_sources: [{header: X-Key}, {query: key}, {cookie: ck}], forwarding: {header: x-client, hide_credentials: true}}";

/// The details of the refusal; the path and fields of the request; the counters.
fn asked(route: Option<&str>, fields: &[(&str, &str)]) -> (String, Vec<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let context = testing::with_counters(&store);
    let factory = config::compile(&bytes::<pb::ApiKeyAuth>(KEYS), &context).unwrap();
    let route =
        route.map(|yaml| config::compile_route(&bytes::<pb::ApiKeyAuthPerRoute>(yaml), &context).unwrap());
    let routes: Vec<_> = route.iter().collect();
    let (mut head, mut info) = (request(fields), info());
    let mut filter = factory.create(&testing::start(&head, &info, &routes)).unwrap();
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let details = match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => reply.details.into_owned(),
        _ => String::new(),
    };
    let mut left = vec![String::from_utf8_lossy(head.path()).into_owned()];
    left.extend(shown(&head.headers));
    (details, left, counted(&store))
}

#[test]
fn keys_are_found_and_hidden() {
    let is = |fields: &[(&str, &str)], left: &[&str]| assert_eq!(asked(None, fields).1, left, "{fields:?}");
    is(&[("x-key", "k1")], &["/", "x-client: c1"]);
    is(&[("x-key", "Bearer k1")], &["/", "x-client: c1"]);
    is(&[(":path", "/p?a=1&key=k2&b")], &["/p?a=1&b", "x-client: c2"]);
    is(&[(":path", "/p?key=k2")], &["/p", "x-client: c2"]);
    is(&[("cookie", "a=1; ck=k1; b=2")], &["/", "cookie: a=1; b=2", "x-client: c1"]);
    is(&[("cookie", "ck=k1")], &["/", "x-client: c1"]);
}

#[test]
fn who_does_not_pass() {
    let is = |route, fields: &[(&str, &str)], details: &str, counter: &str| {
        let (found, _, counters) = asked(route, fields);
        assert_eq!((&*found, &*counters), (details, &[format!("http.h.api_key_auth.{counter}: 1")][..]));
    };
    is(None, &[], "missing_api_key", "unauthorized");
    is(None, &[("x-key", "")], "missing_api_key", "unauthorized");
    is(None, &[("x-key", "k3")], "unknown_api_key", "unauthorized");
    is(Some("allowed_clients: [c2]"), &[("x-key", "k1")], "client_not_allowed", "forbidden");
    is(Some("allowed_clients: [c2]"), &[("x-key", "k2")], "", "allowed");
    let own = "{credentials: [{key: own, client: me}], key_sources: [{header: y-key}]}";
    is(Some(own), &[("y-key", "own")], "", "allowed");
    is(Some(own), &[("y-key", "k1")], "unknown_api_key", "unauthorized");
}

#[test]
fn refusals_show_no_key() {
    let yaml = "{credentials: [{key: secret, client: a}, {key: secret, client: b}, {key: secret2}], key_sources: [{}]}";
    let found = config::compile(&bytes::<pb::ApiKeyAuth>(yaml), &testing::context()).err().unwrap();
    let paths: Vec<_> = found.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["credentials[1].key", "credentials[2]", "key_sources[0]"]);
    assert!(found.iter().all(|error| !error.to_string().contains("secret")));
}
