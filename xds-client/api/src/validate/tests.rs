use crate::{Descriptors, Document, Format, UnknownFields, decode_message, validate};

/// The violations of a message in YAML, rendered.
fn violations(message: &str, yaml: &str) -> Vec<String> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    let (message, _) =
        decode_message(Descriptors::load(), message, &document, UnknownFields::Reject).unwrap();
    validate(&message).iter().map(ToString::to_string).collect()
}

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

#[test]
fn lengths_ranges_and_enums_are_checked() {
    assert_eq!(
        violations(CLUSTER, "{connect_timeout: 0s, lb_policy: 99}"),
        [
            "name: value length must be at least 1 characters, got \"\"",
            "connect_timeout: value must be greater than 0s, got 0s",
            "lb_policy: value must be one of the defined enum values, got 99",
        ]
    );
    assert!(violations(CLUSTER, "{name: a}").is_empty());
}

#[test]
fn required_messages_and_oneofs_are_checked() {
    assert_eq!(
        violations("envoy.config.core.v3.Address", "{socket_address: {address: a}}"),
        ["socket_address.port_specifier: is required (set one of port_value, named_port)"]
    );
    assert_eq!(
        violations("envoy.config.core.v3.Address", "{socket_address: {address: a, port_value: 70000}}"),
        ["socket_address.port_value: value must be less than or equal to 65535, got 70000"]
    );
    assert_eq!(
        violations("envoy.config.core.v3.TransportSocket", "{}"),
        ["name: value length must be at least 1 characters, got \"\""]
    );
    assert!(violations("envoy.type.matcher.v3.StringMatcher", "{exact: ''}").is_empty());
}

#[test]
fn header_names_and_values_are_checked() {
    let option = "envoy.config.core.v3.HeaderValueOption";
    assert!(violations(option, "{header: {key: x-a, value: b}}").is_empty());
    assert_eq!(violations(option, "{header: {key: \"x\\ny\", value: b}}").len(), 1);
    assert_eq!(violations(option, "{}"), ["header: value is required"]);
}

#[test]
fn payloads_maps_and_lists_are_walked() {
    let yaml = r#"
name: a
load_assignment: {cluster_name: a, endpoints: [{}, {lb_endpoints: [{load_balancing_weight: 0}]}]}
typed_extension_protocol_options:
  http:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 1}}
"#;
    assert_eq!(
        violations(CLUSTER, yaml),
        [
            "load_assignment.endpoints[1].lb_endpoints[0].load_balancing_weight: value must be greater than or equal to 1, got 0",
            "typed_extension_protocol_options[\"http\"].explicit_http_config.http2_protocol_options.\
         initial_stream_window_size: value must be inside range [65535, 2147483647], got 1",
        ]
    );
}

#[test]
fn durations_are_never_negative() {
    assert_eq!(violations(CLUSTER, "{name: a, cleanup_interval: 1s}"), Vec::<String>::new());
    assert_eq!(
        violations("envoy.config.core.v3.HttpProtocolOptions", "{idle_timeout: -1.5s}"),
        ["idle_timeout: expected a positive duration, got -1.500s"]
    );
}

#[test]
fn secrets_are_not_shown() {
    let shown =
        violations("envoy.config.core.v3.GrpcService.GoogleGrpc", "{target_uri: '', stat_prefix: ''}");
    assert!(shown.iter().all(|line| line.contains("at least 1 characters")), "{shown:?}");
}
