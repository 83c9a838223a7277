//! Clusters as YAML in, model values or refusals out.

use sampan_api::{Descriptors, Document, Format, Policy, decode};
use sampan_model::cluster::{BindAddress, HostAddress, LookupFamily, OriginalDst, UpstreamProtocol};
use sampan_model::lb::LbPolicy;

use super::super::scope::Rejects;
use super::*;

pub(super) fn compiled(yaml: &str) -> Result<Compiled, Vec<String>> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    let proto = decode::<pb::Cluster>(Descriptors::load(), &document, Policy::default()).unwrap().value;
    let rejects = Rejects::default();
    let compiled =
        compile(&proto, &super::super::tls::Inputs::default(), &Scope::root("cluster c", &rejects));
    let told: Vec<_> = rejects.into_vec().iter().map(|r| format!("{}: {}", r.path, r.reason)).collect();
    assert_eq!(compiled.is_some(), told.is_empty(), "{told:?}");
    compiled.ok_or(told)
}

pub(super) fn refused(yaml: &str, wanted: &str) {
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
    refused(
        "{name: c, lb_policy: CLUSTER_PROVIDED}",
        "lb_policy: cluster provided LB specified but the cluster did not provide one",
    );
    refused(
        "{name: c, load_balancing_policy: {policies: []}}",
        "load_balancing_policy.policies: none of these",
    );
}

#[test]
fn hashing_policies_in_both_forms() {
    let typed = |name: &str, fields: &str| {
        format!(
            "{{name: c, load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{\
             '@type': type.googleapis.com/envoy.extensions.load_balancing_policies.{name}, {fields}}}}}}}]}}}}"
        )
    };
    let of = |yaml: &str| compiled(yaml).unwrap().config.lb_policy;
    let named = "{name: c, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 7, hash_function: MURMUR_HASH_2}}";
    let LbPolicy::RingHash(ring) = of(named) else { panic!() };
    assert!((ring.minimum, ring.maximum, ring.murmur) == (7, 8 << 20, true));
    assert_eq!(
        of(&typed("ring_hash.v3.RingHash", "minimum_ring_size: 7, hash_function: MURMUR_HASH_2")),
        of(named)
    );
    let maglev = "{name: c, lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}}";
    let fields = "consistent_hashing_lb_config: {use_hostname_for_hashing: true}";
    assert_eq!(of(&typed("maglev.v3.Maglev", fields)), of(maglev));
    refused(
        "{name: c, lb_policy: MAGLEV, maglev_lb_config: {table_size: 100}}",
        "maglev_lb_config.table_size: The table size of maglev must be prime number",
    );
    refused(
        "{name: c, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 3, maximum_ring_size: 2}}",
        "minimum_ring_size (3) > maximum_ring_size (2)",
    );
}

#[test]
fn subsets_in_both_forms() {
    let body = "subset_selectors: [{keys: [v, s], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [v]}], \
                fallback_policy: DEFAULT_SUBSET, default_subset: {v: '1'}";
    let named =
        compiled(&format!("{{name: c, lb_subset_config: {{{body}}}}}")).unwrap().config.subsets.unwrap();
    let subset = format!(
        "{{name: c, load_balancing_policy: {{policies: [{{typed_extension_config: {{name: x, typed_config: {{\
         '@type': type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, {body}, \
         subset_lb_policy: {{policies: [{{typed_extension_config: {{name: rr, typed_config: \
         {{'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}}}}]}}}}}}}}]}}}}"
    );
    let typed = compiled(&subset).unwrap().config;
    assert_eq!((typed.subsets.unwrap(), typed.lb_policy), (named.clone(), LbPolicy::Random));
    assert_eq!(named.selectors[0].keys, ["s".into(), "v".into()]);
    let equal = "{keys: [v], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [v]}";
    refused(
        &format!("{{name: c, lb_subset_config: {{subset_selectors: [{equal}]}}}}"),
        "subset_selectors[0].fallback_keys_subset: fallback_keys_subset cannot be equal",
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
    refused(&typed("auto_config: {}"), "non-ALPN transport socket");
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
    refused("{name: c, type: EDS}", "eds_cluster_config: a cluster of type EDS needs it");
    refused(
        "{name: c, type: STATIC, eds_cluster_config: {eds_config: {ads: {}}}}",
        "eds_cluster_config set in a non-EDS cluster",
    );
}

#[test]
fn original_destinations_by_type_and_by_name() {
    let of = |yaml: &str| match compiled(yaml).unwrap().config.discovery {
        Discovery::OriginalDst(settings) => settings,
        other => panic!("{other:?}"),
    };
    let plain = "name: c, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED";
    assert_eq!(of(&format!("{{{plain}}}")), OriginalDst::default());
    assert_eq!(
        of("{name: c, cluster_type: {name: envoy.cluster.original_dst}, lb_policy: CLUSTER_PROVIDED}"),
        OriginalDst::default()
    );
    let extension =
        "type.googleapis.com/envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";
    let list = format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: p, typed_config: {{'@type': {extension}}}}}}}]}}"
    );
    assert_eq!(of(&format!("{{name: c, type: ORIGINAL_DST, {list}}}")), OriginalDst::default());
    let settings = of(&format!(
        "{{{plain}, original_dst_lb_config: {{use_http_header: true, http_header_name: X-To, upstream_port_override: 15008, \
         metadata_key: {{key: ns, path: [{{key: a}}, {{key: b}}]}}}}}}"
    ));
    assert_eq!((settings.header.as_deref(), settings.port_override), (Some("x-to"), Some(15008)));
    assert_eq!(settings.metadata, Some(("ns".into(), vec!["a".into(), "b".into()])));
    let header = of(&format!("{{{plain}, original_dst_lb_config: {{use_http_header: true}}}}")).header;
    assert_eq!(header.as_deref(), Some("x-envoy-original-dst-host"));
    assert_eq!(
        compiled(&format!("{{{plain}, cleanup_interval: 7s}}")).unwrap().config.cleanup_interval.as_secs(),
        7
    );
    refused(
        "{name: c, type: ORIGINAL_DST}",
        "lb_policy: LB policy ROUND_ROBIN is not valid for Cluster type ORIGINAL_DST",
    );
    refused("{name: c, lb_policy: CLUSTER_PROVIDED}", "lb_policy: cluster provided LB specified");
    refused(&format!("{{name: c, {list}}}"), "typed_config: cluster provided LB specified");
    refused(&format!("{{{plain}, load_assignment: {{cluster_name: c}}}}"), "must have no load assignment");
    refused(
        &format!("{{{plain}, original_dst_lb_config: {{http_header_name: x}}}}"),
        "original_dst_lb_config.http_header_name: use_http_header is false",
    );
}

#[test]
fn source_addresses_one_of_each_family() {
    let bind = |fields: &str| compiled(&format!("{{name: c, upstream_bind_config: {{{fields}}}}}"));
    let config = bind(
        "source_address: {address: 127.0.0.6, port_value: 0}, freebind: true, socket_options: [{level: 1, name: 36, int_value: 1}], \
         extra_source_addresses: [{address: {address: '::6', port_value: 0}, socket_options: {socket_options: []}}]",
    );
    let bind_address = config.unwrap().config.bind.unwrap();
    let shown = |source: &sampan_model::cluster::SourceAddress| {
        (source.address.to_string(), source.socket_options.as_ref().map(Vec::len))
    };
    assert_eq!(
        bind_address.sources.iter().map(shown).collect::<Vec<_>>(),
        [("127.0.0.6:0".to_owned(), None), ("[::6]:0".to_owned(), Some(0))]
    );
    assert!(bind_address.freebind && bind_address.socket_options.len() == 1);
    let (one, other) = ("{address: 127.0.0.6, port_value: 0}", "{address: 127.0.0.7, port_value: 0}");
    let refused = |fields: &str, wanted: &str| {
        let told = bind(fields).map(|_| ()).unwrap_err().join("\n");
        assert!(told.contains(wanted), "{told}");
    };
    refused(
        &format!("source_address: {one}, extra_source_addresses: [{{address: {other}}}]"),
        "two source addresses of the same IP version",
    );
    refused(
        &format!(
            "source_address: {one}, extra_source_addresses: [{{address: {other}}}, {{address: {other}}}]"
        ),
        "only one extra source address",
    );
    refused(&format!("extra_source_addresses: [{{address: {one}}}]"), "without a source_address");
    refused(
        &format!(
            "source_address: {one}, additional_source_addresses: [{other}], extra_source_addresses: [{{address: {other}}}]"
        ),
        "together with extra_source_addresses",
    );
}

#[test]
fn the_cluster_managers_source_address_is_for_clusters_without_one() {
    let source = |address: &str| sampan_model::cluster::SourceAddress {
        address: address.parse().unwrap(),
        socket_options: None,
    };
    let of = |yaml: &str| {
        let document = Document::parse(yaml, Format::Yaml).unwrap();
        let proto = decode::<pb::Cluster>(Descriptors::load(), &document, Policy::default()).unwrap().value;
        let default = BindAddress { sources: vec![source("127.0.0.8:0")], ..BindAddress::default() };
        let mut inputs = super::super::tls::Inputs::default().fresh();
        inputs.bind = Some(Arc::new(default));
        let rejects = Rejects::default();
        let cluster = compile(&proto, &inputs.fresh(), &Scope::root("c", &rejects)).unwrap();
        cluster.config.bind.unwrap().sources.first().unwrap().address.to_string()
    };
    assert_eq!(of("{name: c}"), "127.0.0.8:0");
    let own = "{name: c, upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}}";
    assert_eq!(of(own), "127.0.0.6:0");
}

#[test]
fn every_error_is_told() {
    let told = compiled("{name: c, lb_policy: CLUSTER_PROVIDED, type: EDS, filters: [{name: x}]}")
        .map(|_| ())
        .unwrap_err();
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn the_rows_name_fields_that_exist() {
    let table = sampan_api::SupportTable::new(SUPPORT.iter().copied().flatten());
    assert_eq!(table.check(Descriptors::load()), Vec::<String>::new());
}
