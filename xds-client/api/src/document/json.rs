//! JSON as protobuf's lenient parser takes it, which is what Envoy uses: besides RFC 8259 a trailing comma, strings in
//! single quotes, bare words as keys, and raw control characters inside strings. Comments are not accepted. Unlike
//! Envoy, a key may not be given twice.

use super::{Entries, MAX_DEPTH, MAX_NODES, Node};
use crate::error::ParseError;

pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    let mut parser = Parser { text, at: 0, nodes: 0 };
    parser.space();
    let node = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.error("unexpected text after the end of the document"));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, ParseError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(self.error("maps and lists are nested too deeply"));
        }
        if self.nodes > MAX_NODES {
            return Err(self.error("the document has too many values"));
        }
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"' | b'\'') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                let start = self.at;
                match self.word() {
                    "true" => Ok(Node::Bool(true)),
                    "false" => Ok(Node::Bool(false)),
                    "null" => Ok(Node::Null),
                    word => {
                        let reason = format!("unexpected word {:?}", crate::error::shorten(word));
                        self.at = start;
                        Err(self.error(reason))
                    }
                }
            }
            Some(_) => Err(self.error("unexpected character")),
            None => Err(self.error("unexpected end of the text")),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, ParseError> {
        self.at += 1;
        let mut entries = Entries::default();
        loop {
            self.space();
            if self.eat(b'}') {
                return Ok(Node::Map(entries.entries));
            }
            let start = self.at;
            let key = match self.peek() {
                Some(b'"' | b'\'') => self.string()?,
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.word().to_owned(),
                Some(_) => return Err(self.error("expected a key")),
                None => return Err(self.error("unexpected end of the text inside a map")),
            };
            if entries.contains(&key) {
                self.at = start;
                return Err(self.error(format!("the key {:?} is given twice", crate::error::shorten(&key))));
            }
            self.space();
            if !self.eat(b':') {
                return Err(self.error("expected ':' after the key"));
            }
            self.space();
            let value = self.value(depth + 1)?;
            entries.push(key, value);
            self.space();
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return Err(self.error("expected ',' or '}'"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Node, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if self.eat(b']') {
                return Ok(Node::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.space();
            if !self.eat(b',') && self.peek() != Some(b']') {
                return Err(self.error("expected ',' or ']'"));
            }
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let quote = self.peek();
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(stop) = rest.bytes().position(|byte| Some(byte) == quote || byte == b'\\') else {
                self.at = start;
                return Err(self.error("the string has no end"));
            };
            out.push_str(&rest[..stop]);
            self.at += stop;
            if self.peek() == quote {
                self.at += 1;
                return Ok(out);
            }
            self.escape(&mut out)?;
        }
    }

    /// Reads one backslash sequence.
    fn escape(&mut self, out: &mut String) -> Result<(), ParseError> {
        let plain = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\'') => '\'',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(out),
            _ => return Err(self.error("invalid escape in a string")),
        };
        out.push(plain);
        self.at += 2;
        Ok(())
    }

    /// `\uXXXX`, or two of them that form a surrogate pair.
    fn unicode(&mut self, out: &mut String) -> Result<(), ParseError> {
        let unit = |at: usize| {
            let escape = self.text.as_bytes().get(at..at + 6)?;
            let digits = escape.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0_u32, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
        };
        let (code, width) = match (unit(self.at), unit(self.at + 6)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                (Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12)
            }
            (first, _) => (first, 6),
        };
        match code.and_then(char::from_u32) {
            Some(c) => out.push(c),
            None => return Err(self.error("invalid \\u escape in a string")),
        }
        self.at += width;
        Ok(())
    }

    fn number(&mut self) -> Result<Node, ParseError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' | b'x' | b'_'))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        match number(text) {
            Some(node) => {
                self.at += end;
                Ok(node)
            }
            None => Err(self.error(format!("invalid number {:?}", crate::error::shorten(text)))),
        }
    }

    fn word(&mut self) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: reason.into(),
        }
    }
}

/// A number in JSON's grammar.
pub(crate) fn number(text: &str) -> Option<Node> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let well_formed = !whole.is_empty()
        && whole.bytes().all(|byte| byte.is_ascii_digit())
        && (whole == "0" || !whole.starts_with('0'))
        && !digits.ends_with('.')
        && !digits.contains(".e")
        && !digits.contains(".E");
    if !well_formed {
        return None;
    }
    if let Ok(value) = text.parse() {
        return Some(Node::Int(value));
    }
    if let Ok(value) = text.parse() {
        return Some(Node::Uint(value));
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Node::Float)
}
