//! A bootstrap in, the parts of the config dump and the admin server's answers out.

use std::sync::Arc;

use super::*;
use crate::admin::source::ConfigSource as _;
use crate::cli::{self, Invocation};
use crate::control::generations::SharedGenerations;
use crate::control::publish::Publisher;

const YAML: &str = "
node: {id: me}
layered_runtime: {layers: [{name: admin, admin_layer: {}}]}
static_resources:
  clusters:
  - name: a
    load_assignment: {cluster_name: a, endpoints: [{locality: {zone: z}, lb_endpoints: [
      {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}
  - name: b
";

fn view() -> View {
    let words = ["sampan", "--config-yaml", YAML].map(str::to_owned);
    let Ok(Invocation::Run(options)) = cli::parse(words) else { panic!() };
    let bootstrap = crate::bootstrap::load(&options).unwrap();
    let runtime = bootstrap.settings.runtime.clone();
    let publisher = Arc::new(Publisher::new(
        &bootstrap.clusters,
        bootstrap.context.slots.clone(),
        runtime,
        &bootstrap.context.tls,
    ));
    View::new(
        SharedStore::new(Store::new(&bootstrap)),
        publisher,
        SharedGenerations::default(),
        Vec::new(),
        Arc::default(),
    )
}

fn kinds(configs: &[Json]) -> Vec<&str> {
    configs.iter().filter_map(|config| config["@type"].as_str()?.rsplit('.').next()).collect()
}

#[test]
fn the_parts_of_the_dump_are_in_envoys_order() {
    let view = view();
    let configs = view.configs(true);
    assert_eq!(
        kinds(&configs),
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    let bootstrap = &configs[0]["bootstrap"];
    assert_eq!(bootstrap["node"]["id"], "me");
    assert_eq!(bootstrap["static_resources"]["clusters"][1]["name"], "b");
    let cluster = &configs[1]["static_clusters"][0]["cluster"];
    assert_eq!(cluster["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    let endpoints = &configs[2]["static_endpoint_configs"][0]["endpoint_config"]["endpoints"][0];
    assert_eq!(endpoints["locality"]["zone"], "z");
    assert_eq!(endpoints["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"], 80);
}

#[test]
fn looking_at_clusters_does_not_build_them() {
    let view = view();
    let clusters = view.clusters();
    assert_eq!(
        clusters.iter().map(|c| (c.name.as_str(), c.hosts.len())).collect::<Vec<_>>(),
        [("a", 1), ("b", 0)]
    );
    let snapshot = view.published().load();
    assert!(snapshot.clusters.iter().all(|entry| !entry.is_built()));
}

#[test]
fn the_runtime_can_be_changed() {
    let view = view();
    view.modify_runtime(&[("k".to_owned(), "5".to_owned())]).unwrap();
    assert_eq!(view.runtime().entries[0].final_value, "5");
    assert_eq!(view.published().load().runtime.number("k"), Some(5));
}
