//! Messages to and from the protobuf wire format.
//!
//! Reading unpacks every `Any` whose type the API has and whose payload is well formed; other payloads stay bytes.
//! Unknown fields are dropped and counted by path, as Envoy does for dynamic resources.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint,
    skip_field,
};

use crate::error::{MAX_PROBLEMS, Note, NoteKind};
use crate::message::{Message, Value};
use crate::path::Path;
use crate::schema::{Descriptors, EnumType, FieldType, Kind, MessageType};

/// How deep messages may be nested on the wire, payloads included.
const MAX_DEPTH: usize = 100;

/// Bytes that are not a message of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct WireError {
    /// Proto names from the top of the message.
    pub path: String,
    /// What is wrong with the bytes.
    pub reason: String,
}

/// A message that was read from wire bytes.
#[derive(Debug, Clone)]
pub struct FromWire {
    /// The message.
    pub message: Message,
    /// Unknown fields and payloads, deprecated fields.
    pub notes: Vec<Note>,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are malformed, not UTF-8 where text is expected, or nested too deeply.
    pub fn from_wire(message_type: MessageType, bytes: &[u8]) -> Result<FromWire, WireError> {
        let mut reader = WireReader { notes: Vec::new() };
        let message = reader.message(message_type, bytes, &Path::ROOT, 0)?;
        Ok(FromWire { message, notes: reader.notes })
    }

    /// The wire bytes.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_message(self, &mut out);
        out
    }

    /// The message as a Rust type, by way of the wire format. The caller names the type that belongs to this message.
    ///
    /// # Errors
    /// The message is nested deeper than the typed decoder allows.
    pub fn to_prost<M: prost::Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.to_wire().as_slice())
    }

    /// The tree of a typed message.
    ///
    /// # Errors
    /// The API has no such message, or it is nested too deeply.
    pub fn from_prost<M: prost::Message + prost::Name>(typed: &M) -> Result<FromWire, WireError> {
        let name = M::full_name();
        let Some(message_type) = Descriptors::load().message(&name) else {
            return Err(WireError { path: String::new(), reason: format!("the API has no message {name}") });
        };
        Self::from_wire(message_type, &typed.encode_to_vec())
    }
}

fn wire_type(kind: Kind) -> WireType {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        _ => WireType::Varint,
    }
}

fn write_message(message: &Message, out: &mut Vec<u8>) {
    for (field, value) in message.fields() {
        let number = field.number();
        match value {
            Value::List(items) if field.is_packed() => {
                let mut block = Vec::new();
                for item in items {
                    write_value(field.kind(), item, &mut block);
                }
                encode_key(number, WireType::LengthDelimited, out);
                encode_varint(block.len() as u64, out);
                out.extend(block);
            }
            Value::List(items) => items.iter().for_each(|item| write_field(field, item, out)),
            Value::Map(entries) => {
                if let Some((key_field, value_field)) = field.entry() {
                    for (key, value) in entries {
                        let mut entry = Vec::new();
                        write_field(key_field, key, &mut entry);
                        write_field(value_field, value, &mut entry);
                        encode_key(number, WireType::LengthDelimited, out);
                        encode_varint(entry.len() as u64, out);
                        out.extend(entry);
                    }
                }
            }
            single => write_field(field, single, out),
        }
    }
}

fn write_field(field: FieldType, value: &Value, out: &mut Vec<u8>) {
    encode_key(field.number(), wire_type(field.kind()), out);
    write_value(field.kind(), value, out);
}

fn write_value(kind: Kind, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (_, Value::Bool(value)) => encode_varint(u64::from(*value), out),
        (Kind::Sint32, Value::I32(value)) => {
            encode_varint(u64::from(((value << 1) ^ (value >> 31)) as u32), out);
        }
        (Kind::Sfixed32, Value::I32(value)) => out.put_i32_le(*value),
        (_, Value::I32(value) | Value::Enum(value)) => encode_varint(i64::from(*value) as u64, out),
        (Kind::Sint64, Value::I64(value)) => encode_varint(((value << 1) ^ (value >> 63)) as u64, out),
        (Kind::Sfixed64, Value::I64(value)) => out.put_i64_le(*value),
        (_, Value::I64(value)) => encode_varint(*value as u64, out),
        (Kind::Fixed32, Value::U32(value)) => out.put_u32_le(*value),
        (_, Value::U32(value)) => encode_varint(u64::from(*value), out),
        (Kind::Fixed64, Value::U64(value)) => out.put_u64_le(*value),
        (_, Value::U64(value)) => encode_varint(*value, out),
        (_, Value::F32(value)) => out.put_f32_le(*value),
        (_, Value::F64(value)) => out.put_f64_le(*value),
        (_, Value::String(text)) => write_block(text.as_bytes(), out),
        (_, Value::Bytes(bytes)) => write_block(bytes, out),
        (_, Value::Message(message)) => {
            // The length comes first and is not known yet: write behind a gap of one byte, which is enough for most.
            let at = out.len();
            out.push(0);
            write_message(message, out);
            let len = out.len() - at - 1;
            if len < 128 {
                out[at] = len as u8;
            } else {
                let mut prefix = Vec::with_capacity(encoded_len_varint(len as u64));
                encode_varint(len as u64, &mut prefix);
                out.splice(at..=at, prefix);
            }
        }
        (_, Value::List(_) | Value::Map(_)) => {}
    }
}

fn write_block(bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

struct WireReader {
    notes: Vec<Note>,
}

fn wire_error(path: &Path<'_>, reason: impl std::fmt::Display) -> WireError {
    WireError { path: path.to_string(), reason: reason.to_string() }
}

impl WireReader {
    fn note(&mut self, path: &Path<'_>, kind: NoteKind, text: impl Into<String>) {
        if self.notes.len() < MAX_PROBLEMS {
            self.notes.push(Note { path: path.to_string(), kind, text: text.into() });
        }
    }

    fn message(
        &mut self,
        message_type: MessageType,
        mut bytes: &[u8],
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Message, WireError> {
        if depth > MAX_DEPTH {
            return Err(wire_error(path, "messages are nested too deeply"));
        }
        let mut message = Message::new(message_type);
        let mut maps = MapIndex::default();
        while bytes.has_remaining() {
            let (number, wire) = decode_key(&mut bytes).map_err(|error| wire_error(path, error))?;
            let known = message_type.field_numbered(number).filter(|field| accepts(*field, wire));
            let Some(field) = known else {
                skip_field(wire, number, &mut bytes, DecodeContext::default())
                    .map_err(|error| wire_error(path, error))?;
                let text = format!("{} has no field number {number}", message_type.full_name());
                self.note(path, NoteKind::UnknownField, text);
                continue;
            };
            let at = path.field(field);
            if field.is_deprecated() && message.value(field).is_none() {
                self.note(&at, NoteKind::Deprecated, "the field is deprecated");
            }
            if let Some((key, value)) = field.entry() {
                let entry = self.entry(key, value, &mut bytes, &at, depth)?;
                maps.add(&mut message, field, entry);
            } else if field.is_repeated() {
                let mut list = match message.take(field) {
                    Some(Value::List(list)) => list,
                    _ => Vec::new(),
                };
                if wire == WireType::LengthDelimited && wire_type(field.kind()) != wire {
                    let mut block = take_block(&mut bytes, &at)?;
                    while block.has_remaining() {
                        list.push(self.value(field.kind(), &mut block, &at, depth)?);
                    }
                } else {
                    let at = at.index(list.len());
                    list.push(self.value(field.kind(), &mut bytes, &at, depth)?);
                }
                message.set(field, Value::List(list));
            } else {
                let value = self.value(field.kind(), &mut bytes, &at, depth)?;
                match (message.take(field), value) {
                    (Some(Value::Message(mut earlier)), Value::Message(later)) => {
                        earlier.merge(later);
                        message.set(field, Value::Message(earlier));
                    }
                    (_, value) => message.set(field, value),
                }
            }
        }
        self.unpack(&mut message, path, depth)?;
        Ok(message)
    }

    /// Replaces the bytes of an `Any` by the message they are.
    fn unpack(&mut self, message: &mut Message, path: &Path<'_>, depth: usize) -> Result<(), WireError> {
        let Some((url, payload)) = message.as_any() else { return Ok(()) };
        if url.is_empty() {
            return Ok(());
        }
        let Some(payload_type) = Descriptors::load().message(url) else {
            let text = format!("the API has no message {:?}", crate::error::shorten(url));
            self.note(path, NoteKind::UnknownType, text);
            return Ok(());
        };
        let unpacked = match payload {
            Some(Value::Bytes(bytes)) => self.message(payload_type, bytes, path, depth + 1)?,
            _ => Message::new(payload_type),
        };
        if let Some(field) = message.message_type().field("value") {
            message.set(field, Value::Message(unpacked));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        key_field: FieldType,
        value_field: FieldType,
        bytes: &mut &[u8],
        path: &Path<'_>,
        depth: usize,
    ) -> Result<(Value, Value), WireError> {
        let mut block = take_block(bytes, path)?;
        let (mut key, mut value) = (None, None);
        while block.has_remaining() {
            let (number, wire) = decode_key(&mut block).map_err(|error| wire_error(path, error))?;
            if number == key_field.number() && accepts(key_field, wire) {
                key = Some(self.value(key_field.kind(), &mut block, path, depth)?);
            } else if number == value_field.number() && accepts(value_field, wire) {
                value = Some(self.value(value_field.kind(), &mut block, path, depth)?);
            } else {
                skip_field(wire, number, &mut block, DecodeContext::default())
                    .map_err(|error| wire_error(path, error))?;
            }
        }
        Ok((
            key.unwrap_or_else(|| empty(key_field.kind())),
            value.unwrap_or_else(|| empty(value_field.kind())),
        ))
    }

    fn value(
        &mut self,
        kind: Kind,
        bytes: &mut &[u8],
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Value, WireError> {
        Ok(match kind {
            Kind::Message(message_type) => {
                let block = take_block(bytes, path)?;
                Value::Message(self.message(message_type, block, path, depth + 1)?)
            }
            Kind::String => {
                let block = take_block(bytes, path)?;
                let text =
                    std::str::from_utf8(block).map_err(|_| wire_error(path, "the text is not UTF-8"))?;
                Value::String(text.to_owned())
            }
            Kind::Bytes => Value::Bytes(take_block(bytes, path)?.to_vec()),
            Kind::Double => Value::F64(f64::from_le_bytes(take(bytes, path)?)),
            Kind::Float => Value::F32(f32::from_le_bytes(take(bytes, path)?)),
            Kind::Fixed64 => Value::U64(u64::from_le_bytes(take(bytes, path)?)),
            Kind::Fixed32 => Value::U32(u32::from_le_bytes(take(bytes, path)?)),
            Kind::Sfixed64 => Value::I64(i64::from_le_bytes(take(bytes, path)?)),
            Kind::Sfixed32 => Value::I32(i32::from_le_bytes(take(bytes, path)?)),
            varint => {
                let number = decode_varint(bytes).map_err(|error| wire_error(path, error))?;
                from_varint(varint, number)
            }
        })
    }
}

fn from_varint(kind: Kind, number: u64) -> Value {
    match kind {
        Kind::Bool => Value::Bool(number != 0),
        Kind::Enum(EnumType { .. }) => Value::Enum(number as i32),
        Kind::Int64 => Value::I64(number as i64),
        Kind::Uint32 => Value::U32(number as u32),
        Kind::Uint64 => Value::U64(number),
        Kind::Sint32 => Value::I32(((number as u32) >> 1) as i32 ^ -((number & 1) as i32)),
        Kind::Sint64 => Value::I64((number >> 1) as i64 ^ -((number & 1) as i64)),
        _ => Value::I32(number as i32),
    }
}

fn accepts(field: FieldType, wire: WireType) -> bool {
    let own = wire_type(field.kind());
    wire == own || (field.is_repeated() && wire == WireType::LengthDelimited)
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::Message(message) => Value::Message(Message::new(message)),
        Kind::String => Value::String(String::new()),
        Kind::Bytes => Value::Bytes(Vec::new()),
        Kind::Double => Value::F64(0.0),
        Kind::Float => Value::F32(0.0),
        Kind::Fixed64 => Value::U64(0),
        Kind::Fixed32 => Value::U32(0),
        Kind::Sfixed64 => Value::I64(0),
        varint => from_varint(varint, 0),
    }
}

fn take_block<'a>(bytes: &mut &'a [u8], path: &Path<'_>) -> Result<&'a [u8], WireError> {
    let len = decode_varint(bytes).map_err(|error| wire_error(path, error))?;
    let len = usize::try_from(len).ok().filter(|len| *len <= bytes.len());
    let (block, rest) = len
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or_else(|| wire_error(path, "the bytes end in the middle of a value"))?;
    *bytes = rest;
    Ok(block)
}

fn take<const N: usize>(bytes: &mut &[u8], path: &Path<'_>) -> Result<[u8; N], WireError> {
    let (block, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(|| wire_error(path, "the bytes end in the middle of a value"))?;
    *bytes = rest;
    Ok(*block)
}

/// Where each key of the maps of one message is, so that a repeated key replaces in constant time.
#[derive(Default)]
struct MapIndex {
    places: std::collections::HashMap<(FieldType, String), usize>,
}

impl MapIndex {
    fn add(&mut self, message: &mut Message, field: FieldType, (key, value): (Value, Value)) {
        let mut map = match message.take(field) {
            Some(Value::Map(map)) => map,
            _ => Vec::new(),
        };
        if let Some(place) = self.places.get(&(field, key.as_key())).and_then(|at| map.get_mut(*at)) {
            place.1 = value;
        } else {
            self.places.insert((field, key.as_key()), map.len());
            map.push((key, value));
        }
        message.set(field, Value::Map(map));
    }
}
