//! YAML to nodes, with the scalar rules of the parser that Envoy uses (yaml-cpp, YAML 1.1):
//!
//! - an unquoted `yes`, `no`, `on`, `off`, `y`, `n`, `true`, `false` is a boolean, an unquoted `~`, `null` or nothing is
//!   null, unquoted integers may be hexadecimal (`0xff`) or octal (`0777`);
//! - integers beyond 32 bits and all other numbers stay text, and the field's type decides what they mean (so inside a
//!   `google.protobuf.Struct` they are strings, as with Envoy);
//! - a key with the tag `!ignore` is dropped: the place to keep anchors.
//!
//! Beyond Envoy: merge keys (`<<`) work. Stricter than Envoy: a key may not be given twice.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{Entries, MAX_ALIAS_NODES, MAX_DEPTH, MAX_NODES, Node};
use crate::error::ParseError;

pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0, alias_nodes: 0 };
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamStart | Event::Nothing => {}
            Event::DocumentStart(_) => break,
            _ => return Err(error(&span, "the document is empty")),
        }
    }
    let (event, span) = builder.next()?;
    builder.node(event, &span, 0)
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The value of each anchor and its number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    alias_nodes: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ParseError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Err(ParseError { line: 1, column: 1, reason: "unexpected end of the text".to_owned() }),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, ParseError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(error(span, "maps and lists are nested too deeply"));
        }
        if self.nodes > MAX_NODES {
            return Err(error(span, "the document has too many values"));
        }
        let before = self.nodes;
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref())),
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(error(span, "expected a value")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Node, ParseError> {
        let Some((node, count)) = self.anchors.get(&anchor) else {
            return Err(error(span, "an alias refers to an anchor that is not complete before it"));
        };
        self.alias_nodes += count;
        self.nodes += count;
        if self.alias_nodes > MAX_ALIAS_NODES {
            return Err(error(span, "aliases expand to too many values"));
        }
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Result<Node, ParseError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node::List(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, ParseError> {
        let mut entries = Entries::default();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let (key, ignored) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, anchor, tag) => {
                    let ignored = tag.is_some_and(|tag| tag.handle == "!" && tag.suffix == "ignore");
                    let is_merge = text == "<<" && style == ScalarStyle::Plain;
                    if anchor != 0 {
                        self.anchors.insert(anchor, (Node::String(text.to_string()), 1));
                    }
                    (if is_merge { None } else { Some(text.into_owned()) }, ignored)
                }
                Event::Alias(anchor) => match self.alias(anchor, &span)? {
                    Node::String(text) => (Some(text), false),
                    _ => return Err(error(&span, "a key must be a plain value")),
                },
                _ => return Err(error(&span, "a key must be a plain value")),
            };
            if let Some(key) = key.as_deref().filter(|key| entries.contains(key)) {
                return Err(error(&span, format!("the key {:?} is given twice", crate::error::shorten(key))));
            }
            let (event, value_span) = self.next()?;
            let value = self.node(event, &value_span, depth + 1)?;
            match key {
                _ if ignored => {}
                Some(key) => entries.push(key, value),
                None => merged.extend(merge_sources(value).map_err(|reason| error(&value_span, reason))?),
            }
        }
        for (key, value) in merged {
            if !entries.contains(&key) {
                entries.push(key, value);
            }
        }
        Ok(Node::Map(entries.entries))
    }
}

/// The entries that a `<<` key brings in, first come first served.
fn merge_sources(value: Node) -> Result<Vec<(String, Node)>, &'static str> {
    const REASON: &str = "the value of a merge key must be a map or a list of maps";
    match value {
        Node::Map(entries) => Ok(entries),
        Node::List(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    Node::Map(entries) => all.extend(entries),
                    _ => return Err(REASON),
                }
            }
            Ok(all)
        }
        _ => Err(REASON),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let is_text = style != ScalarStyle::Plain
        || tag.is_some_and(|tag| {
            (tag.handle == "!" && tag.suffix.is_empty())
                || (tag.handle.is_empty() && tag.suffix == "!")
                || (tag.is_yaml_core_schema() && tag.suffix == "str")
        });
    if is_text {
        return Node::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        _ => {}
    }
    if let Some(value) = boolean(text) {
        return Node::Bool(value);
    }
    match integer(text) {
        Some(value) if i32::try_from(value).is_ok() => Node::Int(value),
        Some(value) => Node::String(value.to_string()),
        None => Node::String(text.to_owned()),
    }
}

/// The booleans of YAML 1.1: all lower, all upper, or capitalised.
fn boolean(text: &str) -> Option<bool> {
    if text.len() > 5 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let value = match lower.as_str() {
        "y" | "yes" | "true" | "on" => true,
        "n" | "no" | "false" | "off" => false,
        _ => return None,
    };
    let tail = text.get(1..)?;
    let well_cased = text == lower
        || text.bytes().all(|byte| byte.is_ascii_uppercase())
        || tail.bytes().all(|byte| byte.is_ascii_lowercase());
    well_cased.then_some(value)
}

/// Decimal, hexadecimal with `0x`, octal with a leading zero.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        b'0'..=b'9' => (false, text),
        _ => return None,
    };
    if !digits.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

fn error(span: &Span, reason: impl Into<String>) -> ParseError {
    ParseError { line: span.start.line(), column: span.start.col() + 1, reason: reason.into() }
}

fn scan_error(error: &ScanError) -> ParseError {
    ParseError {
        line: error.marker().line(),
        column: error.marker().col() + 1,
        reason: error.info().to_owned(),
    }
}
