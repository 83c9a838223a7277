//! Document nodes to messages: protobuf-JSON with the tolerance of the parser that Envoy uses.
//!
//! All errors are collected, not only the first. What Envoy accepts and this follows: both spellings of a field name in
//! one file, numbers and booleans as strings, integral floats, enum names in any case and numbers, a single value where
//! a list is expected, `{seconds, nanos}` for a duration, null for "not set". Files: this one walks messages, `scalar`
//! and `wellknown` read values, `any` unpacks payloads and typed structs.

mod any;
mod scalar;
mod wellknown;
mod wire_resource;

use crate::document::{Document, Node};
use crate::error::{FieldError, MAX_PROBLEMS, Note, NoteKind, nearest};
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{Descriptors, FieldType, Kind, MessageType};

pub use any::resolve_typed_structs;
pub(crate) use wellknown::{days_in_month, has_own_form};
pub use wire_resource::decode_wire;

/// What to do with fields and enum names that the API does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Each is an error.
    #[default]
    Reject,
    /// Each is dropped and noted.
    Collect,
}

/// What to do with a `TypedStruct` inside an `Any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TypedStructs {
    /// Put the message it stands for in its place, so that readers never see one. The default.
    #[default]
    Resolve,
    /// Keep it as written, for showing the configuration.
    Keep,
}

/// How strict decoding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Fields and enum names that the API does not have.
    pub unknown_fields: UnknownFields,
    /// `TypedStruct` payloads.
    pub typed_structs: TypedStructs,
}

impl From<UnknownFields> for Policy {
    fn from(unknown_fields: UnknownFields) -> Self {
        Self { unknown_fields, typed_structs: TypedStructs::default() }
    }
}

/// A decoded document.
#[derive(Debug, Clone)]
pub struct Decoded<M> {
    /// The typed message.
    pub value: M,
    /// The same as a tree, for [`crate::validate`] and [`crate::unsupported`]. Drop it when both are done.
    pub message: Message,
    /// What was accepted and is worth telling.
    pub notes: Vec<Note>,
}

/// Decodes a document to a message of a Rust type.
///
/// # Errors
/// Every field that cannot be accepted.
pub fn decode<M>(
    descriptors: Descriptors,
    document: &Document,
    policy: impl Into<Policy>,
) -> Result<Decoded<M>, Vec<FieldError>>
where
    M: prost::Message + prost::Name + Default,
{
    let (message, notes) = decode_message(descriptors, &M::full_name(), document, policy)?;
    let value = message.to_prost().map_err(|error| vec![FieldError::new("", "", error.to_string())])?;
    Ok(Decoded { value, message, notes })
}

/// Decodes a document to the message with this full name.
///
/// # Errors
/// Every field that cannot be accepted.
pub fn decode_message(
    descriptors: Descriptors,
    full_name: &str,
    document: &Document,
    policy: impl Into<Policy>,
) -> Result<(Message, Vec<Note>), Vec<FieldError>> {
    let Some(message_type) = descriptors.message(full_name) else {
        return Err(vec![FieldError::new("", "", format!("the API has no message {full_name}"))]);
    };
    let mut reader = Reader::new(policy.into());
    let mut message = Message::new(message_type);
    for part in &document.parts {
        let part = reader.message(message_type, part, &Path::ROOT);
        message.merge(part);
    }
    reader.finish(message)
}

/// One run of decoding: what was found besides the message.
struct Reader {
    policy: Policy,
    errors: Vec<FieldError>,
    notes: Vec<Note>,
}

impl Reader {
    fn new(policy: Policy) -> Self {
        Self { policy, errors: Vec::new(), notes: Vec::new() }
    }

    fn finish<T>(self, value: T) -> Result<(T, Vec<Note>), Vec<FieldError>> {
        if self.errors.is_empty() { Ok((value, self.notes)) } else { Err(self.errors) }
    }

    fn error(&mut self, error: FieldError) {
        if self.errors.len() < MAX_PROBLEMS {
            self.errors.push(error);
        }
    }

    fn refuse(&mut self, path: &Path<'_>, node: &Node, reason: impl Into<String>) {
        self.error(FieldError::new(path, node.shown(), reason));
    }

    fn note(&mut self, path: impl std::fmt::Display, kind: NoteKind, text: impl Into<String>) {
        if self.notes.len() < MAX_PROBLEMS {
            self.notes.push(Note { path: path.to_string(), kind, text: text.into() });
        }
    }

    /// Reads a message of any type; the well-known ones have forms of their own.
    fn message(&mut self, message_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        if let Some(special) = message_type.full_name().strip_prefix("google.protobuf.")
            && let Some(message) = self.well_known(special, message_type, node, path)
        {
            return message;
        }
        self.plain_message(message_type, node, path)
    }

    /// Reads the map form of a message.
    fn plain_message(&mut self, message_type: MessageType, node: &Node, path: &Path<'_>) -> Message {
        let mut message = Message::new(message_type);
        let Node::Map(entries) = node else {
            if *node != Node::Null {
                self.refuse(
                    path,
                    node,
                    format!("expected a map of the fields of {}", message_type.full_name()),
                );
            }
            return message;
        };
        let mut seen: Vec<FieldType> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if key == "@type" {
                continue;
            }
            let Some(field) = message_type.field_spelled(key) else {
                self.unknown_field(message_type, key, value, path);
                continue;
            };
            if seen.contains(&field) {
                self.refuse(&path.field(field), value, "the field is given twice, in two spellings");
                continue;
            }
            seen.push(field);
            let at = path.field(field);
            let errors_before = self.errors.len();
            let value = self.field(field, value, &at);
            if field.is_sensitive() {
                hide_values(self.errors.get_mut(errors_before..).unwrap_or_default());
            }
            let Some(value) = value else { continue };
            self.mention_deprecated(field, &at);
            if let Some((other, _)) = message.fields().find(|(other, _)| field.excludes(*other)) {
                let reason = format!("cannot be set together with {}", other.name());
                self.error(FieldError::new(at, "", reason).with_hint("keep one of the two"));
                continue;
            }
            message.set(field, value);
        }
        message
    }

    fn unknown_field(&mut self, message_type: MessageType, key: &str, value: &Node, path: &Path<'_>) {
        let at = path.name(key);
        match self.policy.unknown_fields {
            UnknownFields::Collect => {
                let text = format!("{} has no field {key:?}; it is ignored", message_type.full_name());
                self.note(at, NoteKind::UnknownField, text);
            }
            UnknownFields::Reject => {
                let reason =
                    format!("{} has no field {:?}", message_type.full_name(), crate::error::shorten(key));
                let error = FieldError::new(at, value.shown(), reason);
                let names = message_type.fields().map(FieldType::name);
                self.error(match nearest(key, names) {
                    Some(name) => error.with_hint(format!("did you mean `{name}`?")),
                    None => error,
                });
            }
        }
    }

    fn mention_deprecated(&mut self, field: FieldType, at: &Path<'_>) {
        if field.is_disallowed_by_default() {
            self.note(at, NoteKind::DisallowedByDefault, "the field is deprecated and refused by default");
        } else if field.is_deprecated() {
            self.note(at, NoteKind::Deprecated, "the field is deprecated");
        }
    }

    /// Reads the value of a field; `None` when it stays unset.
    fn field(&mut self, field: FieldType, node: &Node, path: &Path<'_>) -> Option<Value> {
        if let Some((key, value)) = field.entry() {
            return self.map(key, value, node, path);
        }
        if !field.is_repeated() {
            return if *node == Node::Null && !is_json_value(field.kind()) {
                None
            } else {
                self.value(field.kind(), node, path)
            };
        }
        match node {
            Node::Null => None,
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let at = path.index(index);
                    list.extend(self.element(field.kind(), item, &at));
                }
                Some(Value::List(list))
            }
            single => {
                self.element(field.kind(), single, &path.index(0)).map(|value| Value::List(vec![value]))
            }
        }
    }

    /// An element of a list; null stands for the default there.
    fn element(&mut self, kind: Kind, node: &Node, path: &Path<'_>) -> Option<Value> {
        if *node == Node::Null && !is_json_value(kind) {
            return Some(scalar::default(kind));
        }
        self.value(kind, node, path)
    }

    fn map(
        &mut self,
        key_field: FieldType,
        value_field: FieldType,
        node: &Node,
        path: &Path<'_>,
    ) -> Option<Value> {
        let entries = match node {
            Node::Null => return None,
            Node::Map(entries) => entries,
            other => {
                self.refuse(path, other, "expected a map");
                return None;
            }
        };
        let mut map = Vec::with_capacity(entries.len());
        for (name, node) in entries {
            let at = path.key(name);
            let key = self.value(key_field.kind(), &Node::String(name.clone()), &at);
            let value = self.element(value_field.kind(), node, &at);
            if let (Some(key), Some(value)) = (key, value) {
                map.push((key, value));
            }
        }
        Some(Value::Map(map))
    }

    fn value(&mut self, kind: Kind, node: &Node, path: &Path<'_>) -> Option<Value> {
        match kind {
            Kind::Message(message_type) => Some(Value::Message(self.message(message_type, node, path))),
            Kind::Enum(one) => self.enum_value(one, node, path),
            scalar => match scalar::read(scalar, node) {
                Ok(value) => Some(value),
                Err(problem) => {
                    let error = FieldError::new(path, node.shown(), problem.reason);
                    self.error(match problem.hint {
                        Some(hint) => error.with_hint(hint),
                        None => error,
                    });
                    None
                }
            },
        }
    }
}

/// Keeps secrets out of error messages.
fn hide_values(errors: &mut [FieldError]) {
    for error in errors.iter_mut().filter(|error| !error.value.is_empty()) {
        "[redacted]".clone_into(&mut error.value);
    }
}

/// `google.protobuf.Value`, for which null is a value.
fn is_json_value(kind: Kind) -> bool {
    matches!(kind, Kind::Message(message) if message.full_name() == "google.protobuf.Value")
}

#[cfg(test)]
mod tests;
