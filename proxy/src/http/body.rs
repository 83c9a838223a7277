//! Bodies on their way through: a reader and a writer for each codec, polled by the pumps of a stream.
//!
//! Bodies are pulled: a pump asks the reader for the next frame only when the writer has taken the last one, so a slow
//! side slows the other down and nothing piles up in between.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use sampan_filters_api::Headers;
use smallvec::SmallVec;

use super::h1::body::{Decoded, Decoder};
use super::h1::encode::{self, NameCase};
use super::h1::{CodecError, Framing, HeadLimits};
use super::h2;
use crate::net::io::Io;

/// A piece of a message behind its head.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A piece of the body; `true` if the message ends with it.
    Data(Bytes, bool),
    /// Trailers; the message ends with them.
    Trailers(Headers),
    /// The message ends without more.
    End,
}

impl Frame {
    /// Whether the message ends with it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Frame::Data(_, false))
    }
}

/// Why a body could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended within the message.
    #[error("the connection closed")]
    Closed,
    /// The message breaks the protocol.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The stream was reset by the peer.
    #[error("reset: {0}")]
    Reset(::h2::Reason),
}

impl From<io::Error> for BodyError {
    fn from(_: io::Error) -> Self {
        BodyError::Closed
    }
}

impl From<::h2::Error> for BodyError {
    fn from(error: ::h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_remote() && error.is_reset() => BodyError::Reset(reason),
            Some(_) if !error.is_remote() => BodyError::Codec(CodecError::malformed("HTTP/2 protocol error")),
            _ => BodyError::Closed,
        }
    }
}

/// How much is read at once, at first and at most. A body that fills its reads gets larger ones: a system call costs as much as to copy
/// some 20 KiB.
const FIRST_READ: usize = 16 * 1024;
const LARGEST_READ: usize = 128 * 1024;
/// How fast reads grow.
const GROWTH: usize = 4;

/// Where a body comes from.
pub enum BodyReader<'c> {
    /// There is none.
    Empty,
    /// An HTTP/1.1 connection.
    H1(H1Reader<'c>),
    /// An HTTP/2 stream.
    H2(h2::Reader),
    /// A body that was read while a filter held its request.
    Held(Box<Held<'c>>),
}

/// The first of a message, or all of it.
pub struct Held<'c> {
    /// What was read.
    pub frames: VecDeque<Frame>,
    /// Where it came from.
    pub rest: BodyReader<'c>,
}

impl<'c> BodyReader<'c> {
    /// A body that was read before, from `rest`.
    pub fn kept(frames: VecDeque<Frame>, rest: Self) -> Self {
        BodyReader::Held(Box::new(Held { frames, rest }))
    }

    /// A message that has come whole: bytes, perhaps, and the frame that ends it. It was read from `rest`.
    pub fn held((first, last): (Bytes, Frame), rest: BodyReader<'c>) -> Self {
        let first = (!first.is_empty()).then_some(Frame::Data(first, false));
        BodyReader::Held(Box::new(Held { frames: first.into_iter().chain([last]).collect(), rest }))
    }
}

impl BodyReader<'_> {
    /// The next frame.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyError>> {
        match self {
            BodyReader::Empty => Poll::Ready(Ok(Frame::End)),
            BodyReader::H1(reader) => reader.poll_next(cx),
            BodyReader::H2(reader) => reader.poll_next(cx),
            BodyReader::Held(held) => match held.frames.pop_front() {
                Some(frame) => Poll::Ready(Ok(frame)),
                // The end was read with the frames, or it is still to come.
                None if held.rest.is_done() => Poll::Ready(Ok(Frame::End)),
                None => held.rest.poll_next(cx),
            },
        }
    }

    /// Bytes that a filter has held, and that come next.
    pub fn held_bytes(&self) -> usize {
        let BodyReader::Held(held) = self else { return 0 };
        let each = held.frames.iter().map(|frame| match frame {
            Frame::Data(data, _) => data.len(),
            Frame::Trailers(_) | Frame::End => 0,
        });
        each.sum()
    }

    /// Whether the message was read to its end.
    pub fn is_done(&self) -> bool {
        match self {
            BodyReader::Empty => true,
            BodyReader::H1(reader) => reader.is_done(),
            BodyReader::H2(reader) => reader.is_done(),
            BodyReader::Held(held) => held.frames.is_empty() && held.rest.is_done(),
        }
    }

    /// After the message: ready when the peer leaves. HTTP/1.1 bytes of a pipelined request are kept.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            BodyReader::H1(reader) => reader.poll_closed(cx),
            BodyReader::Held(held) => held.rest.poll_closed(cx),
            BodyReader::Empty | BodyReader::H2(_) => Poll::Pending,
        }
    }

    /// Goes on reading whatever comes until the connection ends: another protocol took over.
    pub fn switch_to_raw(&mut self) {
        if let BodyReader::H1(reader) = self {
            reader.decoder = Decoder::new(Framing::UntilClose, reader.limits);
        }
    }
}

/// Reads a body from an HTTP/1.1 connection.
pub struct H1Reader<'c> {
    io: &'c Io,
    buf: &'c mut BytesMut,
    decoder: Decoder,
    limits: HeadLimits,
    read_size: usize,
    trailers: bool,
    /// Body bytes the connection's buffers may hold at once.
    limit: usize,
}

impl<'c> H1Reader<'c> {
    /// A reader for the body that follows a head; `limits` hold for trailers, `buffer` bounds what is read ahead.
    pub fn new(
        io: &'c Io,
        buf: &'c mut BytesMut,
        framing: Framing,
        limits: HeadLimits,
        buffer: usize,
    ) -> Self {
        // What came with the head tells already whether there is much of it.
        let read_size = grown(FIRST_READ, buf.len());
        Self {
            io,
            buf,
            decoder: Decoder::new(framing, limits),
            limits,
            read_size,
            trailers: true,
            limit: buffer,
        }
    }

    /// Whether trailers are passed on; without, they are read and dropped.
    pub fn with_trailers(mut self, trailers: bool) -> Self {
        self.trailers = trailers;
        self
    }

    /// Whether the whole body was read.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// A pipelining client gets this far ahead, no further.
    const READ_AHEAD: usize = 16 * 1024;

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buf.len() < Self::READ_AHEAD {
            match ready!(self.io.poll_read(cx, self.buf, 4096)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyError>> {
        loop {
            match self.decoder.decode(self.buf)? {
                Decoded::Data(data, end) => return Poll::Ready(Ok(Frame::Data(data, end))),
                Decoded::End(None) => return Poll::Ready(Ok(Frame::End)),
                Decoded::End(Some(trailers)) if self.trailers => {
                    return Poll::Ready(Ok(Frame::Trailers(trailers)));
                }
                Decoded::End(Some(_)) => return Poll::Ready(Ok(Frame::End)),
                Decoded::Pending => {}
            }
            let size = self.decoder.at_most().min(self.read_size).min(self.limit.max(1024));
            let n = ready!(self.io.poll_read(cx, self.buf, size))?;
            if n == 0 {
                let end =
                    if self.decoder.ends_with_connection() { Ok(Frame::End) } else { Err(BodyError::Closed) };
                return Poll::Ready(end);
            }
            self.read_size = grown(self.read_size, n);
        }
    }
}

/// How much to read at once after so much was read at once.
fn grown(size: usize, read: usize) -> usize {
    if read >= size / 2 { (size * GROWTH).min(LARGEST_READ) } else { size }
}

/// Where a body goes.
pub enum BodyWriter<'c> {
    /// The message ended with its head.
    Empty,
    /// An HTTP/1.1 connection.
    H1(H1Writer<'c>),
    /// An HTTP/2 stream.
    H2(h2::Writer),
}

impl BodyWriter<'_> {
    /// Takes a frame; it is on its way once [`BodyWriter::poll_ready`] says so.
    pub fn start(&mut self, frame: Frame) -> Result<(), BodyError> {
        match self {
            BodyWriter::Empty => Ok(()),
            BodyWriter::H1(writer) => writer.start(frame),
            BodyWriter::H2(writer) => {
                writer.start(frame);
                Ok(())
            }
        }
    }

    /// Ready when the next frame may be started. Small pieces may still be held back; see [`BodyWriter::poll_flush`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            BodyWriter::Empty => Poll::Ready(Ok(())),
            BodyWriter::H1(writer) => writer.poll_ready(cx),
            BodyWriter::H2(writer) => writer.poll_ready(cx),
        }
    }

    /// Sends what is held back.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            BodyWriter::Empty => Poll::Ready(Ok(())),
            BodyWriter::H1(writer) => writer.poll_flush(cx).map_err(Into::into),
            BodyWriter::H2(writer) => writer.poll_ready(cx),
        }
    }

    /// Bytes that the peer has not taken.
    pub fn left(&self) -> usize {
        match self {
            BodyWriter::Empty => 0,
            BodyWriter::H1(writer) => writer.left(),
            BodyWriter::H2(writer) => writer.left(),
        }
    }

    /// Ready when the peer resets the stream.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        match self {
            BodyWriter::H2(writer) => writer.poll_reset(cx).map(BodyError::Reset),
            BodyWriter::Empty | BodyWriter::H1(_) => Poll::Pending,
        }
    }

    /// Whether the message is complete and handed to the system.
    pub fn is_done(&self) -> bool {
        match self {
            BodyWriter::Empty => true,
            BodyWriter::H1(writer) => writer.is_done(),
            BodyWriter::H2(writer) => writer.is_done(),
        }
    }

    /// Goes on writing whatever is given: another protocol took over.
    pub fn switch_to_raw(&mut self) {
        if let BodyWriter::H1(writer) = self {
            writer.framing = Left::Raw;
        }
    }

    /// Ends a raw direction: the peer sees the end, and may still answer.
    pub async fn close(&mut self) {
        if let BodyWriter::H1(writer) = self {
            // Failing means that the peer is gone, which the other direction will notice.
            let _ = writer.io.shutdown().await;
        }
    }

    /// Gives the message up so that the peer cannot take it for complete.
    pub fn abort(&mut self) {
        match self {
            BodyWriter::Empty => {}
            BodyWriter::H1(writer) if writer.framing == Left::Raw => writer.io.reset_on_close(),
            // Length or chunks tell that something is missing.
            BodyWriter::H1(_) => {}
            BodyWriter::H2(writer) => writer.reset(::h2::Reason::INTERNAL_ERROR),
        }
    }
}

/// A piece up to this size is copied behind what waits to be written, so that both go in one system call.
const COPY_UP_TO: usize = 8 * 1024;
/// So much is collected while the reader has more at hand, for the same reason.
const COLLECT: usize = 64 * 1024;

/// Writes a body to an HTTP/1.1 connection.
pub struct H1Writer<'c> {
    io: &'c Io,
    /// Heads, the framing of chunks and small pieces, in order.
    out: &'c mut Vec<u8>,
    /// How much of it is written.
    written: usize,
    large: VecDeque<Large>,
    /// Bytes of the large pieces.
    waiting: usize,
    framing: Left,
    case: NameCase,
    /// Whether trailers are forwarded (`enable_trailers`, or gRPC).
    trailers: bool,
}

/// A piece that is not copied.
struct Large {
    /// How much of `out` goes before it.
    behind: usize,
    data: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Length(u64),
    Chunked,
    Raw,
    Done,
}

impl<'c> H1Writer<'c> {
    /// A writer behind a head that is already in `out`.
    pub fn new(io: &'c Io, out: &'c mut Vec<u8>, framing: Framing, case: NameCase, trailers: bool) -> Self {
        let framing = match framing {
            Framing::None | Framing::Length(0) => Left::Done,
            Framing::Length(n) => Left::Length(n),
            Framing::Chunked => Left::Chunked,
            Framing::UntilClose => Left::Raw,
        };
        Self { io, out, written: 0, large: VecDeque::new(), waiting: 0, framing, case, trailers }
    }

    /// Whether the message is complete.
    pub fn is_done(&self) -> bool {
        self.framing == Left::Done && self.left() == 0
    }

    /// Bytes that are not written.
    fn left(&self) -> usize {
        self.out.len() - self.written + self.waiting
    }

    fn start(&mut self, frame: Frame) -> Result<(), BodyError> {
        let (data, end, trailers) = match frame {
            Frame::Data(data, end) => (data, end, None),
            Frame::Trailers(trailers) => (Bytes::new(), true, Some(trailers)),
            Frame::End => (Bytes::new(), true, None),
        };
        match self.framing {
            Left::Done if data.is_empty() => return Ok(()),
            Left::Done => {
                return Err(CodecError::malformed("a body is longer than its content-length").into());
            }
            Left::Length(left) => {
                let Some(left) = left.checked_sub(data.len() as u64) else {
                    return Err(CodecError::malformed("a body is longer than its content-length").into());
                };
                if end && left > 0 {
                    return Err(CodecError::malformed("a body is shorter than its content-length").into());
                }
                self.framing = if left == 0 { Left::Done } else { Left::Length(left) };
                self.put(data);
            }
            Left::Raw => {
                self.put(data);
                if end {
                    self.framing = Left::Done;
                }
            }
            Left::Chunked => {
                if !data.is_empty() {
                    encode::chunk_header(data.len(), self.out);
                    self.put(data);
                    self.out.extend_from_slice(b"\r\n");
                }
                if end {
                    self.framing = Left::Done;
                    let trailers = trailers.filter(|_| self.trailers);
                    encode::last_chunk(trailers.as_ref(), self.case, self.out);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, data: Bytes) {
        if data.len() <= COPY_UP_TO {
            self.out.extend_from_slice(&data);
        } else {
            self.waiting += data.len();
            self.large.push_back(Large { behind: self.out.len(), data });
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.framing != Left::Done && self.left() < COLLECT {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx).map_err(Into::into)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            let n = ready!(self.poll_write(cx))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        self.out.clear();
        self.written = 0;
        self.io.poll_flush(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.large.is_empty() {
            return self.io.poll_write(cx, &self.out[self.written..]);
        }
        let mut slices: SmallVec<[io::IoSlice<'_>; 8]> = SmallVec::new();
        let mut from = self.written;
        for piece in &self.large {
            if from < piece.behind {
                slices.push(io::IoSlice::new(&self.out[from..piece.behind]));
                from = piece.behind;
            }
            slices.push(io::IoSlice::new(&piece.data));
        }
        if from < self.out.len() {
            slices.push(io::IoSlice::new(&self.out[from..]));
        }
        match &slices[..] {
            [only] => self.io.poll_write(cx, only),
            several => self.io.poll_write_vectored(cx, several),
        }
    }

    /// Takes out what was written.
    fn advance(&mut self, mut n: usize) {
        while let Some(piece) = self.large.front_mut() {
            let before = n.min(piece.behind - self.written);
            let of_piece = (n - before).min(piece.data.len());
            self.written += before;
            self.waiting -= of_piece;
            n -= before + of_piece;
            piece.data.advance(of_piece);
            if !piece.data.is_empty() {
                return;
            }
            self.large.pop_front();
        }
        self.written += n;
    }
}

#[cfg(test)]
mod tests;
