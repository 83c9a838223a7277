//! Both directions of a proxied connection, its clock, and how it ends.
//!
//! ```text
//!  client ── to_upstream ──► host      each closes by itself (half-close);
//!  client ◄── to_downstream ── host    when both have, the connection is finished
//! ```
//!
//! A side that resets ends the connection at once, and the other side is reset too. A side that no longer takes bytes
//! may still have sent some: they are delivered first. One task drives both directions, in turns of bounded size.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sampan_filters_api::StreamInfo;
use sampan_filters_api::network::{NetworkFilter, NetworkFlow, NetworkResume};

use super::direction::{Common, Direction, Setup, Side, Step};
use crate::net::alarm::{Alarm, earlier};
use crate::net::io::Io;

/// Bytes that a connection moves before others of its worker get their turn.
const TURN: usize = 1024 * 1024;

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Both sides closed; the side that was last to.
    Finished(Side),
    /// A side reset the connection, or it broke.
    Reset(Side),
    /// No byte moved for `idle_timeout`.
    Idle,
    /// It is older than `max_downstream_connection_duration`.
    MaxDuration,
    /// A filter closed it, with these details.
    Filter(Cow<'static, str>),
}

/// Its time limits.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    /// `idle_timeout`
    pub(super) idle: Option<Duration>,
    /// When `max_downstream_connection_duration` is over.
    pub(super) ends_at: Option<Instant>,
    /// How often filters are told how it goes.
    pub(super) tick: Option<Duration>,
}

/// What reads downstream bytes before they go on.
pub(super) struct Tap<'a> {
    /// The chain's filters.
    pub(super) filters: &'a mut [Box<dyn NetworkFilter>],
    /// What they are told.
    pub(super) stream: &'a mut StreamInfo,
    /// Whether any of them wants bytes.
    pub(super) active: bool,
}

/// A connection between two open sockets.
pub(super) struct Relay<'a> {
    downstream: &'a Io,
    upstream: &'a Io,
    to_upstream: Direction<'a>,
    to_downstream: Direction<'a>,
    tap: Tap<'a>,
    alarm: Alarm,
    limits: Limits,
    active_at: Instant,
    /// When filters are told next.
    tick_at: Option<Instant>,
    /// The side that failed to take bytes; the connection ends when what it sent is delivered.
    broken: Option<Side>,
    /// A filter closed the connection; it ends when the farewell is written.
    closing: Option<Cow<'static, str>>,
    /// A filter waits for something, and the client's bytes wait with it.
    waiting: Option<Box<Waiting>>,
}

/// What a filter waits for.
struct Waiting {
    future: Pin<Box<dyn Future<Output = NetworkResume>>>,
    /// Which filter.
    index: usize,
    /// Whether the client closed its half.
    end: bool,
}

impl<'a> Relay<'a> {
    /// `setups` are those of the client's and of the host's bytes. Early bytes have not been seen by filters.
    pub(super) fn new(
        (downstream, upstream): (&'a Io, &'a Io),
        common: &'a Common<'a>,
        (from_client, from_host): (Setup, Setup),
        tap: Tap<'a>,
        limits: Limits,
    ) -> Self {
        let (early, ended) = (!from_client.early.is_empty(), from_client.ended);
        let mut relay = Self {
            downstream,
            upstream,
            to_upstream: Direction::new(common, from_client),
            to_downstream: Direction::new(common, from_host),
            tap,
            alarm: Alarm::default(),
            limits,
            active_at: Instant::now(),
            tick_at: limits.tick.and_then(|tick| Instant::now().checked_add(tick)),
            broken: None,
            closing: None,
            waiting: None,
        };
        if early || ended {
            relay.inspect(0, ended);
        }
        relay
    }

    /// Moves bytes until the end.
    pub(super) async fn run(&mut self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Notes in the stream's facts the bytes received from and sent to each side.
    pub(super) fn count_bytes(&mut self) {
        let (client, host) = (self.downstream_bytes(), self.upstream_bytes());
        let bytes = &mut self.tap.stream.bytes;
        (bytes.received, bytes.sent) = client;
        (bytes.downstream_wire_received, bytes.downstream_wire_sent) = client;
        (bytes.upstream_wire_received, bytes.upstream_wire_sent) = host;
    }

    /// Bytes read from the client and written to it.
    pub(super) fn downstream_bytes(&self) -> (u64, u64) {
        (self.to_upstream.read(), self.to_downstream.written())
    }

    /// Bytes read from the host and written to it.
    pub(super) fn upstream_bytes(&self) -> (u64, u64) {
        (self.to_downstream.read(), self.to_upstream.written())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut moved = 0;
        let mut active = false;
        loop {
            // Also what has just begun to wait, so that it will be woken.
            active |= self.poll_waiting(cx);
            let mut waiting = true;
            for source in [Side::Downstream, Side::Upstream] {
                let Poll::Ready(step) = self.poll_side(cx, source) else { continue };
                waiting = false;
                active = true;
                if let Step::Read(n) = step {
                    moved += n;
                }
                if let Some(end) = self.after(source, step) {
                    return Poll::Ready(end);
                }
            }
            if waiting {
                self.doze();
                break;
            }
            if moved >= TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if active {
            self.active_at = Instant::now();
        }
        self.poll_clock(cx)
    }

    /// A side whose bytes the other one does not take is not heard of, unless it is itself waited for.
    fn doze(&self) {
        if self.to_upstream.is_stalled() && self.to_downstream.is_clear() {
            self.downstream.doze();
        }
        if self.to_downstream.is_stalled() && self.to_upstream.is_clear() {
            self.upstream.doze();
        }
    }

    fn poll_side(&mut self, cx: &mut Context<'_>, source: Side) -> Poll<Step> {
        match source {
            // A filter's answer to earlier bytes goes out before more are read.
            Side::Downstream if self.to_downstream.has_inserted() || self.waiting.is_some() => Poll::Pending,
            Side::Downstream => self.to_upstream.poll_step(cx, self.downstream, self.upstream),
            Side::Upstream => self.to_downstream.poll_step(cx, self.upstream, self.downstream),
        }
    }

    /// Follows up on a step of the direction that begins at `source`.
    fn after(&mut self, source: Side, step: Step) -> Option<End> {
        match step {
            Step::Read(_) if source == Side::Downstream => self.inspect(0, false),
            Step::End if source == Side::Downstream => self.inspect(0, true),
            Step::Read(_) | Step::End => {}
            Step::ReadFailed => return Some(End::Reset(source)),
            Step::WriteFailed => self.broken = Some(other(source)),
            Step::Closed => {}
        }
        if self.closing.is_some() {
            return if self.to_downstream.is_over() { self.closing.take().map(End::Filter) } else { None };
        }
        if let Some(side) = self.broken {
            let rest = if side == Side::Upstream { &self.to_downstream } else { &self.to_upstream };
            return rest.is_over().then_some(End::Reset(side));
        }
        (self.to_upstream.is_closed() && self.to_downstream.is_closed()).then_some(End::Finished(source))
    }

    /// Shows filters, from one of them on, what was read from the client last.
    fn inspect(&mut self, from: usize, end: bool) {
        if !self.tap.active {
            return;
        }
        for index in from..self.tap.filters.len() {
            let filter = &mut self.tap.filters[index];
            let flow = filter.on_data(self.tap.stream, self.to_upstream.bytes_mut(), end);
            if !self.follow(flow, index, end) {
                return;
            }
        }
    }

    /// Does what a filter wants; whether the next one is asked.
    fn follow(&mut self, flow: NetworkFlow, index: usize, end: bool) -> bool {
        match flow {
            NetworkFlow::Continue => return true,
            NetworkFlow::Answer(bytes) => {
                self.to_upstream.bytes_mut().clear();
                self.to_downstream.insert(&bytes);
            }
            NetworkFlow::CloseLater { details, .. } => {
                self.closing = Some(details);
                self.to_upstream.abandon();
                self.to_downstream.finish();
            }
            NetworkFlow::Close { farewell, details } => {
                self.closing = Some(details);
                self.to_upstream.abandon();
                self.to_downstream.insert(&farewell);
                self.to_downstream.finish();
            }
            NetworkFlow::Await(future) => self.waiting = Some(Box::new(Waiting { future, index, end })),
        }
        false
    }

    /// Goes on where a filter has what it waited for; whether one has.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let mut went_on = false;
        while let Some(waiting) = &mut self.waiting {
            let Poll::Ready(resume) = waiting.future.as_mut().poll(cx) else { break };
            let (index, end) = (waiting.index, waiting.end);
            self.waiting = None;
            went_on = true;
            let flow = resume(self.tap.stream);
            if self.follow(flow, index, end) {
                self.inspect(index + 1, end);
            }
        }
        went_on
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let idle_at = self.limits.idle.and_then(|idle| self.active_at.checked_add(idle));
        let end_at = earlier(idle_at, self.limits.ends_at);
        while let Some(at) = self.tick_at.filter(|at| end_at.is_none_or(|end| *at < end)) {
            if self.alarm.poll(cx, Some(at)).is_pending() {
                return Poll::Pending;
            }
            self.tick();
        }
        if self.alarm.poll(cx, end_at).is_pending() {
            return Poll::Pending;
        }
        let over = self.limits.ends_at.is_some_and(|at| at <= Instant::now());
        Poll::Ready(if over { End::MaxDuration } else { End::Idle })
    }

    /// Tells filters how it goes.
    fn tick(&mut self) {
        self.tick_at = self.limits.tick.and_then(|tick| Instant::now().checked_add(tick));
        self.count_bytes();
        for filter in self.tap.filters.iter_mut() {
            filter.on_tick(self.tap.stream);
        }
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Downstream => Side::Upstream,
        Side::Upstream => Side::Downstream,
    }
}
