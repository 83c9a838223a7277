//! Read buffers that go from connection to connection, so that one that waits holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers kept at most, and the size that is worth keeping.
const MOST: usize = 64;
const SMALLEST: usize = 4 * 1024;
const LARGEST: usize = 256 * 1024;

/// A worker's spare read buffers.
#[derive(Default)]
pub struct Buffers {
    spare: RefCell<Vec<BytesMut>>,
}

impl Buffers {
    /// An empty buffer.
    pub fn take(&self) -> BytesMut {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back; one that holds bytes, or whose memory is still in use, is not kept.
    pub fn give(&self, mut buffer: BytesMut) {
        let mut spare = self.spare.borrow_mut();
        if buffer.is_empty()
            && spare.len() < MOST
            && buffer.try_reclaim(SMALLEST)
            && buffer.capacity() <= LARGEST
        {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_buffers_are_kept() {
        let buffers = Buffers::default();
        let mut buffer = BytesMut::with_capacity(SMALLEST);
        buffer.extend_from_slice(b"held");
        let held = buffer.split().freeze();
        buffers.give(buffer);
        assert_eq!(buffers.take().capacity(), 0, "its memory was in use");
        drop(held);
        buffers.give(BytesMut::with_capacity(SMALLEST));
        assert!(buffers.take().capacity() >= SMALLEST);
    }
}
