//! The wire form of what peers of a mesh tell each other: a `google.protobuf.Struct`, by itself in headers and within an `Any`
//! before a TCP stream.

use prost::Message;
use sampan_api::google::protobuf::{Any, Struct};
use sampan_api::type_url;
use sampan_filters_api::info::MetadataValue;

use super::value;

const STRUCT: &str = "google.protobuf.Struct";

/// The struct that these bytes are.
pub fn decode(bytes: &[u8]) -> Option<MetadataValue> {
    Struct::decode(bytes).ok().map(|proto| value::structure(&proto))
}

/// The struct within an `Any`.
pub fn decode_any(bytes: &[u8]) -> Option<MetadataValue> {
    let any = Any::decode(bytes).ok()?;
    if type_url::full_name(&any.type_url) == STRUCT { decode(&any.value) } else { None }
}

/// A struct of texts and structs, its keys in order, so that the same one has the same bytes. What else it holds is left out.
pub fn encode(metadata: &MetadataValue) -> Vec<u8> {
    let MetadataValue::Struct(fields) = metadata else { return Vec::new() };
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut out = Vec::new();
    for (key, value) in sorted {
        // google.protobuf.Value: string_value is 3, struct_value 5.
        let value = match value {
            MetadataValue::String(text) => delimited(3, text.as_bytes()),
            value @ MetadataValue::Struct(_) => delimited(5, &encode(value)),
            _ => continue,
        };
        let entry = [delimited(1, key.as_bytes()), delimited(2, &value)].concat();
        out.extend(delimited(1, &entry));
    }
    out
}

/// A struct within an `Any`.
pub fn encode_any(metadata: &MetadataValue) -> Vec<u8> {
    let type_url = format!("type.googleapis.com/{STRUCT}");
    [delimited(1, type_url.as_bytes()), delimited(2, &encode(metadata))].concat()
}

/// A field that is a text, bytes or a message.
fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_decoder_reads_it() {
        let text = |text: &str| MetadataValue::String(text.into());
        let inner = MetadataValue::Struct(vec![("k".into(), text(&"v".repeat(300)))]);
        let tree = MetadataValue::Struct(vec![("b".into(), text("2")), ("a".into(), inner)]);
        let proto = Struct::decode(&*encode(&tree)).unwrap();
        assert_eq!(proto.fields.len(), 2);
        let read = decode_any(&encode_any(&tree)).unwrap();
        assert_eq!(read.at(&["a", "k"]), Some(&text(&"v".repeat(300))));
        assert_eq!(read.at(&["b"]), Some(&text("2")));
        let other = Any { type_url: "type.googleapis.com/google.protobuf.Value".into(), value: Vec::new() };
        assert!(decode_any(&other.encode_to_vec()).is_none());
    }
}
