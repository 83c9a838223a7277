//! Clusters as YAML in, model values or refusals out.

use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_model::cluster::{HostAddress, LookupFamily, UpstreamProtocol};
use sampan_model::lb::LbPolicy;

use super::super::scope::Rejects;
use super::*;

fn compiled(yaml: &str) -> Result<Compiled, Vec<String>> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    let proto = decode::<pb::Cluster>(Descriptors::load(), &document, Policy::default()).unwrap().value;
    let rejects = Rejects::default();
    let compiled = compile(&proto, &Scope::root("cluster c", &rejects));
    let told: Vec<_> = rejects.into_vec().iter().map(|r| format!("{}: {}", r.path, r.reason)).collect();
    assert_eq!(compiled.is_some(), told.is_empty(), "{told:?}");
    compiled.ok_or(told)
}

fn refused(yaml: &str, wanted: &str) {
    let told = compiled(yaml).map(|c| c.config.name).unwrap_err().join("\n");
    assert!(told.contains(wanted), "{told}");
}

const HOSTS: &str = "
load_assignment:
  cluster_name: c
  policy: {overprovisioning_factor: 200}
  endpoints:
  - locality: {region: r, zone: z}
    load_balancing_weight: 3
    lb_endpoints:
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}, hostname: h}, load_balancing_weight: 2}
    - {endpoint: {address: {pipe: {path: /tmp/x}}}, health_status: DRAINING}
  - priority: 1
    load_balancer_endpoints:
      lb_endpoints: [{endpoint: {address: {socket_address: {address: '::1', port_value: 81}}}}]
";

#[test]
fn defaults_are_envoys() {
    let cluster = compiled("name: c").unwrap();
    assert_eq!(cluster.config.connect_timeout.as_secs(), 5);
    assert_eq!(cluster.config.discovery, Discovery::Static);
    assert_eq!(cluster.config.breakers_default.max_connections, 1024);
    assert!(cluster.wait_for_warm && cluster.fixed_hosts(None).members().is_empty());
}

#[test]
fn endpoints_carry_place_weight_health_and_priority() {
    let cluster = compiled(&format!("name: c{HOSTS}")).unwrap();
    let hosts = cluster.fixed_hosts(None);
    let [first, pipe, last] = hosts.members() else { panic!("{hosts:?}") };
    assert_eq!((first.weight, &*first.host.hostname, &*first.locality.zone), (2, "h", "z"));
    assert!(matches!(&pipe.host.address, HostAddress::Pipe(path) if path.ends_with("x")));
    assert_eq!(pipe.host.flags_text(), "/eds_status_draining");
    assert_eq!((last.priority, last.host.address.to_string().as_str()), (1, "[::1]:81"));
    assert_eq!(hosts.options().overprovisioning_factor, 200);
    assert_eq!(hosts.priorities()[0].localities[0].weight, Some(3));
}

#[test]
fn dns_clusters_have_names_and_settings() {
    let dns = "name: c
type: STRICT_DNS
dns_lookup_family: V4_ONLY
respect_dns_ttl: true
dns_refresh_rate: 7s
dns_failure_refresh_rate: {base_interval: 2s}
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{socket_address: {address: 9.9.9.9, port_value: 53}}]
load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [
  {endpoint: {address: {socket_address: {address: example.com, port_value: 80}}}},
  {endpoint: {address: {socket_address: {address: 1.2.3.4, port_value: 80}}}}]}]}";
    let cluster = compiled(dns).unwrap();
    let Discovery::StrictDns(settings) = &cluster.config.discovery else { panic!() };
    assert_eq!((settings.family, settings.respect_ttl), (LookupFamily::V4Only, true));
    assert_eq!(settings.resolvers, ["9.9.9.9:53".parse().unwrap()]);
    assert_eq!(settings.failure_refresh.map(|b| (b.base.as_secs(), b.max.as_secs())), Some((2, 20)));
    assert!(cluster.resolves_names());
    assert_eq!(cluster.fixed_hosts(None).members().len(), 1);
    refused(&dns.replace("STRICT_DNS", "LOGICAL_DNS"), "a single locality_lb_endpoint");
    refused(&dns.replace("type: STRICT_DNS", ""), "malformed IP address");
    let typed = "name: c
cluster_type:
  name: envoy.cluster.logical_dns
  typed_config: {'@type': type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, dns_lookup_family: ALL}";
    let family = |c: Compiled| match c.config.discovery {
        Discovery::LogicalDns(settings) => settings.family,
        other => panic!("{other:?}"),
    };
    // No endpoint at all is what LOGICAL_DNS may not have, but without an assignment there is nothing to count.
    assert_eq!(compiled(typed).map(family), Ok(LookupFamily::All));
}

#[test]
fn policies_by_name_and_by_list() {
    let of = |yaml: &str| compiled(yaml).unwrap().config.lb_policy;
    assert_eq!(of("{name: c, lb_policy: RANDOM}"), LbPolicy::Random);
    let LbPolicy::LeastRequest(settings) =
        of("{name: c, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 5}}")
    else {
        panic!()
    };
    assert_eq!(settings.choice_count, 5);
    let list = "name: c
load_balancing_policy:
  policies:
  - typed_extension_config: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct, value: {}}}
  - typed_extension_config:
      name: b
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
        selection_method: FULL_SCAN";
    assert!(matches!(of(list), LbPolicy::LeastRequest(settings) if settings.full_scan));
    refused("{name: c, lb_policy: RING_HASH}", "lb_policy: this policy is not supported yet");
    refused(
        "{name: c, load_balancing_policy: {policies: []}}",
        "load_balancing_policy.policies: none of these",
    );
}

#[test]
fn protocols_by_typed_options_and_by_old_fields() {
    let typed = |body: &str| {
        format!(
            "{{name: c, typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
             {{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, {body}}}}}}}"
        )
    };
    let http = |yaml: &str| compiled(yaml).unwrap().config.http;
    let two = http(&typed("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 7}}"));
    assert_eq!((two.protocol, two.http2.max_concurrent_streams), (UpstreamProtocol::Http2, 7));
    let idle =
        http(&typed("common_http_protocol_options: {idle_timeout: 0s}, use_downstream_protocol_config: {}"));
    assert_eq!((idle.protocol, idle.common.idle_timeout), (UpstreamProtocol::UseDownstream, None));
    assert_eq!(http("{name: c, http2_protocol_options: {}}").protocol, UpstreamProtocol::Http2);
    assert_eq!(http("{name: c, max_requests_per_connection: 3}").common.max_requests_per_connection, Some(3));
    refused(&typed("auto_config: {}"), "over TLS");
    refused("{name: c, http2_protocol_options: {}, http_protocol_options: {}}", "Both HTTP1 and HTTP2");
    refused(
        "{name: c, typed_extension_protocol_options: {x: {'@type': type.googleapis.com/google.protobuf.Struct, value: {}}}}",
        "[\"x\"]",
    );
}

#[test]
fn what_would_be_unsafe_to_drop_is_refused() {
    refused(
        "{name: c, transport_socket: {name: envoy.transport_sockets.tls}}",
        "transport_socket.typed_config",
    );
    refused("{name: c, transport_socket_matches: [{name: x}]}", "transport_socket_matches");
    let raw = "{name: c, transport_socket: {name: x, typed_config: \
               {'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}";
    assert!(compiled(raw).is_ok());
    assert!(compiled("{name: c, transport_socket: {name: envoy.transport_sockets.raw_buffer}}").is_ok());
    refused("{name: c, type: EDS}", "type: clusters of this type are not supported yet");
}

#[test]
fn every_error_is_told() {
    let told =
        compiled("{name: c, lb_policy: MAGLEV, type: EDS, filters: [{name: x}]}").map(|_| ()).unwrap_err();
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn the_rows_name_fields_that_exist() {
    let table = sampan_api::SupportTable::new(SUPPORT.iter().copied().flatten());
    assert_eq!(table.check(Descriptors::load()), Vec::<String>::new());
}
