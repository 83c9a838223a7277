//! Finds the end of a head in bytes that arrive piece by piece, looking at each byte once.

use memchr::memchr;

use super::{CodecError, HeadLimits};

/// Where the search stands. One per message; [`Scanner::default`] starts anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    /// Bytes already searched.
    scanned: usize,
    /// The first byte behind the first line's LF; 0 while it is incomplete.
    first_line: usize,
}

impl Scanner {
    /// The head's length once `buf` holds all of it, the blank line included.
    ///
    /// A line that ends in a bare LF is an error (RFC 9112 §2.2 allows tolerance, smugglers live on it), and so is a
    /// head over the limit: 414 if the first line alone is over it, else 431.
    pub fn scan(&mut self, buf: &[u8], limits: HeadLimits) -> Result<Option<usize>, CodecError> {
        while let Some(at) = memchr(b'\n', &buf[self.scanned..]) {
            let lf = self.scanned + at;
            if lf == 0 || buf[lf - 1] != b'\r' {
                return Err(CodecError::malformed("a line ends in a bare LF"));
            }
            self.scanned = lf + 1;
            if self.first_line == 0 {
                self.first_line = lf + 1;
            } else if buf[lf - 2] == b'\n' {
                self.within(self.scanned, limits)?;
                return Ok(Some(self.scanned));
            }
        }
        self.scanned = buf.len();
        self.within(buf.len(), limits)?;
        Ok(None)
    }

    fn within(&self, len: usize, limits: HeadLimits) -> Result<(), CodecError> {
        if len <= limits.bytes {
            return Ok(());
        }
        if self.first_line == 0 || self.first_line > limits.bytes {
            return Err(CodecError::new(
                414,
                "http1.uri_too_long",
                "the request line is over max_request_headers_kb",
            ));
        }
        Err(CodecError::new(431, "http1.headers_too_large", "the head is over max_request_headers_kb"))
    }
}

/// The number of bytes of blank lines before a message, which a server skips (RFC 9112 §2.2).
pub fn leading_blank(buf: &[u8]) -> usize {
    let mut at = 0;
    while buf[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 64, fields: 100 };

    #[test]
    fn finds_the_end_byte_by_byte() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nrest";
        let mut scanner = Scanner::default();
        for n in 0..27 {
            assert_eq!(scanner.scan(&head[..n], LIMITS), Ok(None), "{n}");
        }
        assert_eq!(scanner.scan(head, LIMITS), Ok(Some(27)));
    }

    #[test]
    fn a_head_without_fields_ends_too() {
        assert_eq!(Scanner::default().scan(b"GET / HTTP/1.1\r\n\r\n", LIMITS), Ok(Some(18)));
    }

    #[test]
    fn refuses_bare_lf() {
        for head in [
            "\n",
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\n\n",
        ] {
            assert!(Scanner::default().scan(head.as_bytes(), LIMITS).is_err(), "{head:?}");
        }
    }

    #[test]
    fn tells_a_long_line_from_a_long_head() {
        let long = vec![b'a'; 65];
        assert_eq!(Scanner::default().scan(&long, LIMITS).unwrap_err().status, 414);
        let head = [b"GET / HTTP/1.1\r\n".as_slice(), &long].concat();
        assert_eq!(Scanner::default().scan(&head, LIMITS).unwrap_err().status, 431);
    }
}
