//! A message of any type as a tree, for everything that does not want one Rust type per message: reading and writing
//! JSON, validating, looking for fields that nobody reads.
//!
//! The payload of a `google.protobuf.Any` whose type is known is kept unpacked: the field `value` then holds a
//! [`Value::Message`] in place of [`Value::Bytes`]. On the wire the two are the same bytes.

use crate::schema::{FieldType, MessageType};

/// A message: its type and the fields that are set, by number.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    message_type: MessageType,
    fields: Vec<(FieldType, Value)>,
}

/// The value of a field that is set.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// `int32`, `sint32`, `sfixed32`
    I32(i32),
    /// `int64`, `sint64`, `sfixed64`
    I64(i64),
    /// `uint32`, `fixed32`
    U32(u32),
    /// `uint64`, `fixed64`
    U64(u64),
    /// `float`
    F32(f32),
    /// `double`
    F64(f64),
    /// `string`
    String(String),
    /// `bytes`
    Bytes(Vec<u8>),
    /// The number of an enum value.
    Enum(i32),
    /// A message.
    Message(Message),
    /// The elements of a repeated field.
    List(Vec<Value>),
    /// The entries of a map, each key once, in the order of the document.
    Map(Vec<(Value, Value)>),
}

impl Message {
    /// A message with nothing set.
    pub fn new(message_type: MessageType) -> Self {
        Self { message_type, fields: Vec::new() }
    }

    /// Its type.
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// The fields that are set, by number.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (FieldType, &Value)> {
        self.fields.iter().map(|(field, value)| (*field, value))
    }

    /// The same, to change values in place.
    pub(crate) fn fields_mut(&mut self) -> impl Iterator<Item = (FieldType, &mut Value)> {
        self.fields.iter_mut().map(|(field, value)| (*field, value))
    }

    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value of a field that is set.
    pub fn value(&self, field: FieldType) -> Option<&Value> {
        let at = self.fields.binary_search_by_key(&field, |(field, _)| *field).ok()?;
        self.fields.get(at).map(|(_, value)| value)
    }

    /// The value of the field with this proto name, when it is set.
    pub fn named(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| field.name() == name).map(|(_, value)| value)
    }

    /// Sets a field; another member of its oneof is cleared. A default value of a field without presence is "not set".
    pub fn set(&mut self, field: FieldType, value: Value) {
        if field.is_in_oneof() {
            self.fields.retain(|(other, _)| !field.excludes(*other));
        }
        let skip = !field.has_presence() && value.is_default();
        match self.fields.binary_search_by_key(&field, |(field, _)| *field) {
            Ok(at) if skip => drop(self.fields.remove(at)),
            Ok(at) => self.fields[at].1 = value,
            Err(_) if skip => {}
            Err(at) => self.fields.insert(at, (field, value)),
        }
    }

    /// Takes a field out.
    pub fn take(&mut self, field: FieldType) -> Option<Value> {
        let at = self.fields.binary_search_by_key(&field, |(field, _)| *field).ok()?;
        Some(self.fields.remove(at).1)
    }

    /// Protobuf's `MergeFrom`: messages are merged, lists appended, map entries and scalars replaced.
    pub fn merge(&mut self, other: Message) {
        for (field, value) in other.fields {
            match (self.take(field), value) {
                (Some(Value::Message(mut ours)), Value::Message(theirs)) if !is_payload(field) => {
                    ours.merge(theirs);
                    self.set(field, Value::Message(ours));
                }
                (Some(Value::List(mut ours)), Value::List(theirs)) => {
                    ours.extend(theirs);
                    self.set(field, Value::List(ours));
                }
                (Some(Value::Map(mut ours)), Value::Map(theirs)) => {
                    let mut places: std::collections::HashMap<String, usize> =
                        ours.iter().enumerate().map(|(at, (key, _))| (key.as_key(), at)).collect();
                    for (key, value) in theirs {
                        if let Some(place) = places.get(&key.as_key()).and_then(|at| ours.get_mut(*at)) {
                            place.1 = value;
                        } else {
                            places.insert(key.as_key(), ours.len());
                            ours.push((key, value));
                        }
                    }
                    self.set(field, Value::Map(ours));
                }
                (_, value) => self.set(field, value),
            }
        }
    }

    /// Type URL and payload, when this is a `google.protobuf.Any`.
    pub fn as_any(&self) -> Option<(&str, Option<&Value>)> {
        (self.message_type.full_name() == "google.protobuf.Any").then(|| {
            let url = match self.named("type_url") {
                Some(Value::String(url)) => url.as_str(),
                _ => "",
            };
            (url, self.named("value"))
        })
    }
}

/// Whether the field is the payload of an `Any`, which is replaced and never merged.
fn is_payload(field: FieldType) -> bool {
    field.kind() == crate::schema::Kind::Bytes
}

impl Value {
    /// Whether this is what a reader sees when the field is absent.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::I32(value) | Self::Enum(value) => *value == 0,
            Self::I64(value) => *value == 0,
            Self::U32(value) => *value == 0,
            Self::U64(value) => *value == 0,
            Self::F32(value) => value.to_bits() == 0,
            Self::F64(value) => value.to_bits() == 0,
            Self::String(value) => value.is_empty(),
            Self::Bytes(value) => value.is_empty(),
            Self::Message(_) => false,
            Self::List(value) => value.is_empty(),
            Self::Map(value) => value.is_empty(),
        }
    }

    /// The message, when it is one.
    pub fn as_message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// How a map key is written in JSON and in paths.
    pub(crate) fn as_key(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::I32(value) | Self::Enum(value) => value.to_string(),
            Self::I64(value) => value.to_string(),
            Self::U32(value) => value.to_string(),
            Self::U64(value) => value.to_string(),
            Self::String(value) => value.clone(),
            _ => String::new(),
        }
    }
}
