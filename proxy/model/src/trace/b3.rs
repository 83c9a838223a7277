//! B3 headers (openzipkin/b3-propagation): `b3`, or `x-b3-*` one by one, with Envoy's leniency and its limits.
//!
//! The single header goes before the others. Where configured, a `traceparent` counts if neither is there.

use std::fmt::Write as _;

use super::context::{Context, InvalidContext, TraceId, hex64};
use super::w3c;

/// The single header: `trace-span-sampled-parent`, or the sampling state alone.
pub const B3: &str = "b3";
/// The trace's id.
pub const TRACE_ID: &str = "x-b3-traceid";
/// The span's id.
pub const SPAN_ID: &str = "x-b3-spanid";
/// The id of the span's parent.
pub const PARENT_ID: &str = "x-b3-parentspanid";
/// `1`, `0`, or `true` of old tracers.
pub const SAMPLED: &str = "x-b3-sampled";

/// The longest single header: both ids, the sampling state, the parent.
const LONGEST: usize = 32 + 1 + 16 + 3 + 16;

/// The headers of a request, as far as they are asked for: the first value of a name.
pub trait Headers<'h> {
    /// The first value of the header.
    fn first(&self, name: &str) -> Option<&'h [u8]>;
}

impl<'h, F: Fn(&str) -> Option<&'h [u8]>> Headers<'h> for F {
    fn first(&self, name: &str) -> Option<&'h [u8]> {
        self(name)
    }
}

/// Reads what a caller says: its context, if it tells one, and whether the request is sampled, which is `otherwise` if it does not say.
///
/// # Errors
/// It says something that is no context.
pub fn extract<'h>(
    headers: &impl Headers<'h>,
    with_w3c: bool,
    otherwise: bool,
) -> Result<(Option<Context>, bool), InvalidContext> {
    let sampled = sampled(headers, with_w3c).unwrap_or(otherwise);
    if let Some(single) = headers.first(B3) {
        return Ok((from_single(single, sampled)?, sampled));
    }
    let (Some(trace), Some(span)) = (headers.first(TRACE_ID), headers.first(SPAN_ID)) else {
        let fallback = headers.first(w3c::TRACEPARENT).filter(|_| with_w3c);
        let context = fallback.and_then(|value| w3c::extract(value).ok());
        return Ok((context.map(|context| Context { sampled, ..context }), sampled));
    };
    let parent = headers.first(PARENT_ID).filter(|id| !id.is_empty());
    let context = Context {
        trace: trace_id(trace)?,
        span: hex64(span)?,
        parent: parent.map_or(Ok(0), hex64)?,
        sampled,
    };
    Ok((Some(context), sampled))
}

/// Writes the single header.
pub fn single(context: &Context) -> String {
    let mut text = format!("{}-{:016x}-{}", context.trace.short(), context.span, u8::from(context.sampled));
    if context.parent != 0 {
        let _ = write!(text, "-{:016x}", context.parent);
    }
    text
}

/// Whether the caller says that its request is sampled.
fn sampled<'h>(headers: &impl Headers<'h>, with_w3c: bool) -> Option<bool> {
    if let Some(single) = headers.first(B3) {
        let at = match single.len() {
            1 => 0,
            35 | 52 => 34,
            51 | 68 => 50,
            _ => return None,
        };
        return match single[at] {
            b'0' => Some(false),
            b'1' | b'd' => Some(true),
            _ => None,
        };
    }
    if let Some(value) = headers.first(SAMPLED) {
        return Some(value == b"1" || value == b"true");
    }
    let fallback = headers.first(w3c::TRACEPARENT).filter(|_| with_w3c)?;
    w3c::extract(fallback).ok().map(|context| context.sampled)
}

fn trace_id(text: &[u8]) -> Result<TraceId, InvalidContext> {
    match text.split_at_checked(16) {
        Some((high, low)) if text.len() == 32 => {
            Ok(TraceId(u128::from(hex64(high)?) << 64 | u128::from(hex64(low)?)))
        }
        _ => hex64(text).map(|low| TraceId(low.into())),
    }
}

/// The single header. A sampling state alone is no context.
fn from_single(text: &[u8], sampled: bool) -> Result<Option<Context>, InvalidContext> {
    if let [state] = text {
        return if matches!(state, b'0' | b'1' | b'd') { Ok(None) } else { Err(InvalidContext) };
    }
    if text.len() > LONGEST {
        return Err(InvalidContext);
    }
    let digits = if text.get(32) == Some(&b'-') { 32 } else { 16 };
    let (trace, rest) = text.split_at_checked(digits).ok_or(InvalidContext)?;
    let [b'-', rest @ ..] = rest else { return Err(InvalidContext) };
    let (span, rest) = rest.split_at_checked(16).ok_or(InvalidContext)?;
    let parent = match rest {
        [] | [b'-', b'0' | b'1' | b'd'] => 0,
        [b'-', b'0' | b'1' | b'd', b'-', parent @ ..] if parent.len() == 16 => hex64(parent)?,
        _ => return Err(InvalidContext),
    };
    Ok(Some(Context { trace: trace_id(trace)?, span: hex64(span)?, parent, sampled }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)], with_w3c: bool) -> Result<(Option<Context>, bool), InvalidContext> {
        let first = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_bytes());
        extract(&first, with_w3c, true)
    }

    fn read_single(text: &str) -> Result<(Option<Context>, bool), InvalidContext> {
        read(&[(B3, text)], false)
    }

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";

    #[test]
    fn one_header() {
        let full = format!("{TRACE}-e457b5a2e4d86bd1-0-05e3ac9a4f6e3b90");
        let (context, sampled) = read_single(&full).unwrap();
        let context = context.unwrap();
        assert_eq!(context.trace.to_string(), TRACE);
        assert_eq!((context.span, context.parent), (0xe457_b5a2_e4d8_6bd1, 0x05e3_ac9a_4f6e_3b90));
        assert!(!sampled && !context.sampled);
        assert_eq!(super::single(&context), full);
        let short = read_single("64fe8b2a57d3eff7-e457b5a2e4d86bd1-d").unwrap();
        assert!(short.1 && short.0.unwrap().trace.high() == 0);
        assert_eq!(read_single("0"), Ok((None, false)));
        assert_eq!(read_single("1"), Ok((None, true)));
        assert_eq!(
            read_single(&format!("{TRACE}-e457b5a2e4d86bd1")).map(|read| read.1),
            Ok(true),
            "the default"
        );
    }

    #[test]
    fn what_is_broken_is_no_context() {
        for bad in [
            "",
            "2",
            "64fe8b2a57d3eff7",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-1",
            "64fe8b2a57d3efg7-e457b5a2e4d86bd1",
            "64fe8b2a57d3eff7_e457b5a2e4d86bd1",
        ] {
            assert_eq!(read_single(bad), Err(InvalidContext), "{bad}");
        }
        assert_eq!(read_single(&"1".repeat(69)), Err(InvalidContext));
        assert_eq!(read(&[(TRACE_ID, "x"), (SPAN_ID, "1")], false), Err(InvalidContext));
    }

    #[test]
    fn many_headers() {
        let given = [(TRACE_ID, TRACE), (SPAN_ID, "2"), (SAMPLED, "true"), (PARENT_ID, "")];
        let (context, sampled) = read(&given, false).unwrap();
        let context = context.unwrap();
        assert_eq!((context.trace.to_string().as_str(), context.span, context.parent), (TRACE, 2, 0));
        assert!(sampled);
        assert_eq!(read(&[(SPAN_ID, "2"), (SAMPLED, "0")], false), Ok((None, false)));
        assert_eq!(read(&[(SAMPLED, "?")], false), Ok((None, false)));
    }

    #[test]
    fn traceparent_counts_last_and_only_where_wanted() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let given = [(w3c::TRACEPARENT, parent)];
        assert_eq!(read(&given, false), Ok((None, true)));
        let (context, sampled) = read(&given, true).unwrap();
        assert!(!sampled && context.unwrap().span == 0xb7ad_6b71_6920_3331);
        assert_eq!(read(&[(w3c::TRACEPARENT, "bad")], true), Ok((None, true)));
        let both = [(w3c::TRACEPARENT, parent), (TRACE_ID, "1"), (SPAN_ID, "2")];
        assert_eq!(read(&both, true).unwrap().0.unwrap().span, 2);
    }
}
