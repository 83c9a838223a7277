//! Protobuf's wire format (protobuf.dev, "Encoding"), appended field by field to a buffer.
//!
//! Log entries are encoded on the request path, right behind the entries before them, so there is no message to build
//! first and nothing to allocate. A nested message is written behind one byte for its length; that makes room afterwards
//! in the rare case that the length needs more. Called by [`entry`](super::entry) alone.

/// The fields of one message, at the end of a buffer.
pub(super) struct Fields<'a>(&'a mut Vec<u8>);

const VARINT: u32 = 0;
const SIXTY_FOUR_BITS: u32 = 1;
const DELIMITED: u32 = 2;

impl<'a> Fields<'a> {
    /// A message that begins at the end of `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// An integer or an enumerator; nothing for the default, 0.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.some_number(field, value);
        }
    }

    /// An integer, a truth value or an enumerator of a field that tells 0 from absence.
    pub(super) fn some_number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// A floating-point number, 0 included.
    pub(super) fn some_double(&mut self, field: u32, value: f64) {
        self.tag(field, SIXTY_FOUR_BITS);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A text; nothing for the default, an empty one.
    pub(super) fn text(&mut self, field: u32, text: &[u8]) {
        if !text.is_empty() {
            self.some_text(field, text);
        }
    }

    /// A text, empty or not. Bytes that are not UTF-8, which protobuf allows in no text, become `!` as in Envoy.
    pub(super) fn some_text(&mut self, field: u32, text: &[u8]) {
        self.delimited(field, |out| out.extend_from_slice(text), true);
    }

    /// A message; also an empty one is written.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.delimited(field, |out| write(&mut Fields::new(out)), false);
    }

    /// An entry of a map from text to messages.
    pub(super) fn entry(&mut self, field: u32, key: &str, write: impl FnOnce(&mut Fields<'_>)) {
        self.message(field, |entry| {
            entry.text(1, key.as_bytes());
            entry.message(2, write);
        });
    }

    /// An entry of a map from text to text; nothing if `write` says that there is no value.
    pub(super) fn text_entry(&mut self, field: u32, key: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.0.len();
        let mut present = false;
        self.message(field, |entry| {
            entry.text(1, key.as_bytes());
            entry.delimited(2, |out| present = write(out), true);
        });
        if !present {
            self.0.truncate(start);
        }
    }

    fn delimited(&mut self, field: u32, write: impl FnOnce(&mut Vec<u8>), is_text: bool) {
        self.tag(field, DELIMITED);
        let length_at = self.0.len();
        self.0.push(0);
        write(self.0);
        if is_text {
            clean(self.0, length_at + 1);
        }
        let length = self.0.len() - length_at - 1;
        if let (Ok(byte @ 0..=127), Some(place)) = (u8::try_from(length), self.0.get_mut(length_at)) {
            *place = byte;
        } else {
            let mut prefix = Vec::with_capacity(10);
            Fields(&mut prefix).varint(length as u64);
            self.0.splice(length_at..=length_at, prefix);
        }
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Makes what follows `from` valid UTF-8.
fn clean(out: &mut Vec<u8>, from: usize) {
    let Some(text) = out.get(from..) else { return };
    if std::str::from_utf8(text).is_ok() {
        return;
    }
    let mut cleaned = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        cleaned.extend_from_slice(chunk.valid().as_bytes());
        cleaned.extend(std::iter::repeat_n(b'!', chunk.invalid().len()));
    }
    out.truncate(from);
    out.extend_from_slice(&cleaned);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(uint64, tag = "1")]
        number: u64,
        #[prost(string, tag = "20")]
        text: String,
        #[prost(message, optional, boxed, tag = "3")]
        inner: Option<Box<Sample>>,
        #[prost(map = "string, string", tag = "4")]
        texts: std::collections::HashMap<String, String>,
        #[prost(map = "string, message", tag = "5")]
        samples: std::collections::HashMap<String, Sample>,
        #[prost(double, tag = "6")]
        double: f64,
    }

    #[test]
    fn prost_reads_what_is_written() {
        for size in [0, 1, 100, 127, 128, 129, 16_383, 16_384, 70_000] {
            let long = "x".repeat(size);
            let mut out = Vec::new();
            let mut fields = Fields::new(&mut out);
            fields.number(1, u64::MAX);
            fields.message(3, |inner| {
                inner.text(20, long.as_bytes());
                inner.message(3, |_| {});
                inner.number(1, 300);
            });
            fields.text_entry(4, "key", |out| {
                out.extend_from_slice(long.as_bytes());
                true
            });
            fields.text_entry(4, "absent", |out| {
                out.push(b'?');
                false
            });
            fields.entry(5, "one", |inner| inner.text(20, b"t"));
            fields.some_double(6, -1.5);
            let read = Sample::decode(out.as_slice()).unwrap();
            let innermost = Some(Box::default());
            let inner = Sample { text: long.clone(), inner: innermost, number: 300, ..Sample::default() };
            let one = Sample { text: "t".into(), ..Sample::default() };
            let expected = Sample {
                number: u64::MAX,
                inner: Some(Box::new(inner)),
                texts: [("key".to_owned(), long)].into(),
                samples: [("one".to_owned(), one)].into(),
                double: -1.5,
                ..Sample::default()
            };
            assert_eq!(read, expected, "{size}");
        }
    }

    #[test]
    fn text_is_always_utf8() {
        let mut out = Vec::new();
        Fields::new(&mut out).text(20, b"a\xffb\xe2\x82c\xc3\xa9");
        assert_eq!(Sample::decode(out.as_slice()).unwrap().text, "a!b!!c\u{e9}");
    }

    #[test]
    fn defaults_take_no_room() {
        let mut out = Vec::new();
        let mut fields = Fields::new(&mut out);
        fields.number(1, 0);
        fields.text(20, b"");
        assert!(out.is_empty());
        Fields::new(&mut out).some_number(1, 0);
        assert_eq!(out, [8, 0]);
    }
}
