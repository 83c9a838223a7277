//! Metadata and numbers as JSON.

use super::escape;
use crate::info::MetadataValue;

/// Appends `value` as JSON, keys sorted as Envoy has them.
pub(crate) fn value(value: &MetadataValue, out: &mut Vec<u8>) {
    match value {
        MetadataValue::Null => out.extend_from_slice(b"null"),
        MetadataValue::Bool(true) => out.extend_from_slice(b"true"),
        MetadataValue::Bool(false) => out.extend_from_slice(b"false"),
        MetadataValue::Number(number) => self::number(*number, out),
        MetadataValue::String(text) => string(text.as_bytes(), out),
        MetadataValue::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                self::value(item, out);
            }
            out.push(b']');
        }
        MetadataValue::Struct(fields) => {
            out.push(b'{');
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            for (i, (key, field)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(key.as_bytes(), out);
                out.push(b':');
                self::value(field, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends a JSON string.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.extend_from_slice(text);
    escape::json(out, start);
    out.push(b'"');
}

/// Appends a number: whole ones without a fraction, very large ones as `1e+20`.
pub(crate) fn number(number: f64, out: &mut Vec<u8>) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !number.is_finite() {
        out.extend_from_slice(b"null");
    } else if number.fract() == 0.0 && number.abs() < EXACT {
        out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    } else if number.abs() >= EXACT {
        out.extend_from_slice(format!("{number:e}").replace('e', "e+").as_bytes());
    } else {
        out.extend_from_slice(number.to_string().as_bytes());
    }
}
