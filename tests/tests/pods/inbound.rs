//! The inbound side of a sidecar: the listener that all traffic to the pod comes to, with the chains of each port by the mode of
//! `PeerAuthentication`, and clusters that hand it on from 127.0.0.6.

use sampan_tests::harness::xds::{Resource, types};
use serde_json::{Value, json};

use crate::application::{BULK, GRPC, HTTP, MAIL, REDIS};
use crate::resources::{
    addresses, downstream_tls, http, listener_filter, original_dst, protocol, resource, tcp_proxy,
};

/// `PeerAuthentication.mtls.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Permissive,
    Strict,
    Disable,
}

/// ALPN of other sidecars, for HTTP and for TCP.
const ISTIO: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
const ISTIO_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const ISTIO_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1,
    Http2,
    Tcp,
}

const PORTS: [(u16, Kind); 5] =
    [(HTTP, Kind::Http1), (GRPC, Kind::Http2), (REDIS, Kind::Tcp), (MAIL, Kind::Tcp), (BULK, Kind::Tcp)];

/// How the pod's traffic is led to the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interception {
    Redirect,
    Tproxy,
}

/// All resources of the inbound side, by type.
pub fn resources(mode: Mode) -> Vec<(&'static str, Vec<Resource>)> {
    all(mode, Interception::Redirect)
}

/// The same for a pod whose addresses stay as they are (TPROXY): connections to the application come from the client's own address.
pub fn transparent(mode: Mode) -> Vec<(&'static str, Vec<Resource>)> {
    all(mode, Interception::Tproxy)
}

fn all(mode: Mode, interception: Interception) -> Vec<(&'static str, Vec<Resource>)> {
    let mut clusters: Vec<Resource> =
        PORTS.iter().map(|(port, kind)| cluster(*port, *kind, interception)).collect();
    let options = json!({"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}});
    let mut passthrough = source(interception);
    passthrough["typed_extension_protocol_options"] = protocol(options);
    clusters.push(resource("cluster.v3.Cluster", original_dst("InboundPassthroughCluster", passthrough)));
    clusters.push(resource(
        "cluster.v3.Cluster",
        json!({"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"}),
    ));
    vec![(types::CLUSTER, clusters), (types::LISTENER, vec![virtual_inbound(mode, interception)])]
}

/// Connections come from the addresses that interception leaves alone, or from the client's.
fn source(interception: Interception) -> Value {
    if interception == Interception::Tproxy {
        return json!({});
    }
    json!({"upstream_bind_config": {
        "source_address": {"address": "127.0.0.6", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}],
    }})
}

fn cluster(port: u16, kind: Kind, interception: Interception) -> Resource {
    let mut more = source(interception);
    more["cleanup_interval"] = json!("9223372035s");
    if kind == Kind::Http2 {
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        more["typed_extension_protocol_options"] = protocol(options);
    }
    resource("cluster.v3.Cluster", original_dst(&cluster_name(port), more))
}

fn cluster_name(port: u16) -> String {
    format!("inbound|{port}||")
}

fn virtual_inbound(mode: Mode, interception: Interception) -> Resource {
    let mut chains = vec![json!({
        "name": "virtualInbound-blackhole", "filter_chain_match": {"destination_port": 15006},
        "filters": [tcp_proxy("BlackHoleCluster")],
    })];
    chains.extend(passthrough(mode));
    chains.extend(PORTS.iter().flat_map(|(port, kind)| of_port(mode, *port, *kind)));
    let range = |port: u16| json!({"destination_port_range": {"start": port, "end": port + 1}});
    let (mut tls, mut sniffed) = (
        listener_filter("tls_inspector", "TlsInspector"),
        listener_filter("http_inspector", "HttpInspector"),
    );
    tls["filter_disabled"] = range(15006);
    // The protocol of these ports is known.
    let known: Vec<Value> = PORTS.iter().map(|(port, _)| range(*port)).chain([range(15006)]).collect();
    sniffed["filter_disabled"] = json!({"or_match": {"rules": known}});
    let mut listener = json!({
        "name": "virtualInbound", "traffic_direction": "INBOUND",
        "listener_filters": [listener_filter("original_dst", "OriginalDst"), tls, sniffed],
        "listener_filters_timeout": "0s", "continue_on_listener_filters_timeout": true,
        "filter_chains": chains,
    });
    if interception == Interception::Tproxy {
        let mut source = listener_filter("original_src", "OriginalSrc");
        source["typed_config"]["mark"] = json!(1337);
        listener["listener_filters"].as_array_mut().expect("a list").insert(1, source);
        listener["transparent"] = json!(true);
    }
    addresses(&mut listener, "0.0.0.0", "::", 15006);
    resource("listener.v3.Listener", listener)
}

/// A chain: its match, its last filter, and whether it has mutual TLS.
fn chain(name: &str, rule: Value, filter: Value, tls: Option<&[&str]>) -> Value {
    let mut chain = json!({"name": name, "filter_chain_match": rule, "filters": [filter]});
    if let Some(alpn) = tls {
        chain["transport_socket"] = downstream_tls(alpn);
        chain["transport_socket_connect_timeout"] = json!("15s");
    }
    chain
}

const HTTP_ALPN: &[&str] = &["h2", "http/1.1"];
const TCP_ALPN: &[&str] = &["istio-peer-exchange", "h2", "http/1.1"];

/// Ports whose protocol is known: the columns HTTP and TCP of the modes.
fn of_port(mode: Mode, port: u16, kind: Kind) -> Vec<Value> {
    let name = format!("0.0.0.0_{port}");
    let (filter, alpn) = match kind {
        Kind::Tcp => (tcp_proxy(&cluster_name(port)), TCP_ALPN),
        Kind::Http1 | Kind::Http2 => (manager(&name, &cluster_name(port)), HTTP_ALPN),
    };
    let rule = |protocol: &str, alpn: &[&str]| json!({"destination_port": port, "transport_protocol": protocol, "application_protocols": alpn});
    let mutual = |alpn_in: &[&str]| chain(&name, rule("tls", alpn_in), filter.clone(), Some(alpn));
    let plain = |protocol| chain(&name, rule(protocol, &[]), filter.clone(), None);
    match (mode, kind) {
        (Mode::Permissive, Kind::Tcp) => vec![mutual(&ISTIO), plain("tls"), plain("raw_buffer")],
        (Mode::Permissive, _) => vec![mutual(&ISTIO), plain("raw_buffer")],
        (Mode::Strict, _) => vec![mutual(&[])],
        (Mode::Disable, _) => vec![plain("raw_buffer")],
    }
}

/// Ports that are no service's: the column Auto of the modes.
fn passthrough(mode: Mode) -> Vec<Value> {
    let (http_name, tcp_name) = ("virtualInbound-catchall-http", "virtualInbound");
    let cluster = "InboundPassthroughCluster";
    let rule = |protocol: &str, alpn: &[&str]| json!({"transport_protocol": protocol, "application_protocols": alpn});
    let http = |rule, tls| chain(http_name, rule, manager(http_name, cluster), tls);
    let tcp = |rule, tls| chain(tcp_name, rule, tcp_proxy(cluster), tls);
    let plain = ["http/1.1", "h2c"];
    match mode {
        Mode::Permissive => vec![
            http(rule("tls", &ISTIO_HTTP), Some(HTTP_ALPN)),
            http(rule("raw_buffer", &plain), None),
            tcp(rule("tls", &ISTIO_TCP), Some(TCP_ALPN)),
            tcp(rule("raw_buffer", &[]), None),
            tcp(rule("tls", &[]), None),
        ],
        Mode::Strict => {
            vec![http(rule("tls", &ISTIO_HTTP), Some(HTTP_ALPN)), tcp(rule("tls", &[]), Some(TCP_ALPN))]
        }
        Mode::Disable => vec![http(rule("raw_buffer", &plain), None), tcp(rule("raw_buffer", &[]), None)],
    }
}

/// The connection manager of an inbound port.
fn manager(name: &str, cluster: &str) -> Value {
    http(
        &format!("inbound_{name};"),
        json!({
            "route_config": {
                "name": cluster, "validate_clusters": false,
                "virtual_hosts": [{"name": "inbound|http", "domains": ["*"], "routes": [{
                    "name": "default", "match": {"prefix": "/"}, "decorator": {"operation": "demo"},
                    "route": {
                        "cluster": cluster, "timeout": "0s",
                        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
                    },
                }]}],
            },
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
            "server_name": "istio-envoy", "proxy_100_continue": true,
        }),
    )
}
