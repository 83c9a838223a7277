//! What comes before the bytes of the application: an exchange with the peer, of which readers of the connection see nothing.
//!
//! Made by filters (`sampan_filters_api::network::Preamble`); a connection without one pays a look at a cell for each read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use sampan_filters_api::network::{Preamble, PreambleRead, PreambleReader};
use tokio_util::io::poll_read_buf;

use super::{Io, Transport};

/// What comes before the bytes of the application, and what was read behind it.
pub(super) struct Front {
    reader: Option<Box<dyn PreambleReader>>,
    held: BytesMut,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Front {
    /// Whether what came first was read, and only what was read behind it is left.
    pub(super) fn is_read(&self) -> bool {
        self.reader.is_none()
    }
}

impl Io {
    /// Exchanges what comes before the bytes of the application: writes the own part, and takes the peer's off what is read next.
    pub async fn begin(&self, preamble: Preamble) -> io::Result<()> {
        self.write_all(&preamble.write).await?;
        if let Some(reader) = preamble.read {
            let mut front = self.front.borrow_mut();
            let held = front.take().map(|front| front.held).unwrap_or_default();
            *front = Some(Box::new(Front { reader: Some(reader), held }));
        }
        Ok(())
    }

    /// Reads once while something comes before the bytes of the application, or is left behind it.
    #[cold]
    pub(super) fn poll_read_front(
        &self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        const PIECE: usize = 4 * 1024;
        loop {
            let mut slot = self.front.borrow_mut();
            let Some(front) = slot.as_mut() else {
                drop(slot);
                return self.poll_read(cx, buf, limit);
            };
            let Some(reader) = &mut front.reader else {
                let n = front.held.len().min(limit);
                buf.extend_from_slice(&front.held.split_to(n));
                if front.held.is_empty() {
                    *slot = None;
                }
                return Poll::Ready(Ok(n));
            };
            front.held.reserve(PIECE);
            let n = ready!(with!(self, stream => poll_read_buf(stream, cx, &mut front.held)))?;
            self.received.set(self.received.get() + n as u64);
            match reader.read(&mut front.held, n == 0) {
                PreambleRead::More if n > 0 => {}
                PreambleRead::More | PreambleRead::Broken => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                PreambleRead::Done => {
                    front.reader = None;
                    if front.held.is_empty() {
                        *slot = None;
                        if n == 0 {
                            return Poll::Ready(Ok(0));
                        }
                    }
                }
            }
        }
    }
}
