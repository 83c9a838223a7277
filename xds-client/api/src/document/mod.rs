//! Configuration text as a tree of nodes, before anything is known about types.
//!
//! JSON and YAML end in the same tree, the way Envoy turns YAML into JSON first. A document may consist of several
//! parts (`-c` and `--config-yaml`): each is decoded on its own and the messages are merged, because only the message
//! knows what merging means.

mod json;
pub(crate) use json::number;
mod yaml;

use crate::error::ParseError;

/// How deep maps and lists may be nested.
pub(crate) const MAX_DEPTH: usize = 100;
/// How many nodes a document may have, aliases expanded.
pub(crate) const MAX_NODES: usize = 20_000_000;
/// How many nodes may come from expanding YAML aliases.
pub(crate) const MAX_ALIAS_NODES: usize = 1_000_000;
/// How long a document may be.
const MAX_BYTES: usize = 256 << 20;

/// The language of a configuration text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON as protobuf's lenient parser takes it: trailing commas, single quotes and bare keys are allowed.
    Json,
    /// YAML 1.1 scalars (`yes` is true); only the first document of a stream counts.
    Yaml,
}

/// Parsed configuration text.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) parts: Vec<Node>,
}

impl Document {
    /// Parses a text. Its top must be a map.
    ///
    /// # Errors
    /// The first thing that is not JSON or YAML, a duplicate key, or a broken limit.
    pub fn parse(text: &str, format: Format) -> Result<Self, ParseError> {
        if text.len() > MAX_BYTES {
            let reason = format!("the text is longer than {} MiB", MAX_BYTES >> 20);
            return Err(ParseError { line: 1, column: 1, reason });
        }
        let node = match format {
            Format::Json => json::parse(text)?,
            Format::Yaml => yaml::parse(text)?,
        };
        match node {
            Node::Map(_) => Ok(Self { parts: vec![node] }),
            other => Err(ParseError {
                line: 1,
                column: 1,
                reason: format!("expected a map of fields at the top, found {}", other.describe()),
            }),
        }
    }

    /// A JSON value that some other reader has parsed. What is nested too deeply becomes null.
    pub fn from_json(value: serde_json::Value) -> Self {
        Self { parts: vec![Node::from_json(value, 0)] }
    }

    /// Lays `other` over this document, with the meaning of Envoy's `--config-yaml`: messages are merged, lists
    /// appended, scalars replaced.
    pub fn merge(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }
}

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// As shown in an error message.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::String(value) => format!("{:?}", crate::error::shorten(value)),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Map(_) => "a map".to_owned(),
        }
    }

    fn from_json(value: serde_json::Value, depth: usize) -> Self {
        use serde_json::Value;
        match value {
            _ if depth > MAX_DEPTH => Self::Null,
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Uint(value),
                (None, None) => number.as_f64().map_or(Self::Null, Self::Float),
            },
            Value::String(text) => Self::String(text),
            Value::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::from_json(item, depth + 1)).collect())
            }
            Value::Object(entries) => Self::Map(
                entries.into_iter().map(|(key, value)| (key, Self::from_json(value, depth + 1))).collect(),
            ),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Uint(_) | Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The value of a key, when this is a map.
    pub(crate) fn key(&self, name: &str) -> Option<&Node> {
        match self {
            Self::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Map entries under construction; refuses a key that is there already.
#[derive(Default)]
struct Entries {
    entries: Vec<(String, Node)>,
    seen: std::collections::HashSet<String>,
}

impl Entries {
    /// Beyond this size a hash set finds duplicates, below it a scan does.
    const SCAN: usize = 16;

    fn contains(&mut self, key: &str) -> bool {
        if self.entries.len() < Self::SCAN {
            return self.entries.iter().any(|(other, _)| other == key);
        }
        if self.seen.is_empty() {
            self.seen.extend(self.entries.iter().map(|(key, _)| key.clone()));
        }
        self.seen.contains(key)
    }

    fn push(&mut self, key: String, value: Node) {
        if !self.seen.is_empty() {
            self.seen.insert(key.clone());
        }
        self.entries.push((key, value));
    }
}

#[cfg(test)]
mod tests;
