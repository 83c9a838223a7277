//! What the library knows about every message of the API: names, fields, types, validation rules.
//!
//! The build script writes the tables; this file is the only reader. A [`MessageType`], [`FieldType`] or [`EnumType`]
//! is just a row number, so they are free to copy and live for ever. Nothing is loaded or allocated. Records are
//! little-endian:
//!
//! ```text
//! messages  20: name u32, name length u16, flags u16, first field u32, first oneof u32, fields u16, oneofs u16
//! fields    24: name u32, number u32, target row u32, rules u32, rules length u16, oneof u16, name length u8, kind u8,
//!               flags u16
//! oneofs     8: name u32, name length u16, required u16
//! enums     16: name u32, name length u32, first value u32, values u32
//! values    12: name u32, number i32, name length u16, deprecated u16
//! ```
//!
//! Messages and enums are sorted by name, the fields of a message by number. A row that does not exist reads as zeros:
//! the tables come from our own build, and no code path may panic.

use crate::type_url;

static STRINGS: &str = include_str!(concat!(env!("OUT_DIR"), "/strings.bin"));
static MESSAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/messages.bin"));
static FIELDS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fields.bin"));
static ONEOFS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/oneofs.bin"));
static ENUMS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/enums.bin"));
static VALUES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/values.bin"));
static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rules.bin"));

const MESSAGE_SIZE: usize = 20;
const FIELD_SIZE: usize = 24;
const ONEOF_SIZE: usize = 8;
const ENUM_SIZE: usize = 16;
const VALUE_SIZE: usize = 12;
const NO_ROW: u32 = u32::MAX;
const NO_ONEOF: u16 = u16::MAX;

mod flag {
    pub(super) const REPEATED: u16 = 1;
    pub(super) const MAP: u16 = 1 << 1;
    pub(super) const PACKED: u16 = 1 << 2;
    pub(super) const PRESENCE: u16 = 1 << 3;
    pub(super) const DEPRECATED: u16 = 1 << 4;
    pub(super) const SENSITIVE: u16 = 1 << 5;
    pub(super) const DISALLOWED: u16 = 1 << 6;
}

/// The schema of the whole API. A token without content: the tables are constants of the binary.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors(());

impl Descriptors {
    /// The schema. Costs nothing, so there is no need to keep or share it.
    pub const fn load() -> Self {
        Self(())
    }

    /// The message with this full name (`envoy.config.core.v3.Node`) or type URL.
    pub fn message(self, name: &str) -> Option<MessageType> {
        let row = search(MESSAGES.len() / MESSAGE_SIZE, type_url::full_name(name), |row| {
            MessageType(row).full_name()
        })?;
        Some(MessageType(row))
    }

    /// Every message, in the order of their names.
    pub fn messages(self) -> impl Iterator<Item = MessageType> {
        (0..(MESSAGES.len() / MESSAGE_SIZE) as u32).map(MessageType)
    }
}

/// A message of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageType(u32);

impl MessageType {
    /// For example `envoy.config.core.v3.Node`.
    pub fn full_name(self) -> &'static str {
        let at = self.0 as usize * MESSAGE_SIZE;
        string(u32_at(MESSAGES, at), u16_at(MESSAGES, at + 4).into())
    }

    /// The fields, by number.
    pub fn fields(self) -> impl ExactSizeIterator<Item = FieldType> + DoubleEndedIterator {
        let at = self.0 as usize * MESSAGE_SIZE;
        let first = u32_at(MESSAGES, at + 8);
        (first..first.saturating_add(u16_at(MESSAGES, at + 16).into())).map(FieldType)
    }

    /// The field with this proto name (`connect_timeout`).
    pub fn field(self, name: &str) -> Option<FieldType> {
        self.fields().find(|field| field.name() == name)
    }

    /// The field that a configuration file may spell in snake_case or lowerCamelCase.
    pub fn field_spelled(self, spelling: &str) -> Option<FieldType> {
        self.field(spelling).or_else(|| self.fields().find(|field| is_camel_of(spelling, field.name())))
    }

    /// The field with this number.
    pub fn field_numbered(self, number: u32) -> Option<FieldType> {
        self.fields().find(|field| field.number() == number)
    }

    /// The oneofs of this message. Those that the compiler makes up for `optional` fields are not among them.
    pub fn oneofs(self) -> impl Iterator<Item = OneofType> {
        let at = self.0 as usize * MESSAGE_SIZE;
        let first = u32_at(MESSAGES, at + 12);
        (0..u16_at(MESSAGES, at + 18))
            .map(move |local| OneofType { row: first.saturating_add(local.into()), local })
    }

    /// Whether the proto switches validation of this message off.
    pub fn skips_validation(self) -> bool {
        u16_at(MESSAGES, self.0 as usize * MESSAGE_SIZE + 6) & 1 != 0
    }
}

/// A oneof of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneofType {
    row: u32,
    local: u16,
}

impl OneofType {
    /// For example `cluster_discovery_type`.
    pub fn name(self) -> &'static str {
        let at = self.row as usize * ONEOF_SIZE;
        string(u32_at(ONEOFS, at), u16_at(ONEOFS, at + 4).into())
    }

    /// Whether one of its fields must be set (`(validate.required)`).
    pub fn is_required(self) -> bool {
        u16_at(ONEOFS, self.row as usize * ONEOF_SIZE + 6) != 0
    }

    /// Whether the field is a member.
    pub fn contains(self, field: FieldType) -> bool {
        field.oneof() == Some(self.local)
    }
}

/// The type of a field's value, or of one element of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `double`
    Double,
    /// `float`
    Float,
    /// `int64`
    Int64,
    /// `uint64`
    Uint64,
    /// `int32`
    Int32,
    /// `fixed64`
    Fixed64,
    /// `fixed32`
    Fixed32,
    /// `bool`
    Bool,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// `uint32`
    Uint32,
    /// `sfixed32`
    Sfixed32,
    /// `sfixed64`
    Sfixed64,
    /// `sint32`
    Sint32,
    /// `sint64`
    Sint64,
    /// A message.
    Message(MessageType),
    /// An enum.
    Enum(EnumType),
}

impl Kind {
    /// As the proto language spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Float => "float",
            Self::Int64 => "int64",
            Self::Uint64 => "uint64",
            Self::Int32 => "int32",
            Self::Fixed64 => "fixed64",
            Self::Fixed32 => "fixed32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Uint32 => "uint32",
            Self::Sfixed32 => "sfixed32",
            Self::Sfixed64 => "sfixed64",
            Self::Sint32 => "sint32",
            Self::Sint64 => "sint64",
            Self::Message(message) => message.full_name(),
            Self::Enum(one) => one.full_name(),
        }
    }
}

/// A field of a message. Its order is the order of numbers within one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldType(u32);

impl FieldType {
    fn at(self) -> usize {
        self.0 as usize * FIELD_SIZE
    }

    fn has(self, bit: u16) -> bool {
        u16_at(FIELDS, self.at() + 22) & bit != 0
    }

    /// The proto name, for example `connect_timeout`.
    pub fn name(self) -> &'static str {
        string(u32_at(FIELDS, self.at()), FIELDS.get(self.at() + 20).copied().unwrap_or_default().into())
    }

    /// The number on the wire.
    pub fn number(self) -> u32 {
        u32_at(FIELDS, self.at() + 4)
    }

    /// The type of the value, or of one element when the field is repeated. A map's elements are its entry messages.
    pub fn kind(self) -> Kind {
        let target = u32_at(FIELDS, self.at() + 8);
        match FIELDS.get(self.at() + 21).copied().unwrap_or_default() {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            11 if target != NO_ROW => Kind::Message(MessageType(target)),
            13 => Kind::Uint32,
            14 if target != NO_ROW => Kind::Enum(EnumType(target)),
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            _ => Kind::Bytes,
        }
    }

    /// Repeated, maps included.
    pub fn is_repeated(self) -> bool {
        self.has(flag::REPEATED)
    }

    /// A map; [`FieldType::entry`] gives its key and value.
    pub fn is_map(self) -> bool {
        self.has(flag::MAP)
    }

    /// Whether elements are written as one packed block.
    pub fn is_packed(self) -> bool {
        self.has(flag::PACKED)
    }

    /// Whether "set to the default" differs from "not set".
    pub fn has_presence(self) -> bool {
        self.has(flag::PRESENCE)
    }

    /// Marked `deprecated` in the proto.
    pub fn is_deprecated(self) -> bool {
        self.has(flag::DEPRECATED)
    }

    /// Marked `(udpa.annotations.sensitive)`: its content is never shown.
    pub fn is_sensitive(self) -> bool {
        self.has(flag::SENSITIVE)
    }

    /// Deprecated so long that Envoy refuses it unless a runtime key allows it.
    pub fn is_disallowed_by_default(self) -> bool {
        self.has(flag::DISALLOWED)
    }

    /// The position of the oneof within the message.
    fn oneof(self) -> Option<u16> {
        Some(u16_at(FIELDS, self.at() + 18)).filter(|oneof| *oneof != NO_ONEOF)
    }

    /// Whether both fields are members of one oneof.
    pub fn excludes(self, other: Self) -> bool {
        self != other && self.oneof().is_some() && self.oneof() == other.oneof()
    }

    /// Whether the field is a member of a oneof.
    pub fn is_in_oneof(self) -> bool {
        self.oneof().is_some()
    }

    /// Key and value field of a map's entry.
    pub fn entry(self) -> Option<(FieldType, FieldType)> {
        match self.kind() {
            Kind::Message(entry) if self.is_map() => {
                Some((entry.field_numbered(1)?, entry.field_numbered(2)?))
            }
            _ => None,
        }
    }

    /// The `validate.FieldRules` of the field on the wire, with an identity for caches.
    pub(crate) fn rules(self) -> Option<(u32, &'static [u8])> {
        let at = u32_at(FIELDS, self.at() + 12);
        let len = u16_at(FIELDS, self.at() + 16) as usize;
        Some((at, RULES.get(at as usize..at as usize + len)?)).filter(|_| at != NO_ROW)
    }
}

/// An enum of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumType(u32);

impl EnumType {
    /// For example `envoy.config.cluster.v3.Cluster.LbPolicy`.
    pub fn full_name(self) -> &'static str {
        let at = self.0 as usize * ENUM_SIZE;
        string(u32_at(ENUMS, at), u32_at(ENUMS, at + 4))
    }

    /// Names and numbers.
    pub fn values(self) -> impl Iterator<Item = EnumValue> {
        let at = self.0 as usize * ENUM_SIZE;
        let first = u32_at(ENUMS, at + 8) as usize;
        (first..first + u32_at(ENUMS, at + 12) as usize).map(|row| {
            let at = row * VALUE_SIZE;
            EnumValue {
                name: string(u32_at(VALUES, at), u16_at(VALUES, at + 8).into()),
                number: u32_at(VALUES, at + 4) as i32,
                deprecated: u16_at(VALUES, at + 10) != 0,
            }
        })
    }
}

/// A value of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumValue {
    /// For example `ROUND_ROBIN`.
    pub name: &'static str,
    /// The number on the wire.
    pub number: i32,
    /// Marked `deprecated` in the proto.
    pub deprecated: bool,
}

/// Whether `spelling` is what protobuf-JSON makes of the proto name: every underscore dropped, the next letter raised.
fn is_camel_of(spelling: &str, name: &str) -> bool {
    let mut raise = false;
    let mut left = spelling.bytes();
    for byte in name.bytes() {
        if byte == b'_' {
            raise = true;
        } else {
            let byte = if std::mem::take(&mut raise) { byte.to_ascii_uppercase() } else { byte };
            if left.next() != Some(byte) {
                return false;
            }
        }
    }
    left.next().is_none()
}

fn search(rows: usize, name: &str, name_of: impl Fn(u32) -> &'static str) -> Option<u32> {
    let (mut low, mut high) = (0_u32, rows as u32);
    while low < high {
        let middle = u32::midpoint(low, high);
        match name_of(middle).cmp(name) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn string(at: u32, len: u32) -> &'static str {
    STRINGS.get(at as usize..at as usize + len as usize).unwrap_or_default()
}

fn u32_at(table: &[u8], at: usize) -> u32 {
    table.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u16_at(table: &[u8], at: usize) -> u16 {
    table.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
