//! Messages as JSON the way Envoy's admin API prints them: proto field names, defaults left out, 64-bit integers as
//! strings, `@type` first in a payload, and everything marked sensitive replaced by `[redacted]`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json};

use crate::message::{Message, Value};
use crate::schema::{Descriptors, FieldType, Kind, MessageType};
use crate::type_url;
use crate::wire::WireError;

const REDACTED: &str = "[redacted]";

/// The payload of an `Any` as JSON with its `@type`, secrets redacted.
///
/// # Errors
/// The bytes are not a message of that type. A type that the API does not have is no error: its bytes are shown in
/// base64.
pub fn to_json(descriptors: Descriptors, type_url: &str, bytes: &[u8]) -> Result<Json, WireError> {
    let mut object = Map::new();
    object.insert("@type".to_owned(), type_url.into());
    match descriptors.message(type_url) {
        Some(message_type) => {
            let message = Message::from_wire(message_type, bytes)?.message;
            add_payload(&mut object, &message, Printer { redact: true, hidden: false });
        }
        None => {
            object.insert("value".to_owned(), STANDARD.encode(bytes).into());
        }
    }
    Ok(Json::Object(object))
}

/// A message as JSON, without an `@type` of its own. `redact` hides sensitive fields.
pub fn message_to_json(message: &Message, redact: bool) -> Json {
    Printer { redact, hidden: false }.message(message)
}

#[derive(Clone, Copy)]
struct Printer {
    redact: bool,
    /// Inside a sensitive field.
    hidden: bool,
}

impl Printer {
    fn message(self, message: &Message) -> Json {
        let name = message.message_type().full_name();
        let Some(name) = name.strip_prefix("google.protobuf.") else { return self.fields(message) };
        match name {
            "Any" => self.any(message),
            "Duration" => duration_text(message).into(),
            "Timestamp" => timestamp_text(message).into(),
            "FieldMask" => field_mask_text(message).into(),
            "Struct" => message.named("fields").map_or_else(
                || Json::Object(Map::new()),
                |value| match value {
                    Value::Map(entries) => self.map(entries),
                    _ => Json::Null,
                },
            ),
            "ListValue" => match message.named("values") {
                Some(Value::List(items)) => items.iter().map(|item| self.value(None, item)).collect(),
                _ => Json::Array(Vec::new()),
            },
            "Value" => match message.fields().next() {
                Some((_, Value::Enum(_))) | None => Json::Null,
                Some((field, value)) => self.value(Some(field), value),
            },
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue" => self.wrapper(message),
            _ => self.fields(message),
        }
    }

    fn fields(self, message: &Message) -> Json {
        let mut object = Map::new();
        self.add_fields(&mut object, message);
        Json::Object(object)
    }

    fn add_fields(self, object: &mut Map<String, Json>, message: &Message) {
        for (field, value) in message.fields() {
            let printer = Self { hidden: self.hidden || (self.redact && field.is_sensitive()), ..self };
            object.insert(field.name().to_owned(), printer.value(Some(field), value));
        }
        // The struct inside a typed struct is the message that it names.
        if self.redact
            && type_url::is_typed_struct(message.message_type().full_name())
            && let Some(url) = message.named("type_url").and_then(Value::as_str)
            && let Some(inner) = Descriptors::load().message(url)
            && let Some(value) = object.get_mut("value")
        {
            redact_struct(value, inner);
        }
    }

    fn wrapper(self, message: &Message) -> Json {
        match (message.fields().next(), message.message_type().field_numbered(1).map(FieldType::kind)) {
            (Some((field, value)), _) => self.value(Some(field), value),
            (None, Some(Kind::Bool)) => false.into(),
            (None, Some(Kind::String | Kind::Bytes)) => "".into(),
            (None, Some(Kind::Int64 | Kind::Uint64)) => "0".into(),
            (None, _) => 0.into(),
        }
    }

    fn any(self, message: &Message) -> Json {
        let Some((url, payload)) = message.as_any() else { return Json::Null };
        let mut object = Map::new();
        if url.is_empty() {
            return Json::Object(object);
        }
        object.insert("@type".to_owned(), url.into());
        match payload {
            Some(Value::Message(payload)) => add_payload(&mut object, payload, self),
            Some(Value::Bytes(_)) if self.hidden => {
                object.insert("value".to_owned(), STANDARD.encode(REDACTED).into());
            }
            Some(Value::Bytes(bytes)) => {
                object.insert("value".to_owned(), STANDARD.encode(bytes).into());
            }
            _ => {}
        }
        Json::Object(object)
    }

    fn map(self, entries: &[(Value, Value)]) -> Json {
        let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key.as_key(), value)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        Json::Object(sorted.into_iter().map(|(key, value)| (key, self.value(None, value))).collect())
    }

    fn value(self, field: Option<FieldType>, value: &Value) -> Json {
        match value {
            Value::Message(message) => self.message(message),
            Value::List(items) => items.iter().map(|item| self.value(field, item)).collect(),
            Value::Map(entries) => {
                let value_field = field.and_then(FieldType::entry).map(|(_, value)| value);
                let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key.as_key(), value)).collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                sorted.into_iter().map(|(key, value)| (key, self.value(value_field, value))).collect()
            }
            Value::String(_) if self.hidden => REDACTED.into(),
            Value::Bytes(_) if self.hidden => STANDARD.encode(REDACTED).into(),
            Value::Bool(value) => (*value && !self.hidden).into(),
            Value::String(text) => text.clone().into(),
            Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
            _ if self.hidden => 0.into(),
            Value::I32(number) => (*number).into(),
            Value::U32(number) => (*number).into(),
            Value::I64(number) => number.to_string().into(),
            Value::U64(number) => number.to_string().into(),
            Value::F32(number) => shortest_float(*number),
            Value::F64(number) => float(*number),
            Value::Enum(number) => enum_name(field, *number),
        }
    }
}

fn add_payload(object: &mut Map<String, Json>, payload: &Message, printer: Printer) {
    let name = payload.message_type().full_name();
    if crate::decode::has_own_form(name) {
        object.insert("value".to_owned(), printer.message(payload));
    } else {
        printer.add_fields(object, payload);
    }
}

fn enum_name(field: Option<FieldType>, number: i32) -> Json {
    if let Some(Kind::Enum(one)) = field.map(FieldType::kind)
        && let Some(value) = one.values().find(|value| value.number == number)
    {
        return value.name.into();
    }
    number.into()
}

fn float(number: f64) -> Json {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Json::Null, Json::Number)
}

/// A float with no more digits than it has.
fn shortest_float(number: f32) -> Json {
    float(number.to_string().parse().unwrap_or_else(|_| f64::from(number)))
}

fn number_of(message: &Message, name: &str) -> i64 {
    match message.named(name) {
        Some(Value::I64(number)) => *number,
        Some(Value::I32(number)) => (*number).into(),
        _ => 0,
    }
}

/// `1.500s`: with no, three, six or nine decimals.
pub(crate) fn duration_text(message: &Message) -> String {
    let (seconds, nanos) = (number_of(message, "seconds"), number_of(message, "nanos"));
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), decimals(nanos.unsigned_abs()))
}

fn decimals(nanos: u64) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}

/// RFC 3339 in UTC. The date is found by counting off whole 400-year cycles, then years, then months.
fn timestamp_text(message: &Message) -> String {
    let seconds = number_of(message, "seconds").clamp(-62_135_596_800, 253_402_300_799);
    let (mut days, rest) = (seconds.div_euclid(86_400) + 719_162, seconds.rem_euclid(86_400));
    let mut year = 1 + days / 146_097 * 400;
    days %= 146_097;
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    let mut month = 1;
    while days >= crate::decode::days_in_month(year, month) {
        days -= crate::decode::days_in_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = decimals(number_of(message, "nanos").unsigned_abs());
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", days + 1)
}

fn year_length(year: i64) -> i64 {
    337 + crate::decode::days_in_month(year, 2)
}

fn field_mask_text(message: &Message) -> String {
    let Some(Value::List(paths)) = message.named("paths") else { return String::new() };
    let camel = |path: &str| {
        let mut out = String::new();
        let mut raise = false;
        for c in path.chars() {
            match c {
                '_' => raise = true,
                c if std::mem::take(&mut raise) => out.push(c.to_ascii_uppercase()),
                c => out.push(c),
            }
        }
        out
    };
    paths.iter().filter_map(Value::as_str).map(camel).collect::<Vec<_>>().join(",")
}

/// Redacts the free-form JSON of a message: whatever stands in a sensitive field of it.
fn redact_struct(json: &mut Json, message_type: MessageType) {
    let inner = json
        .get("@type")
        .and_then(Json::as_str)
        .and_then(|url| Descriptors::load().message(url))
        .unwrap_or(message_type);
    let Json::Object(object) = json else { return };
    for (key, value) in object.iter_mut() {
        let Some(field) = inner.field_spelled(key) else { continue };
        if field.is_sensitive() {
            hide(value);
            continue;
        }
        let target = field.entry().map_or(field, |(_, value)| value);
        let Kind::Message(message_type) = target.kind() else { continue };
        match value {
            Json::Array(items) => items.iter_mut().for_each(|item| redact_struct(item, message_type)),
            Json::Object(entries) if field.is_map() => {
                entries.values_mut().for_each(|item| redact_struct(item, message_type));
            }
            other => redact_struct(other, message_type),
        }
    }
}

fn hide(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(hide),
        Json::Object(entries) => entries.values_mut().for_each(hide),
        other => *other = REDACTED.into(),
    }
}

#[cfg(test)]
mod tests;
