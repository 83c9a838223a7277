//! What one process tells the next of a trace.

use std::fmt;

/// The id of a trace: 128 bits, of which B3 may use the lower half alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct TraceId(pub u128);

impl TraceId {
    /// The upper half; zero in a short id.
    pub const fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The lower half.
    pub const fn low(self) -> u64 {
        self.0 as u64
    }

    /// As B3 writes it: 16 digits if the upper half is zero, else 32.
    pub fn short(self) -> impl fmt::Display {
        struct Short(TraceId);
        impl fmt::Display for Short {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.0.high() == 0 { write!(f, "{:016x}", self.0.low()) } else { self.0.fmt(f) }
            }
        }
        Short(self)
    }
}

/// 32 digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The span of the caller, or the one that becomes the parent of the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: u64,
    /// Its own parent; zero if there is none.
    pub parent: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

/// Headers that are there and say nothing that can be understood. Envoy then makes no span, and leaves them alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the trace context cannot be read")]
pub struct InvalidContext;

/// Hexadecimal digits of either case, 1 to 16 of them.
pub(super) fn hex64(text: &[u8]) -> Result<u64, InvalidContext> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits).ok_or(InvalidContext)?;
    u64::from_str_radix(text, 16).map_err(|_| InvalidContext)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_have_sixteen_digits() {
        assert_eq!(TraceId(0xab).short().to_string(), "00000000000000ab");
        assert_eq!(TraceId(0xab).to_string(), "000000000000000000000000000000ab");
        let wide = TraceId(1 << 64 | 2);
        assert_eq!(wide.short().to_string(), "00000000000000010000000000000002");
        assert_eq!((wide.high(), wide.low()), (1, 2));
    }

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(hex64(b"fF"), Ok(255));
        for bad in [&b""[..], b"+1", b"0x1", b"1 ", b"g", b"11112222333344445", "ü".as_bytes()] {
            assert_eq!(hex64(bad), Err(InvalidContext), "{bad:?}");
        }
    }
}
