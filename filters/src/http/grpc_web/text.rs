//! The bodies of `application/grpc-web-text`: base64, in which each message may be padded on its own.
//!
//! Both directions work piece by piece and keep no more than an unfinished group.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::http::grpc::PREFIX;

/// Decodes a request's body.
#[derive(Default)]
pub(super) struct Reader {
    /// Characters of a group that is not complete.
    rest: Vec<u8>,
}

impl Reader {
    /// What a piece adds; none if it is no base64.
    pub fn read(&mut self, data: &[u8]) -> Option<Bytes> {
        self.rest.extend_from_slice(data);
        let whole = self.rest.len() / 4 * 4;
        let mut out = Vec::with_capacity(whole / 4 * 3);
        let mut text = &self.rest[..whole];
        while !text.is_empty() {
            // Padding ends a message, and another one may follow.
            let padded = text.iter().position(|byte| *byte == b'=');
            let upto = padded.map_or(text.len(), |at| at / 4 * 4 + 4);
            STANDARD.decode_vec(&text[..upto], &mut out).ok()?;
            text = &text[upto..];
        }
        self.rest.drain(..whole);
        Some(out.into())
    }

    /// Whether a group is not complete.
    pub fn is_within(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// Encodes a response's body.
#[derive(Default)]
pub(super) struct Writer {
    /// Bytes of the current prefix so far.
    prefix: usize,
    /// The length that the prefix tells, and then what is left of the message.
    left: u64,
    /// Bytes that do not make a group yet.
    rest: Vec<u8>,
}

impl Writer {
    /// What can be told of the messages so far. Each of them is padded at its end.
    pub fn messages(&mut self, mut data: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(data.len() / 3 * 4 + 8);
        while !data.is_empty() {
            let taken = if self.prefix < PREFIX {
                if self.prefix > 0 {
                    self.left = self.left << 8 | u64::from(data[0]);
                }
                self.prefix += 1;
                1
            } else {
                let taken = self.left.min(data.len() as u64) as usize;
                self.left -= taken as u64;
                taken
            };
            self.rest.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            let ended = self.prefix == PREFIX && self.left == 0;
            let upto = if ended { self.rest.len() } else { self.rest.len() / 3 * 3 };
            out.extend_from_slice(&encoded(&self.rest[..upto]));
            self.rest.drain(..upto);
            if ended {
                self.prefix = 0;
            }
        }
        out.into()
    }
}

/// A message in base64.
pub(super) fn encoded(message: &[u8]) -> Bytes {
    STANDARD.encode(message).into()
}
