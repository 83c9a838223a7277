//! The configurations: what istiod sends to a client and to a server, cut down to one service.

use std::path::Path;

use sampan_tests::harness::tls::{Authority, Wanted};
use tempfile::TempDir;

const TYPE: &str = "type.googleapis.com";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A folder with the certificates of both workloads.
pub struct Files {
    pub dir: TempDir,
}

impl Files {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Authority::new("root");
        root.save(dir.path(), "ca");
        for workload in ["client", "echo"] {
            let uri = format!("spiffe://cluster.local/ns/demo/sa/{workload}");
            root.issue(dir.path(), workload, Wanted { uris: &[&uri], ..Wanted::default() });
        }
        Self { dir }
    }

    /// A configuration with the folder in place of `$DIR`.
    pub fn placed(&self, config: &str) -> String {
        config.replace("$DIR", &self.dir.path().to_string_lossy())
    }
}

/// `stats_config` of the bootstrap that pilot-agent renders.
fn stats_config() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/istio/sidecar-client-bootstrap.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut bootstrap: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut config = bootstrap["stats_config"].take();
    // Beside Istio's own: what the test of splicing looks at.
    let patterns = config["stats_matcher"]["inclusion_list"]["patterns"].as_array_mut().unwrap();
    patterns.push(serde_json::json!({"suffix": "spliced_bytes_total"}));
    config.to_string()
}

fn bootstrap(node: &str, listeners: &str, clusters: &str) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         stats_config: {}\n\
         bootstrap_extensions:\n\
         - name: envoy.bootstrap.internal_listener\n  \
         typed_config: {{'@type': {TYPE}/udpa.type.v1.TypedStruct, type_url: {TYPE}/envoy.extensions.bootstrap.internal_listener.v3.InternalListener, value: {{buffer_size_kb: 64}}}}\n\
         node: {node}\n\
         static_resources:\n  listeners:\n{listeners}\n  clusters:\n{clusters}\n",
        stats_config()
    )
}

fn node(workload: &str, canonical: &str, version: &str) -> String {
    let version = if version.is_empty() { String::new() } else { format!("version: {version},") };
    let revision = version.trim_start_matches("version: ").trim_end_matches(',');
    let revision = if revision.is_empty() { "latest" } else { revision };
    format!(
        "{{id: 'sidecar~10.89.0.43~{workload}.demo~demo.svc.cluster.local', cluster: {canonical}.demo, metadata: {{CLUSTER_ID: \
         Kubernetes, ISTIO_VERSION: 1.31.0, NAME: {workload}, NAMESPACE: demo, WORKLOAD_NAME: {workload}, OWNER: \
         'kubernetes://apis/apps/v1/namespaces/demo/deployments/{workload}', LABELS: {{app: {canonical}, {version} \
         service.istio.io/canonical-name: {canonical}, service.istio.io/canonical-revision: {revision}}}}}}}"
    )
}

fn typed_struct(type_url: &str, value: &str) -> String {
    format!("{{'@type': {TYPE}/udpa.type.v1.TypedStruct, type_url: {TYPE}/{type_url}, value: {value}}}")
}

fn exchange() -> String {
    let config = typed_struct(
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "{protocol: istio-peer-exchange, enable_discovery: true}",
    );
    format!("{{name: istio.metadata_exchange, typed_config: {config}}}")
}

fn stats() -> String {
    format!("{{name: istio.stats, typed_config: {{'@type': {TYPE}/stats.PluginConfig}}}}")
}

/// The filters of a connection manager in Istio's order; `alpn` for those of clients.
fn http_filters(peer: &str, alpn: bool) -> String {
    let peer = typed_struct("io.istio.http.peer_metadata.Config", peer);
    let alpn = if alpn {
        format!(
            "{{name: istio.alpn, typed_config: {{'@type': {TYPE}/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig, \
             alpnOverride: [{{alpnOverride: [istio-http/1.0, istio, http/1.0]}}, {{upstreamProtocol: HTTP11, alpnOverride: \
             [istio-http/1.1, istio, http/1.1]}}, {{upstreamProtocol: HTTP2, alpnOverride: [istio-h2, istio, h2]}}]}}}},"
        )
    } else {
        String::new()
    };
    format!(
        "[{{name: istio.metadata_exchange, typed_config: {peer}}}, {{name: envoy.filters.http.grpc_stats, typed_config: {{'@type': \
         {HTTP}.grpc_stats.v3.FilterConfig, emit_filter_state: true, stats_for_all_methods: false}}}}, {alpn} {}, {{name: \
         envoy.filters.http.router, typed_config: {{'@type': {HTTP}.router.v3.Router}}}}]",
        stats()
    )
}

fn hcm(filters: &str, routes: &str) -> String {
    format!(
        "{{name: hcm, typed_config: {{'@type': {NETWORK}.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, \
         http_filters: {filters}, route_config: {{virtual_hosts: [{{name: v, domains: ['*'], routes: [{routes}]}}]}}}}}}"
    )
}

fn tcp_proxy(cluster: &str) -> String {
    format!(
        "{{name: tcp, typed_config: {{'@type': {NETWORK}.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: '{cluster}'}}}}"
    )
}

fn endpoints(name: &str, port: u16, metadata: &str) -> String {
    format!(
        "load_assignment: {{cluster_name: '{name}', endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: \
         127.0.0.1, port_value: {port}}}}}}}, metadata: {{filter_metadata: {{{metadata}}}}}}}]}}]}}"
    )
}

/// `metadata.istio.services` of a cluster.
const SERVICES: &str = "metadata: {filter_metadata: {istio: {services: [{host: echo.demo.svc.cluster.local, name: echo, namespace: demo}]}}}";

/// The client's sidecar, in front of a server's inbound port.
pub fn client(port: u16) -> String {
    let peer = "{upstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], upstream_propagation: [{istio_headers: {}}]}";
    let route = "{match: {prefix: /}, route: {cluster: 'outbound|8080||echo.demo.svc.cluster.local'}}";
    let listener = |name: &str, filters: &str| {
        format!(
            "  - {{name: {name}, traffic_direction: OUTBOUND, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, \
             filter_chains: [{{filters: [{filters}]}}]}}"
        )
    };
    let tcp = |cluster: &str| format!("{}, {}", stats(), tcp_proxy(cluster));
    let listeners = [
        listener("http", &hcm(&http_filters(peer, true), route)),
        listener("tcp", &tcp("outbound|9000||echo.demo.svc.cluster.local")),
        listener("plain", &tcp("outbound|9001||echo.demo.svc.cluster.local")),
    ];
    let workload = "istio: {workload: 'echo-v1;demo;echo;v1;Kubernetes'}";
    let socket = format!(
        "transport_socket_matches: [{{name: tlsMode-istio, match: {{tlsMode: istio}}, transport_socket: {{name: tls, typed_config: \
         {{'@type': {TLS}.UpstreamTlsContext, sni: outbound_.8080_._.echo.demo.svc.cluster.local, common_tls_context: \
         {{alpn_protocols: [istio-peer-exchange, istio], {}}}}}}}}}, {{name: tlsMode-disabled, match: {{}}, transport_socket: {{name: \
         raw, typed_config: {{'@type': {TYPE}/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}}}]",
        identity("client")
    );
    let cluster = |port_name: &str, mode: &str| {
        let name = format!("outbound|{port_name}||echo.demo.svc.cluster.local");
        let metadata = format!("envoy.transport_socket_match: {{tlsMode: {mode}}}, {workload}");
        format!(
            "  - {{name: '{name}', type: STATIC, connect_timeout: 5s, {SERVICES}, filters: [{}], {socket}, {}, \
             typed_extension_protocol_options: {{{OPTIONS}: {{'@type': {TYPE}/{OPTIONS}, use_downstream_protocol_config: \
             {{http_protocol_options: {{}}, http2_protocol_options: {{}}}}}}}}}}",
            exchange(),
            endpoints(&name, port, &metadata)
        )
    };
    let clusters = [cluster("8080", "istio"), cluster("9000", "istio"), cluster("9001", "none")];
    bootstrap(&node("client", "client", ""), &listeners.join("\n"), &clusters.join("\n"))
}

/// The certificate of a workload and whom it trusts.
fn identity(name: &str) -> String {
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: $DIR/{name}.pem}}, private_key: {{filename: $DIR/{name}.key}}}}], \
         validation_context: {{trusted_ca: {{filename: $DIR/ca.pem}}, match_typed_subject_alt_names: [{{san_type: URI, matcher: \
         {{prefix: 'spiffe://cluster.local/'}}}}]}}"
    )
}

/// The server's sidecar, in front of its application: the chains of a port under PERMISSIVE.
pub fn server(http: u16, grpc: u16, tcp: u16) -> String {
    let peer = "{downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], downstream_propagation: [{istio_headers: {}}]}";
    let routes = "{match: {prefix: /, headers: [{name: content-type, string_match: {prefix: application/grpc}}]}, route: {cluster: \
                  'inbound|9090||'}}, {match: {prefix: /}, route: {cluster: 'inbound|8080||'}}";
    let socket = |alpn: &str| {
        format!(
            "transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext, require_client_certificate: true, \
             common_tls_context: {{alpn_protocols: [{alpn}], {}}}}}}}",
            identity("echo")
        )
    };
    let (mx, stats) = (exchange(), stats());
    let chains = [
        format!(
            "{{filter_chain_match: {{transport_protocol: tls, application_protocols: [istio-http/1.0, istio-http/1.1, istio-h2]}}, \
             filters: [{mx}, {}], {}}}",
            hcm(&http_filters(peer, false), routes),
            socket("h2, http/1.1")
        ),
        format!(
            "{{filter_chain_match: {{transport_protocol: tls, application_protocols: [istio-peer-exchange, istio]}}, filters: [{mx}, \
             {stats}, {}], {}}}",
            tcp_proxy("inbound|9000||"),
            socket("istio-peer-exchange, h2, http/1.1")
        ),
        format!(
            "{{filter_chain_match: {{transport_protocol: raw_buffer}}, filters: [{mx}, {stats}, {}]}}",
            tcp_proxy("inbound|9000||")
        ),
    ];
    let listener = format!(
        "  - {{name: virtualInbound, traffic_direction: INBOUND, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, \
         listener_filters: [{{name: tls, typed_config: {{'@type': {TYPE}/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}], \
         filter_chains: [{}]}}",
        chains.join(", ")
    );
    let cluster = |name: &str, port: u16, options: &str| {
        format!(
            "  - {{name: '{name}', type: STATIC, connect_timeout: 5s, {SERVICES}, {} {options}}}",
            endpoints(name, port, "")
        )
    };
    let http2 = format!(
        ", typed_extension_protocol_options: {{{OPTIONS}: {{'@type': {TYPE}/{OPTIONS}, explicit_http_config: \
         {{http2_protocol_options: {{}}}}}}}}"
    );
    let clusters = [
        cluster("inbound|8080||", http, ""),
        cluster("inbound|9090||", grpc, &http2),
        cluster("inbound|9000||", tcp, ""),
    ];
    bootstrap(&node("echo-v1", "echo", "v1"), &listener, &clusters.join("\n"))
}
