//! `%PATH%`, `%QUERY_PARAM%` and `%QUERY_PARAMS%`.

use super::context::FormatContext;
use crate::head::RequestHead;
use crate::known::Known;

/// Which path `%PATH%` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PathSource {
    Original,
    Current,
    OriginalOrCurrent,
}

/// The arguments of `%PATH(WQ|NQ:source)%`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PathForm {
    pub(crate) with_query: bool,
    pub(crate) source: PathSource,
}

impl PathForm {
    /// The path in this form.
    pub(crate) fn of(self, head: &RequestHead) -> Option<&[u8]> {
        let original = || head.headers.known(Known::XEnvoyOriginalPath);
        let current = || head.has_path().then(|| head.path());
        let path = match self.source {
            PathSource::Original => original(),
            PathSource::Current => current(),
            PathSource::OriginalOrCurrent => original().or_else(current),
        }?;
        Some(if self.with_query { path } else { split(path).0 })
    }
}

/// The query of the original path, or else of the path; none without `?`.
pub(crate) fn raw<'a>(context: &FormatContext<'a>) -> Option<&'a [u8]> {
    let form = PathForm { with_query: true, source: PathSource::OriginalOrCurrent };
    split(form.of(context.request?)?).1
}

/// A path, or what looks like one, up to its query.
pub(crate) fn without(path: &[u8]) -> &[u8] {
    split(path).0
}

/// Appends the first value of a parameter, percent-decoded.
pub(crate) fn parameter(query: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    for pair in query.split(|&b| b == b'&') {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        if key == name {
            decode(value, out, |_| true);
            return true;
        }
    }
    false
}

/// Appends a whole query with the escapes undone that stand for harmless visible bytes.
pub(crate) fn decoded(query: &[u8], out: &mut Vec<u8>) {
    decode(query, out, |b| b.is_ascii_graphic() && !b"\"%<>\\^{|}".contains(&b));
}

fn decode(text: &[u8], out: &mut Vec<u8>, wanted: impl Fn(u8) -> bool) {
    let digit = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16));
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(text.get(at + 1)), digit(text.get(at + 2)))
            && wanted((high * 16 + low) as u8)
        {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
}

/// Path and query; a fragment never gets this far.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', path) {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}
