//! Making bytes from the network safe in text and in JSON.

/// Writes every control byte but tab behind `from` as `\xNN`.
///
/// Envoy writes such bytes as they are; a decoded query parameter may then start a new log line.
pub(crate) fn controls(out: &mut Vec<u8>, from: usize) {
    let dirty = |b: u8| (b < 0x20 && b != b'\t') || b == 0x7f;
    if !out[from..].iter().any(|&b| dirty(b)) {
        return;
    }
    let tail = out.split_off(from);
    for byte in tail {
        if dirty(byte) {
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

/// Turns the bytes behind `from` into the inside of a JSON string.
///
/// As in Envoy, text that is not UTF-8 keeps its bytes as the code points U+0080 to U+00FF.
pub(crate) fn json(out: &mut Vec<u8>, from: usize) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\' && b < 0x80;
    if out[from..].iter().all(|&b| plain(b)) {
        return;
    }
    let tail = out.split_off(from);
    let valid = std::str::from_utf8(&tail).is_ok();
    for byte in tail {
        match byte {
            _ if plain(byte) || (valid && byte >= 0x80) => out.push(byte),
            b'"' | b'\\' if valid => out.extend_from_slice(&[b'\\', byte]),
            b'\n' if valid => out.extend_from_slice(b"\\n"),
            b'\r' if valid => out.extend_from_slice(b"\\r"),
            b'\t' if valid => out.extend_from_slice(b"\\t"),
            0x08 if valid => out.extend_from_slice(b"\\b"),
            0x0c if valid => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    #[test]
    fn control_bytes_cannot_leave_a_line() {
        let mut out = b"\n".to_vec();
        out.extend_from_slice(b"a\nb\tc\x7f\"");
        super::controls(&mut out, 1);
        assert_eq!(out, b"\na\\x0ab\tc\\x7f\"");
    }

    #[test]
    fn json_keeps_utf8_and_shows_other_bytes() {
        let escaped = |text: &[u8]| {
            let mut out = text.to_vec();
            super::json(&mut out, 0);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(escaped(b"plain"), "plain");
        assert_eq!(escaped("a\tb\u{e9}\"\\\u{1}\x7f".as_bytes()), "a\\tb\u{e9}\\\"\\\\\\u0001\u{7f}");
        assert_eq!(escaped(b"a\"b\\c\t\xe9\xff"), r"a\u0022b\u005cc\u0009\u00e9\u00ff");
    }
}
