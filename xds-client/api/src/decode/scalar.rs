//! Document nodes to scalar values and enum numbers.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Reader, UnknownFields};
use crate::document::{Node, number};
use crate::error::{FieldError, NoteKind, nearest};
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{EnumType, Kind};

/// Why a node is not a value of a kind.
pub(super) struct Problem {
    pub(super) reason: String,
    pub(super) hint: Option<&'static str>,
}

fn problem(reason: impl Into<String>) -> Problem {
    Problem { reason: reason.into(), hint: None }
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads a scalar.
pub(super) fn read(kind: Kind, node: &Node) -> Result<Value, Problem> {
    match kind {
        Kind::String => text(node).map(Value::String),
        Kind::Bool => boolean(node).map(Value::Bool),
        Kind::Bytes => bytes(node).map(Value::Bytes),
        Kind::Double => float(node).map(Value::F64),
        Kind::Float => {
            let value = float(node)?;
            if value.is_finite() && value.abs() > f64::from(f32::MAX) {
                return Err(problem("the number is too large for a float"));
            }
            Ok(Value::F32(value as f32))
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(node).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(node).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => integer(node).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(node).map(Value::U64),
        Kind::Message(_) | Kind::Enum(_) => Err(problem("not a scalar")),
    }
}

/// What an element of a list is when it is given as null.
pub(super) fn default(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::String(String::new()),
        Kind::Bool => Value::Bool(false),
        Kind::Bytes => Value::Bytes(Vec::new()),
        Kind::Double => Value::F64(0.0),
        Kind::Float => Value::F32(0.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(0),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(0),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(0),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(0),
        Kind::Message(message) => Value::Message(Message::new(message)),
        Kind::Enum(_) => Value::Enum(0),
    }
}

fn text(node: &Node) -> Result<String, Problem> {
    match node {
        Node::String(text) => Ok(text.clone()),
        Node::Bool(_) => Err(Problem {
            reason: "expected a string".to_owned(),
            hint: Some(
                "YAML reads an unquoted y, n, yes, no, on, off, true or false as a boolean: put it in quotes",
            ),
        }),
        Node::Int(_) | Node::Uint(_) | Node::Float(_) => {
            Err(Problem { reason: "expected a string".to_owned(), hint: Some("put it in quotes") })
        }
        _ => Err(problem("expected a string")),
    }
}

fn boolean(node: &Node) -> Result<bool, Problem> {
    match node {
        Node::Bool(value) => Ok(*value),
        Node::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => Ok(true),
            "false" | "f" | "no" | "n" | "0" => Ok(false),
            _ => Err(problem("expected true or false")),
        },
        _ => Err(problem("expected true or false")),
    }
}

fn bytes(node: &Node) -> Result<Vec<u8>, Problem> {
    let Node::String(text) = node else { return Err(problem("expected bytes as a base64 string")) };
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|_| problem("the string is not base64"))
}

fn float(node: &Node) -> Result<f64, Problem> {
    match node {
        Node::Int(value) => Ok(*value as f64),
        Node::Uint(value) => Ok(*value as f64),
        Node::Float(value) => Ok(*value),
        Node::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            other => match number(other) {
                Some(Node::String(_)) | None => Err(problem("expected a number")),
                Some(parsed) => float(&parsed),
            },
        },
        _ => Err(problem("expected a number")),
    }
}

/// Reads an integer that fits its type; an integral float is one.
fn integer<T: TryFrom<i128>>(node: &Node) -> Result<T, Problem> {
    let value = match node {
        Node::Int(value) => i128::from(*value),
        Node::Uint(value) => i128::from(*value),
        Node::Float(value) if value.fract() == 0.0 && value.abs() < 1e19 => *value as i128,
        Node::Float(value) if value.fract() != 0.0 => return Err(problem("expected an integer")),
        Node::Float(_) => return Err(problem("the integer is out of range")),
        Node::String(text) => match number(text) {
            Some(parsed) => return integer(&parsed),
            None => return Err(problem("expected an integer")),
        },
        _ => return Err(problem("expected an integer")),
    };
    T::try_from(value).map_err(|_| problem("the integer is out of range"))
}

impl Reader {
    /// Reads an enum by name in any case, or by number.
    pub(super) fn enum_value(&mut self, one: EnumType, node: &Node, path: &Path<'_>) -> Option<Value> {
        let text = match node {
            Node::String(text) => text,
            Node::Int(_) | Node::Uint(_) | Node::Float(_) => {
                return match integer(node) {
                    Ok(number) => Some(self.numbered(one, number, path)),
                    Err(problem) => {
                        self.refuse(path, node, problem.reason);
                        None
                    }
                };
            }
            Node::Null if one.full_name() == "google.protobuf.NullValue" => return Some(Value::Enum(0)),
            _ => {
                self.refuse(path, node, format!("expected the name or number of a {}", one.full_name()));
                return None;
            }
        };
        let exact = one.values().find(|value| value.name == text);
        if let Some(value) =
            exact.or_else(|| one.values().find(|value| value.name.eq_ignore_ascii_case(text)))
        {
            return Some(self.numbered(one, value.number, path));
        }
        if let Ok(number) = integer(node) {
            return Some(self.numbered(one, number, path));
        }
        let reason = format!("{} has no value {:?}", one.full_name(), crate::error::shorten(text));
        if self.policy.unknown_fields == UnknownFields::Collect {
            self.note(path, NoteKind::UnknownEnumValue, format!("{reason}; the field is ignored"));
            return None;
        }
        let error = FieldError::new(path, "", reason);
        self.error(if let Some(name) = nearest(text, one.values().map(|value| value.name)) {
            error.with_hint(format!("did you mean `{name}`?"))
        } else {
            let names: Vec<_> = one.values().take(12).map(|value| value.name).collect();
            error.with_hint(format!("one of {}", names.join(", ")))
        });
        None
    }

    fn numbered(&mut self, one: EnumType, number: i32, path: &Path<'_>) -> Value {
        if let Some(value) = one.values().find(|value| value.number == number && value.deprecated) {
            self.note(path, NoteKind::Deprecated, format!("the value {} is deprecated", value.name));
        }
        Value::Enum(number)
    }
}
