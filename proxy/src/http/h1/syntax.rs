//! Small grammars of RFC 9110 and 9112 that several parts of the codec need.

/// Strips spaces and tabs from both ends (OWS).
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The elements of a comma-separated list, empty ones left out.
pub fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b',').map(trim).filter(|t| !t.is_empty())
}

/// Whether a comma-separated list holds a token, whatever its case.
pub fn has_token(list: &[u8], token: &[u8]) -> bool {
    tokens(list).any(|t| t.eq_ignore_ascii_case(token))
}

/// A `content-length` value: digits only, no sign, no list, below 2^63.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let value = trim(value);
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    (number < 1 << 63).then_some(number)
}

/// Whether every byte may stand in a field name (`token`, RFC 9110 §5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Whether every byte may stand in a field value: no control byte but tab.
pub fn is_field_value(text: &[u8]) -> bool {
    text.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
}

/// Whether text may be an authority: no userinfo, space, slash, control or non-ASCII byte.
pub fn is_authority(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, expected) in [
            ("0", Some(0)),
            ("12", Some(12)),
            (" 7\t", Some(7)),
            ("02", Some(2)),
            ("9223372036854775807", Some(u64::MAX >> 1)),
            ("9223372036854775808", None),
            ("18446744073709551616", None),
            ("+2", None),
            ("-1", None),
            ("0x2", None),
            ("", None),
            ("2, 2", None),
        ] {
            assert_eq!(content_length(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn lists() {
        assert!(has_token(b"keep-alive , Upgrade", b"upgrade"));
        assert!(!has_token(b"upgraded", b"upgrade"));
        assert_eq!(tokens(b", a,,b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn authorities() {
        for good in ["a", "a:80", "[::1]:80", "a_b.c"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["", "u@h", "a/b", "a b", "\u{e9}", "a\\b", "a#b", "a?b"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
