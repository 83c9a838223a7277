//! Changes of the parameters of a query.
//!
//! As in Envoy parameters end up in the order of their names, those of one name as they came, each with a `=`. Unlike there, what the
//! client has percent-encoded stays so: decoded, `%26` would begin another parameter.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sampan_filters_api::format::Template;
use sampan_filters_api::http::Stream;

use super::{Action, render};

/// One change.
#[derive(Debug)]
pub enum QueryMutation {
    /// `remove`
    Remove(Box<str>),
    /// `append`
    Set {
        /// The name.
        name: Box<str>,
        /// Its value.
        value: Template,
        /// What becomes of values that are there.
        action: Action,
    },
}

/// The parameters by their decoded names, each as it is written.
type Parameters<'p> = BTreeMap<Cow<'p, [u8]>, Vec<Cow<'p, [u8]>>>;

/// Makes the changes of one level.
pub fn change(mutations: &[QueryMutation], stream: &mut Stream<'_>) {
    if mutations.is_empty() || stream.request.path().is_empty() {
        return;
    }
    let path = stream.request.path();
    let mark = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let mut parameters = parse(path.get(mark + 1..).unwrap_or_default());
    for mutation in mutations {
        mutation.make(&mut parameters, stream);
    }
    let mut changed = path[..mark].to_vec();
    let mut sign = b'?';
    for parameter in parameters.values().flatten() {
        changed.push(sign);
        changed.extend_from_slice(parameter);
        if !parameter.contains(&b'=') {
            changed.push(b'=');
        }
        sign = b'&';
    }
    stream.request.set_path(&changed);
}

impl QueryMutation {
    fn make<'p>(&'p self, parameters: &mut Parameters<'p>, stream: &Stream<'_>) {
        let (name, value, action) = match self {
            Self::Remove(name) => {
                parameters.remove(name.as_bytes());
                return;
            }
            Self::Set { name, value, action } => (name, value, *action),
        };
        let there = parameters.contains_key(name.as_bytes());
        if (action == Action::IfAbsent && there) || (action == Action::OverwriteIfThere && !there) {
            return;
        }
        let values = parameters.entry(Cow::Borrowed(name.as_bytes())).or_default();
        if action != Action::Append {
            values.clear();
        }
        let mut parameter = encoded(name.as_bytes());
        parameter.push(b'=');
        parameter.extend(encoded(&render(value, stream)));
        values.push(Cow::Owned(parameter));
    }
}

fn parse(query: &[u8]) -> Parameters<'_> {
    let mut found = Parameters::new();
    if query.is_empty() {
        return found;
    }
    for parameter in query.split(|byte| *byte == b'&') {
        let end = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
        found.entry(decoded(&parameter[..end])).or_default().push(Cow::Borrowed(parameter));
    }
    found
}

/// What percent-encoding stands for; what is no such encoding stays.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let byte = match tail {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = byte {
            out.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Cow::Owned(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The form of Envoy's `urlEncodeQueryParameter`.
fn encoded(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out
}
