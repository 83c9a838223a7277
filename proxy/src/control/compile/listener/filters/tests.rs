//! Listener filters as YAML in, domain values or refusals out.

use super::super::super::testing::compiled;
use super::*;

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.listener.";

fn filters(fields: &str) -> Result<Option<Box<ListenerFilters>>, Vec<String>> {
    compiled::<pb::Listener, _>(fields, |proto, _, at| {
        let found = compile(proto, at);
        at.rejects().is_empty().then_some(found)
    })
}

fn one(filter: &str) -> Result<FilterEntry, Vec<String>> {
    let found = filters(&format!("listener_filters: [{}]", filter.replace("$T", TYPE)))?;
    Ok(found.unwrap().filters.remove(0))
}

#[track_caller]
fn refused(filter: &str, wanted: &str) {
    assert_eq!(one(filter).unwrap_err(), [wanted]);
}

#[test]
fn a_listener_without_filters_has_no_stage() {
    assert!(filters("listener_filters_timeout: 3s").unwrap().is_none());
}

#[test]
fn defaults_are_safe_and_zero_is_none() {
    let found = filters("use_original_dst: true").unwrap().unwrap();
    assert_eq!((found.timeout, found.continue_on_timeout, found.hand_off), (Some(TIMEOUT), false, true));
    assert!(matches!(
        found.filters[..],
        [FilterEntry { filter: ListenerFilter::OriginalDst, disabled: None }]
    ));
    let more =
        "use_original_dst: true\nlistener_filters_timeout: 0s\ncontinue_on_listener_filters_timeout: true";
    let found = filters(more).unwrap().unwrap();
    assert_eq!((found.timeout, found.continue_on_timeout), (None, true));
}

#[test]
fn every_filter_reads_its_fields() {
    let filter = |text: &str| one(text).unwrap().filter;
    assert!(matches!(
        filter("{name: o, typed_config: {'@type': $Toriginal_dst.v3.OriginalDst}}"),
        ListenerFilter::OriginalDst
    ));
    assert!(matches!(
        filter("{name: h, typed_config: {'@type': $Thttp_inspector.v3.HttpInspector}}"),
        ListenerFilter::HttpInspector
    ));
    let ListenerFilter::OriginalSrc(source) = filter(
        "{name: s, typed_config: {'@type': $Toriginal_src.v3.OriginalSrc, mark: 1337, bind_port: true}}",
    ) else {
        panic!("another filter");
    };
    assert_eq!(source, OriginalSrc { bind_port: true, mark: 1337 });
    let tls = |fields: &str| match filter(&format!(
        "{{name: t, typed_config: {{'@type': $Ttls_inspector.v3.TlsInspector{fields}}}}}"
    )) {
        ListenerFilter::TlsInspector(inspector) => inspector,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        tls(", initial_read_buffer_size: 512"),
        TlsInspector { longest: 16_384, close_on_error: false }
    );
    let strict = ", max_client_hello_size: 300, close_connection_on_client_hello_parsing_errors: true";
    assert_eq!(tls(strict), TlsInspector { longest: 300, close_on_error: true });
    let ListenerFilter::ProxyProtocol(protocol) = filter(
        "{name: p, typed_config: {'@type': $Tproxy_protocol.v3.ProxyProtocol, stat_prefix: s, disallowed_versions: [V1], \
         allow_requests_without_proxy_protocol: true, rules: [{tlv_type: 234, on_tlv_present: {key: k}}, \
         {tlv_type: 1, on_tlv_present: {metadata_namespace: ns, key: l, value_string_encoding: BASE64}}]}}",
    ) else {
        panic!("another filter");
    };
    assert_eq!(
        (protocol.optional, &protocol.disallowed[..], &*protocol.stat_prefix),
        (true, &[Version::V1][..], "s")
    );
    let rule = |kind, namespace: &str, key: &str, base64| TlvRule {
        kind,
        namespace: namespace.into(),
        key: key.into(),
        base64,
    };
    assert_eq!(protocol.rules, [rule(234, TLV_NAMESPACE, "k", false), rule(1, "ns", "l", true)]);
}

#[test]
fn predicates_nest() {
    let inspector = "typed_config: {'@type': $Thttp_inspector.v3.HttpInspector}";
    let disabled = |rule: &str| one(&format!("{{name: h, filter_disabled: {rule}, {inspector}}}"));
    let range = |start, end| Predicate::DestinationPort(start..end);
    assert_eq!(
        disabled(
            "{or_match: {rules: [{destination_port_range: {start: 1, end: 5}}, {and_match: {rules: [{any_match: true}, \
             {not_match: {destination_port_range: {start: 7, end: 8}}}]}}]}}"
        )
        .unwrap()
        .disabled,
        Some(Predicate::Or(vec![
            range(1, 5),
            Predicate::And(vec![Predicate::Any, Predicate::Not(Box::new(range(7, 8)))])
        ]))
    );
    assert_eq!(disabled("{}").unwrap_err(), ["listener_filters[0].filter_disabled: no rule is given"]);
    let deep = (0..40).fold("{any_match: true}".to_owned(), |rule, _| format!("{{not_match: {rule}}}"));
    assert!(disabled(&deep).unwrap_err()[0].ends_with("nested more than 32 deep"));
}

#[test]
fn refusals_tell_where() {
    refused(
        "{name: j, typed_config: {'@type': $Ttls_inspector.v3.TlsInspector, enable_ja4_fingerprinting: true}}",
        "listener_filters[0].typed_config.enable_ja4_fingerprinting: fingerprints of clients are not taken",
    );
    refused(
        "{name: p, typed_config: {'@type': $Tproxy_protocol.v3.ProxyProtocol, tlv_location: FILTER_STATE}}",
        "listener_filters[0].typed_config.tlv_location: fields cannot become filter state",
    );
    refused("{name: empty}", "listener_filters[0]: the filter has no typed_config");
    refused(
        "{name: d, config_discovery: {type_urls: [x], config_source: {ads: {}}}}",
        "listener_filters[0].config_discovery: listener filters cannot be discovered",
    );
    refused(
        "{name: l, typed_config: {'@type': $Tlocal_ratelimit.v3.LocalRateLimit}}",
        "listener_filters[0].typed_config: there is no listener filter \"l\" of this type",
    );
}
