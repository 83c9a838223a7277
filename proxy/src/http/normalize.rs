//! What happens to the path, the host and odd header names of a request before anything looks at them.
//!
//! Matching, authorisation, logs and the upstream all see the normalised form, so that none of them can be talked into
//! another view of the request than the others have. Called by [`super::stream`] for every request.
//!
//! The order is Envoy's: `#`, escaped slashes, dot segments, repeated slashes, then the host. The path is changed up to its
//! `?`; a query stays as it came. A path that needs no change (nearly all) is only looked at.

use sampan_filters_api::{Flag, Flags, LocalReply, RequestHead};
use smallvec::SmallVec;

use super::config::{EscapedSlashes, Normalize, StripPort, Underscores};

/// A path on its way to its canonical form.
type Text = SmallVec<[u8; 256]>;

/// A request that is answered here and goes no further.
#[derive(Debug)]
pub struct Refusal(Box<LocalReply>);

impl Refusal {
    fn new(status: u16, details: &'static str) -> Self {
        Self(Box::new(LocalReply::new(status, details)))
    }

    /// The answer.
    pub fn into_reply(self) -> Box<LocalReply> {
        self.0
    }
}

/// Normalises a request. `local_port` is the port that the client connected to.
///
/// # Errors
/// The answer to a request that the rules refuse, or redirect to its canonical form.
pub fn apply(
    rules: &Normalize,
    underscores: Underscores,
    head: &mut RequestHead,
    local_port: Option<u16>,
) -> Result<(), Refusal> {
    if underscores != Underscores::Allow {
        underscored_names(underscores, head)?;
    }
    if head.has_path() {
        path(*rules, head)?;
    }
    if rules.trailing_dot || rules.port != StripPort::Keep {
        host(*rules, head, local_port);
    }
    Ok(())
}

/// `headers_with_underscores_action`
fn underscored_names(action: Underscores, head: &mut RequestHead) -> Result<(), Refusal> {
    let odd = |name: &[u8]| memchr::memchr(b'_', name).is_some();
    if !head.headers.iter().any(|(name, _)| odd(name)) {
        return Ok(());
    }
    if action == Underscores::Reject {
        let reply = LocalReply::new(400, "http1.unexpected_underscore")
            .body(&b"Bad Request"[..])
            .flags(Flags::of(Flag::DownstreamProtocolError))
            .closing();
        return Err(Refusal(Box::new(reply)));
    }
    head.headers.retain(|_, name, _| !odd(name));
    Ok(())
}

fn path(rules: Normalize, head: &mut RequestHead) -> Result<(), Refusal> {
    let whole = head.path();
    if whole.first() != Some(&b'/') {
        // `OPTIONS *`, and what an HTTP/2 client may send.
        return Err(Refusal::new(404, "absolute_path_rejected"));
    }
    let mut query = whole.len();
    let mut seen = 0u8;
    let mut last = 0;
    for (at, byte) in whole.iter().enumerate() {
        if *byte == b'?' && query == whole.len() {
            query = at;
        }
        let mut marks = MARKS[usize::from(*byte)];
        if last == b'/' && matches!(byte, b'/' | b'.') {
            marks |= SUSPECT;
        }
        // Behind the `?`, only a `#` is of interest.
        seen |= if at < query { marks } else { marks & FRAGMENT };
        last = *byte;
    }
    if seen & FRAGMENT != 0 {
        return Err(Refusal::new(400, "path_normalization_failed"));
    }
    let wanted = rules.path || rules.merge_slashes || rules.escaped_slashes != EscapedSlashes::Keep;
    if seen == 0 || !wanted {
        return Ok(());
    }
    let (path, query) = whole.split_at(query);
    let normal = match canonical(rules, path) {
        Ok(normal) => normal,
        Err(mut shown) => {
            // The log shows what was found in it.
            shown.extend_from_slice(query);
            head.set_path(&shown);
            return Err(Refusal::new(400, "path_normalization_failed"));
        }
    };
    if normal.redirect || normal.path.as_slice() != path {
        let mut text = normal.path;
        text.extend_from_slice(query);
        if normal.redirect {
            let mut refusal = Refusal::new(307, "path_normalization_failed");
            refusal.0.headers.append("location", &text);
            head.set_path(&text);
            return Err(refusal);
        }
        head.set_path(&text);
    }
    Ok(())
}

struct Canonical {
    path: Text,
    redirect: bool,
}

/// The canonical form of a path without query; or, for one that is refused, the path as far as it was looked into.
fn canonical(rules: Normalize, path: &[u8]) -> Result<Canonical, Vec<u8>> {
    let mut text = Text::from_slice(path);
    let mut redirect = false;
    if rules.escaped_slashes != EscapedSlashes::Keep && unescape_slashes(&mut text) {
        match rules.escaped_slashes {
            EscapedSlashes::Reject => return Err(text.to_vec()),
            EscapedSlashes::Redirect => redirect = true,
            EscapedSlashes::Keep | EscapedSlashes::Forward => {}
        }
    }
    if rules.path {
        text = match resolve(&text) {
            Some(resolved) => resolved,
            None => return Err(text.to_vec()),
        };
    }
    if rules.merge_slashes && has_repeated_slash(&text) {
        text = merged(&text);
    }
    Ok(Canonical { path: text, redirect })
}

/// Turns `%2F` and `%5C` into `/` and `\`; whether there was one.
fn unescape_slashes(text: &mut Text) -> bool {
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        let (byte, len) = match escape(&text[from..]) {
            Some(byte @ (b'/' | b'\\')) => (byte, 3),
            _ => (text[from], 1),
        };
        text[to] = byte;
        from += len;
        to += 1;
    }
    text.truncate(to);
    from != to
}

/// Resolves dot segments and escapes (RFC 3986 §6.2.2), reading `\` as `/`. `None` if there is a NUL.
///
/// A segment's parameters (`..;x`) do not hide that it is a dot segment, as some servers read it so.
fn resolve(path: &[u8]) -> Option<Text> {
    let mut out = Text::new();
    out.push(b'/');
    let mut rest = &path[1..];
    loop {
        let end = memchr::memchr2(b'/', b'\\', rest).unwrap_or(rest.len());
        match dots(&rest[..end]) {
            Some(1) => {}
            Some(_) => {
                out.pop();
                let parent = memchr::memrchr(b'/', &out).unwrap_or(0);
                out.truncate(parent);
                out.push(b'/');
            }
            None => {
                push_segment(&rest[..end], &mut out)?;
                if end < rest.len() {
                    out.push(b'/');
                }
            }
        }
        if end == rest.len() {
            return Some(out);
        }
        rest = &rest[end + 1..];
    }
}

/// Whether a segment is `.` or `..`, however spelt: the number of dots.
fn dots(segment: &[u8]) -> Option<usize> {
    let mut rest = segment;
    let mut count = 0;
    loop {
        match rest.first() {
            None | Some(b';') => return Some(count).filter(|n| *n > 0),
            Some(b'.') => rest = &rest[1..],
            Some(_) if escape(rest) == Some(b'.') => rest = &rest[3..],
            Some(_) => return None,
        }
        count += 1;
        if count > 2 {
            return None;
        }
    }
}

/// Appends a segment with unreserved characters plain and unsafe ones escaped.
fn push_segment(segment: &[u8], out: &mut Text) -> Option<()> {
    let mut at = 0;
    while let Some(byte) = segment.get(at) {
        match escape(&segment[at..]) {
            Some(0) => return None,
            Some(decoded) if is_unreserved(decoded) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            Some(_) => {
                out.extend_from_slice(&segment[at..at + 3]);
                at += 3;
                continue;
            }
            None => {}
        }
        match byte {
            0 => return None,
            b'%' => out.push(b'%'),
            byte if MARKS[usize::from(*byte)] & UNSAFE != 0 => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'%', high, low]);
            }
            byte => out.push(*byte),
        }
        at += 1;
    }
    Some(())
}

/// The byte that `text` begins with in escaped form (`%41`).
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

/// RFC 3986 §2.3
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn has_repeated_slash(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"//")
}

/// Repeated slashes become one. A path of slashes alone becomes `//`, as it does in Envoy.
fn merged(path: &[u8]) -> Text {
    let mut out = Text::new();
    for segment in path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty()) {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    if path.last() == Some(&b'/') {
        out.push(b'/');
    }
    out
}

/// `strip_trailing_host_dot`, then `strip_*_host_port`.
fn host(rules: Normalize, head: &mut RequestHead, local_port: Option<u16>) {
    let authority = head.authority();
    let mut host = SmallVec::<[u8; 128]>::from_slice(authority);
    if rules.trailing_dot {
        match port_start(&host) {
            None if host.ends_with(b".") => host.truncate(host.len() - 1),
            Some(colon) if host[..colon].ends_with(b".") => {
                host.remove(colon - 1);
            }
            Some(_) if host.ends_with(b".") => host.truncate(host.len() - 1),
            _ => {}
        }
    }
    // CONNECT needs the port to know where to connect to.
    if rules.port != StripPort::Keep
        && !head.is_connect()
        && let Some(colon) = port_start(&host)
        && let Some(port) = port_number(&host[colon + 1..])
        && (rules.port == StripPort::Any || Some(port) == local_port.map(u32::from))
    {
        host.truncate(colon);
    }
    if host.as_slice() != authority {
        head.set_authority(&host);
    }
}

/// Where `:port` begins.
fn port_start(host: &[u8]) -> Option<usize> {
    let colon = memchr::memrchr(b':', host)?;
    let inside = memchr::memrchr(b']', host).is_some_and(|bracket| bracket > colon);
    (!inside).then_some(colon)
}

fn port_number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

const FRAGMENT: u8 = 1;
/// May be part of something that is normalised.
const SUSPECT: u8 = 2;
/// Escaped where it stands plain.
const UNSAFE: u8 = 4;

/// What each byte of a path makes it worth looking at.
static MARKS: [u8; 256] = marks();

const fn marks() -> [u8; 256] {
    let mut marks = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        marks[byte] = match byte as u8 {
            b'#' => FRAGMENT,
            b'%' | b'\\' => SUSPECT,
            0..=b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{'..=b'}' | 0x7f..=0xff => SUSPECT | UNSAFE,
            _ => 0,
        };
        byte += 1;
    }
    marks
}

#[cfg(test)]
mod tests;
