//! Listeners as YAML in, domain values or refusals out.

use super::super::testing::compiled;
use super::*;
use crate::listener::config::Terminal;
use crate::net::socket::{KeepAlive, SocketOption};

const ECHO: &str =
    "{name: e, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}";
const HTTP: &str = "{name: hcm, typed_config: { \
  '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
  stat_prefix: in, \
  route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: a}}]}]}, \
  http_filters: [{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}] \
  }}";

fn listener(fields: &str) -> Result<Listener, Vec<String>> {
    compiled::<pb::Listener, _>(fields, compile)
}

fn with_echo(fields: &str) -> Result<Listener, Vec<String>> {
    let address = "address: {socket_address: {address: 127.0.0.1, port_value: 80}}";
    listener(&format!("{address}\nfilter_chains: [{{filters: [{ECHO}]}}]\n{fields}"))
}

#[track_caller]
fn refused(result: Result<Listener, Vec<String>>, wanted: &[&str]) {
    assert_eq!(result.map(|listener| listener.name).unwrap_err(), wanted);
}

#[test]
fn defaults_are_envoys() {
    let found = with_echo("").unwrap();
    assert_eq!(&*found.stat_prefix, "127.0.0.1_80");
    assert_eq!(found.name.len(), 36);
    assert_eq!((found.buffer_limit, found.bind_to_port, found.exact_balance), (1 << 20, true, false));
    assert!(found.addresses[0].options.reuse_port);
    assert!(matches!(found.chains.iter().next().unwrap().terminal, Terminal::Filter(_)));
}

#[test]
fn sockets_are_tuned() {
    let found = with_echo(
        "
name: limited
stat_prefix: s
tcp_backlog_size: 9
freebind: true
transparent: true
enable_reuse_port: false
socket_options: [{level: 6, name: 18, int_value: 5}]
tcp_keepalive: {keepalive_probes: 3}
additional_addresses:
- address: {pipe: {path: /tmp/s, mode: 384}}
- {address: {socket_address: {address: '::', port_value: 81, ipv4_compat: true}}, socket_options: {socket_options: []}}
connection_balance_config: {exact_balance: {}}
traffic_direction: INBOUND
drain_type: MODIFY_ONLY
per_connection_buffer_limit_bytes: 5
max_connections_to_accept_per_socket_event: 3
bind_to_port: false
ignore_global_conn_limit: true",
    )
    .unwrap();
    let [first, pipe, second] = &found.addresses[..] else { panic!("{:?}", found.addresses) };
    let probes = KeepAlive { probes: Some(3), ..KeepAlive::default() };
    assert_eq!((first.options.backlog, first.options.keepalive), (9, Some(probes)));
    assert_eq!(first.options.options, [SocketOption::UserTimeout(5)]);
    assert!(first.options.freebind && first.options.transparent && !first.options.reuse_port);
    assert_eq!((pipe.address.to_string().as_str(), pipe.pipe_mode), ("/tmp/s", Some(384)));
    assert!(second.options.ipv4_compat && second.options.options.is_empty());
    assert_eq!((&*found.stat_prefix, found.connection_limit), ("s", Some(7)));
    assert!(found.exact_balance && found.facts.direction == Direction::Inbound && found.drain_on_modify_only);
    assert!(found.ignore_global_limit && !found.bind_to_port);
    assert_eq!((found.buffer_limit, found.accepts_per_wake), (5, 3));
}

#[test]
fn chains_are_chosen_by_rules() {
    let found = listener(&format!(
        "
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains:
- filter_chain_match: {{destination_port: 80, source_prefix_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]}}
  filters: [{ECHO}]
  transport_socket: {{name: raw, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}
- filter_chain_match: {{destination_port: 80, source_ports: [5]}}
  filters: [{HTTP}]
default_filter_chain: {{name: d, filters: [{ECHO}]}}
"
    ))
    .unwrap();
    assert_eq!(found.chains.chains.len(), 2);
    assert!(matches!(found.chains.chains[1].terminal, Terminal::Http(_)));
    assert_eq!(&*found.chains.default.unwrap().facts.name, "d");
}

#[test]
fn refusals_tell_where() {
    refused(
        listener("{name: l, stat_prefix: s}"),
        &["address: a listener needs an address", "filter_chains: no filter chains specified"],
    );
    refused(
        with_echo("socket_options: [{level: 1, name: 999, int_value: 1}]"),
        &["socket_options[0]: this socket option is not supported"],
    );
    refused(
        with_echo(
            "listener_filters: [{name: limit, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit}}]",
        ),
        &["listener_filters[0].typed_config: there is no listener filter \"limit\" of this type"],
    );
    let twice = format!(
        "
address: {{socket_address: {{protocol: UDP, address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- {{name: one, filters: [{ECHO}], filter_chain_match: {{source_ports: [1, 2]}}}}
- {{name: two, filters: [{ECHO}], filter_chain_match: {{source_ports: [2, 3]}}}}
- {{name: three, filters: [{ECHO}], filter_chain_match: {{server_names: ['x.*']}}}}
- {{name: four, filters: [{ECHO}, {ECHO}], filter_chain_match: {{destination_port: 1}}, transport_socket: {{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}}}}}
"
    );
    refused(
        listener(&twice),
        &[
            "address.socket_address.protocol: only TCP is supported yet",
            "filter_chains[2].filter_chain_match.server_names[0]: a wildcard can only be the whole first label",
            "filter_chains[3].transport_socket.typed_config.common_tls_context: is required",
            "filter_chains[3].filters[0]: this terminal filter must be the last filter in a network filter chain",
            "filter_chains[1].filter_chain_match: filter chain \"two\" has matching rules that overlap with those of \"one\"",
        ],
    );
}

#[test]
fn every_row_names_a_field_of_the_api() {
    use super::super::{headers, http, local_reply, network, route};
    let lists =
        [SUPPORT, network::SUPPORT, http::SUPPORT, route::SUPPORT, &[headers::SUPPORT, local_reply::SUPPORT]];
    let rows = lists.into_iter().flatten().copied().flatten();
    assert_eq!(sampan_api::SupportTable::new(rows).check(sampan_api::Descriptors::load()), [""; 0]);
}
