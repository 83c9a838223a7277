//! What the frames of bodies pass on their way through the proxy: filters, counters, copies.
//!
//! Made by [`super::sides`], called by [`super::pump`].

use std::time::Instant;

use bytes::Bytes;
use sampan_filters_api::LocalReply;

use super::attempt::Attempt;
use super::body::Frame;
use super::chain::{self, Direction};
use super::pump::Tap;
use super::tail;

/// Sees the frames of a request's body on their way up.
pub(super) struct RequestTap<'t, 'a, 'w, 'c, 's> {
    /// Whose body it is.
    pub attempt: &'t Attempt<'a, 'w, 'c, 's>,
    /// A filter wants to see it.
    pub active: bool,
    /// A filter may add to its end.
    pub tail: bool,
    /// Bytes that come first and were counted when a filter held them.
    pub counted: usize,
}

impl Tap for RequestTap<'_, '_, '_, '_, '_> {
    async fn frame(&mut self, frame: &mut Frame) -> Result<Bytes, Box<LocalReply>> {
        let relay = self.attempt.relay;
        if let Frame::Data(data, _) = frame {
            let counted = self.counted.min(data.len());
            self.counted -= counted;
            relay.shared.borrow_mut().info.bytes.received += (data.len() - counted) as u64;
            relay.progress.touch();
            relay.progress.awaits_body(true);
        }
        let extras = relay.extras.as_deref();
        if let Some(extras) = extras {
            extras.hold();
        }
        let mut first = Bytes::new();
        if self.tail && frame.is_last() {
            first = Box::pin(tail::last_frame(relay.shared, Direction::Request, frame)).await?;
        } else if self.active {
            match frame {
                Frame::Data(data, end) => chain::request_data(relay.shared, data, *end).await?,
                Frame::Trailers(trailers) => chain::request_trailers(relay.shared, trailers).await?,
                Frame::End => {}
            }
        }
        if let Some(extras) = extras {
            if !first.is_empty() {
                extras.record(&Frame::Data(first.clone(), false), self.attempt.target);
            }
            extras.record(frame, self.attempt.target);
        }
        Ok(first)
    }

    fn waits(&mut self, left: Option<usize>) {
        self.attempt.relay.progress.upstream_takes(left.is_none());
    }
}

/// Sees the frames of a response's body on their way down.
pub(super) struct ResponseTap<'t, 'a, 'w, 'c, 's> {
    /// Whose body it is.
    pub attempt: &'t Attempt<'a, 'w, 'c, 's>,
    /// A filter wants to see it.
    pub active: bool,
    /// A filter may add to its end.
    pub tail: bool,
}

impl Tap for ResponseTap<'_, '_, '_, '_, '_> {
    async fn frame(&mut self, frame: &mut Frame) -> Result<Bytes, Box<LocalReply>> {
        let relay = self.attempt.relay;
        match frame {
            Frame::Data(..) => {
                relay.progress.touch();
                self.attempt.tried.hear();
            }
            Frame::Trailers(trailers) => self.attempt.target.heard(trailers, false),
            Frame::End => {}
        }
        if frame.is_last() && relay.context.config.needs_facts {
            let read_now = matches!(frame, Frame::Data(..));
            let now = if read_now { relay.progress.last_activity() } else { Instant::now() };
            let mut shared = relay.shared.borrow_mut();
            (shared.info.upstream.response_received.1, shared.info.response_sent.1) = (Some(now), Some(now));
        }
        let mut first = Bytes::new();
        if self.tail && frame.is_last() {
            first = Box::pin(tail::last_frame(relay.shared, Direction::Response, frame)).await?;
        } else if self.active {
            match frame {
                Frame::Data(data, end) => chain::response_data(relay.shared, data, *end).await?,
                Frame::Trailers(trailers) => chain::response_trailers(relay.shared, trailers).await?,
                Frame::End => {}
            }
        }
        let mut shared = relay.shared.borrow_mut();
        shared.info.bytes.sent += first.len() as u64;
        match frame {
            Frame::Data(data, _) => shared.info.bytes.sent += data.len() as u64,
            Frame::Trailers(trailers) => {
                if relay.context.config.needs_facts {
                    shared.trailers = Some(trailers.clone());
                }
                shared.info.bytes.response_trailers = trailers.byte_size() as u64;
            }
            Frame::End => {}
        }
        Ok(first)
    }

    fn waits(&mut self, left: Option<usize>) {
        self.attempt.relay.progress.unread(left);
    }
}
