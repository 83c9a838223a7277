//! From text to segments: `%NAME(argument):length%` and `%%`.

use super::error::FormatError;
use super::operator::Operator;
use super::table;
use super::template::Segment;

/// Splits a format at its operators and builds each of them.
pub(crate) fn segments(text: &str) -> Result<Vec<Segment>, FormatError> {
    let mut segments = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest.as_bytes()) {
        literal.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("%%") {
            literal.push(b'%');
            rest = behind;
            continue;
        }
        let (call, behind) = Call::parse(rest).ok_or_else(|| stray(text, rest))?;
        rest = behind;
        match table::build(&call)? {
            Operator::Fixed(value) => literal.extend_from_slice(prefix(&value, call.length)),
            operator => {
                flush(&mut literal, &mut segments);
                segments.push(Segment::Operator { operator, length: call.length });
            }
        }
    }
    literal.extend_from_slice(rest.as_bytes());
    flush(&mut literal, &mut segments);
    Ok(segments)
}

/// An operator as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) name: &'a str,
    /// Empty if there are no parentheses.
    pub(crate) argument: &'a str,
    pub(crate) length: Option<usize>,
}

impl<'a> Call<'a> {
    /// Takes a call, percent signs included, off the front of `text`.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        let text = text.strip_prefix('%')?;
        let is_name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let end = text.bytes().position(|b| !is_name(b))?;
        let (name, mut rest) = text.split_at(end);
        let mut argument = "";
        if let Some(open) = rest.strip_prefix('(') {
            // The argument may have brackets of its own: what ends it is a bracket that the call may end behind.
            let end = open.match_indices(')').map(|(at, _)| at).find(|at| ends_call(&open[at + 1..]))?;
            (argument, rest) = (&open[..end], &open[end + 1..]);
        }
        let mut length = None;
        if let Some(digits) = rest.strip_prefix(':') {
            let end = digits.bytes().position(|b| !b.is_ascii_digit())?;
            length = Some(digits[..end].parse().ok()?);
            rest = &digits[end..];
        }
        let rest = rest.strip_prefix('%')?;
        (!name.is_empty()).then_some((Call { name, argument, length }, rest))
    }
}

/// Whether a call may end with this: `%`, or `:length%`.
fn ends_call(rest: &str) -> bool {
    let digits = rest.strip_prefix(':').unwrap_or(rest);
    let end =
        if rest.starts_with(':') { digits.trim_start_matches(|c: char| c.is_ascii_digit()) } else { rest };
    end.starts_with('%')
}

fn stray(text: &str, rest: &str) -> FormatError {
    let shown: String = rest.chars().take(40).collect();
    let position = text.len() - rest.len();
    FormatError::new(
        &shown,
        format!("no operator begins at the '%' at position {position}"),
        "write %OPERATOR%, %OPERATOR(argument)% or %OPERATOR(argument):length%, and %% for a percent sign",
    )
}

fn prefix(value: &[u8], length: Option<usize>) -> &[u8] {
    &value[..length.unwrap_or(value.len()).min(value.len())]
}

fn flush(literal: &mut Vec<u8>, segments: &mut Vec<Segment>) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal).into()));
    }
}
