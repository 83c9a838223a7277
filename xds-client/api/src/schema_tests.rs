//! The tables hold what a real configuration names: the build only warns about a file that it cannot compile.

use super::*;

#[test]
fn the_tables_hold_the_whole_api() {
    let descriptors = Descriptors::load();
    assert!(descriptors.messages().count() > 1500);
    for name in [
        "cel.expr.CheckedExpr",
        "envoy.admin.v3.ConfigDump",
        "envoy.config.bootstrap.v3.Bootstrap",
        "envoy.config.trace.v3.ZipkinConfig",
        "envoy.data.accesslog.v3.HTTPAccessLogEntry",
        "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "envoy.service.discovery.v3.DeltaDiscoveryResponse",
        "google.protobuf.Any",
        "google.rpc.Status",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "io.istio.http.connect_authority.Config",
        "io.istio.http.peer_metadata.Config",
        "io.istio.tcp.forward_downstream_sni.v1.Config",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "istio.workload.BootstrapExtension",
        "stats.PluginConfig",
        "udpa.type.v1.TypedStruct",
        "xds.type.matcher.v3.IPMatcher",
        "xds.type.matcher.v3.CelMatcher",
        "xds.type.matcher.v3.HttpAttributesCelMatchInput",
        "xds.type.matcher.v3.Matcher",
        "xds.type.v3.TypedStruct",
    ] {
        assert_eq!(descriptors.message(name).map(MessageType::full_name), Some(name));
    }
    assert_eq!(descriptors.message("envoy.Nothing"), None);
}

#[test]
fn every_row_is_consistent() {
    for message in Descriptors::load().messages() {
        let mut last = 0;
        for field in message.fields() {
            assert!(field.number() > last, "{}.{}", message.full_name(), field.name());
            last = field.number();
            assert_eq!(message.field(field.name()), Some(field));
            assert_eq!(message.field_numbered(last), Some(field));
            assert_eq!(field.is_map(), field.entry().is_some());
            assert!(!field.kind().name().is_empty());
        }
        assert!(message.oneofs().all(|oneof| message.fields().any(|field| oneof.contains(field))));
    }
}

#[test]
fn fields_are_found_in_both_spellings() {
    let cluster = Descriptors::load().message("type.googleapis.com/envoy.config.cluster.v3.Cluster").unwrap();
    let field = cluster.field("http2_protocol_options").unwrap();
    assert_eq!(cluster.field_spelled("http2ProtocolOptions"), Some(field));
    assert_eq!(cluster.field_spelled("http2_protocolOptions"), None);
    assert_eq!(cluster.field_spelled("Http2ProtocolOptions"), None);
    assert!(field.is_deprecated() && field.has_presence() && !field.is_sensitive());
}
