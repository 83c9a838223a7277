//! Writes the schema tables. The reader is `src/schema.rs`; both must agree on the record layouts given there.
//!
//! Each table is one file of little-endian fixed-size records; names live in one shared string file.

use std::collections::HashMap;
use std::{fs, path::Path};

use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::Type;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, Value,
};

use crate::Failure;

const NONE: u32 = u32::MAX;

mod field_flag {
    pub(crate) const REPEATED: u16 = 1;
    pub(crate) const MAP: u16 = 1 << 1;
    pub(crate) const PACKED: u16 = 1 << 2;
    pub(crate) const PRESENCE: u16 = 1 << 3;
    pub(crate) const DEPRECATED: u16 = 1 << 4;
    pub(crate) const SENSITIVE: u16 = 1 << 5;
    pub(crate) const DISALLOWED: u16 = 1 << 6;
}

/// Writes every table of `pool` below `out`.
pub(crate) fn write(pool: &DescriptorPool, out: &Path) -> Result<(), Failure> {
    let mut messages: Vec<MessageDescriptor> =
        pool.all_messages().filter(|message| is_kept(message.full_name())).collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    let mut enums: Vec<EnumDescriptor> = pool.all_enums().filter(|one| is_kept(one.full_name())).collect();
    enums.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    let mut tables = Tables::new(pool, &messages, &enums)?;
    for one in &enums {
        tables.push_enum(one)?;
    }
    for message in &messages {
        tables.push_message(message)?;
    }
    for (name, bytes) in [
        ("strings.bin", &tables.strings),
        ("messages.bin", &tables.messages),
        ("fields.bin", &tables.fields),
        ("oneofs.bin", &tables.oneofs),
        ("enums.bin", &tables.enums),
        ("values.bin", &tables.values),
        ("rules.bin", &tables.rules),
    ] {
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}

/// Everything that can be configuration or an answer of the admin API; not the language of descriptors itself.
fn is_kept(name: &str) -> bool {
    const DESCRIPTORS: [&str; 16] = [
        "google.protobuf.FileDescriptor",
        "google.protobuf.Descriptor",
        "google.protobuf.Field",
        "google.protobuf.Oneof",
        "google.protobuf.Enum",
        "google.protobuf.Service",
        "google.protobuf.Method",
        "google.protobuf.FileOptions",
        "google.protobuf.MessageOptions",
        "google.protobuf.ExtensionRange",
        "google.protobuf.UninterpretedOption",
        "google.protobuf.SourceCodeInfo",
        "google.protobuf.GeneratedCodeInfo",
        "google.protobuf.FeatureSet",
        "google.protobuf.Edition",
        "google.protobuf.SymbolVisibility",
    ];
    name == "google.protobuf.FieldMask"
        || !(name.starts_with("validate.") || DESCRIPTORS.iter().any(|prefix| name.starts_with(prefix)))
}

struct Annotations {
    rules: ExtensionDescriptor,
    oneof_required: ExtensionDescriptor,
    disabled: ExtensionDescriptor,
    ignored: ExtensionDescriptor,
    sensitive: ExtensionDescriptor,
    disallowed: ExtensionDescriptor,
}

struct Tables {
    annotations: Annotations,
    message_index: HashMap<String, u32>,
    enum_index: HashMap<String, u32>,
    interned: HashMap<Vec<u8>, u32>,
    interned_rules: HashMap<Vec<u8>, u32>,
    strings: Vec<u8>,
    messages: Vec<u8>,
    fields: Vec<u8>,
    oneofs: Vec<u8>,
    enums: Vec<u8>,
    values: Vec<u8>,
    rules: Vec<u8>,
}

impl Tables {
    fn new(
        pool: &DescriptorPool,
        messages: &[MessageDescriptor],
        enums: &[EnumDescriptor],
    ) -> Result<Self, Failure> {
        let extension = |name: &str| {
            pool.get_extension_by_name(name).ok_or_else(|| Failure::from(format!("no extension {name}")))
        };
        let annotations = Annotations {
            rules: extension("validate.rules")?,
            oneof_required: extension("validate.required")?,
            disabled: extension("validate.disabled")?,
            ignored: extension("validate.ignored")?,
            sensitive: extension("udpa.annotations.sensitive")?,
            disallowed: extension("envoy.annotations.disallowed_by_default")?,
        };
        let number = |at: usize| u32::try_from(at).unwrap_or(NONE);
        Ok(Self {
            annotations,
            message_index: messages
                .iter()
                .enumerate()
                .map(|(i, m)| (m.full_name().to_owned(), number(i)))
                .collect(),
            enum_index: enums
                .iter()
                .enumerate()
                .map(|(i, e)| (e.full_name().to_owned(), number(i)))
                .collect(),
            interned: HashMap::new(),
            interned_rules: HashMap::new(),
            strings: Vec::new(),
            messages: Vec::new(),
            fields: Vec::new(),
            oneofs: Vec::new(),
            enums: Vec::new(),
            values: Vec::new(),
            rules: Vec::new(),
        })
    }

    fn push_message(&mut self, message: &MessageDescriptor) -> Result<(), Failure> {
        let options = message.options();
        let skip = flag(&options, &self.annotations.disabled) || flag(&options, &self.annotations.ignored);
        let first_field = u32::try_from(self.fields.len() / 24)?;
        let first_oneof = u32::try_from(self.oneofs.len() / 8)?;
        let real: Vec<_> = message.oneofs().filter(|oneof| !is_synthetic(oneof)).collect();
        for oneof in &real {
            let required = flag(&oneof.options(), &self.annotations.oneof_required);
            let (at, len) = self.intern(oneof.name().as_bytes())?;
            self.oneofs.extend(at.to_le_bytes());
            self.oneofs.extend(len.to_le_bytes());
            self.oneofs.extend(u16::from(required).to_le_bytes());
        }
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        for field in &fields {
            let oneof = field
                .containing_oneof()
                .and_then(|of| real.iter().position(|one| one.full_name() == of.full_name()));
            self.push_field(field, oneof)?;
        }
        let (at, len) = self.intern(message.full_name().as_bytes())?;
        let flags = u16::from(skip) | u16::from(message.is_map_entry()) << 1;
        self.messages.extend(at.to_le_bytes());
        self.messages.extend(len.to_le_bytes());
        self.messages.extend(flags.to_le_bytes());
        self.messages.extend(first_field.to_le_bytes());
        self.messages.extend(first_oneof.to_le_bytes());
        self.messages.extend(u16::try_from(fields.len())?.to_le_bytes());
        self.messages.extend(u16::try_from(real.len())?.to_le_bytes());
        Ok(())
    }

    fn push_field(&mut self, field: &FieldDescriptor, oneof: Option<usize>) -> Result<(), Failure> {
        if field.json_name() != camel(field.name()) {
            println!("cargo:warning={} has a JSON name of its own: {}", field.full_name(), field.json_name());
        }
        let (at, len) = self.intern(field.name().as_bytes())?;
        let target = match field.kind() {
            Kind::Message(message) => *self.message_index.get(message.full_name()).unwrap_or(&NONE),
            Kind::Enum(one) => *self.enum_index.get(one.full_name()).unwrap_or(&NONE),
            _ => NONE,
        };
        let options = field.options();
        let (rules_at, rules_len) = self.push_rules(&options)?;
        let mut flags = 0;
        let mut raise = |set: bool, bit: u16| flags |= if set { bit } else { 0 };
        raise(field.cardinality() == Cardinality::Repeated, field_flag::REPEATED);
        raise(field.is_map(), field_flag::MAP);
        raise(field.is_packed(), field_flag::PACKED);
        raise(field.supports_presence(), field_flag::PRESENCE);
        raise(
            field.field_descriptor_proto().options.as_ref().is_some_and(|o| o.deprecated.unwrap_or_default()),
            field_flag::DEPRECATED,
        );
        raise(flag(&options, &self.annotations.sensitive), field_flag::SENSITIVE);
        raise(flag(&options, &self.annotations.disallowed), field_flag::DISALLOWED);
        let oneof = oneof.map_or(Ok(u16::MAX), u16::try_from)?;
        self.fields.extend(at.to_le_bytes());
        self.fields.extend(field.number().to_le_bytes());
        self.fields.extend(target.to_le_bytes());
        self.fields.extend(rules_at.to_le_bytes());
        self.fields.extend(rules_len.to_le_bytes());
        self.fields.extend(oneof.to_le_bytes());
        self.fields.push(u8::try_from(len)?);
        self.fields.push(kind_number(&field.kind()));
        self.fields.extend(flags.to_le_bytes());
        Ok(())
    }

    fn push_rules(&mut self, options: &DynamicMessage) -> Result<(u32, u16), Failure> {
        if !options.has_extension(&self.annotations.rules) {
            return Ok((NONE, 0));
        }
        let value = options.get_extension(&self.annotations.rules);
        let Value::Message(rules) = value.as_ref() else { return Ok((NONE, 0)) };
        let bytes = rules.encode_to_vec();
        let len = u16::try_from(bytes.len())?;
        if let Some(at) = self.interned_rules.get(&bytes) {
            return Ok((*at, len));
        }
        let at = u32::try_from(self.rules.len())?;
        self.rules.extend(&bytes);
        self.interned_rules.insert(bytes, at);
        Ok((at, len))
    }

    fn push_enum(&mut self, one: &EnumDescriptor) -> Result<(), Failure> {
        let first = u32::try_from(self.values.len() / 12)?;
        let mut count = 0_u32;
        for value in one.values() {
            let (at, len) = self.intern(value.name().as_bytes())?;
            let deprecated = value
                .enum_value_descriptor_proto()
                .options
                .as_ref()
                .is_some_and(|options| options.deprecated.unwrap_or_default());
            self.values.extend(at.to_le_bytes());
            self.values.extend(value.number().to_le_bytes());
            self.values.extend(len.to_le_bytes());
            self.values.extend(u16::from(deprecated).to_le_bytes());
            count += 1;
        }
        let (at, len) = self.intern(one.full_name().as_bytes())?;
        self.enums.extend(at.to_le_bytes());
        self.enums.extend(u32::from(len).to_le_bytes());
        self.enums.extend(first.to_le_bytes());
        self.enums.extend(count.to_le_bytes());
        Ok(())
    }

    fn intern(&mut self, text: &[u8]) -> Result<(u32, u16), Failure> {
        let len = u16::try_from(text.len())?;
        if let Some(at) = self.interned.get(text) {
            return Ok((*at, len));
        }
        let at = u32::try_from(self.strings.len())?;
        self.strings.extend(text);
        self.interned.insert(text.to_vec(), at);
        Ok((at, len))
    }
}

fn flag(options: &DynamicMessage, extension: &ExtensionDescriptor) -> bool {
    options.has_extension(extension) && options.get_extension(extension).as_bool() == Some(true)
}

/// The oneof that the compiler makes up for a proto3 `optional` field.
fn is_synthetic(oneof: &prost_reflect::OneofDescriptor) -> bool {
    oneof.fields().len() == 1
        && oneof.fields().all(|field| field.field_descriptor_proto().proto3_optional.unwrap_or_default())
}

/// The JSON name that protobuf derives from a field's name.
fn camel(name: &str) -> String {
    let mut upper = false;
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn kind_number(kind: &Kind) -> u8 {
    let kind = match kind {
        Kind::Double => Type::Double,
        Kind::Float => Type::Float,
        Kind::Int32 => Type::Int32,
        Kind::Int64 => Type::Int64,
        Kind::Uint32 => Type::Uint32,
        Kind::Uint64 => Type::Uint64,
        Kind::Sint32 => Type::Sint32,
        Kind::Sint64 => Type::Sint64,
        Kind::Fixed32 => Type::Fixed32,
        Kind::Fixed64 => Type::Fixed64,
        Kind::Sfixed32 => Type::Sfixed32,
        Kind::Sfixed64 => Type::Sfixed64,
        Kind::Bool => Type::Bool,
        Kind::String => Type::String,
        Kind::Bytes => Type::Bytes,
        Kind::Message(_) => Type::Message,
        Kind::Enum(_) => Type::Enum,
    };
    kind as u8
}
