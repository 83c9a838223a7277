//! Reads along with the `h2` crate on a downstream connection, for what the crate keeps to itself.
//!
//! - Floods: the limits of `Http2ProtocolOptions` on frames that cost the sender little, with Envoy's rules.
//! - Resets that we cause: a client may break the protocol on purpose to have its streams reset (CVE-2025-8671).
//! - Requests that the crate refuses before anyone sees them, so that they can be logged and counted.
//! - A head that does not come to its end (slow CONTINUATION).
//!
//! Called by [`super::transport`] for every byte, asked by [`super::server`]. No I/O, no clock but the one given.

use std::collections::VecDeque;
use std::time::Instant;

use super::PREFACE;
use super::frames::{Frame, Splitter, flag, kind};
use crate::http::config::Http2Options;
use crate::telemetry::stats::kinds::Http2Counter;

/// Streams that we may reset because of the client's errors, over the life of a connection.
pub(super) const ERROR_RESETS: usize = 500;
/// Heads remembered until the crate hands their stream over or refuses it. More than it takes in at once.
const MOST_WAITING: usize = 8192;
/// Envoy's allowance of WINDOW_UPDATE frames of a connection without streams.
const FREE_WINDOW_UPDATES: u64 = 5;

/// Codes of RST_STREAM and GOAWAY (RFC 9113 §7).
mod code {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
}

/// Why a request never became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its head breaks the rules.
    Malformed,
    /// Its head is larger than `max_request_headers_kb`; the crate answered 431.
    TooLarge,
}

/// What a connection is cut off for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// `max_consecutive_inbound_frames_with_empty_payload`
    EmptyFrames,
    /// `max_inbound_priority_frames_per_stream`
    Priority,
    /// `max_inbound_window_update_frames_per_data_frame_sent`
    WindowUpdate,
    /// `max_outbound_control_frames`: answers that the client does not read.
    Control,
    /// Streams that we had to reset.
    ErrorResets,
}

impl Flood {
    /// The counter of `http2.`, where Envoy has one.
    pub fn counter(self) -> Option<Http2Counter> {
        Some(match self {
            Flood::EmptyFrames => Http2Counter::InboundEmptyFramesFlood,
            Flood::Priority => Http2Counter::InboundPriorityFramesFlood,
            Flood::WindowUpdate => Http2Counter::InboundWindowUpdateFramesFlood,
            Flood::Control => Http2Counter::OutboundControlFlood,
            Flood::ErrorResets => return None,
        })
    }
}

/// Limits, from `Http2ProtocolOptions`.
#[derive(Clone, Copy, Debug)]
struct Limits {
    empty_frames: u32,
    priority_per_stream: u32,
    window_updates_per_data: u32,
    control_frames: u32,
}

/// What has gone through a connection.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    received: Splitter,
    sent: Splitter,
    /// Streams that the client has opened, and the highest of them.
    opened: u64,
    highest: u32,
    priorities: u64,
    window_updates: u64,
    data_sent: u64,
    /// Frames without payload in a row.
    empty: u32,
    /// PING and SETTINGS that are not acknowledged yet.
    owed: i64,
    error_resets: usize,
    /// Streams whose head has come and which the crate has not handed over, ascending; and how it answered them itself.
    waiting: VecDeque<(u32, Option<Refused>)>,
    /// A head is not complete: CONTINUATION must follow.
    continues: bool,
    head_since: Option<Instant>,
    blocked_since: Option<Instant>,
    flood: Option<Flood>,
    resets: Resets,
}

/// RST_STREAM frames, since they were asked for last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resets {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

impl Meter {
    /// A connection at its beginning.
    pub fn new(options: &Http2Options) -> Self {
        Self {
            limits: Limits {
                empty_frames: options.max_consecutive_empty_frames,
                priority_per_stream: options.max_priority_frames_per_stream,
                window_updates_per_data: options.max_window_updates_per_data_frame,
                control_frames: options.max_outbound_control_frames,
            },
            received: Splitter::after(PREFACE.len()),
            sent: Splitter::default(),
            opened: 0,
            highest: 0,
            priorities: 0,
            window_updates: 0,
            data_sent: 0,
            empty: 0,
            owed: 0,
            error_resets: 0,
            waiting: VecDeque::new(),
            continues: false,
            head_since: None,
            blocked_since: None,
            flood: None,
            resets: Resets::default(),
        }
    }

    /// Bytes came from the client.
    pub fn received(&mut self, bytes: &[u8]) {
        let mut splitter = std::mem::take(&mut self.received);
        splitter.feed(bytes, |frame| self.inbound(frame));
        let within = self.continues || splitter.is_within(&[kind::HEADERS, kind::CONTINUATION]);
        self.received = splitter;
        if !within {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
    }

    /// Bytes went to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        let mut splitter = std::mem::take(&mut self.sent);
        splitter.feed(bytes, |frame| self.outbound(frame));
        self.sent = splitter;
    }

    /// The crate has handed a stream over.
    pub fn accepted(&mut self, stream: u32) {
        if let Some(place) = self.place(stream) {
            self.waiting.remove(place);
        }
    }

    /// A request that the crate has refused. To be asked when it has no stream to hand over: one that it reset for its body
    /// comes all the same.
    pub fn next_refused(&mut self) -> Option<Refused> {
        let place = self.waiting.iter().position(|(_, refused)| refused.is_some())?;
        self.waiting.remove(place)?.1
    }

    /// How many requests got lost with the connection.
    pub fn lost(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }

    /// The limit that was broken.
    pub fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Since when a head has been on its way.
    pub fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// Since when the client has read nothing of what there is for it.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Whether the socket takes nothing.
    pub fn blocked(&mut self, blocked: bool) {
        match (blocked, self.blocked_since) {
            (true, None) => self.blocked_since = Some(Instant::now()),
            (false, Some(_)) => self.blocked_since = None,
            _ => {}
        }
    }

    /// Resets since the last call.
    pub fn take_resets(&mut self) -> Resets {
        std::mem::take(&mut self.resets)
    }

    fn place(&self, stream: u32) -> Option<usize> {
        self.waiting.binary_search_by_key(&stream, |(waiting, _)| *waiting).ok()
    }

    /// The crate answered a stream that nobody was given.
    fn answered(&mut self, stream: u32, how: Option<Refused>) {
        let Some(place) = self.place(stream) else { return };
        match (how, self.waiting.get_mut(place)) {
            (Some(how), Some((_, refused))) => *refused = refused.or(Some(how)),
            // Over `max_concurrent_streams`: the client will send it again.
            (None, Some((_, None))) => {
                self.waiting.remove(place);
            }
            _ => {}
        }
    }

    fn inbound(&mut self, frame: Frame) {
        match frame.kind {
            kind::HEADERS => {
                self.continues = !frame.has(flag::END_HEADERS);
                if frame.stream > self.highest && frame.stream % 2 == 1 {
                    self.highest = frame.stream;
                    self.opened += 1;
                    if self.waiting.len() >= MOST_WAITING {
                        self.waiting.pop_front();
                    }
                    self.waiting.push_back((frame.stream, None));
                }
            }
            kind::CONTINUATION => self.continues = !frame.has(flag::END_HEADERS),
            kind::PRIORITY => {
                self.priorities += 1;
                let most = u64::from(self.limits.priority_per_stream) * (1 + self.opened);
                self.judge(self.priorities > most, Flood::Priority);
            }
            kind::WINDOW_UPDATE => {
                self.window_updates += 1;
                let for_data = u64::from(self.limits.window_updates_per_data) * self.data_sent;
                let most = FREE_WINDOW_UPDATES + 2 * (self.opened + for_data);
                self.judge(self.window_updates > most, Flood::WindowUpdate);
            }
            kind::PING | kind::SETTINGS if !frame.has(flag::ACK) => {
                self.owed += 1;
                self.judge(self.owed > i64::from(self.limits.control_frames), Flood::Control);
            }
            kind::RST_STREAM => self.resets.received += 1,
            _ => {}
        }
        if matches!(frame.kind, kind::DATA | kind::HEADERS | kind::CONTINUATION) {
            let empty =
                frame.is_empty() && (frame.kind == kind::CONTINUATION || !frame.has(flag::END_STREAM));
            self.empty = if empty { self.empty + 1 } else { 0 };
            self.judge(self.empty > self.limits.empty_frames, Flood::EmptyFrames);
        }
    }

    fn outbound(&mut self, frame: Frame) {
        match frame.kind {
            kind::DATA => self.data_sent += 1,
            kind::PING | kind::SETTINGS if frame.has(flag::ACK) => self.owed -= 1,
            kind::HEADERS => self.answered(frame.stream, Some(Refused::TooLarge)),
            kind::RST_STREAM => {
                self.resets.sent += 1;
                let error = matches!(
                    frame.first,
                    code::PROTOCOL_ERROR
                        | code::FLOW_CONTROL_ERROR
                        | code::STREAM_CLOSED
                        | code::FRAME_SIZE_ERROR
                );
                self.answered(frame.stream, error.then_some(Refused::Malformed));
                self.error_resets += usize::from(error);
                self.judge(self.error_resets > ERROR_RESETS, Flood::ErrorResets);
            }
            _ => {}
        }
    }

    fn judge(&mut self, broken: bool, flood: Flood) {
        if broken && self.flood.is_none() {
            self.flood = Some(flood);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_PREFACE: usize = PREFACE.len();

    fn meter() -> Meter {
        let mut meter = Meter::new(&Http2Options::default());
        meter.received(&[0; NO_PREFACE]);
        meter
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    fn head(stream: u32) -> Vec<u8> {
        frame(kind::HEADERS, flag::END_HEADERS, stream, b"x")
    }

    /// How many of a frame are let through.
    fn tolerated(mut meter: Meter, bytes: &[u8], most: usize) -> Option<(usize, Flood)> {
        (0..most).find_map(|n| {
            meter.received(bytes);
            meter.flood().map(|flood| (n, flood))
        })
    }

    #[test]
    fn floods_are_cut_off_where_envoy_does() {
        let of = |kind, payload: &[u8]| frame(kind, 0, 0, payload);
        assert_eq!(tolerated(meter(), &of(kind::PRIORITY, &[0; 5]), 1000), Some((100, Flood::Priority)));
        let update = of(kind::WINDOW_UPDATE, &[0, 0, 0, 1]);
        assert_eq!(tolerated(meter(), &update, 1000), Some((5, Flood::WindowUpdate)));
        let empty = frame(kind::DATA, 0, 1, b"");
        assert_eq!(tolerated(meter(), &empty, 1000), Some((1, Flood::EmptyFrames)));
        assert_eq!(tolerated(meter(), &of(kind::PING, &[0; 8]), 2000), Some((1000, Flood::Control)));
        assert_eq!(tolerated(meter(), &of(kind::DATA, b"x"), 2000), None);
        assert_eq!(tolerated(meter(), &frame(kind::DATA, flag::END_STREAM, 1, b""), 2000), None);
        // With a stream and two DATA frames, more updates are in order.
        let mut used = meter();
        used.received(&head(1));
        used.sent(&[of(kind::DATA, b"x"), of(kind::DATA, b"x")].concat());
        assert_eq!(tolerated(used, &update, 1000), Some((5 + 2 * (1 + 20), Flood::WindowUpdate)));
    }

    #[test]
    fn answered_pings_do_not_add_up() {
        let mut meter = meter();
        for _ in 0..5000 {
            meter.received(&frame(kind::PING, 0, 0, &[0; 8]));
            meter.sent(&frame(kind::PING, flag::ACK, 0, &[0; 8]));
        }
        assert_eq!(meter.flood(), None);
    }

    #[test]
    fn refused_requests_are_noticed() {
        let mut meter = meter();
        for stream in [1, 3, 5, 7] {
            meter.received(&head(stream));
        }
        meter.accepted(3);
        meter.sent(&frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 1]));
        assert_eq!(meter.next_refused(), None, "somebody else has it");
        meter.sent(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1]));
        assert_eq!(meter.next_refused(), Some(Refused::Malformed));
        meter.sent(&frame(kind::HEADERS, flag::END_HEADERS, 5, b"431"));
        meter.sent(&frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 7]));
        assert_eq!((meter.next_refused(), meter.next_refused()), (Some(Refused::TooLarge), None));
        meter.sent(&frame(kind::RST_STREAM, 0, 7, &[0, 0, 0, 7]));
        assert_eq!((meter.next_refused(), meter.lost()), (None, 0));
        // Reset for its body before it was handed over: it comes all the same.
        meter.received(&head(9));
        meter.sent(&frame(kind::RST_STREAM, 0, 9, &[0, 0, 0, 1]));
        meter.accepted(9);
        assert_eq!(meter.next_refused(), None);
        meter.received(&head(11));
        assert_eq!(meter.lost(), 1);
    }

    #[test]
    fn resets_that_the_client_provokes_are_counted() {
        let mut meter = meter();
        for n in 0..=ERROR_RESETS as u32 {
            assert_eq!(meter.flood(), None);
            meter.sent(&frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]));
            meter.sent(&frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 3]));
        }
        assert_eq!(meter.flood(), Some(Flood::ErrorResets));
        assert_eq!(meter.take_resets().sent, 2 * (ERROR_RESETS as u64 + 1));
    }

    #[test]
    fn a_head_is_under_way_until_its_last_frame() {
        let mut meter = meter();
        assert!(meter.head_since().is_none());
        meter.received(&frame(kind::HEADERS, 0, 1, b"x"));
        let since = meter.head_since();
        assert!(since.is_some());
        meter.received(&frame(kind::CONTINUATION, 0, 1, b"x")[..10]);
        assert_eq!(meter.head_since(), since);
        meter.received(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"x"));
        assert!(meter.head_since().is_none());
    }
}
