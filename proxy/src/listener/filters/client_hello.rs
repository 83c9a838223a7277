//! The ClientHello of TLS (RFC 8446 §4.1.2): just enough of it to know whom it is for and what it offers.
//!
//! Read by [`super::tls_inspector`] before any handshake; rustls reads it again, and strictly. It may come in several records,
//! and the bytes at hand may be any part of it. Nothing is copied while it is in one record, as nearly all are.

use std::borrow::Cow;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// All of what was looked for.
    Whole(T),
    /// The beginning of it; more bytes have to come.
    Part,
    /// It is longer than allowed.
    TooLong,
    /// Something else.
    Other,
}

/// What a ClientHello says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The host of `server_name`.
    pub(super) server_name: Option<Box<[u8]>>,
    /// The list of `application_layer_protocol_negotiation`, without its length.
    pub(super) protocols: Option<Box<[u8]>>,
}

/// Content type and handshake type (RFC 8446 §5.1, §4), and the length of a record's header.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
/// The longest payload of a record that is not encrypted.
const LONGEST_RECORD: usize = 1 << 14;
/// Records without payload, which say nothing and would let a client go on for ever.
const MOST_EMPTY_RECORDS: usize = 32;

/// The longest host name that `server_name` may have, as BoringSSL sees it.
const LONGEST_NAME: usize = 255;

/// Reads a ClientHello of at most `longest` bytes.
pub(super) fn parse(bytes: &[u8], longest: usize) -> Parsed<Said> {
    let (message, is_whole) = match handshake(bytes, longest) {
        Parsed::Whole(found) => found,
        Parsed::Part => return Parsed::Part,
        Parsed::TooLong => return Parsed::TooLong,
        Parsed::Other => return Parsed::Other,
    };
    if !is_whole {
        return Parsed::Part;
    }
    body(&message).map_or(Parsed::Other, Parsed::Whole)
}

/// The body of the first handshake message, and whether all of it is there.
fn handshake(bytes: &[u8], longest: usize) -> Parsed<(Cow<'_, [u8]>, bool)> {
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut rest = bytes;
    let mut empty = 0;
    loop {
        // What is there of a header must be right, so that other protocols are told apart by their first byte.
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE) || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Parsed::Other;
        }
        let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER) else { break };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        empty = if length == 0 { empty + 1 } else { 0 };
        if length > LONGEST_RECORD || empty > MOST_EMPTY_RECORDS {
            return Parsed::Other;
        }
        let payload = &behind[..length.min(behind.len())];
        if message.is_empty() {
            message = Cow::Borrowed(payload);
        } else {
            message.to_mut().extend_from_slice(payload);
        }
        if let Some(&kind) = message.first()
            && kind != CLIENT_HELLO
        {
            return Parsed::Other;
        }
        if let Some(length) = message.get(1..4) {
            let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
            if length + 4 > longest {
                return Parsed::TooLong;
            }
            if message.len() >= length + 4 {
                let body = match message {
                    Cow::Borrowed(all) => Cow::Borrowed(&all[4..length + 4]),
                    Cow::Owned(all) => Cow::Owned(all[4..length + 4].to_vec()),
                };
                return Parsed::Whole((body, true));
            }
        }
        if payload.len() < length {
            break;
        }
        rest = &behind[length..];
    }
    Parsed::Whole((message, false))
}

/// The body of a ClientHello; `None` if it is none.
fn body(bytes: &[u8]) -> Option<Said> {
    let mut rest = Reader(bytes);
    // Version and random.
    rest.take(2 + 32)?;
    let session = rest.vector(1)?;
    let suites = rest.vector(2)?;
    let compression = rest.vector(1)?;
    if session.0.len() > 32 || suites.0.len() < 2 || suites.0.len() % 2 == 1 || compression.0.is_empty() {
        return None;
    }
    let mut said = Said::default();
    if rest.0.is_empty() {
        return Some(said);
    }
    let mut extensions = rest.vector(2)?;
    if !rest.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut content = extensions.vector(2)?;
        match kind {
            0 => said.server_name = Some(server_name(&mut content)?),
            16 => {
                let list = content.vector(2)?;
                if list.0.is_empty() || !content.0.is_empty() {
                    return None;
                }
                said.protocols = Some(list.0.into());
            }
            _ => {}
        }
    }
    Some(said)
}

/// The host name (RFC 6066 §3). There is one name, of one type.
fn server_name(content: &mut Reader<'_>) -> Option<Box<[u8]>> {
    let mut list = content.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?.0;
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(&0);
    (kind == 0 && list.0.is_empty() && content.0.is_empty() && fits).then(|| name.into())
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What stands behind its length, which has this many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Reader<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    /// A ClientHello with these extensions, as a handshake message.
    pub(crate) fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, e)| [&kind.to_be_bytes()[..], &vector(2, e)].concat())
            .collect();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &vector(1, &[]),
            &vector(2, &[0x13, 1]),
            &vector(1, &[0]),
            &vector(2, &extensions),
        ];
        [&[CLIENT_HELLO][..], &vector(3, &body.concat())].concat()
    }

    pub(crate) fn sni(name: &[u8]) -> (u16, Vec<u8>) {
        (0, vector(2, &[&[0][..], &vector(2, name)].concat()))
    }

    pub(crate) fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
        (16, vector(2, &names.iter().flat_map(|name| vector(1, name)).collect::<Vec<_>>()))
    }

    /// A message in records of this size.
    pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(2, part)].concat()).collect()
    }

    fn said(name: &str, protocols: &[u8]) -> Parsed<Said> {
        Parsed::Whole(Said {
            server_name: (!name.is_empty()).then(|| name.as_bytes().into()),
            protocols: (!protocols.is_empty()).then(|| protocols.into()),
        })
    }

    #[test]
    fn every_part_of_a_hello_is_a_part_however_it_is_cut() {
        let message = hello(&[(99, vec![1, 2, 3]), sni(b"a.example"), alpn(&[b"h2", b"http/1.1"])]);
        for size in [1, 2, 3, 4, 5, 50, 10_000] {
            let bytes = records(&message, size);
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end], 16_384), Parsed::Part, "{size} {end}");
            }
            assert_eq!(parse(&bytes, 16_384), said("a.example", b"\x02h2\x08http/1.1"), "{size}");
            assert_eq!(
                parse(&[&bytes[..], b"more"].concat(), 16_384),
                said("a.example", b"\x02h2\x08http/1.1")
            );
        }
        assert_eq!(parse(&records(&hello(&[]), 99), 16_384), said("", b""));
    }

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        for other in [
            &b"G"[..],
            b"\x16\x02",
            b"\x16\x03\x01\x00\x01\x02",
            b"\x16\x03\x01\xff\xff",
            b"\x80\x2e\x01\x03",
        ] {
            assert_eq!(parse(other, 16_384), Parsed::Other, "{other:?}");
        }
        assert_eq!(parse(&b"\x16\x03\x01\x00\x00".repeat(40), 16_384), Parsed::Other, "empty records");
        assert_eq!(parse(b"\x16\x03\x01\x00\x04\x01\x00\x40\x00", 16_384), Parsed::TooLong);
        assert_eq!(parse(&records(&hello(&[sni(b"a")]), 99), 40), Parsed::TooLong);
    }

    #[test]
    fn malformed_hellos_are_none() {
        let long = [b'a'; 256];
        for bad in
            [sni(b""), sni(b"a\0b"), sni(&long), alpn(&[]), (0, vec![]), (0, vec![0, 9, 1]), (16, vec![0])]
        {
            assert_eq!(
                parse(&records(&hello(std::slice::from_ref(&bad)), 999), 16_384),
                Parsed::Other,
                "{bad:?}"
            );
        }
        // Whatever single byte is wrong, nothing panics and the answer is one of the four.
        let good = records(&hello(&[sni(b"a.example"), alpn(&[b"h2"])]), 999);
        for at in 0..good.len() {
            for flip in [1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = parse(&bad, 16_384);
            }
        }
    }
}
