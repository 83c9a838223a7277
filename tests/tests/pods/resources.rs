//! What inbound and outbound resources have in common, in the form that istiod gives them.

use sampan_tests::harness::xds::Resource;
use serde_json::{Value, json};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// The trust domain of the mesh.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// A resource of `envoy.config.<kind>`.
pub fn resource(kind: &str, mut value: Value) -> Resource {
    value["@type"] = json!(format!("type.googleapis.com/envoy.config.{kind}"));
    Resource::json(&value)
}

/// By ADS, and waited for as long as it takes.
pub fn ads() -> Value {
    json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

/// The agent's SDS server.
fn sds(name: &str) -> Value {
    json!({"name": name, "sds_config": {
        "api_config_source": {
            "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
        "initial_fetch_timeout": "0s", "resource_api_version": "V3",
    }})
}

/// The workload's certificate, and whom to believe.
fn identity(names: &Value, alpn: &[&str]) -> Value {
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [sds("default")],
        "combined_validation_context": {
            "default_validation_context": {"match_subject_alt_names": names},
            "validation_context_sds_secret_config": sds("ROOTCA"),
        },
        "alpn_protocols": alpn,
    })
}

/// Towards a service whose pods have this account.
pub fn upstream_tls(sni: &str, account: &str, alpn: &[&str]) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": format!("{TLS}.UpstreamTlsContext"),
        "common_tls_context": identity(&json!([{"exact": account}]), alpn),
        "sni": sni,
    }})
}

/// For callers of the trust domain.
pub fn downstream_tls(alpn: &[&str]) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": format!("{TLS}.DownstreamTlsContext"),
        "common_tls_context": identity(&json!([{"prefix": format!("spiffe://{TRUST_DOMAIN}/")}]), alpn),
        "require_client_certificate": true,
    }})
}

/// `envoy.filters.network.tcp_proxy` to a cluster.
pub fn tcp_proxy(cluster: &str) -> Value {
    json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": format!("{FILTERS}.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": cluster, "cluster": cluster,
    }})
}

/// `envoy.filters.network.http_connection_manager` with these fields besides what all have.
pub fn http(stat_prefix: &str, fields: Value) -> Value {
    let mut config = json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": stat_prefix,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": format!("{FILTERS}.http.router.v3.Router")}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "normalize_path": true,
        "stream_idle_timeout": "0s",
    });
    for (key, value) in fields.as_object().expect("fields") {
        config[key] = value.clone();
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

/// A listener filter without settings.
pub fn listener_filter(name: &str, message: &str) -> Value {
    json!({"name": format!("envoy.filters.listener.{name}"), "typed_config": {"@type": format!("{FILTERS}.listener.{name}.v3.{message}")}})
}

/// The HTTP options of a cluster.
pub fn protocol(options: Value) -> Value {
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut options = options;
    options["@type"] = json!(format!("type.googleapis.com/{name}"));
    json!({name: options})
}

/// A cluster that sends connections where they were going.
pub fn original_dst(name: &str, more: Value) -> Value {
    let mut cluster = json!({
        "name": name, "alt_stat_name": format!("{name};"), "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 4_294_967_295_u32, "max_pending_requests": 4_294_967_295_u32,
            "max_requests": 4_294_967_295_u32, "max_retries": 4_294_967_295_u32,
        }]},
    });
    for (key, value) in more.as_object().expect("fields") {
        cluster[key] = value.clone();
    }
    cluster
}

/// An address of a listener; the twin for IPv6 is additional.
pub fn addresses(listener: &mut Value, v4: &str, v6: &str, port: u16) {
    listener["address"] = json!({"socket_address": {"address": v4, "port_value": port}});
    listener["additional_addresses"] =
        json!([{"address": {"socket_address": {"address": v6, "port_value": port}}}]);
}
