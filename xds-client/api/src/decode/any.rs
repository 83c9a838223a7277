//! `google.protobuf.Any` written as `@type` with the fields inline, and the typed structs that may be inside.

use super::wellknown::has_own_form;
use super::{Policy, Reader, TypedStructs, UnknownFields};
use crate::document::Node;
use crate::error::{FieldError, Note, NoteKind};
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{Descriptors, MessageType};
use crate::type_url;

impl Reader {
    pub(super) fn any(&mut self, any_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        let mut any = Message::new(any_type);
        let entries = match node {
            Node::Map(entries) => entries,
            Node::Null => return any,
            other => {
                self.refuse(path, other, "expected a map with \"@type\"");
                return any;
            }
        };
        let Some(Node::String(url)) = node.key("@type") else {
            if !entries.is_empty() {
                let error = FieldError::new(path, "", "\"@type\" is missing or not a string");
                self.error(error.with_hint("add \"@type\": \"type.googleapis.com/<message>\""));
            }
            return any;
        };
        if url.rsplit_once('/').is_none_or(|(host, _)| host.is_empty()) {
            let error =
                FieldError::new(path.name("@type"), format!("{url:?}"), "a type URL has a host and a slash");
            self.error(error.with_hint(format!("write {}", type_url::of(url))));
            return any;
        }
        let Some(payload_type) = Descriptors::load().message(url) else {
            self.error(unknown_type(path, url));
            return any;
        };
        if type_url::is_typed_struct(url)
            && self.policy.typed_structs == TypedStructs::Resolve
            && let Some((inner_url, payload)) = self.typed_struct(node, path)
        {
            pack(&mut any, inner_url, payload);
            return any;
        }
        let payload = if has_own_form(payload_type.full_name()) {
            let null = Node::Null;
            self.message(payload_type, node.key("value").unwrap_or(&null), &path.name("value"))
        } else {
            self.plain_message(payload_type, node, path)
        };
        pack(&mut any, url.clone(), payload);
        any
    }

    /// Reads the map form of a typed struct as the message it stands for. `None` when the API does not have that
    /// message; the struct is then kept for whoever does.
    fn typed_struct(&mut self, node: &Node, path: &Path<'_>) -> Option<(String, Message)> {
        let Some(Node::String(url)) = node.key("type_url").or_else(|| node.key("typeUrl")) else {
            return None;
        };
        let Some(inner) = Descriptors::load().message(url) else {
            self.note(
                path,
                NoteKind::UnknownType,
                format!("the API has no message {:?}", type_url::full_name(url)),
            );
            return None;
        };
        let null = Node::Null;
        let value = node.key("value").unwrap_or(&null);
        let payload = self.message(inner, value, &path.name("value"));
        Some((type_url::of(inner.full_name()), payload))
    }
}

/// Puts the message that each typed struct stands for in its place, everywhere in a message that came over the wire.
///
/// # Errors
/// Every field of a typed struct that its message does not accept.
pub fn resolve_typed_structs(
    message: &mut Message,
    unknown: UnknownFields,
) -> Result<Vec<Note>, Vec<FieldError>> {
    let mut reader = Reader::new(Policy::from(unknown));
    resolve(&mut reader, message, &Path::ROOT);
    reader.finish(()).map(|((), notes)| notes)
}

fn resolve(reader: &mut Reader, message: &mut Message, path: &Path<'_>) {
    if let Some((url, Some(Value::Message(payload)))) = message.as_any()
        && type_url::is_typed_struct(url)
    {
        let node = typed_struct_node(payload);
        if let Some((inner_url, payload)) = reader.typed_struct(&node, path) {
            pack(message, inner_url, payload);
        }
        return;
    }
    let is_any = message.as_any().is_some();
    for (field, value) in message.fields_mut() {
        let at = path.field(field);
        let at = if is_any { *path } else { at };
        resolve_value(reader, value, &at);
    }
}

fn resolve_value(reader: &mut Reader, value: &mut Value, path: &Path<'_>) {
    match value {
        Value::Message(message) => resolve(reader, message, path),
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve_value(reader, item, &path.index(index));
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                resolve_value(reader, value, &path.key(&key.as_key()));
            }
        }
        _ => {}
    }
}

/// The map form of a typed struct message.
fn typed_struct_node(message: &Message) -> Node {
    let mut entries = Vec::new();
    if let Some(Value::String(url)) = message.named("type_url") {
        entries.push(("type_url".to_owned(), Node::String(url.clone())));
    }
    if let Some(Value::Message(value)) = message.named("value") {
        entries.push(("value".to_owned(), struct_node(value)));
    }
    Node::Map(entries)
}

fn struct_node(message: &Message) -> Node {
    let Some(Value::Map(entries)) = message.named("fields") else { return Node::Map(Vec::new()) };
    Node::Map(entries.iter().map(|(key, value)| (key.as_key(), value_node(value))).collect())
}

fn value_node(value: &Value) -> Node {
    let Value::Message(message) = value else { return Node::Null };
    match message.fields().next().map(|(_, value)| value) {
        Some(Value::F64(number)) => Node::Float(*number),
        Some(Value::String(text)) => Node::String(text.clone()),
        Some(Value::Bool(value)) => Node::Bool(*value),
        Some(Value::Message(inner)) => match inner.named("values") {
            Some(Value::List(items)) => Node::List(items.iter().map(value_node).collect()),
            _ if inner.message_type().full_name() == "google.protobuf.ListValue" => Node::List(Vec::new()),
            _ => struct_node(inner),
        },
        _ => Node::Null,
    }
}

/// Fills an `Any`.
fn pack(any: &mut Message, url: String, payload: Message) {
    let any_type = any.message_type();
    for (name, value) in [("type_url", Value::String(url)), ("value", Value::Message(payload))] {
        if let Some(field) = any_type.field(name) {
            any.set(field, value);
        }
    }
}

fn unknown_type(path: &Path<'_>, url: &str) -> FieldError {
    let name = type_url::full_name(url);
    let error = FieldError::new(
        path.name("@type"),
        format!("{:?}", crate::error::shorten(url)),
        "unknown message type",
    );
    let last = name.rsplit('.').next().unwrap_or_default();
    let similar =
        Descriptors::load().messages().find(|message| message.full_name().rsplit('.').next() == Some(last));
    match similar {
        Some(message) if !last.is_empty() => {
            error.with_hint(format!("did you mean `{}`?", message.full_name()))
        }
        _ => error,
    }
}
