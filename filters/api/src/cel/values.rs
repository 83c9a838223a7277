//! Values as CEL has them.

use std::sync::Arc;
use std::time::Duration;

use cel::Value;
use cel::objects::{Key, Map};

use crate::info::MetadataValue;

pub(super) fn json(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(truth) => Value::Bool(*truth),
        MetadataValue::Number(number) => Value::Float(*number),
        MetadataValue::String(string) => text(string),
        MetadataValue::List(items) => Value::List(Arc::new(items.iter().map(json).collect())),
        MetadataValue::Struct(fields) => {
            map(fields.iter().map(|(name, field)| (text_key(name), json(field))))
        }
    }
}

/// A result as metadata have it; what has no such form is text.
pub(super) fn plain(value: &Value) -> MetadataValue {
    match value {
        Value::Null => MetadataValue::Null,
        Value::Bool(truth) => MetadataValue::Bool(*truth),
        Value::Int(number) => MetadataValue::Number(*number as f64),
        Value::UInt(number) => MetadataValue::Number(*number as f64),
        Value::Float(number) => MetadataValue::Number(*number),
        Value::String(string) => MetadataValue::String(string.as_str().into()),
        Value::Bytes(bytes) => MetadataValue::String(String::from_utf8_lossy(bytes).into()),
        Value::List(items) => MetadataValue::List(items.iter().map(plain).collect()),
        Value::Map(fields) => {
            let mut fields: Vec<_> = fields
                .map
                .iter()
                .map(|(key, value)| (Arc::<str>::from(key.to_string()), plain(value)))
                .collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            MetadataValue::Struct(fields)
        }
        other => MetadataValue::String(format!("{other:?}").into()),
    }
}

pub(super) fn map(entries: impl Iterator<Item = (Key, Value)>) -> Value {
    Value::Map(Map { map: Arc::new(entries.collect()) })
}

pub(super) fn text_key(text: &str) -> Key {
    Key::String(Arc::new(text.to_owned()))
}

pub(super) fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

pub(super) fn bytes_text(bytes: &[u8]) -> Value {
    Value::String(Arc::new(String::from_utf8_lossy(bytes).into_owned()))
}

pub(super) fn some_text(string: &str) -> Option<Value> {
    (!string.is_empty()).then(|| text(string))
}

pub(super) fn shared(string: Option<&str>) -> Option<Value> {
    string.map(text)
}

pub(super) fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn duration(span: Duration) -> Value {
    Value::Duration(chrono::Duration::from_std(span).unwrap_or(chrono::Duration::MAX))
}
