//! Moves a body from a reader to a writer, one frame at a time.

use std::future::poll_fn;
use std::task::Poll;

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
    /// May change the frame, or end the stream with a reply.
    async fn frame(&mut self, frame: &mut Frame) -> Result<(), Box<LocalReply>>;
}

/// Moves all frames, then flushes.
pub async fn pump(
    reader: &mut BodyReader<'_>,
    writer: &mut BodyWriter<'_>,
    tap: &mut impl Tap,
) -> Result<(), PumpError> {
    loop {
        let mut frame = next(reader, writer).await?;
        tap.frame(&mut frame).await.map_err(PumpError::Filter)?;
        let last = !matches!(frame, Frame::Data(_, false));
        writer.start(frame).map_err(PumpError::Writer)?;
        poll_fn(|cx| writer.poll_ready(cx)).await.map_err(PumpError::Writer)?;
        if last {
            return poll_fn(|cx| writer.poll_flush(cx)).await.map_err(PumpError::Writer);
        }
    }
}

/// The reader's next frame. While it has none, what the writer holds back is sent, so that nothing waits for nothing.
async fn next(reader: &mut BodyReader<'_>, writer: &mut BodyWriter<'_>) -> Result<Frame, PumpError> {
    poll_fn(|cx| {
        if let Poll::Ready(frame) = reader.poll_next(cx) {
            return Poll::Ready(frame.map_err(PumpError::Reader));
        }
        if let Poll::Ready(Err(error)) = writer.poll_flush(cx) {
            return Poll::Ready(Err(PumpError::Writer(error)));
        }
        match writer.poll_closed(cx) {
            Poll::Ready(error) => Poll::Ready(Err(PumpError::Writer(error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
