//! Replies, shadow rules, metadata, counters, and a route's own rules.

use sampan_api::envoy::extensions::filters::http::rbac::v3 as pb;
use sampan_filters_api::CounterStore;
use sampan_filters_api::http::RouteConfig;

use super::*;
use crate::testing::{self, bytes, counted, info, request};

const PATH_A: &str =
    "policies: {a: {permissions: [{url_path: {path: {exact: /a}}}], principals: [{any: true}]}}";

/// The details of the reply, if there is one; the metadata; the counters.
fn outcome(yaml: &str, route: Option<&str>, path: &str) -> (Option<String>, Vec<String>, Vec<String>) {
    let store = Arc::<CounterStore>::default();
    let context = testing::with_counters(&store);
    let factory = config::compile(&bytes::<pb::Rbac>(yaml), &context).unwrap_or_else(|e| panic!("{e:?}"));
    let route: Option<RouteConfig> =
        route.map(|yaml| config::compile_route(&bytes::<pb::RbacPerRoute>(yaml), &context).unwrap());
    let routes: Vec<_> = route.iter().collect();
    let (mut head, mut info) = (request(&[(":path", path)]), info());
    let Some(mut filter) = factory.create(&testing::start(&head, &info, &routes)) else {
        return (None, Vec::new(), Vec::new());
    };
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    let reply = match filter.on_request_head(&mut stream, true) {
        Flow::Reply(reply) => {
            assert_eq!((reply.status, &*reply.body), (403, &b"RBAC: access denied"[..]));
            Some(reply.details.into_owned())
        }
        _ => None,
    };
    assert!(reply.is_none() || info.metadata.iter().next().is_none(), "a reply does not see them");
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    filter.on_complete(&mut stream);
    let metadata = info.metadata.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    (reply, metadata, counted(&store))
}

#[test]
fn who_is_not_allowed_is_told_so() {
    let yaml = format!("{{rules: {{{PATH_A}}}, rules_stat_prefix: own}}");
    let (reply, _, counters) = outcome(&yaml, None, "/b");
    assert_eq!(reply.as_deref(), Some("rbac_access_denied_matched_policy[none]"));
    assert_eq!(counters, ["http.h.rbac.own.denied: 1"]);
    let (reply, _, counters) = outcome(&yaml, None, "/a");
    assert_eq!((reply, counters), (None, vec!["http.h.rbac.own.allowed: 1".to_owned()]));
}

#[test]
fn shadow_rules_are_only_noted() {
    let yaml = format!(
        "{{shadow_rules: {{action: DENY, {PATH_A}}}, shadow_rules_stat_prefix: dry_, track_per_rule_stats: true}}"
    );
    let (reply, metadata, counters) = outcome(&yaml, None, "/a");
    assert_eq!(reply, None);
    assert_eq!(
        metadata,
        [
            r#"envoy.filters.http.rbac: Struct([("dry_shadow_effective_policy_id", String("a")), ("dry_shadow_engine_result", String("denied"))])"#
        ]
    );
    assert_eq!(counters, ["http.h.rbac.dry_.policy.a.shadow_denied: 1", "http.h.rbac.dry_.shadow_denied: 1"]);
}

#[test]
fn log_rules_leave_a_hint() {
    let yaml = format!("rules: {{action: LOG, {PATH_A}}}");
    let (reply, metadata, _) = outcome(&yaml, None, "/b");
    assert_eq!(reply, None);
    assert_eq!(metadata[0], r#"envoy.common: Struct([("access_log_hint", Bool(false))])"#);
}

#[test]
fn a_route_has_rules_of_its_own_or_none() {
    let yaml = format!("rules: {{action: DENY, {PATH_A}}}");
    assert_eq!(outcome(&yaml, Some("{}"), "/a"), (None, vec![], vec![]));
    let own = format!("rbac: {{rules: {{action: ALLOW, {PATH_A}}}}}");
    assert_eq!(outcome(&yaml, Some(&own), "/a").0, None);
    assert!(outcome(&yaml, Some(&own), "/b").0.is_some());
    assert_eq!(outcome("{}", None, "/a").0, None);
    assert!(outcome("rules: {}", None, "/a").0.is_some());
}
