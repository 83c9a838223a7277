//! Descriptors of requests, and the buckets that they take tokens from.

use std::time::Duration;

use prost::Message as _;
use sampan_api::envoy::config::route::v3 as pb;
use sampan_filters_api::Address;

use super::bucket::Shape;
use super::limiter::{Limit, Limiter, Plan};
use super::*;
use crate::config::rate_limit::limit;
use crate::testing::{self, bytes, info, request};

fn compiled(yaml: &str) -> Result<RateLimit, Vec<String>> {
    let proto = pb::RateLimit::decode(&*bytes::<pb::RateLimit>(yaml)).unwrap();
    let mut errors = Vec::new();
    let found = limit(&proto, &testing::context(), "l", &mut errors);
    if errors.is_empty() { Ok(found) } else { Err(errors.into_iter().map(|error| error.path).collect()) }
}

fn described(actions: &str, fields: &[(&str, &str)]) -> Option<Vec<String>> {
    let limit = compiled(&format!("actions: [{actions}]")).unwrap();
    let mut info = info();
    info.remote = Some(Address::Socket(([1, 2, 3, 4], 5).into()));
    info.metadata.set("ns", "user", MetadataValue::String("me".into()));
    let request = request(fields);
    let found = limit.descriptor(Source { request: &request, info: &info, cluster: Some("up") })?;
    Some(found.entries.iter().map(|(key, value)| format!("{key}={value}")).collect())
}

#[test]
fn each_action_has_its_entry() {
    let one = |actions: &str| described(actions, &[(":path", "/p?q=1"), ("x", "a"), ("x", "b")]);
    let is = |actions: &str, entry: &str| {
        assert_eq!(one(actions).as_deref(), Some(&[entry.to_owned()][..]), "{actions}");
    };
    is("{source_cluster: {}}", "source_cluster=cluster");
    is("{destination_cluster: {}}", "destination_cluster=up");
    is("{request_headers: {header_name: x, descriptor_key: k}}", "k=a,b");
    is("{request_headers: {header_name: ':path', descriptor_key: k}}", "k=/p?q=1");
    is("{query_parameters: {query_parameter_name: q, descriptor_key: k}}", "k=1");
    is("{remote_address: {}}", "remote_address=1.2.3.4");
    is("{masked_remote_address: {v4_prefix_mask_len: 16}}", "masked_remote_address=1.2.0.0/16");
    is("{generic_key: {descriptor_value: v}}", "generic_key=v");
    is("{generic_key: {descriptor_value: '%x', descriptor_key: k}}", "k=%x");
    is(
        "{header_value_match: {descriptor_value: v, headers: [{name: x, string_match: {exact: b}}]}}",
        "header_match=v",
    );
    is(
        "{header_value_match: {descriptor_value: v, expect_match: false, headers: [{name: no-such}]}}",
        "header_match=v",
    );
    is(
        "{query_parameter_value_match: {descriptor_value: v, query_parameters: [{name: q, string_match: {exact: '1'}}]}}",
        "query_match=v",
    );
    is("{metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: user}]}}}", "k=me");
    is(
        "{metadata: {descriptor_key: k, default_value: d, metadata_key: {key: ns, path: [{key: none}]}}}",
        "k=d",
    );
}

#[test]
fn what_is_missing_takes_the_descriptor_with_it() {
    let absent = |more: &str| {
        format!(
            "{{generic_key: {{descriptor_value: v}}}}, {{request_headers: {{header_name: x, descriptor_key: k{more}}}}}"
        )
    };
    assert_eq!(described(&absent(""), &[]), None);
    assert_eq!(described(&absent(", skip_if_absent: true"), &[]), Some(vec!["generic_key=v".to_owned()]));
    assert_eq!(described("{query_parameters: {query_parameter_name: q, descriptor_key: k}}", &[]), None);
    assert_eq!(described("{header_value_match: {descriptor_value: v, headers: [{name: x}]}}", &[]), None);
}

#[test]
fn refusals_tell_where() {
    let found = compiled(
        "{actions: [{extension: {name: e}}, {metadata: {descriptor_key: k, source: ROUTE_ENTRY, metadata_key: {key: a}}}]}",
    );
    assert_eq!(found.unwrap_err(), ["l.actions[0].extension", "l.actions[1].metadata.source"]);
}

fn shape(most: u32) -> Shape {
    Shape::new(most, 1, Duration::from_mins(1))
}

fn entries(value: &str) -> Entries {
    vec![("k".into(), value.into())]
}

fn descriptor(value: &str) -> Descriptor {
    Descriptor { entries: entries(value), hits: None, limit: None, told: None }
}

fn limiter(limits: Vec<Limit>, default: Option<u32>, always_default: bool) -> (Limiter, Instant) {
    let now = Instant::now();
    let plan = Plan { default: default.map(shape), limits, always_default, most_dynamic: 2 };
    (Limiter::new(plan, now), now)
}

fn limit_of(value: &str, most: u32, shadow: bool) -> Limit {
    Limit { entries: entries(value), shape: shape(most), shadow }
}

#[test]
fn descriptors_go_before_the_default() {
    let (limiter, now) = limiter(vec![limit_of("x", 1, false)], Some(2), false);
    let take = |value| limiter.take(&[descriptor(value)], true, now).allowed;
    assert!(take("x") && !take("x"));
    assert!(take("y") && take("y") && !take("y"));
    assert!(!limiter.take(&[], true, now).allowed);
}

#[test]
fn a_refusal_costs_the_default_nothing() {
    let (limiter, now) = limiter(vec![limit_of("x", 1, false)], Some(2), true);
    assert!(limiter.take(&[descriptor("x")], true, now).allowed);
    assert!(!limiter.take(&[descriptor("x")], true, now).allowed);
    assert_eq!(limiter.take(&[], true, now).bucket.unwrap().left(now), 0);
}

#[test]
fn values_share_nothing_and_the_oldest_goes() {
    let (limiter, now) = limiter(vec![limit_of("", 1, false)], None, true);
    let take = |value| limiter.take(&[descriptor(value)], true, now).allowed;
    assert!(take("a") && take("b") && !take("a"));
    assert!(take("c"), "b, the oldest, made room");
    assert!(!take("a") && take("b"));
}

#[test]
fn a_shadow_is_told_and_the_default_decides() {
    let (limiter, now) = limiter(vec![limit_of("x", 0, true)], Some(1), true);
    let first = limiter.take(&[descriptor("x")], true, now);
    assert!(!first.allowed && first.shadow);
    let second = limiter.take(&[descriptor("x")], true, now);
    assert!(!second.allowed && !second.shadow);
}
