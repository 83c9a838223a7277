//! Policies that look beyond a cluster's own hosts, or are told by others which host it is to be.

use std::sync::Arc;

use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_model::cluster::{Discovery, OverrideSource};
use sampan_model::lb::LbPolicy;

use super::super::super::Scope;
use super::super::super::scope::Rejects;
use super::super::super::tls::{Inputs, LocalCluster};
use super::super::compile;
use super::super::tests::{compiled, refused};
use super::*;

/// A list with one policy, an extension of Envoy's.
fn with_policy(policy: &str, fields: &str) -> String {
    format!(
        "name: c\nload_balancing_policy:\n  policies:\n  - typed_extension_config:\n      name: x\n      typed_config:\n        \
         '@type': type.googleapis.com/envoy.extensions.load_balancing_policies.{policy}\n{}",
        fields.lines().fold(String::new(), |text, line| text + "        " + line + "\n")
    )
}

const RANDOM: &str = "{policies: [{typed_extension_config: {name: inner, typed_config: {'@type': \
                      type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}";

#[test]
fn hosts_may_be_named_over_another_policy() {
    let policy = |sources: &str| {
        with_policy(
            "override_host.v3.OverrideHost",
            &format!(
                "override_host_sources: [{sources}]\nfallback_policy: {RANDOM}\nselected_host_key: {{key: ns, path: [{{key: a}}, {{key: b}}]}}"
            ),
        )
    };
    let config =
        compiled(&policy("{header: X-To}, {metadata: {key: ns, path: [{key: to}]}}")).unwrap().config;
    assert_eq!(config.lb_policy, LbPolicy::Random);
    let overridden = config.override_host.unwrap();
    let wanted =
        [OverrideSource::Header("x-to".into()), OverrideSource::Metadata("ns".into(), vec!["to".into()])];
    assert_eq!(overridden.sources, wanted);
    assert_eq!(overridden.selected, Some(("ns".into(), vec!["a".into(), "b".into()])));
    refused(&policy("{}"), "override_host_sources[0]: Empty override source");
    refused(&policy("{header: a, metadata: {key: b, path: [{key: c}]}}"), "Only one override source");
}

#[test]
fn reported_load_is_configured() {
    let name = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";
    let fields = "blackout_period: 1s\nweight_update_period: 0.01s\nerror_utilization_penalty: 2\n\
                  metric_names_for_computing_utilization: [named_metrics.a]";
    let config = compiled(&with_policy(name, fields)).unwrap().config;
    let reports = config.reports.unwrap();
    assert_eq!(config.lb_policy, LbPolicy::ClientWeighted);
    assert_eq!(
        (reports.blackout.as_secs(), reports.update.as_millis(), reports.expiration.as_secs()),
        (1, 100, 180)
    );
    assert_eq!((reports.error_penalty, reports.metrics.len()), (2.0, 1));
    refused(
        &with_policy(name, "enable_oob_load_report: true"),
        "enable_oob_load_report: load reports out of band",
    );
}

#[test]
fn peak_ewma_is_a_struct_under_our_name() {
    let of = |value: &str| {
        format!(
            "{{name: c, load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{'@type': \
             type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/sampan.load_balancing_policies.peak_ewma.v1.PeakEwma, \
             value: {value}}}}}}}]}}}}"
        )
    };
    let LbPolicy::PeakEwma(settings) = compiled(&of("{default_rtt: 0.1s}")).unwrap().config.lb_policy else {
        panic!()
    };
    assert_eq!((settings.default_rtt.as_millis(), settings.decay.as_secs()), (100, 10));
    refused(&of("{x: 1}"), "value.x: there is no such field");
    refused(&of("{decay_time: 0s}"), "value.decay_time: must be a duration above zero");
}

#[test]
fn an_aggregate_cluster_brings_its_policy() {
    let aggregate = |more: &str| {
        format!(
            "{{name: c{more}, cluster_type: {{name: envoy.clusters.aggregate, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a, b]}}}}}}"
        )
    };
    let provided = ", lb_policy: CLUSTER_PROVIDED";
    let Discovery::Aggregate(clusters) = compiled(&aggregate(provided)).unwrap().config.discovery else {
        panic!()
    };
    assert_eq!(clusters.iter().map(|cluster| &*cluster.name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(clusters[0].slot != clusters[1].slot);
    refused(&aggregate(""), "lb_policy: LB policy ROUND_ROBIN is not valid");
    refused(&aggregate(&format!("{provided}, load_assignment: {{cluster_name: c}}")), "none of its own");
}

#[test]
fn zones_matter_where_there_is_a_local_cluster() {
    let zone = |yaml: &str| {
        let document = Document::parse(yaml, Format::Yaml).unwrap();
        let proto = decode::<pb::Cluster>(Descriptors::load(), &document, Policy::default()).unwrap().value;
        let mut inputs = Inputs::default();
        let local = sampan_model::route::Slot(7);
        inputs.local = Some(LocalCluster { slot: local, locality: Arc::default() });
        let rejects = Rejects::default();
        compile(&proto, &inputs.fresh(), &Scope::root("c", &rejects)).unwrap().config.zone
    };
    let standard = zone("name: c").unwrap();
    assert_eq!((standard.local.0, standard.enabled, standard.min_cluster_size), (7, 100, 6));
    let named = "{name: c, common_lb_config: {zone_aware_lb_config: {routing_enabled: {value: 30}, min_cluster_size: 2}}}";
    let named = zone(named).unwrap();
    assert_eq!((named.enabled, named.min_cluster_size), (30, 2));
    let typed = with_policy(
        "random.v3.Random",
        "locality_lb_config: {zone_aware_lb_config: {force_local_zone: {min_size: 3}, locality_basis: HEALTHY_HOSTS_WEIGHT}}",
    );
    let typed = zone(&typed).unwrap();
    assert_eq!((typed.force_local, typed.by_weight), (Some(3), true));
    assert_eq!(zone("{name: c, lb_policy: MAGLEV}"), None, "a hash knows no zones");
    assert_eq!(compiled("name: c").unwrap().config.zone, None);
}

#[test]
fn consistent_hashing_with_bounded_loads() {
    let factor = |yaml: &str| match compiled(yaml).unwrap().config.lb_policy {
        LbPolicy::RingHash(settings) => settings.balance_factor,
        LbPolicy::Maglev(settings) => settings.balance_factor,
        _ => None,
    };
    let common = "common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}";
    assert_eq!(factor(&format!("{{name: c, lb_policy: RING_HASH, {common}}}")), Some(150));
    assert_eq!(factor(&format!("{{name: c, lb_policy: MAGLEV, {common}}}")), Some(150));
    assert_eq!(factor("{name: c, lb_policy: MAGLEV}"), None);
    let typed = "consistent_hashing_lb_config: {hash_balance_factor: 200}";
    assert_eq!(factor(&with_policy("maglev.v3.Maglev", typed)), Some(200));
    assert_eq!(factor(&with_policy("ring_hash.v3.RingHash", "hash_balance_factor: 120")), Some(120));
}

#[test]
fn statuses_of_named_hosts() {
    let of = |yaml: &str| compiled(yaml).unwrap().config.common_lb.override_status;
    let standard = of("name: c");
    assert_eq!((standard.healthy, standard.degraded, standard.unhealthy), (true, true, false));
    let own = of("{name: c, common_lb_config: {override_host_status: {statuses: [DRAINING]}}}");
    assert_eq!((own.healthy, own.degraded, own.unhealthy), (false, false, true));
}
