#![allow(deprecated, reason = "the cases use deprecated fields on purpose")]

use super::*;
use crate::document::Format;
use crate::envoy::config::bootstrap::v3::Bootstrap;
use crate::envoy::config::cluster::v3::Cluster;
use crate::envoy::config::core::v3::Node as ProtoNode;

fn yaml<M: prost::Message + prost::Name + Default>(
    text: &str,
    policy: impl Into<Policy>,
) -> Result<Decoded<M>, Vec<FieldError>> {
    let document = Document::parse(text, Format::Yaml).unwrap();
    decode(Descriptors::load(), &document, policy)
}

fn json<M: prost::Message + prost::Name + Default>(text: &str) -> Result<Decoded<M>, Vec<FieldError>> {
    let document = Document::parse(text, Format::Json).unwrap();
    decode(Descriptors::load(), &document, UnknownFields::Reject)
}

#[test]
fn both_spellings_and_lenient_scalars_are_read() {
    let cluster: Cluster = json(
        r#"{"name":"a","connectTimeout":"0.25s","per_connection_buffer_limit_bytes":"12.0","lbPolicy":"least_request",
            "respect_dns_ttl":"yes","dns_refresh_rate":{"seconds":"2","nanos":5},"type":4}"#,
    )
    .unwrap()
    .value;
    assert_eq!(cluster.connect_timeout.map(|timeout| timeout.nanos), Some(250_000_000));
    assert_eq!(cluster.per_connection_buffer_limit_bytes.map(|limit| limit.value), Some(12));
    assert_eq!(cluster.lb_policy().as_str_name(), "LEAST_REQUEST");
    assert!(cluster.respect_dns_ttl);
    assert_eq!(cluster.dns_refresh_rate.map(|rate| (rate.seconds, rate.nanos)), Some((2, 5)));
}

#[test]
fn every_error_is_listed_with_path_value_and_hint() {
    let errors = yaml::<Bootstrap>(
        "node: {id: n}\nstatic_resources:\n  clusters:\n  - name: a\n    conect_timeout: 1s\n    lb_policy: ROUND_ROBBIN\n  \
         - {name: 5, connect_timeout: 100ms}\n",
        UnknownFields::Reject,
    )
    .unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 5, "{shown:#?}");
    assert!(shown[0].starts_with("node.id: expected a string, got false (YAML reads"), "{}", shown[0]);
    assert!(
        shown[1].contains("clusters[0].conect_timeout")
            && shown[1].contains("did you mean `connect_timeout`?")
    );
    assert!(shown[2].contains("did you mean `ROUND_ROBIN`?"), "{}", shown[2]);
    assert!(shown[3].starts_with("static_resources.clusters[1].name: expected a string, got 5"));
    assert!(shown[4].contains("\"100ms\""));
}

#[test]
fn unknown_fields_and_enum_names_are_noted_when_collected() {
    let decoded =
        yaml::<Cluster>("{name: a, nonsense: {x: 1}, lb_policy: FOO}", UnknownFields::Collect).unwrap();
    let kinds: Vec<_> = decoded.notes.iter().map(|note| (note.path.as_str(), note.kind)).collect();
    assert_eq!(kinds, [("nonsense", NoteKind::UnknownField), ("lb_policy", NoteKind::UnknownEnumValue)]);
    assert_eq!(decoded.value.name, "a");
}

#[test]
fn a_single_value_stands_for_a_list_and_null_for_nothing() {
    let node: ProtoNode = json(r#"{"client_features":"f","id":null,"locality":null}"#).unwrap().value;
    assert_eq!((node.client_features, node.locality), (vec!["f".to_owned()], None));
    let text = r#"{"static_resources":{"clusters":{"name":"a"}}}"#;
    assert_eq!(json::<Bootstrap>(text).unwrap().value.static_resources.unwrap().clusters.len(), 1);
    assert!(json::<Bootstrap>(r#"{"node":[{"id":"x"}]}"#).is_err());
}

#[test]
fn two_members_of_a_oneof_exclude_each_other() {
    let errors = json::<Cluster>(r#"{"type":"STATIC","cluster_type":{"name":"x"}}"#).unwrap_err();
    assert_eq!(errors[0].to_string(), "cluster_type: cannot be set together with type (keep one of the two)");
    assert!(json::<Cluster>(r#"{"type":"STATIC","cluster_type":null}"#).is_ok());
}

#[test]
fn payloads_are_read_inline_with_full_paths() {
    let text = r#"{"typed_extension_protocol_options":{"http":{"explicit_http_config":{"http2_protocol_options":
        {"max_concurrent_stream":1}},"@type":"t/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}}}"#;
    let errors = json::<Cluster>(text).unwrap_err();
    assert_eq!(
        errors[0].path,
        "typed_extension_protocol_options[\"http\"].explicit_http_config.http2_protocol_options.max_concurrent_stream"
    );
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `max_concurrent_streams`?"));
}

#[test]
fn unknown_and_malformed_payload_types_are_refused() {
    let any = |inner: &str| format!(r#"{{"transport_socket":{{"name":"x","typed_config":{{{inner}}}}}}}"#);
    assert!(json::<Cluster>(&any("")).is_ok());
    let errors = json::<Cluster>(&any(r#""@type":"type.googleapis.com/envoy.RawBuffer""#)).unwrap_err();
    let hint = errors[0].hint.clone().unwrap();
    assert!(hint.contains("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"), "{hint}");
    assert!(json::<Cluster>(&any(r#""value":1"#)).is_err());
    assert!(
        json::<Cluster>(&any(r#""@type":"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer""#))
            .is_err()
    );
}

#[test]
fn typed_structs_become_the_message_they_stand_for() {
    let text = r#"{"typed_extension_protocol_options":{"http":{
        "@type":"type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "value":{"commonHttpProtocolOptions":{"idle_timeout":"5s"}}}}}"#;
    let document = Document::parse(text, Format::Json).unwrap();
    let decoded = decode::<Cluster>(Descriptors::load(), &document, Policy::default()).unwrap();
    let any = &decoded.value.typed_extension_protocol_options["http"];
    assert_eq!(any.type_url, "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");

    let keep = Policy { typed_structs: TypedStructs::Keep, ..Policy::default() };
    let kept = decode::<Cluster>(Descriptors::load(), &document, keep).unwrap();
    assert!(kept.value.typed_extension_protocol_options["http"].type_url.ends_with("TypedStruct"));

    let mut wired = Message::from_prost(&kept.value).unwrap().message;
    assert_eq!(resolve_typed_structs(&mut wired, UnknownFields::Reject), Ok(Vec::new()));
    assert_eq!(wired.to_prost::<Cluster>().unwrap(), decoded.value);

    let bytes = prost::Message::encode_to_vec(&kept.value);
    let read = decode_wire::<Cluster>(Descriptors::load(), &bytes, UnknownFields::Reject).unwrap();
    assert_eq!(read.value, decoded.value);
}

#[test]
fn unknown_fields_on_the_wire_follow_the_policy() {
    // A name, and field 15000 as a varint.
    let bytes = [0x0a, 1, b'a', 0xc0, 0xa9, 0x07, 1];
    let read = decode_wire::<Cluster>(Descriptors::load(), &bytes, UnknownFields::Collect).unwrap();
    assert_eq!((read.value.name.as_str(), read.notes[0].kind), ("a", NoteKind::UnknownField));
    let errors = decode_wire::<Cluster>(Descriptors::load(), &bytes, UnknownFields::Reject).unwrap_err();
    assert!(errors[0].reason.contains("15000"), "{errors:?}");
    assert!(decode_wire::<Cluster>(Descriptors::load(), &[0x0a, 9], UnknownFields::Collect).is_err());
}

#[test]
fn structs_take_any_json_and_yaml_floats_stay_text() {
    let node: ProtoNode =
        yaml("metadata: {a: 1, b: 1.5, c: [x, null, true], d: 5000000000}", UnknownFields::Reject)
            .unwrap()
            .value;
    let json = crate::message_to_json(&Message::from_prost(&node).unwrap().message, false);
    assert_eq!(json["metadata"].to_string(), r#"{"a":1,"b":"1.5","c":["x",null,true],"d":"5000000000"}"#);
}

#[test]
fn a_parsed_json_value_is_a_document() {
    let value =
        serde_json::json!({"name": "a", "connectTimeout": "2s", "per_connection_buffer_limit_bytes": 7});
    let cluster = decode::<Cluster>(Descriptors::load(), &Document::from_json(value), UnknownFields::Reject)
        .unwrap()
        .value;
    assert_eq!(
        (cluster.name.as_str(), cluster.connect_timeout.map(|timeout| timeout.seconds)),
        ("a", Some(2))
    );
    let scalar = Document::from_json(serde_json::json!(5));
    assert!(decode::<Cluster>(Descriptors::load(), &scalar, UnknownFields::Reject).is_err());
}

#[test]
fn documents_merge_as_messages() {
    let base = "node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: x}]}";
    let over = r#"{"node":{"id":"b"},"static_resources":{"clusters":[{"name":"y"}]}}"#;
    let document =
        Document::parse(base, Format::Yaml).unwrap().merge(Document::parse(over, Format::Json).unwrap());
    let bootstrap = decode::<Bootstrap>(Descriptors::load(), &document, UnknownFields::Reject).unwrap().value;
    let node = bootstrap.node.unwrap();
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("b", "c"));
    let names: Vec<_> =
        bootstrap.static_resources.unwrap().clusters.into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(names, ["x", "y"]);
}

#[test]
fn secrets_do_not_reach_error_messages() {
    let text = r#"{"name":"s","tls_certificate":{"private_key":{"inline_bytes":"secret*"}}}"#;
    let errors = json::<crate::envoy::extensions::transport_sockets::tls::v3::Secret>(text).unwrap_err();
    assert_eq!(errors[0].path, "tls_certificate.private_key.inline_bytes");
    assert!(!errors[0].to_string().contains("secret*"));
}

#[test]
fn deprecated_fields_are_noted() {
    let decoded = yaml::<Cluster>("{name: a, http2_protocol_options: {}}", UnknownFields::Reject).unwrap();
    assert_eq!(decoded.notes[0].path, "http2_protocol_options");
    assert_eq!(decoded.notes[0].kind, NoteKind::Deprecated);
}
