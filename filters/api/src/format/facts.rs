//! The facts behind the plain operators, one function each.

use std::io::Write as _;
use std::sync::OnceLock;

use super::address::{self, Part};
use super::context::FormatContext;
use super::operator::Operator;

/// Appends a text that is there and not empty.
pub(crate) fn put(text: Option<&str>, out: &mut Vec<u8>) -> bool {
    text.is_some_and(|text| put_full(text, out))
}

/// Appends a text that may be none, with marks in the places of what is none.
pub(crate) fn put_lossy(text: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    text.is_some_and(|text| put_full(&String::from_utf8_lossy(text), out))
}

/// Appends a text that is not empty.
pub(crate) fn put_full(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

/// `UF,URX`; Envoy prints `-` itself if there is no flag, in JSON too.
pub(crate) fn flags_short(context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    join_or_dash(context.info.flags.iter().map(crate::Flag::short), out)
}

/// As [`flags_short`], in words.
pub(crate) fn flags_long(context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    join_or_dash(context.info.flags.iter().map(crate::Flag::long), out)
}

fn join_or_dash(words: impl Iterator<Item = &'static str>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for word in words {
        comma(start, out);
        out.extend_from_slice(word.as_bytes());
    }
    if out.len() == start {
        out.push(b'-');
    }
    true
}

pub(crate) fn comma(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
}

/// A random UUID (RFC 9562, version 4), another one each time.
pub(crate) fn unique_id(_: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    put_full(uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text), out)
}

/// The trace's id, in hexadecimal digits.
pub(crate) fn trace_id(context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    // Writing to memory cannot fail.
    context.info.trace.is_some_and(|ids| {
        let digits = if ids.short && ids.trace >> 64 == 0 { 16 } else { 32 };
        write!(out, "{:0digits$x}", ids.trace).is_ok()
    })
}

/// The span's id.
pub(crate) fn span_id(context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    let span = context.info.trace.and_then(|ids| ids.span);
    span.is_some_and(|span| write!(out, "{span:016x}").is_ok())
}

/// The host's name, or its address where it has none.
pub(crate) fn host_name(context: &FormatContext<'_>, part: Part, out: &mut Vec<u8>) -> bool {
    let upstream = &context.info.upstream;
    match upstream.hostname.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => put_full(strip_port(name, part), out),
        None => upstream.address.as_ref().is_some_and(|address| address::write(address, part, out)),
    }
}

fn strip_port(name: &str, part: Part) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if part == Part::WithoutPort && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => name,
    }
}

/// Every host tried, joined by commas.
pub(crate) fn attempted(context: &FormatContext<'_>, part: Part, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for tried in &context.info.upstream.attempted {
        comma(start, out);
        address::write(tried, part, out);
    }
    out.len() > start
}

/// The reason without whitespace, so that a text line keeps its columns.
pub(crate) fn transport_failure(context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    context.info.upstream.transport_failure.as_ref().is_some_and(|why| reason(why, out))
}

/// Appends a reason without whitespace.
pub(crate) fn reason(reason: &str, out: &mut Vec<u8>) -> bool {
    out.extend(reason.bytes().map(|b| if b.is_ascii_whitespace() { b'_' } else { b }));
    !reason.is_empty()
}

/// An environment variable, read when the format is parsed; `-` if it is not set.
pub(crate) fn environment(name: &str) -> Operator {
    let value = std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes);
    Operator::Fixed(value.unwrap_or_else(|| b"-".to_vec()).into())
}

/// The machine's name, read once per process; `-` if the kernel does not tell it.
pub(crate) fn hostname() -> Operator {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if name.trim().is_empty() { "-".into() } else { name.trim().into() }
    });
    Operator::Fixed(name.as_bytes().into())
}

/// The moments of a stream, as the duration operators name them.
#[expect(clippy::unnecessary_wraps, reason = "all are of the type `Moment`")]
pub(crate) mod moments {
    use std::time::Instant;

    use super::super::operator::Moment;
    use super::FormatContext;

    /// The moment that `%COMMON_DURATION%` calls `name`.
    pub(crate) fn named(name: &str) -> Option<Moment> {
        Some(match name {
            "DS_RX_BEG" => start,
            "DS_RX_END" => request_end,
            "US_CX_BEG" => |c| c.info.upstream.connect.0,
            "US_CX_END" => |c| c.info.upstream.connect.1,
            "US_TX_BEG" => |c| c.info.upstream.request_sent.0,
            "US_TX_END" => upstream_request_end,
            "US_RX_BEG" => upstream_response_start,
            "US_RX_END" => |c| c.info.upstream.response_received.1,
            "DS_TX_BEG" => |c| c.info.response_sent.0,
            "DS_TX_END" => response_end,
            _ => return None,
        })
    }

    pub(crate) fn start(context: &FormatContext<'_>) -> Option<Instant> {
        Some(context.info.start)
    }

    pub(crate) fn end_or_now(context: &FormatContext<'_>) -> Option<Instant> {
        Some(context.info.end.unwrap_or(context.now))
    }

    pub(crate) fn request_end(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.request_complete
    }

    pub(crate) fn upstream_request_end(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.upstream.request_sent.1
    }

    pub(crate) fn upstream_response_start(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.upstream.response_received.0
    }

    pub(crate) fn response_end(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.response_sent.1
    }

    pub(crate) fn pool_requested(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.upstream.pool_requested
    }

    pub(crate) fn pool_ready(context: &FormatContext<'_>) -> Option<Instant> {
        context.info.upstream.pool_ready
    }
}

/// The addresses of a stream.
#[expect(clippy::unnecessary_wraps, reason = "all are of the type `AddressOf`")]
pub(crate) mod addresses {
    use super::FormatContext;
    use crate::info::Address;

    pub(crate) fn local<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        Some(&context.info.connection.local)
    }

    pub(crate) fn direct_local<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        Some(context.info.connection.direct_local())
    }

    pub(crate) fn remote<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        Some(context.info.remote())
    }

    pub(crate) fn direct_remote<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        Some(&context.info.connection.direct_remote)
    }

    /// The chosen host, whether or not a connection to it came about.
    pub(crate) fn host<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        context.info.upstream.address.as_ref()
    }

    pub(crate) fn upstream_local<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        context.info.upstream.local.as_ref()
    }

    /// The other end of the upstream connection: only if there is one.
    pub(crate) fn upstream_remote<'a>(context: &FormatContext<'a>) -> Option<&'a Address> {
        let upstream = &context.info.upstream;
        upstream.local.as_ref().and(upstream.address.as_ref())
    }
}
