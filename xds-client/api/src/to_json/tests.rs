use crate::{Descriptors, Document, Format, Policy, TypedStructs, decode_message, message_to_json, to_json};
use base64::Engine as _;

fn read(name: &str, text: &str) -> crate::Message {
    let document = Document::parse(text, Format::Yaml).unwrap();
    let policy = Policy { typed_structs: TypedStructs::Keep, ..Policy::default() };
    decode_message(Descriptors::load(), name, &document, policy).unwrap().0
}

#[test]
fn messages_are_printed_the_way_envoy_prints_them() {
    let cluster = read(
        "envoy.config.cluster.v3.Cluster",
        r#"
name: a
connectTimeout: 0.25s
type: STRICT_DNS
respect_dns_ttl: false
per_connection_buffer_limit_bytes: 0
load_assignment: {endpoints: [{load_balancing_weight: 3, priority: 1}]}
common_lb_config: {healthy_panic_threshold: {value: 12.5}}
typed_extension_protocol_options:
  x: {"@type": type.googleapis.com/google.protobuf.Duration, value: 1s}
  h: {upstream_http_protocol_options: {auto_sni: true}, "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions}
"#,
    );
    let expected = concat!(
        r#"{"name":"a","type":"STRICT_DNS","connect_timeout":"0.250s","per_connection_buffer_limit_bytes":0,"#,
        r#""common_lb_config":{"healthy_panic_threshold":{"value":12.5}},"#,
        r#""load_assignment":{"endpoints":[{"load_balancing_weight":3,"priority":1}]},"#,
        r#""typed_extension_protocol_options":{"#,
        r#""h":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","#,
        r#""upstream_http_protocol_options":{"auto_sni":true}},"#,
        r#""x":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}}"#
    );
    assert_eq!(message_to_json(&cluster, true).to_string(), expected);
    let name = cluster.message_type().full_name();
    let dumped = to_json(Descriptors::load(), &crate::type_url::of(name), &cluster.to_wire()).unwrap();
    assert_eq!(dumped["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_eq!(dumped["connect_timeout"], "0.250s");
}

#[test]
fn timestamps_and_wide_integers_round_trip() {
    let info = "envoy.admin.v3.CertificateDetails";
    for time in
        ["2024-02-29T23:59:59Z", "1969-12-31T00:00:00.500Z", "2100-03-01T00:00:00Z", "0001-01-01T00:00:00Z"]
    {
        let json = message_to_json(
            &read(info, &format!("{{valid_from: \"{time}\", days_until_expiration: 7}}")),
            true,
        );
        assert_eq!(json["valid_from"], time);
        assert_eq!(json["days_until_expiration"], "7");
    }
}

#[test]
fn secrets_are_redacted_also_in_payloads_and_structs() {
    let secret = base64::engine::general_purpose::STANDARD.encode("[redacted]");
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let certificates = "tls_certificates: [{private_key: {inline_string: hush, inline_bytes: null}, password: {inline_bytes: aHVzaA==}}]";
    let socket = read(
        "envoy.config.core.v3.TransportSocket",
        &format!("{{name: tls, typed_config: {{\"@type\": {tls}, common_tls_context: {{{certificates}}}}}}}"),
    );
    let shown = message_to_json(&socket, true);
    let certificate = &shown["typed_config"]["common_tls_context"]["tls_certificates"][0];
    assert_eq!(certificate["private_key"]["inline_string"], "[redacted]");
    assert_eq!(certificate["password"]["inline_bytes"], secret);
    assert!(message_to_json(&socket, false).to_string().contains("hush"));

    let opaque = read(
        "envoy.config.core.v3.TransportSocket",
        &format!(
            "{{name: tls, typed_config: {{\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: {tls}, \
             value: {{commonTlsContext: {{{certificates}}}}}}}}}"
        ),
    );
    let shown = message_to_json(&opaque, true).to_string();
    assert!(!shown.contains("hush") && shown.contains("[redacted]"), "{shown}");
}

#[test]
fn payloads_of_unknown_types_are_shown_as_bytes() {
    let json = to_json(Descriptors::load(), "type.googleapis.com/not.Known", b"hi").unwrap();
    assert_eq!(json.to_string(), r#"{"@type":"type.googleapis.com/not.Known","value":"aGk="}"#);
    let broken = to_json(Descriptors::load(), "x/envoy.config.core.v3.Node", &[0x0a, 0xff]);
    assert!(broken.is_err());
}
