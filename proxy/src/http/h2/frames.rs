//! Frame boundaries of an HTTP/2 byte stream, without looking into the frames.
//!
//! The `h2` crate says little about what it refuses and what it answers by itself. The meter ([`super::meter`]) reads along
//! with it; this is the part that finds where frames begin (RFC 9113 §4.1).

/// Frame types (RFC 9113 §6).
pub(super) mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags (RFC 9113 §6).
pub(super) mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub length: u32,
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// The first payload bytes: the code of RST_STREAM, the amount of padding of a padded frame; else 0.
    pub first: u32,
}

impl Frame {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether nothing but padding is in it.
    pub fn is_empty(&self) -> bool {
        let padding = if self.has(flag::PADDED) && self.length > 0 { self.first + 1 } else { 0 };
        self.length <= padding
    }
}

const HEAD: usize = 9;

/// Finds the frames of one direction. Takes bytes in any portions.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// Bytes before the first frame: the connection preface of a client.
    skip: usize,
    head: [u8; HEAD + 4],
    have: usize,
    /// Payload bytes of the current frame that are still to come.
    left: u32,
    /// The kind of the current frame while `left` is not 0.
    current: u8,
}

impl Splitter {
    /// For the direction that begins with `skip` bytes of something else.
    pub fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes the next bytes and tells of each frame whose first bytes are complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.left > 0 {
                let gone = (self.left as usize).min(bytes.len());
                self.left -= gone as u32;
                bytes = &bytes[gone..];
                continue;
            }
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted() {
                each(self.complete());
            }
        }
    }

    /// Whether the bytes so far end within a frame of one of these kinds, or within a frame's first bytes.
    pub fn is_within(&self, kinds: &[u8]) -> bool {
        self.have > 0 || (self.left > 0 && kinds.contains(&self.current))
    }

    /// How many bytes of the frame are looked at.
    fn wanted(&self) -> usize {
        if self.have < HEAD {
            return HEAD;
        }
        let payload = match self.head[3] {
            kind::RST_STREAM => 4,
            kind::DATA | kind::HEADERS if self.head[4] & flag::PADDED != 0 => 1,
            _ => 0,
        };
        HEAD + payload.min(self.length() as usize)
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]])
    }

    fn complete(&mut self) -> Frame {
        let h = &self.head;
        let first = h[HEAD..self.have].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let frame = Frame {
            length: self.length(),
            kind: h[3],
            flags: h[4],
            stream: u32::from_be_bytes([h[5] & 0x7f, h[6], h[7], h[8]]),
            first,
        };
        self.left = frame.length - (self.have - HEAD) as u32;
        self.current = frame.kind;
        self.have = 0;
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    #[test]
    fn frames_are_found_in_any_portions() {
        let mut bytes = b"preface".to_vec();
        bytes.extend(frame(kind::HEADERS, flag::END_HEADERS, 1, b"block"));
        bytes.extend(frame(kind::SETTINGS, 0, 0, b""));
        bytes.extend(frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]));
        bytes.extend(frame(kind::DATA, flag::PADDED, 5, &[2, 0, 0]));
        bytes.extend(frame(kind::DATA, 0, 0x8000_0005, &[7; 300]));
        let expected = [(1, 1, 5, 0), (4, 0, 0, 0), (3, 3, 4, 8), (0, 5, 3, 2), (0, 5, 300, 0)];
        for portion in [1, 2, 3, 7, 10, 13, 1000] {
            let mut splitter = Splitter::after(7);
            let mut found = Vec::new();
            for piece in bytes.chunks(portion) {
                splitter.feed(piece, |f| found.push((f.kind, f.stream, f.length, f.first)));
            }
            assert_eq!(found, expected, "in portions of {portion}");
            assert!(!splitter.is_within(&[]));
        }
    }

    #[test]
    fn what_is_empty_and_what_is_under_way() {
        let mut splitter = Splitter::default();
        let mut empty = Vec::new();
        for bytes in [
            frame(kind::DATA, 0, 1, b""),
            frame(kind::DATA, flag::PADDED, 1, &[1, 0]),
            frame(kind::DATA, 0, 1, b"x"),
        ] {
            splitter.feed(&bytes, |f| empty.push(f.is_empty()));
        }
        assert_eq!(empty, [true, true, false]);
        let head = frame(kind::HEADERS, 0, 1, b"block");
        splitter.feed(&head[..4], |_| {});
        assert!(splitter.is_within(&[]));
        splitter.feed(&head[4..11], |_| {});
        assert!(splitter.is_within(&[kind::HEADERS]) && !splitter.is_within(&[kind::DATA]));
    }
}
