//! What can be wrong with a configuration, worded for the person who wrote it.

use std::fmt;

/// The text is not JSON or YAML at all, or breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// One field that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Proto names from the top of the message, for example `static_resources.clusters[2].connect_timeout`. Empty for
    /// the message itself.
    pub path: String,
    /// What was found there, shortened. Empty when nothing was.
    pub value: String,
    /// Why it is refused.
    pub reason: String,
    /// What to do about it, when that is known.
    pub hint: Option<String>,
}

impl FieldError {
    pub(crate) fn new(path: impl fmt::Display, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.to_string(), value: value.into(), reason: reason.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        if !self.value.is_empty() {
            write!(f, ", got {}", self.value)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldError {}

/// Something that is accepted and worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Proto names from the top of the message.
    pub path: String,
    /// What it is about.
    pub kind: NoteKind,
    /// One line for the log.
    pub text: String,
}

/// What a [`Note`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// A field that the API does not have; it was dropped.
    UnknownField,
    /// The name of an enum value that the API does not have; the field was dropped.
    UnknownEnumValue,
    /// A field or enum value that the API has deprecated.
    Deprecated,
    /// A deprecated field that Envoy refuses unless a runtime key allows it.
    DisallowedByDefault,
    /// An `Any` of a type that the API does not have; its bytes were kept.
    UnknownType,
}

/// At most this many problems are listed, so that garbage cannot fill the memory.
pub(crate) const MAX_PROBLEMS: usize = 1000;

/// A value as shown in an error: one line of at most 60 characters.
pub(crate) fn shorten(text: &str) -> String {
    const LIMIT: usize = 60;
    let mut out: String = text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

/// The candidate that a misspelt name most likely means.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(name);
    let limit = (wanted.len() / 4).clamp(1, 4);
    candidates
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
