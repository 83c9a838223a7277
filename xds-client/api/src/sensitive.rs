//! Whether a message holds a secret: asked before one is written to a disk.

use crate::message::{Message, Value};
use crate::schema::Descriptors;
use crate::to_json::message_to_json;
use crate::type_url;

/// Whether anything in the message is marked `(udpa.annotations.sensitive)`, or cannot be looked into: a payload whose type the API
/// does not have may hold anything.
pub fn holds_secret(message: &Message) -> bool {
    if let Some((url, payload)) = message.as_any() {
        return match payload {
            Some(Value::Message(payload)) => holds_secret(payload),
            Some(_) => !url.is_empty(),
            None => false,
        };
    }
    if type_url::is_typed_struct(message.message_type().full_name()) {
        let url = message.named("type_url").and_then(Value::as_str).unwrap_or_default();
        // The printer knows how to hide what such a struct stands for: what it hides is a secret.
        return Descriptors::load().message(url).is_none()
            || message_to_json(message, true) != message_to_json(message, false);
    }
    message
        .fields()
        .any(|(field, value)| (field.is_sensitive() && !value.is_default()) || value_holds_secret(value))
}

fn value_holds_secret(value: &Value) -> bool {
    match value {
        Value::Message(message) => holds_secret(message),
        Value::List(items) => items.iter().any(value_holds_secret),
        Value::Map(entries) => entries.iter().any(|(_, value)| value_holds_secret(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Format, Policy, TypedStructs, UnknownFields};

    fn holds(full_name: &str, yaml: &str) -> bool {
        let api = Descriptors::load();
        let document = Document::parse(yaml, Format::Yaml).unwrap();
        let policy = Policy { unknown_fields: UnknownFields::Reject, typed_structs: TypedStructs::Keep };
        holds_secret(&crate::decode_message(api, full_name, &document, policy).unwrap().0)
    }

    #[test]
    fn a_key_is_found_however_deep() {
        let key = "{private_key: {inline_string: x}}";
        let context = format!("common_tls_context: {{tls_certificates: [{key}]}}");
        let url =
            "\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let cluster =
            |payload: &str| format!("{{name: c, transport_socket: {{name: tls, typed_config: {payload}}}}}");
        let full_name = "envoy.config.cluster.v3.Cluster";
        assert!(holds(full_name, &cluster(&format!("{{{url}, {context}}}"))));
        assert!(!holds(full_name, &cluster(&format!("{{{url}, sni: host}}"))));
        let typed = |inner: &str, value: &str| {
            cluster(&format!(
                "{{\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: {inner}, value: {value}}}"
            ))
        };
        let inner = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        assert!(holds(full_name, &typed(inner, &format!("{{{context}}}"))));
        assert!(!holds(full_name, &typed(inner, "{sni: host}")));
        assert!(holds(full_name, &typed("type.googleapis.com/no.such.Message", "{a: b}")));
        assert!(!holds(full_name, "{name: c}"));
    }

    #[test]
    fn what_cannot_be_looked_into_counts_as_a_secret() {
        let any = crate::google::protobuf::Any {
            type_url: "type.googleapis.com/no.such.Message".into(),
            value: vec![8, 1],
        };
        assert!(holds_secret(&Message::from_prost(&any).unwrap().message));
        assert!(!holds_secret(
            &Message::from_prost(&crate::google::protobuf::Any::default()).unwrap().message
        ));
    }
}
