//! Listeners: which filter chain a connection gets, limits, small buffers, protocol detection.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{self, AwaitClose, Fin, Read, ReadBytes, ReadToEnd};

/// Listeners and filter chains.
pub fn group() -> Group {
    let mut cases = chains();
    cases.extend(limits());
    cases.extend(codecs());
    cases.extend(inspected());
    Group { name: "listeners", bootstrap: bootstrap(), cases }
}

/// A listener with these listener filters, whose chain is a connection manager that routes all to `a`.
fn filtered(filters: &[&str], manager: &str) -> String {
    let filter = |kind: &&str| {
        format!(
            "{{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.listener.{kind}}}}}"
        )
    };
    let filters: Vec<_> = filters.iter().map(filter).collect();
    format!(
        "listener_filters: [{}]\nfilter_chains: [{{filters: [{{name: h, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, access_log: $ACCESS_LOG, {manager} http_filters: [{{name: r, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}], route_config: {{virtual_hosts: [{{name: v, domains: [\"*\"], routes: [{{match: {{prefix: /}}, route: {{cluster: a}}}}]}}]}}}}}}]}}]",
        filters.join(", ")
    )
}

const TLS_INSPECTOR: &str = "tls_inspector.v3.TlsInspector";
const HTTP_INSPECTOR: &str = "http_inspector.v3.HttpInspector";
const PROXY_PROTOCOL: &str = "proxy_protocol.v3.ProxyProtocol";

/// A filter chain with a TCP proxy to a cluster.
fn chain(name: &str, matching: &str, cluster: &str) -> String {
    format!(
        "{{name: {name}, {matching} filters: [{{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: {cluster}, access_log: $ACCESS_LOG}}}}]}}"
    )
}

fn bootstrap() -> Bootstrap {
    let direct = |name: &str, matching: &str| {
        format!(
            "{{name: {name}, {matching} filters: [{{name: d, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config, response: {{inline_string: {name}}}}}}}]}}"
        )
    };
    let source = |range: &str, length: u8| {
        format!(
            "filter_chain_match: {{source_prefix_ranges: [{{address_prefix: {range}, prefix_len: {length}}}]}},"
        )
    };
    let to_a = "- {name: all, match: {prefix: /}, route: {cluster: a}}";
    let limited = "filter_chains: [{filters: [{name: e, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}]";
    Bootstrap::new()
        .top("layered_runtime: {layers: [{name: s, static_layer: {envoy.resource_limits.listener.limited.connection_limit: 1}}]}")
        .listener_of("unmatched", &format!("filter_chains: [{}]\naccess_log: $ACCESS_LOG", chain("far", &source("10.0.0.0", 8), "tcp")))
        .listener_of("by-source", &format!("filter_chains: [{}, {}, {}]", direct("wide", &source("0.0.0.0", 0)), direct("loopback", &source("127.0.0.0", 8)), direct("far", &source("10.0.0.0", 8))))
        .listener_of("default", &format!("filter_chains: [{}]\ndefault_filter_chain: {}", direct("far", &source("10.0.0.0", 8)), direct("default", "")))
        .listener_of("source-port", &format!("filter_chains: [{}, {}]", direct("low", "filter_chain_match: {source_ports: [1]},"), direct("rest", "")))
        .listener_of("limited", limited)
        .listener_of("small-buffers", &format!("per_connection_buffer_limit_bytes: 1024\nfilter_chains: [{}]", chain("c", "", "tcp")))
        .listener_of("two-addresses", &format!("additional_addresses: [{{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}]\nfilter_chains: [{}]", direct("both", "")))
        .listener_of("inspected", &filtered(&[TLS_INSPECTOR, HTTP_INSPECTOR], ""))
        .listener_of("proxied", &filtered(&[PROXY_PROTOCOL], "use_remote_address: true,"))
        .listener_of("proxied-plain", &filtered(&[PROXY_PROTOCOL], ""))
        .listener_of("proxied-unmatched", &format!("listener_filters: [{{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.listener.{PROXY_PROTOCOL}}}}}]\nfilter_chains: [{}]\naccess_log: $ACCESS_LOG", chain("far", &source("10.0.0.0", 8), "tcp")))
        .http("auto", "", to_a)
        .http("small-http", "", to_a)
}

fn says(name: &'static str, listener: &'static str, text: &str) -> Case {
    case(name, listener).talk([ReadToEnd]).logs(0).want("raw", text).want("end", "eof")
}

fn chains() -> Vec<Case> {
    vec![
        case("no-chain-matches", "unmatched")
            .talk([AwaitClose])
            .logs(1)
            .want("end", "closed")
            .flags("NR")
            .details("filter_chain_not_found"),
        says("most-specific-source", "by-source", "loopback"),
        says("default-chain", "default", "default"),
        says("source-port-not", "source-port", "rest"),
        says("more-addresses", "two-addresses", "both"),
    ]
}

fn limits() -> Vec<Case> {
    let hello = || [Talk::Send(b"hello".to_vec()), ReadBytes(5)];
    vec![
        case("connection-limit", "limited")
            .on(0, hello())
            .on(1, [AwaitClose])
            .on(0, hello())
            .logs(0)
            .want("raw", "hello")
            .want("2.end", "closed")
            .want("3.raw", "hello"),
        case("small-buffers", "small-buffers")
            .talk([Talk::Send(vec![b'x'; 60_000]), ReadBytes(60_000), Fin, ReadToEnd])
            .logs(1)
            .want("log.sent", 60_000)
            .want("log.received", 60_000),
    ]
}

/// HTTP behind listener filters.
fn inspected() -> Vec<Case> {
    const HEADER: &str = "PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n";
    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    let bytewise =
        |text: String| text.into_bytes().into_iter().map(|byte| Talk::Send(vec![byte])).chain([Read]);
    vec![
        case("inspected-h1", "inspected").get("/").via("a").want("log.protocol", "HTTP/1.1"),
        case("inspected-h2", "inspected").call(Call::get("/")).via("a").want("log.protocol", "HTTP/2"),
        case("inspected-byte-by-byte", "inspected").talk(bytewise(REQUEST.to_owned())).via("a"),
        case("proxied", "proxied")
            .send(format!("{HEADER}{REQUEST}"))
            .via("a")
            .want("up:h:x-forwarded-for", "1.2.3.4")
            .want("log.remote", "1.2.3.4"),
        case("proxied-byte-by-byte", "proxied")
            .talk(bytewise(format!("{HEADER}{REQUEST}")))
            .via("a")
            .want("log.remote", "1.2.3.4"),
        case("proxied-unknown", "proxied")
            .send(format!("PROXY UNKNOWN\r\n{REQUEST}"))
            .via("a")
            .want("log.remote", "127.0.0.1"),
        case("proxied-and-forwarded", "proxied-plain")
            .send(format!("{HEADER}GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 9.8.7.6\r\n\r\n"))
            .via("a")
            .want("log.remote", "9.8.7.6"),
        case("proxied-no-chain", "proxied-unmatched")
            .talk([Talk::Send(HEADER.as_bytes().to_vec()), AwaitClose])
            .logs(1)
            .want("end", "closed")
            .want("log.remote", "1.2.3.4")
            .flags("NR"),
        case("proxied-refused", "proxied-unmatched")
            .talk([Talk::Send(REQUEST.as_bytes().to_vec()), AwaitClose])
            .logs(1)
            .want("end", "closed")
            .want("log.remote", "127.0.0.1")
            .flags("-"),
    ]
}

fn codecs() -> Vec<Case> {
    vec![
        case("auto-h1", "auto").get("/").via("a").want("log.protocol", "HTTP/1.1"),
        case("auto-h2", "auto").call(Call::get("/")).via("a").want("log.protocol", "HTTP/2"),
        case("auto-h1-byte-by-byte", "auto")
            .talk(
                "GET / HTTP/1.1\r\nhost: test\r\n\r\n"
                    .bytes()
                    .map(|byte| Talk::Send(vec![byte]))
                    .chain([Read]),
            )
            .via("a"),
        case("auto-nothing-sent", "auto").talk([Fin, AwaitClose]).logs(0).want("end", "closed"),
        case("auto-wrong-preface", "auto")
            .talk([Talk::Send(b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n".to_vec()), AwaitClose])
            .logs(0)
            .want("end", "closed")
            .absent("up")
            .ignore("raw")
            .ignore("log"),
        case("auto-preface-cut-short", "auto")
            .talk([Talk::Send(b"PRI * HT".to_vec()), Fin, AwaitClose])
            .logs(1)
            .want("end", "closed")
            .flags("DC"),
        case("tls-hello-on-plain-port", "auto")
            .talk([
                Talk::Send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".to_vec()),
                Read,
                AwaitClose,
            ])
            .status(400)
            .flags("DPE"),
    ]
}
