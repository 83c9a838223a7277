//! A request's body as it went up, kept so that it can go up again: up to a limit, beyond which there is no other attempt.

use std::collections::VecDeque;

use super::body::Frame;

/// What was sent so far.
pub(super) struct Replay {
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
    /// More was sent than may be kept.
    lost: bool,
    /// A filter has a frame in its hands, which is lost if the attempt ends now.
    held: bool,
}

impl Replay {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, limit, lost: false, held: false }
    }

    /// A frame goes into the filters.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// It came out and goes up. True if that was too much to be kept.
    pub(super) fn record(&mut self, frame: &Frame) -> bool {
        self.held = false;
        if self.lost {
            return false;
        }
        if let Frame::Data(data, _) = frame {
            self.bytes += data.len();
        }
        self.frames.push_back(frame.clone());
        if self.bytes > self.limit {
            self.lost = true;
            self.frames = VecDeque::new();
            return true;
        }
        false
    }

    /// Takes what was sent.
    pub(super) fn take(&mut self) -> VecDeque<Frame> {
        std::mem::take(&mut self.frames)
    }

    /// Whether everything that was sent can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        !self.lost && !self.held
    }

    /// The frame at a place, if so many went up.
    pub(super) fn frame(&self, at: usize) -> Option<Frame> {
        self.frames.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_body_is_kept_up_to_the_limit() {
        let mut replay = Replay::new(4);
        assert!(!replay.record(&Frame::Data(Bytes::from_static(b"abcd"), false)));
        assert!(
            replay.is_whole() && matches!(replay.frame(0), Some(Frame::Data(data, false)) if data == "abcd")
        );
        replay.hold();
        assert!(!replay.is_whole());
        assert!(!replay.record(&Frame::End));
        assert!(replay.is_whole() && matches!(replay.frame(1), Some(Frame::End)));
        assert!(replay.record(&Frame::Data(Bytes::from_static(b"e"), true)));
        assert!(!replay.record(&Frame::End), "once is enough");
        assert!(!replay.is_whole() && replay.frame(0).is_none());
    }
}
