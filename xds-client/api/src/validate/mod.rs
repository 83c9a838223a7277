//! The constraints that the API states in its own files (`(validate.rules)`), checked on the message tree.
//!
//! The reasons are worded as Envoy words them ("value is required"), after our field path. Payloads of `Any` are
//! checked like the rest. Files: this one walks, `rules` turns the annotations into checks, `text` and `range` are the
//! checks of strings and numbers.

mod range;
mod rules;
mod text;

use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{FieldError, MAX_PROBLEMS, shorten};
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{FieldType, Kind};
use rules::{Check, Rules};

/// All violations of the API's own constraints, inside payloads too.
pub fn validate(message: &Message) -> Vec<FieldError> {
    let mut validator = Validator { cache: HashMap::new(), errors: Vec::new(), hidden: false };
    validator.message(message, &Path::ROOT);
    validator.errors
}

struct Validator {
    /// Checks by their place in the rule table: many fields share one.
    cache: HashMap<u32, Rc<Rules>>,
    errors: Vec<FieldError>,
    /// Inside a sensitive field, whose values are not shown.
    hidden: bool,
}

impl Validator {
    fn fail(&mut self, path: &Path<'_>, value: &str, reason: impl Into<String>) {
        if self.errors.len() < MAX_PROBLEMS {
            let shown = if self.hidden && !value.is_empty() { "[redacted]" } else { value };
            self.errors.push(FieldError::new(path, shown, reason));
        }
    }

    fn rules(&mut self, field: FieldType) -> Option<Rc<Rules>> {
        let (at, bytes) = field.rules()?;
        Some(Rc::clone(self.cache.entry(at).or_insert_with(|| Rc::new(Rules::parse(bytes)))))
    }

    fn message(&mut self, message: &Message, path: &Path<'_>) {
        if let Some((_, payload)) = message.as_any() {
            if let Some(Value::Message(payload)) = payload {
                self.message(payload, path);
            }
            return;
        }
        let message_type = message.message_type();
        if message_type.skips_validation() || is_json(message_type.full_name()) {
            return;
        }
        for field in message_type.fields() {
            let value = message.value(field);
            let rules = self.rules(field);
            if value.is_none() && rules.is_none() {
                continue;
            }
            let was_hidden = self.hidden;
            self.hidden |= field.is_sensitive();
            self.field(field, value, rules.as_deref(), &path.field(field));
            self.hidden = was_hidden;
        }
        for oneof in message_type.oneofs().filter(|oneof| oneof.is_required()) {
            if !message.fields().any(|(field, _)| oneof.contains(field)) {
                let names: Vec<_> = message_type
                    .fields()
                    .filter(|field| oneof.contains(*field))
                    .map(FieldType::name)
                    .collect();
                if self.errors.len() < MAX_PROBLEMS {
                    let error = FieldError::new(path.name(oneof.name()), "", "is required");
                    self.errors.push(error.with_hint(format!("set one of {}", names.join(", "))));
                }
            }
        }
    }

    fn field(&mut self, field: FieldType, value: Option<&Value>, rules: Option<&Rules>, path: &Path<'_>) {
        let none = Rules::default();
        let rules = rules.unwrap_or(&none);
        match value {
            // A member's rules count when the oneof chose it.
            None if field.is_in_oneof() => {}
            None if rules.required => self.fail(path, "", "value is required"),
            None if field.is_repeated() => self.length(0, rules, path),
            // A field with presence that is not set has nothing to check, the default of any other is its value.
            None if field.has_presence() => {}
            None => self.scalar(field, &absent(field.kind()), rules, path),
            Some(Value::List(items)) => self.list(field, items, rules, path),
            Some(Value::Map(entries)) => self.map(field, entries, rules, path),
            Some(value) => self.single(field, value, rules, path),
        }
    }

    fn single(&mut self, field: FieldType, value: &Value, rules: &Rules, path: &Path<'_>) {
        let Value::Message(message) = value else { return self.scalar(field, value, rules, path) };
        // Not an annotation: Envoy refuses a negative duration wherever it reads one.
        if message.message_type().full_name() == "google.protobuf.Duration"
            && matches!(rules.check, Check::None)
            && rules::nanoseconds(message) < 0
        {
            self.fail(path, &shown(value), "expected a positive duration");
        }
        match &rules.check {
            Check::None => {}
            Check::Duration(range) => {
                self.report(range.check(rules::nanoseconds(message)), path, &shown(value));
            }
            Check::Any { allowed, refused } => {
                let url = message.as_any().map_or("", |(url, _)| url);
                if !allowed.is_empty() && !allowed.iter().any(|one| one == url) {
                    self.fail(path, url, "type_url must be in list");
                } else if refused.iter().any(|one| one == url) {
                    self.fail(path, url, "type_url must not be in list");
                }
            }
            // A rule for the value of a wrapper message.
            _ => {
                if let Some(inner) = message.message_type().field_numbered(1) {
                    let default = absent(inner.kind());
                    self.scalar(inner, message.value(inner).unwrap_or(&default), rules, path);
                }
            }
        }
        if !rules.skip {
            self.message(message, path);
        }
    }

    fn list(&mut self, field: FieldType, items: &[Value], rules: &Rules, path: &Path<'_>) {
        self.length(items.len(), rules, path);
        let none = Rules::default();
        let of_items = match &rules.check {
            Check::List { items: of_items, unique, .. } => {
                if *unique && has_duplicates(items) {
                    self.fail(path, "", "repeated value must contain unique items");
                }
                of_items
            }
            _ => &none,
        };
        for (index, item) in items.iter().enumerate() {
            self.single(field, item, of_items, &path.index(index));
        }
    }

    fn map(&mut self, field: FieldType, entries: &[(Value, Value)], rules: &Rules, path: &Path<'_>) {
        self.length(entries.len(), rules, path);
        let none = Rules::default();
        let (of_keys, of_values) = match &rules.check {
            Check::Map { keys, values, .. } => (keys.as_ref(), values.as_ref()),
            _ => (&none, &none),
        };
        let Some((key_field, value_field)) = field.entry() else { return };
        for (key, value) in entries {
            let name = key.as_key();
            let at = path.key(&name);
            self.single(key_field, key, of_keys, &at);
            self.single(value_field, value, of_values, &at);
        }
    }

    fn length(&mut self, len: usize, rules: &Rules, path: &Path<'_>) {
        let (min, max, ignore_empty, what) = match &rules.check {
            Check::List { min, max, ignore_empty, .. } => (*min, *max, *ignore_empty, "item(s)"),
            Check::Map { min, max, ignore_empty, .. } => (*min, *max, *ignore_empty, "pair(s)"),
            _ => return,
        };
        let len = len as u64;
        if ignore_empty && len == 0 {
            return;
        }
        if len < min {
            self.fail(path, "", format!("value must contain at least {min} {what}"));
        } else if len > max {
            self.fail(path, "", format!("value must contain no more than {max} {what}"));
        }
    }

    fn scalar(&mut self, field: FieldType, value: &Value, rules: &Rules, path: &Path<'_>) {
        let verdict = match (&rules.check, value) {
            (Check::Text(check), Value::String(text)) => check.check(text),
            (Check::Bytes(check), Value::Bytes(bytes)) => check.check(bytes),
            (Check::Integer(range), value) => {
                rules::integer(value).map_or(Ok(()), |number| range.check(number))
            }
            (Check::Float(range), Value::F32(number)) => range.check(f64::from(*number)),
            (Check::Float(range), Value::F64(number)) => range.check(*number),
            (Check::Bool(constant), Value::Bool(value)) if constant != value => {
                Err(format!("value must equal {constant}"))
            }
            (Check::Enum { range, defined_only }, Value::Enum(number)) => {
                let defined = match field.kind() {
                    Kind::Enum(one) => one.values().any(|value| value.number == *number),
                    _ => true,
                };
                if *defined_only && !defined {
                    Err("value must be one of the defined enum values".to_owned())
                } else {
                    range.check((*number).into())
                }
            }
            _ => Ok(()),
        };
        if verdict.is_err() {
            self.report(verdict, path, &shown(value));
        }
    }

    fn report(&mut self, verdict: Result<(), String>, path: &Path<'_>, value: &str) {
        if let Err(reason) = verdict {
            self.fail(path, value, reason);
        }
    }
}

/// Free-form JSON has nothing to validate and may be deep.
fn is_json(full_name: &str) -> bool {
    matches!(full_name, "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue")
}

fn has_duplicates(items: &[Value]) -> bool {
    let mut seen = std::collections::HashSet::new();
    items.iter().any(|item| !seen.insert(format!("{item:?}")))
}

/// The value that a reader sees in a scalar field that is not set.
fn absent(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::String(String::new()),
        Kind::Bool => Value::Bool(false),
        Kind::Bytes | Kind::Message(_) => Value::Bytes(Vec::new()),
        Kind::Double => Value::F64(0.0),
        Kind::Float => Value::F32(0.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(0),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(0),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(0),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(0),
        Kind::Enum(_) => Value::Enum(0),
    }
}

/// A value on one short line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", shorten(text)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Message(message) if message.message_type().full_name() == "google.protobuf.Duration" => {
            crate::to_json::duration_text(message)
        }
        Value::Message(message) => match message.as_any() {
            Some((url, _)) => shorten(url),
            None => "{…}".to_owned(),
        },
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(entries) => format!("a map of {}", entries.len()),
        other => other.as_key(),
    }
}

#[cfg(test)]
mod tests;
