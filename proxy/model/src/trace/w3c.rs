//! `traceparent` (W3C Trace Context, §3.2), as Envoy reads it: exactly 55 characters, of whatever version.

use super::context::{Context, InvalidContext, TraceId, hex64};

/// The header.
pub const TRACEPARENT: &str = "traceparent";
/// The header beside it, which is passed on as it is.
pub const TRACESTATE: &str = "tracestate";

/// Reads a `traceparent`.
///
/// # Errors
/// It has another shape, or ids of zeros alone.
pub fn extract(value: &[u8]) -> Result<Context, InvalidContext> {
    let [v0, v1, b'-', rest @ ..] = value else { return Err(InvalidContext) };
    let (trace, [b'-', rest @ ..]) = rest.split_at_checked(32).ok_or(InvalidContext)? else {
        return Err(InvalidContext);
    };
    let (span, [b'-', f0, f1]) = rest.split_at_checked(16).ok_or(InvalidContext)? else {
        return Err(InvalidContext);
    };
    hex64(&[*v0, *v1])?;
    let (high, low) = trace.split_at(16);
    let context = Context {
        trace: TraceId(u128::from(hex64(high)?) << 64 | u128::from(hex64(low)?)),
        span: hex64(span)?,
        parent: 0,
        sampled: hex64(&[*f0, *f1])? & 1 == 1,
    };
    if context.trace.0 == 0 || context.span == 0 { Err(InvalidContext) } else { Ok(context) }
}

/// Writes a `traceparent` that makes `context.span` the parent.
pub fn traceparent(context: &Context) -> String {
    format!("00-{}-{:016x}-0{}", context.trace, context.span, u8::from(context.sampled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_what_was_written() {
        let context = extract(GOOD.as_bytes()).unwrap();
        assert_eq!(traceparent(&context), GOOD);
        assert_eq!(context.span, 0xb7ad_6b71_6920_3331);
        let unsampled = GOOD.replace("-01", "-fe");
        assert!(!extract(unsampled.as_bytes()).unwrap().sampled);
        assert!(extract(GOOD.replace("00-", "cc-").as_bytes()).is_ok(), "versions to come");
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ];
        for text in bad {
            assert_eq!(extract(text.as_bytes()), Err(InvalidContext), "{text}");
        }
    }
}
