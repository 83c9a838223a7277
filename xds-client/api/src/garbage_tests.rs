//! Garbage in text and on the wire must end in an error or a message, never in a panic or a long wait.
//!
//! Seeded mutations of real-looking input; a failure prints the seed of its case.

use crate::envoy::config::bootstrap::v3::Bootstrap;
use crate::{
    Descriptors, Document, Format, Message, Policy, SupportTable, TypedStructs, UnknownFields, decode,
    message_to_json, resolve_typed_structs, unsupported, validate,
};

/// A bootstrap in the manner of a mesh's agent: mixed spellings, typed structs, payloads in payloads.
const BOOTSTRAP: &str = r#"{
  "node": {"id": "sidecar~10.0.0.1~a.b~b", "cluster": "a.b", "metadata": {"A": [1, 2.5, null, {"b": true}], "é": "\u00e9"}},
  "layered_runtime": {"layers": [{"name": "g", "static_layer": {"re2.max_program_size.error_level": "1024"}}]},
  "bootstrap_extensions": [{"name": "internal_listener", "typed_config": {
    "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
    "type_url": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    "value": {"buffer_size_kb": 64}}}],
  "stats_config": {"use_all_default_tags": false, "stats_tags": [{"tag_name": "c", "regex": "^c\\.((.+?)\\.)"}]},
  "dynamic_resources": {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
    "grpc_services": {"envoy_grpc": {"cluster_name": "xds"}, "initial_metadata": [{"key": "k", "value": "v"}]}}},
  "static_resources": {"clusters": [{"name": "xds", "type": "STATIC", "connectTimeout": "1s", "lb_policy": "round_robin",
    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
      "explicit_http_config": {"http2_protocol_options": {}}}},
    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {
      "address": {"pipe": {"path": "/run/xds"}}}}]}]}}],
   "listeners": [{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": "15021"}},
    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "agent", "codecType": 0, "route_config": {"virtual_hosts": [{"name": "b", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "xds", "timeout": {"seconds": 3}}}]}]},
      "http_filters": [{"name": "stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig",
        "metrics": [{"dimensions": {"a": "b"}}], "tcp_reporting_duration": "15s"}},
       {"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]}
}"#;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Every operation on a document; the results do not matter.
fn digest(document: &Document) {
    for unknown_fields in [UnknownFields::Reject, UnknownFields::Collect] {
        for typed_structs in [TypedStructs::Resolve, TypedStructs::Keep] {
            let policy = Policy { unknown_fields, typed_structs };
            if let Ok(decoded) = decode::<Bootstrap>(Descriptors::load(), document, policy) {
                digest_message(decoded.message);
            }
        }
    }
}

fn digest_message(mut message: Message) {
    validate(&message);
    unsupported(&message, &SupportTable::default());
    message_to_json(&message, true);
    let copy = Message::from_wire(message.message_type(), &message.to_wire());
    assert_eq!(copy.map(|copy| copy.message.to_wire()), Ok(message.to_wire()));
    let _ = resolve_typed_structs(&mut message, UnknownFields::Collect);
}

#[test]
fn the_seed_is_a_good_bootstrap() {
    for format in [Format::Json, Format::Yaml] {
        let document = Document::parse(BOOTSTRAP, format).unwrap();
        let decoded = decode::<Bootstrap>(Descriptors::load(), &document, UnknownFields::Reject).unwrap();
        assert_eq!(validate(&decoded.message), []);
        let again: Bootstrap = Message::from_prost(&decoded.value).unwrap().message.to_prost().unwrap();
        assert_eq!(again, decoded.value);
        digest(&document);
    }
}

#[test]
fn mutated_text_never_panics() {
    const PIECES: [&str; 18] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "'",
        "\\u",
        "null",
        "-1",
        "1e999",
        "&a ",
        "*a",
        "<<: ",
        "\n",
        "é",
        "{\"@type\":",
    ];
    for seed in 1..250_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text: Vec<char> = BOOTSTRAP.chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => drop(text.remove(at)),
                1 => text.truncate(at.max(10)),
                2 => text[at] = char::from(random.below(128) as u8),
                _ => {
                    drop(text.splice(at..at, PIECES[random.below(PIECES.len())].chars()));
                }
            }
        }
        let text: String = text.into_iter().collect();
        for format in [Format::Json, Format::Yaml] {
            if let Ok(document) = Document::parse(&text, format) {
                digest(&document);
            }
        }
    }
}

#[test]
fn swapped_values_never_panic() {
    let values =
        ["null", "true", "\"x\"", "-1", "1.5", "[]", "[null]", "{}", "{\"a\":{}}", "\"1s\"", "[[{}]]"];
    let places: Vec<usize> = BOOTSTRAP.match_indices(": ").map(|(at, _)| at + 2).collect();
    for (turn, at) in places.iter().enumerate() {
        let value = values[turn % values.len()];
        let text = format!("{}{value}, \"filler{turn}\": {}", &BOOTSTRAP[..*at], &BOOTSTRAP[*at..]);
        if let Ok(document) = Document::parse(&text, Format::Json) {
            digest(&document);
        }
    }
}

#[test]
fn mutated_wire_bytes_never_panic() {
    let document = Document::parse(BOOTSTRAP, Format::Json).unwrap();
    let keep = Policy { typed_structs: TypedStructs::Keep, ..Policy::default() };
    let message = decode::<Bootstrap>(Descriptors::load(), &document, keep).unwrap().message;
    let bytes = message.to_wire();
    for seed in 1..1500_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.below(256) as u8),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.below(256) as u8;
                    }
                }
            }
        }
        if let Ok(read) = Message::from_wire(message.message_type(), &bytes) {
            validate(&read.message);
            message_to_json(&read.message, true);
            let mut resolved = read.message;
            let _ = resolve_typed_structs(&mut resolved, UnknownFields::Collect);
        }
    }
}

#[test]
fn deep_wire_nesting_is_refused() {
    let value = Descriptors::load().message("google.protobuf.Value").unwrap();
    let mut bytes = vec![0x08, 0];
    for _ in 0..5000 {
        for tag in [0x0a_u8, 0x32] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(&bytes);
            bytes = outer;
        }
    }
    assert_eq!(Message::from_wire(value, &bytes).unwrap_err().reason, "messages are nested too deeply");
}
