//! Which fields of the API this proxy reads, as data: who sets a field that is not in the table is told so.
//!
//! Each part of the proxy that reads configuration keeps the rows of its messages next to the code that reads them. The
//! loader joins them to a [`SupportTable`] and walks every message with [`unsupported`]; the documentation is generated
//! from the same table.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::error::MAX_PROBLEMS;
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{Descriptors, FieldType, MessageType};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has the effect that Envoy's documentation gives.
    Supported,
    /// It has no effect, and that is harmless for this reason.
    Ignored(&'static str),
    /// It has no effect yet.
    Later(&'static str),
}

/// The rows of one message: its full name, and its fields by proto name. The field `"*"` stands for all that are not
/// named.
pub type MessageSupport = (&'static str, &'static [(&'static str, Support)]);

/// The rows of all parts of the proxy.
#[derive(Debug, Clone, Default)]
pub struct SupportTable {
    messages: BTreeMap<&'static str, HashMap<&'static str, Support>>,
}

/// A field that is set and not supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedField {
    /// Where it is, in proto names.
    pub path: String,
    /// The full name of the message that has the field.
    pub message: &'static str,
    /// The proto name of the field; empty when the whole payload type is not in the table.
    pub field: &'static str,
    /// The value, shortened.
    pub value: String,
    /// Why: [`Support::Ignored`] and [`Support::Later`] as in the table, `None` for a field that is not in it.
    pub support: Option<Support>,
}

impl SupportTable {
    /// Joins rows. A message may appear in several; the last word on a field counts.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a MessageSupport>) -> Self {
        let mut table = Self::default();
        table.extend(rows);
        table
    }

    /// Adds rows.
    pub fn extend<'a>(&mut self, rows: impl IntoIterator<Item = &'a MessageSupport>) {
        for (message, fields) in rows {
            self.messages.entry(message).or_default().extend(fields.iter().copied());
        }
    }

    /// What becomes of a field; `None` when the table does not name it.
    pub fn support(&self, message: MessageType, field: FieldType) -> Option<Support> {
        if is_value(message) {
            return Some(Support::Supported);
        }
        let fields = self.messages.get(message.full_name())?;
        fields.get(field.name()).or_else(|| fields.get("*")).copied()
    }

    /// Whether the table has rows for a message.
    pub fn names(&self, message: MessageType) -> bool {
        is_value(message) || self.messages.contains_key(message.full_name())
    }

    /// Rows that name a message or field that the API does not have. A test asserts that there are none.
    pub fn check(&self, descriptors: Descriptors) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, fields) in &self.messages {
            match descriptors.message(name) {
                None => wrong.push(format!("the API has no message {name}")),
                Some(message) => wrong.extend(
                    fields
                        .keys()
                        .filter(|field| **field != "*" && message.field(field).is_none())
                        .map(|field| format!("{name} has no field {field}")),
                ),
            }
        }
        wrong.sort();
        wrong
    }

    /// The table as Markdown, one section per message with every field that the API has.
    pub fn markdown(&self, descriptors: Descriptors) -> String {
        let mut out = String::new();
        for message in
            descriptors.messages().filter(|message| self.messages.contains_key(message.full_name()))
        {
            let _ = write!(out, "## {}\n\n| Field | Type | Status |\n|---|---|---|\n", message.full_name());
            for field in message.fields() {
                let status = match self.support(message, field) {
                    Some(Support::Supported) => "supported".to_owned(),
                    Some(Support::Ignored(reason)) => format!("ignored: {reason}"),
                    Some(Support::Later(reason)) => format!("not yet: {reason}"),
                    None => "not supported".to_owned(),
                };
                let deprecated = if field.is_deprecated() { " (deprecated)" } else { "" };
                let _ = writeln!(out, "| `{}`{deprecated} | {} | {status} |", field.name(), type_text(field));
            }
            out.push('\n');
        }
        out
    }
}

/// Every field that is set in a message, payloads included, and that the table does not call supported. What is inside
/// such a field is not reported again.
pub fn unsupported(message: &Message, table: &SupportTable) -> Vec<UnsupportedField> {
    let mut walk = Walk { table, found: Vec::new() };
    walk.message(message, &Path::ROOT);
    walk.found
}

struct Walk<'a> {
    table: &'a SupportTable,
    found: Vec<UnsupportedField>,
}

impl Walk<'_> {
    fn message(&mut self, message: &Message, path: &Path<'_>) {
        if let Some((url, payload)) = message.as_any() {
            return self.payload(url, payload, path);
        }
        let message_type = message.message_type();
        if is_value(message_type) {
            return;
        }
        for (field, value) in message.fields() {
            let at = path.field(field);
            match self.table.support(message_type, field) {
                Some(Support::Supported) => self.value(value, &at),
                support => self.report(UnsupportedField {
                    path: at.to_string(),
                    message: message_type.full_name(),
                    field: field.name(),
                    value: if field.is_sensitive() {
                        "[redacted]".to_owned()
                    } else {
                        crate::validate::shown(value)
                    },
                    support,
                }),
            }
        }
    }

    fn payload(&mut self, url: &str, payload: Option<&Value>, path: &Path<'_>) {
        match payload {
            Some(Value::Message(payload)) if self.table.names(payload.message_type()) => {
                self.message(payload, path);
            }
            Some(Value::Message(payload)) => self.report(UnsupportedField {
                path: path.to_string(),
                message: payload.message_type().full_name(),
                field: "",
                value: crate::error::shorten(url),
                support: None,
            }),
            _ if url.is_empty() => {}
            _ => self.report(UnsupportedField {
                path: path.to_string(),
                message: "google.protobuf.Any",
                field: "",
                value: crate::error::shorten(url),
                support: None,
            }),
        }
    }

    fn value(&mut self, value: &Value, path: &Path<'_>) {
        match value {
            Value::Message(message) => self.message(message, path),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, &path.index(index));
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.value(value, &path.key(&key.as_key()));
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, field: UnsupportedField) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(field);
        }
    }
}

/// Messages that are values rather than settings: durations, wrappers, free-form JSON.
fn is_value(message: MessageType) -> bool {
    message.full_name().starts_with("google.protobuf.")
}

fn type_text(field: FieldType) -> String {
    if let Some((key, value)) = field.entry() {
        return format!("map of {} to {}", key.kind().name(), value.kind().name());
    }
    let name = field.kind().name();
    if field.is_repeated() { format!("list of {name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
