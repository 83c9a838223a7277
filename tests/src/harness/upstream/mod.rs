//! Scripted fake upstreams and the record of what they received.
//!
//! A case gives each upstream a list of [`Play`]s; the first fits the next connection or request, and when the list is used up
//! the upstream behaves well (`200`, a body naming it; TCP: echo). Everything received goes to one [`Recorder`] per proxy, so a
//! test sees in which order the upstreams were called.

pub mod h1;
pub mod h2;
pub mod refused;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::wire::Message;
use super::{PATIENCE, poll};

/// What an upstream does, one thing after the other.
#[derive(Clone, Debug)]
pub enum Step {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Read exactly so many bytes and record them.
    Receive(usize),
    /// Read to the end of the stream and record what came.
    ReceiveAll,
    /// Echo until the peer half-closes.
    Echo,
    /// Close the writing side.
    Fin,
    /// Reset the connection.
    Reset,
    /// Close the connection in order.
    Close,
    /// Say nothing until the peer goes away.
    Hang,
    /// Wait until the test opens the gate.
    Wait(Gate),
}

/// Holds an upstream back until the test opens it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Lets through whoever waits, now and later.
    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn wait(&self) -> bool {
        poll(PATIENCE, || self.0.load(Ordering::Acquire).then_some(())).is_some()
    }
}

/// A script and when it starts.
#[derive(Clone, Debug)]
pub enum Play {
    /// As soon as a connection is accepted.
    AtAccept(Vec<Step>),
    /// When a request's head has come, before its body.
    AtHead(Vec<Step>),
    /// When the whole request has come.
    AfterRequest(Vec<Step>),
    /// The answer of an HTTP/2 upstream.
    H2(h2::Answer),
}

/// A play that answers each whole request with these bytes.
pub fn answer(bytes: impl AsRef<[u8]>) -> Play {
    Play::AfterRequest(vec![Step::Send(bytes.as_ref().to_vec())])
}

/// A play that answers with these bytes and closes.
pub fn answer_and_close(bytes: impl AsRef<[u8]>) -> Play {
    Play::AfterRequest(vec![Step::Send(bytes.as_ref().to_vec()), Step::Close])
}

/// What an upstream received: one request, or one raw TCP conversation.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The upstream's name.
    pub upstream: &'static str,
    /// Which of the upstream's connections it came on.
    pub connection: usize,
    /// The request as it was on the wire; for TCP only `body` is set.
    pub message: Message,
    /// Bytes that came outside any request (tunnels, TCP).
    pub raw: Vec<u8>,
    /// Whether the upstream is through with it.
    pub finished: bool,
}

/// What all upstreams of one proxy received since the case began.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    case: usize,
    entries: Vec<Received>,
}

/// Names one entry of a [`Recorder`]; of no effect once its case is over.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    case: usize,
    index: usize,
}

impl Recorder {
    /// Forgets everything, for the next case.
    pub fn clear(&self) {
        let mut record = self.lock();
        record.case += 1;
        record.entries.clear();
    }

    /// Everything so far.
    pub fn snapshot(&self) -> Vec<Received> {
        self.lock().entries.clone()
    }

    /// Waits until `count` requests have begun to arrive.
    pub fn await_seen(&self, count: usize, limit: Duration) -> bool {
        poll(limit, || (self.lock().entries.len() >= count).then_some(())).is_some()
    }

    /// Waits until no upstream is still busy with a request.
    pub fn settle(&self, limit: Duration) {
        poll(limit, || self.lock().entries.iter().all(|r| r.finished).then_some(()));
    }

    /// Adds an entry.
    pub fn add(&self, received: Received) -> Entry {
        let mut record = self.lock();
        record.entries.push(received);
        Entry { case: record.case, index: record.entries.len() - 1 }
    }

    /// Changes an entry, unless the case it belonged to is over.
    pub fn update(&self, entry: Entry, change: impl FnOnce(&mut Received)) {
        let mut record = self.lock();
        if record.case == entry.case
            && let Some(received) = record.entries.get_mut(entry.index)
        {
            change(received);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
