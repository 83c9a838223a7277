//! One direction of a proxied connection: what is read from one socket is written to the other.
//!
//! ```text
//!            copy: 16 KiB to 256 KiB                       splice: a pipe of 1 MiB
//!        ┌──────────────────────────┐  64 KiB in full reads  ┌─────────────────────┐
//!  ───►  │ read ─► (filters) ─► write│ ─────────────────────► │ socket ─► pipe ─► socket │
//!        └──────────────────────────┘ ◄───────────────────── └─────────────────────┘
//!                                       8 small fills in a row
//! ```
//!
//! A small exchange costs one read and one write and never sees a pipe; a bulky one is not taken into the process.
//! The way changes only while nothing is held, so no byte is lost or overtaken. Nothing is read while something is held:
//! that is the back-pressure. The end of the stream is passed on after the last byte.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use super::copy::Copier;
use super::splice::{Pipe, Pipes};
use crate::logging::target;
use crate::net::io::Io;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{Cluster, ClusterCounter, Tcp, TcpCounter};
use crate::worker::Buffers;

/// Bytes by full reads in a row after which a direction counts as bulky.
const BULKY: usize = 64 * 1024;
/// A fill of the pipe below this is better copied.
const SMALL_FILL: usize = 4 * 1024;
/// That many of them in a row, and it is.
const SMALL_FILLS: u8 = 8;

/// What both directions of a connection share.
pub(super) struct Common<'a> {
    /// The worker's spare buffers.
    pub(super) buffers: &'a Buffers,
    /// The worker's pipes.
    pub(super) pipes: &'a Pipes,
    /// The TCP proxy's counters.
    pub(super) tcp: &'a Block<Tcp>,
    /// The cluster's counters.
    pub(super) cluster: &'a Block<Cluster>,
    /// Whether it was counted that no pipe was to be had.
    pub(super) no_pipe: Cell<bool>,
}

/// A side of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The client's.
    Downstream,
    /// The upstream host's.
    Upstream,
}

/// How a direction is set up.
pub(super) struct Setup {
    /// Where its bytes come from.
    pub(super) source: Side,
    /// Whether its bytes may be spliced.
    pub(super) may_splice: bool,
    /// The most to hold at once, in bytes.
    pub(super) limit: usize,
    /// Bytes that were read already.
    pub(super) early: BytesMut,
    /// Whether they were the last.
    pub(super) ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// The source has ended; what is held still goes on.
    Ended,
    /// The end was passed on.
    Closed,
    /// The target takes nothing any more.
    Broken,
}

/// What a direction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Read so many bytes, to be written with the next step.
    Read(usize),
    /// The source ended, which is passed on with the next step.
    End,
    /// The end was passed on.
    Closed,
    /// The source failed.
    ReadFailed,
    /// The target failed.
    WriteFailed,
}

/// One direction.
pub(super) struct Direction<'a> {
    common: &'a Common<'a>,
    copier: Copier,
    pipe: Option<Pipe>,
    /// Bytes of our own for the target, after those that are held.
    inserted: BytesMut,
    setup: Setup,
    state: State,
    splicing: bool,
    streak: usize,
    small_fills: u8,
    read: u64,
    written: u64,
}

impl<'a> Direction<'a> {
    pub(super) fn new(common: &'a Common<'a>, mut setup: Setup) -> Self {
        let early = std::mem::take(&mut setup.early);
        let state = if setup.ended { State::Ended } else { State::Open };
        let mut direction = Self {
            common,
            pipe: None,
            inserted: BytesMut::new(),
            setup,
            state,
            splicing: false,
            streak: 0,
            small_fills: 0,
            read: 0,
            written: 0,
            copier: Copier::new(BytesMut::new()),
        };
        direction.count_read(early.len(), TcpCounter::CopiedBytesTotal);
        direction.copier = Copier::new(early);
        direction
    }

    /// Bytes read from the source.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Bytes written to the target.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether the end was passed on.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether nothing more will move.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Broken)
    }

    /// Whether a pipe waits for the target to take what is in it.
    pub(super) fn is_stalled(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_clear(&self) -> bool {
        !self.is_stalled() && self.copier.held() == 0 && self.inserted.is_empty()
    }

    /// Whether bytes of our own wait to be written.
    pub(super) fn has_inserted(&self) -> bool {
        !self.inserted.is_empty()
    }

    /// The bytes read last, for filters.
    pub(super) fn bytes_mut(&mut self) -> &mut BytesMut {
        self.copier.bytes_mut()
    }

    /// Writes bytes of our own to the target, behind what is held; nothing is read until they are written.
    pub(super) fn insert(&mut self, bytes: &Bytes) {
        if !self.is_over() {
            self.inserted.extend_from_slice(bytes);
        }
    }

    /// Reads no more; what is held is written, then the end is passed on.
    pub(super) fn finish(&mut self) {
        if self.state == State::Open {
            self.state = State::Ended;
        }
    }

    /// Stops at once, without passing anything on.
    pub(super) fn abandon(&mut self) {
        self.state = State::Broken;
        self.copier.discard();
        self.inserted.clear();
        self.release_pipe();
    }

    /// Writes what is held, then reads once.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>, from: &Io, to: &Io) -> Poll<Step> {
        if self.is_over() {
            return Poll::Pending;
        }
        if let Err(error) = ready!(self.poll_flush(cx, to)) {
            tracing::debug!(target: target::FILTER, source = ?self.setup.source, %error, "writing to the other side failed");
            self.abandon();
            return Poll::Ready(Step::WriteFailed);
        }
        if self.state == State::Ended {
            // A target that is gone shows when it is read from.
            let _ = ready!(to.poll_shutdown_write(cx));
            self.state = State::Closed;
            self.rest();
            return Poll::Ready(Step::Closed);
        }
        let filled = self.poll_fill(cx, from);
        match filled {
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(target: target::FILTER, side = ?self.setup.source, %error, "reading failed");
                Poll::Ready(Step::ReadFailed)
            }
            Poll::Ready(Ok(0)) => {
                self.state = State::Ended;
                Poll::Ready(Step::End)
            }
            Poll::Ready(Ok(n)) => Poll::Ready(Step::Read(n)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &Io) -> Poll<io::Result<()>> {
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let n = ready!(pipe.poll_drain(cx, to))?;
            self.count_written(n);
        }
        while self.copier.held() > 0 {
            let n = ready!(self.copier.poll_drain(cx, to))?;
            self.count_written(n);
        }
        while !self.inserted.is_empty() {
            let n = ready!(to.poll_write(cx, &self.inserted))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.inserted.advance(n);
            self.count_written(n);
        }
        to.poll_flush(cx)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Io) -> Poll<io::Result<usize>> {
        // Before any memory is taken: most polls find nothing to read.
        ready!(from.poll_readable(cx))?;
        if self.splicing && self.take_pipe() { self.poll_splice(cx, from) } else { self.poll_copy(cx, from) }
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, from: &Io) -> Poll<io::Result<usize>> {
        let filled = ready!(self.copier.poll_fill(cx, from, self.setup.limit, self.common.buffers))?;
        self.streak = if filled.full { self.streak + filled.n } else { 0 };
        if self.streak >= BULKY && self.setup.may_splice {
            self.splicing = true;
            self.small_fills = 0;
        }
        self.count_read(filled.n, TcpCounter::CopiedBytesTotal);
        Poll::Ready(Ok(filled.n))
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &Io) -> Poll<io::Result<usize>> {
        let Some(pipe) = self.pipe.as_mut() else { return Poll::Pending };
        let n = match ready!(pipe.poll_fill(cx, from, self.setup.limit)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // A kernel that cannot splice this kind of socket; nothing was moved.
                self.splicing = false;
                self.setup.may_splice = false;
                return self.poll_copy(cx, from);
            }
            filled => filled?,
        };
        self.small_fills = if n < SMALL_FILL { self.small_fills + 1 } else { 0 };
        if self.small_fills == SMALL_FILLS {
            self.splicing = false;
            self.streak = 0;
        }
        self.count_read(n, TcpCounter::SplicedBytesTotal);
        Poll::Ready(Ok(n))
    }

    /// Has a pipe at hand, or goes back to copying until the direction proves bulky again.
    fn take_pipe(&mut self) -> bool {
        if self.pipe.is_none() {
            self.pipe = self.common.pipes.take();
        }
        if self.pipe.is_some() {
            return true;
        }
        if !self.common.no_pipe.replace(true) {
            self.common.tcp.inc(TcpCounter::CopiedCxNoPipe);
        }
        self.splicing = false;
        self.streak = 0;
        false
    }

    /// Holds no memory while there is nothing to move.
    fn rest(&mut self) {
        self.copier.rest(self.common.buffers);
        self.release_pipe();
    }

    fn release_pipe(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.common.pipes.give(pipe);
        }
    }

    fn count_read(&mut self, n: usize, way: TcpCounter) {
        let n = n as u64;
        self.read += n;
        self.common.tcp.add(way, n);
        match self.setup.source {
            Side::Downstream => self.common.tcp.add(TcpCounter::DownstreamCxRxBytesTotal, n),
            Side::Upstream => self.common.cluster.add(ClusterCounter::UpstreamCxRxBytesTotal, n),
        }
    }

    fn count_written(&mut self, n: usize) {
        let n = n as u64;
        self.written += n;
        match self.setup.source {
            Side::Downstream => self.common.cluster.add(ClusterCounter::UpstreamCxTxBytesTotal, n),
            Side::Upstream => self.common.tcp.add(TcpCounter::DownstreamCxTxBytesTotal, n),
        }
    }
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        self.copier.discard();
        self.rest();
    }
}
