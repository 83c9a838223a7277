//! The annotations of a field as checks that are ready to run.

use envoy_types::pb::validate as pgv;
use pgv::field_rules::Type;
use prost::Message as _;

use super::range::Range;
use super::text::{BytesCheck, TextCheck};
use crate::message::{Message, Value};

/// What a field must fulfil.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) required: bool,
    /// The message in the field is not looked into.
    pub(super) skip: bool,
    pub(super) check: Check,
}

/// The check of the value.
#[derive(Debug, Default)]
pub(super) enum Check {
    #[default]
    None,
    Integer(Range<i128>),
    Float(Range<f64>),
    Bool(bool),
    Text(Box<TextCheck>),
    Bytes(Box<BytesCheck>),
    Enum {
        range: Range<i128>,
        defined_only: bool,
    },
    /// In nanoseconds.
    Duration(Range<i128>),
    Any {
        allowed: Vec<String>,
        refused: Vec<String>,
    },
    List {
        min: u64,
        max: u64,
        unique: bool,
        ignore_empty: bool,
        items: Box<Rules>,
    },
    Map {
        min: u64,
        max: u64,
        ignore_empty: bool,
        keys: Box<Rules>,
        values: Box<Rules>,
    },
}

/// Each kind of number has a rule message of its own with the same fields.
macro_rules! range {
    ($rules:expr, $number:ty) => {
        Range::<$number> {
            constant: $rules.r#const.map(Into::into),
            lt: $rules.lt.map(Into::into),
            lte: $rules.lte.map(Into::into),
            gt: $rules.gt.map(Into::into),
            gte: $rules.gte.map(Into::into),
            allowed: $rules.r#in.iter().map(|number| (*number).into()).collect(),
            refused: $rules.not_in.iter().map(|number| (*number).into()).collect(),
            ignore_empty: $rules.ignore_empty.unwrap_or_default(),
            show: |number| number.to_string(),
        }
    };
}

impl Rules {
    /// Reads a `validate.FieldRules`. The bytes come from our own build; malformed ones mean no rules.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        pgv::FieldRules::decode(bytes).map(Self::from).unwrap_or_default()
    }
}

fn nested(rules: Option<Box<pgv::FieldRules>>) -> Box<Rules> {
    Box::new(rules.map(|rules| Rules::from(*rules)).unwrap_or_default())
}

impl From<pgv::FieldRules> for Rules {
    fn from(rules: pgv::FieldRules) -> Self {
        let message = rules.message.unwrap_or_default();
        let mut required = message.required.unwrap_or_default();
        let check = match rules.r#type {
            None | Some(Type::Timestamp(_)) => Check::None,
            Some(Type::Float(rules)) => Check::Float(range!(rules, f64)),
            Some(Type::Double(rules)) => Check::Float(range!(rules, f64)),
            Some(Type::Int32(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Int64(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Uint32(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Uint64(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Sint32(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Sint64(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Fixed32(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Fixed64(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Sfixed32(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Sfixed64(rules)) => Check::Integer(range!(rules, i128)),
            Some(Type::Bool(rules)) => rules.r#const.map_or(Check::None, Check::Bool),
            Some(Type::String(rules)) => Check::Text(Box::new(TextCheck::new(rules))),
            Some(Type::Bytes(rules)) => Check::Bytes(Box::new(BytesCheck::new(rules))),
            Some(Type::Enum(rules)) => enumeration(&rules),
            Some(Type::Repeated(rules)) => Check::List {
                min: rules.min_items.unwrap_or(0),
                max: rules.max_items.unwrap_or(u64::MAX),
                unique: rules.unique.unwrap_or_default(),
                ignore_empty: rules.ignore_empty.unwrap_or_default(),
                items: nested(rules.items),
            },
            Some(Type::Map(rules)) => Check::Map {
                min: rules.min_pairs.unwrap_or(0),
                max: rules.max_pairs.unwrap_or(u64::MAX),
                ignore_empty: rules.ignore_empty.unwrap_or_default(),
                keys: nested(rules.keys),
                values: nested(rules.values),
            },
            Some(Type::Any(rules)) => {
                required |= rules.required.unwrap_or_default();
                Check::Any { allowed: rules.r#in, refused: rules.not_in }
            }
            Some(Type::Duration(rules)) => {
                required |= rules.required.unwrap_or_default();
                Check::Duration(duration(&rules))
            }
        };
        Self { required, skip: message.skip.unwrap_or_default(), check }
    }
}

fn enumeration(rules: &pgv::EnumRules) -> Check {
    Check::Enum {
        range: Range {
            constant: rules.r#const.map(Into::into),
            lt: None,
            lte: None,
            gt: None,
            gte: None,
            allowed: rules.r#in.iter().map(|number| i128::from(*number)).collect(),
            refused: rules.not_in.iter().map(|number| i128::from(*number)).collect(),
            ignore_empty: false,
            show: |number| number.to_string(),
        },
        defined_only: rules.defined_only.unwrap_or_default(),
    }
}

fn duration(rules: &pgv::DurationRules) -> Range<i128> {
    type Duration = crate::google::protobuf::Duration;
    let nanos =
        |duration: &Duration| i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos);
    let bound = |duration: &Option<Duration>| duration.as_ref().map(nanos);
    Range {
        constant: bound(&rules.r#const),
        lt: bound(&rules.lt),
        lte: bound(&rules.lte),
        gt: bound(&rules.gt),
        gte: bound(&rules.gte),
        allowed: rules.r#in.iter().map(nanos).collect(),
        refused: rules.not_in.iter().map(nanos).collect(),
        ignore_empty: false,
        show: |nanos| format!("{}s", nanos as f64 / 1e9),
    }
}

/// A duration message as one number.
pub(super) fn nanoseconds(message: &Message) -> i128 {
    let part = |name| message.named(name).and_then(integer).unwrap_or_default();
    part("seconds") * 1_000_000_000 + part("nanos")
}

/// The number in an integer value.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I32(number) | Value::Enum(number) => Some((*number).into()),
        Value::I64(number) => Some((*number).into()),
        Value::U32(number) => Some((*number).into()),
        Value::U64(number) => Some((*number).into()),
        _ => None,
    }
}
