//! A text with operators.

use std::borrow::Cow;

use super::context::FormatContext;
use super::error::FormatError;
use super::operator::Operator;
use super::parse;
use crate::info::MetadataValue;

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Literal(Box<[u8]>),
    Operator {
        operator: Operator,
        /// At most so many bytes of the value.
        length: Option<usize>,
    },
}

/// A parsed format. See the [module](super).
#[derive(Clone, Debug)]
pub struct Template {
    segments: Box<[Segment]>,
    empty: &'static [u8],
}

/// What became of a template that stands alone in JSON.
pub(crate) enum Single<'a> {
    /// A number, appended as it is.
    Number,
    /// A structured value, not yet appended.
    Value(Cow<'a, MetadataValue>),
    /// No value.
    Absent,
    /// Text, appended without quotes or escapes.
    Text,
}

impl Template {
    /// Parses a format in which an operator without a value prints `-`, as in access logs.
    ///
    /// # Errors
    /// The first operator that is unknown, unsupported or has wrong arguments, or a stray `%`.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self { segments: parse::segments(text)?.into(), empty: b"-" })
    }

    /// As [`Template::parse`], for a header value: an operator without a value prints nothing.
    pub fn parse_header_value(text: &str) -> Result<Self, FormatError> {
        Ok(Self::parse(text)?.omitting_empty(true))
    }

    /// Whether an operator without a value prints nothing (`omit_empty_values`) instead of `-`.
    pub fn omitting_empty(mut self, omit: bool) -> Self {
        self.empty = if omit { b"" } else { b"-" };
        self
    }

    /// The text, if there is no operator in it.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.segments {
            [] => Some(b""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether rendering is one copy.
    pub fn is_literal(&self) -> bool {
        self.literal().is_some()
    }

    /// Appends the text for a stream.
    pub fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.extend_from_slice(text),
                Segment::Operator { operator, length } => {
                    let start = out.len();
                    if operator.write_safely(context, out) {
                        shorten(out, start, *length);
                    } else {
                        out.extend_from_slice(self.empty);
                    }
                }
            }
        }
    }

    /// Appends the value for JSON: typed if a single operator is all there is.
    pub(crate) fn render_value<'a>(&self, context: &FormatContext<'a>, out: &mut Vec<u8>) -> Single<'a> {
        let start = out.len();
        let [Segment::Operator { operator, length }] = &*self.segments else {
            self.render_raw(context, out);
            return Single::Text;
        };
        match operator.metadata(context) {
            None => {}
            Some(Cow::Owned(MetadataValue::String(text))) => {
                out.extend_from_slice(text.as_bytes());
                return Single::Text;
            }
            Some(Cow::Borrowed(MetadataValue::String(_))) => {}
            // A length is for text; as in Envoy, it leaves other values whole.
            Some(value) if *value != MetadataValue::Null => return Single::Value(value),
            Some(_) => return Single::Absent,
        }
        if !operator.write(context, out) {
            return Single::Absent;
        }
        shorten(out, start, *length);
        if operator.is_number() { Single::Number } else { Single::Text }
    }

    /// As [`Template::render`], for a string that is escaped as a whole afterwards.
    fn render_raw(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.extend_from_slice(text),
                Segment::Operator { operator, length } => {
                    let start = out.len();
                    if operator.write(context, out) {
                        shorten(out, start, *length);
                    } else {
                        out.extend_from_slice(self.empty);
                    }
                }
            }
        }
    }
}

fn shorten(out: &mut Vec<u8>, start: usize, length: Option<usize>) {
    if let Some(length) = length {
        out.truncate(start.saturating_add(length));
    }
}
