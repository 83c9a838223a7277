//! Chains of network filters as YAML in, domain values or refusals out.

use std::time::Duration;

use sampan_api::envoy::config::listener::v3::FilterChain;

use super::super::testing::compiled;
use super::*;
use crate::tcp::config::{TcpCluster, TcpConfig};

const LIMIT: &str = "{name: cl, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, stat_prefix: c, max_connections: 1}}";

fn chain(list: &str) -> Result<(usize, Terminal), Vec<String>> {
    compiled::<FilterChain, _>(&format!("filters: {list}"), |proto, context, at| {
        filters(&proto.filters, context, &at.field("filters"))
    })
    .map(|(before, terminal)| (before.len(), terminal))
}

fn tcp(fields: &str) -> Result<Arc<TcpConfig>, Vec<String>> {
    let url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let found = chain(&format!(
        "[{LIMIT}, {{name: t, typed_config: {{'@type': {url}, stat_prefix: t, {fields}}}}}]"
    ))?;
    let (1, Terminal::Tcp(config)) = found else { panic!("no TCP proxy behind one filter") };
    Ok(config)
}

#[track_caller]
fn refused<T>(result: Result<T, Vec<String>>, wanted: &[&str]) {
    assert_eq!(result.map(|_| ()).unwrap_err(), wanted);
}

#[test]
fn tcp_proxy_has_envoys_defaults() {
    let config = tcp("cluster: a").unwrap();
    assert_eq!((config.idle_timeout, config.max_duration), (Some(Duration::from_hours(1)), None));
    assert_eq!(config.max_connect_attempts, 1);
    assert!(matches!(&config.cluster, TcpCluster::Single(cluster) if &*cluster.name == "a"));
}

#[test]
fn tcp_proxy_reads_its_fields() {
    let config = tcp(
        "weighted_clusters: {clusters: [{name: a, weight: 1}, {name: unknown, weight: 3}]}, idle_timeout: 0s, \
         max_downstream_connection_duration: 5s, max_connect_attempts: 4",
    )
    .unwrap();
    assert_eq!((config.idle_timeout, config.max_duration), (None, Some(Duration::from_secs(5))));
    assert_eq!(config.max_connect_attempts, 4);
    let TcpCluster::Weighted(clusters) = &config.cluster else { panic!("not weighted") };
    assert_eq!((clusters.total(), clusters.entries().len()), (4, 2));
}

#[test]
fn refusals_tell_where() {
    refused(
        tcp("cluster: a, tunneling_config: {hostname: h}, idle_timeout: -1s"),
        &[
            "filters[1].typed_config.tunneling_config: tunnels over HTTP are not supported yet",
            "filters[1].typed_config.idle_timeout: a duration cannot be negative",
        ],
    );
    refused(
        chain(&format!("[{LIMIT}]")),
        &["filters[0]: this non-terminal filter is the last filter in a network filter chain"],
    );
    refused(
        chain(
            "[{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy}}]",
        ),
        &["filters[0].typed_config: there is no network filter \"x\" of this type"],
    );
    refused(
        chain("[{name: x, config_discovery: {type_urls: [t], config_source: {path: /nowhere}}}, {name: z}]"),
        &[
            "filters[0].config_discovery.config_source.path: paths must refer to an existing path in the system: \
             '/nowhere' does not exist",
            "filters[1]: the filter has no typed_config",
        ],
    );
    let missing = "{name: d, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config, response: {filename: /nonexistent/x}}}";
    let told = chain(&format!("[{missing}]")).map(|_| ()).unwrap_err();
    assert!(
        told[0].starts_with("filters[0].typed_config.response.filename: the file cannot be read"),
        "{told:?}"
    );
}
