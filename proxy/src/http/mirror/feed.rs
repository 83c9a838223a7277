//! The body of a copy on its way from the request to the task that sends it: bounded, within one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::super::body::Frame;

/// The request's end. Dropping it before the body's end gives the copy up.
pub(in super::super) struct Feed(Rc<RefCell<Queue>>);

/// The task's end.
pub(super) struct Reader(Rc<RefCell<Queue>>);

struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
    /// When the body was complete.
    complete: Option<Instant>,
    /// The request was given up before that.
    cut: bool,
    /// Nobody reads any more.
    unread: bool,
    waker: Option<Waker>,
}

/// The request was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut;

impl Feed {
    /// At most `limit` bytes wait. A request without a body is complete from the start.
    pub(super) fn new(limit: usize, complete: bool) -> Self {
        Self(Rc::new(RefCell::new(Queue {
            frames: VecDeque::new(),
            bytes: 0,
            limit,
            complete: complete.then(Instant::now),
            cut: false,
            unread: false,
            waker: None,
        })))
    }

    pub(super) fn reader(&self) -> Reader {
        Reader(self.0.clone())
    }

    /// Takes a frame; false if it is too much, and the copy ends.
    pub(in super::super) fn push(&self, frame: &Frame) -> bool {
        let mut queue = self.0.borrow_mut();
        if queue.unread {
            return true;
        }
        let length = if let Frame::Data(data, _) = frame { data.len() } else { 0 };
        // An empty queue takes a piece of any size, or large pieces would never pass.
        if queue.bytes > 0 && queue.bytes + length > queue.limit {
            queue.cut = true;
        } else {
            queue.bytes += length;
            queue.frames.push_back(frame.clone());
            if !matches!(frame, Frame::Data(_, false)) {
                queue.complete = Some(Instant::now());
            }
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        !queue.cut
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.cut |= queue.complete.is_none();
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}

impl Reader {
    /// The next frame.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Frame, Cut>> {
        let mut queue = self.0.borrow_mut();
        if queue.cut {
            return Poll::Ready(Err(Cut));
        }
        if let Some(frame) = queue.frames.pop_front() {
            if let Frame::Data(data, _) = &frame {
                queue.bytes -= data.len();
            }
            return Poll::Ready(Ok(frame));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// When the request was complete; and whether it was given up, of which the task is told.
    pub(super) fn poll_state(&self, cx: &mut Context<'_>) -> Result<Option<Instant>, Cut> {
        let mut queue = self.0.borrow_mut();
        queue.waker = Some(cx.waker().clone());
        if queue.cut { Err(Cut) } else { Ok(queue.complete) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.unread = true;
        queue.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn data(text: &'static [u8], end: bool) -> Frame {
        Frame::Data(Bytes::from_static(text), end)
    }

    fn next(reader: &Reader) -> Poll<Result<Frame, Cut>> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_body_passes_in_order() {
        let feed = Feed::new(4, false);
        let reader = feed.reader();
        assert!(next(&reader).is_pending());
        assert!(feed.push(&data(b"longer than the limit", false)));
        assert!(
            matches!(next(&reader), Poll::Ready(Ok(Frame::Data(data, false))) if data == "longer than the limit")
        );
        assert!(feed.push(&data(b"ab", false)) && feed.push(&data(b"cd", true)));
        drop(feed);
        assert!(matches!(next(&reader), Poll::Ready(Ok(Frame::Data(data, false))) if data == "ab"));
        assert!(matches!(next(&reader), Poll::Ready(Ok(Frame::Data(data, true))) if data == "cd"));
    }

    #[test]
    fn a_slow_reader_loses_the_copy() {
        let feed = Feed::new(4, false);
        let reader = feed.reader();
        assert!(feed.push(&data(b"abc", false)));
        assert!(!feed.push(&data(b"de", false)));
        assert!(matches!(next(&reader), Poll::Ready(Err(Cut))));
    }

    #[test]
    fn a_request_that_is_given_up_takes_its_copy_along() {
        let feed = Feed::new(4, false);
        let reader = feed.reader();
        assert!(feed.push(&data(b"a", false)));
        drop(feed);
        assert!(matches!(next(&reader), Poll::Ready(Err(Cut))));
        let feed = Feed::new(4, true);
        let reader = feed.reader();
        drop(feed);
        assert!(reader.poll_state(&mut Context::from_waker(Waker::noop())).unwrap().is_some());
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_has_left() {
        let feed = Feed::new(4, false);
        drop(feed.reader());
        assert!(feed.push(&data(b"abc", false)) && feed.push(&data(b"def", false)));
        assert!(feed.0.borrow().frames.is_empty());
    }
}
