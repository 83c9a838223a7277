//! Moves a body from a reader to a writer, one frame at a time.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use sampan_filters_api::LocalReply;

use super::body::{BodyError, BodyReader, BodyWriter, Frame};

/// How a pump ended before its message did.
#[derive(Debug)]
pub enum PumpError {
    /// The side that is read failed.
    Reader(BodyError),
    /// The side that is written failed.
    Writer(BodyError),
    /// A filter ended the stream with this reply.
    Filter(Box<LocalReply>),
}

/// Sees each frame on its way; filters and counters.
pub trait Tap {
    /// May change the frame, or end the stream with a reply. Returns bytes that go before the frame.
    async fn frame(&mut self, frame: &mut Frame) -> Result<Bytes, Box<LocalReply>>;

    /// The writer waits for its peer to take so many bytes; `None` if it waits for nothing.
    fn waits(&mut self, left: Option<usize>);
}

/// Moves all frames, then flushes.
pub async fn pump(
    reader: &mut BodyReader<'_>,
    writer: &mut BodyWriter<'_>,
    tap: &mut impl Tap,
) -> Result<(), PumpError> {
    loop {
        let mut frame = next(reader, writer, tap).await?;
        let first = tap.frame(&mut frame).await.map_err(PumpError::Filter)?;
        if !first.is_empty() {
            writer.start(Frame::Data(first, false)).map_err(PumpError::Writer)?;
            poll_fn(|cx| watched(writer.poll_ready(cx), writer, tap)).await.map_err(PumpError::Writer)?;
        }
        let last = frame.is_last();
        writer.start(frame).map_err(PumpError::Writer)?;
        poll_fn(|cx| watched(writer.poll_ready(cx), writer, tap)).await.map_err(PumpError::Writer)?;
        if last {
            return poll_fn(|cx| watched(writer.poll_flush(cx), writer, tap))
                .await
                .map_err(PumpError::Writer);
        }
    }
}

/// The reader's next frame. While it has none, what the writer holds back is sent, so that nothing waits for nothing.
async fn next(
    reader: &mut BodyReader<'_>,
    writer: &mut BodyWriter<'_>,
    tap: &mut impl Tap,
) -> Result<Frame, PumpError> {
    poll_fn(|cx| {
        if let Poll::Ready(frame) = reader.poll_next(cx) {
            return Poll::Ready(frame.map_err(PumpError::Reader));
        }
        if let Poll::Ready(Err(error)) = watched(writer.poll_flush(cx), writer, tap) {
            return Poll::Ready(Err(PumpError::Writer(error)));
        }
        match writer.poll_closed(cx) {
            Poll::Ready(error) => Poll::Ready(Err(PumpError::Writer(error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Tells the tap whether the writer waits.
fn watched<T>(polled: Poll<T>, writer: &BodyWriter<'_>, tap: &mut impl Tap) -> Poll<T> {
    tap.waits(polled.is_pending().then(|| writer.left()));
    polled
}
