use super::*;
use crate::{Document, Format, UnknownFields, decode_message};

const ROWS: &[MessageSupport] = &[
    (
        "envoy.config.cluster.v3.Cluster",
        &[
            ("name", Support::Supported),
            ("load_assignment", Support::Supported),
            ("metadata", Support::Supported),
            ("typed_extension_protocol_options", Support::Supported),
            ("alt_stat_name", Support::Ignored("only a label")),
            ("lrs_report_endpoint_metrics", Support::Later("load reporting")),
        ],
    ),
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &[("*", Support::Supported), ("named_endpoints", Support::Later("rare"))],
    ),
    ("envoy.config.endpoint.v3.LocalityLbEndpoints", &[("priority", Support::Supported)]),
    ("envoy.config.core.v3.Metadata", &[("*", Support::Supported)]),
];

fn found(yaml: &str) -> Vec<(String, &'static str)> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    let name = "envoy.config.cluster.v3.Cluster";
    let (message, _) = decode_message(Descriptors::load(), name, &document, UnknownFields::Reject).unwrap();
    let table = SupportTable::new(ROWS);
    unsupported(&message, &table).into_iter().map(|field| (field.path, field.field)).collect()
}

#[test]
fn set_fields_that_are_not_supported_are_reported_once() {
    let yaml = r#"
name: a
alt_stat_name: b
lb_policy: ROUND_ROBIN
connect_timeout: 1s
metadata: {filter_metadata: {x: {deep: [1]}}}
load_assignment: {cluster_name: a, endpoints: [{priority: 1}, {lb_endpoints: [{endpoint: {}}]}]}
typed_extension_protocol_options:
  http: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions}
"#;
    let expected = [
        ("connect_timeout", "connect_timeout"),
        ("alt_stat_name", "alt_stat_name"),
        ("load_assignment.endpoints[1].lb_endpoints", "lb_endpoints"),
        ("typed_extension_protocol_options[\"http\"]", ""),
    ];
    let mut found = found(yaml);
    found.sort();
    let mut expected: Vec<_> = expected.iter().map(|(path, field)| ((*path).to_owned(), *field)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn rows_that_name_nothing_are_found() {
    assert_eq!(SupportTable::new(ROWS).check(Descriptors::load()), Vec::<String>::new());
    let wrong: &[MessageSupport] =
        &[("envoy.Nothing", &[]), ("envoy.config.cluster.v3.Cluster", &[("nam", Support::Supported)])];
    assert_eq!(
        SupportTable::new(wrong).check(Descriptors::load()),
        ["envoy.config.cluster.v3.Cluster has no field nam", "the API has no message envoy.Nothing"]
    );
}

#[test]
fn the_documentation_lists_every_field_of_the_api() {
    let text = SupportTable::new(ROWS).markdown(Descriptors::load());
    assert!(text.contains("## envoy.config.cluster.v3.Cluster\n"));
    assert!(text.contains("| `name` | string | supported |"));
    assert!(text.contains("| `alt_stat_name` | string | ignored: only a label |"));
    assert!(text.contains("| `lb_policy` | envoy.config.cluster.v3.Cluster.LbPolicy | not supported |"));
    assert!(text.contains(
        "| `typed_extension_protocol_options` | map of string to google.protobuf.Any | supported |"
    ));
}
