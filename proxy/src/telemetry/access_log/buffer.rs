//! A worker's share of the access logs: lines and entries that wait to be handed to whoever writes or sends them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::file::{LogFile, LogFiles};
use super::service::LogService;
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{GrpcAccessLog, GrpcAccessLogCounter};

/// The buffers of one worker, one per file or service that it has written to lately.
///
/// The worker spawns [`WorkerLogs::flush_when_due`] beside its other tasks. What is left is handed over
/// when the value is dropped.
pub struct WorkerLogs {
    pending: RefCell<Vec<Pending>>,
    /// `--file-flush-interval-msec`
    interval: Duration,
    /// `--file-flush-min-size-kb`
    full: usize,
    /// Counts the entries for services.
    entries: Arc<Block<GrpcAccessLog>>,
    /// Tells the flushing task that there is something to wait for.
    wake: Notify,
}

enum Sink {
    File(LogFile),
    Service(LogService),
}

struct Pending {
    sink: Sink,
    bytes: Vec<u8>,
    /// Lines or entries.
    lines: u64,
    /// The size of the last batch, as a guess at the next one's.
    last: usize,
    /// It is handed over when the bytes reach this, …
    full: usize,
    /// … and this often.
    interval: Duration,
    due: Instant,
}

impl WorkerLogs {
    /// Buffers that follow the process's settings.
    pub fn new(files: &LogFiles, entries: Arc<Block<GrpcAccessLog>>) -> Rc<Self> {
        let settings = files.settings();
        Rc::new(Self {
            pending: RefCell::new(Vec::new()),
            interval: settings.interval.max(Duration::from_millis(1)),
            full: settings.full,
            entries,
            wake: Notify::new(),
        })
    }

    /// Appends what `render` writes, as one line, for `file`.
    pub fn append(&self, file: &LogFile, render: impl FnOnce(&mut Vec<u8>)) {
        let same = |sink: &Sink| matches!(sink, Sink::File(known) if known.is_same(file));
        let new = || Pending::new(Sink::File(file.clone()), self.full, self.interval);
        self.with(same, new, |pending| {
            pending.add(render);
            if pending.bytes.len() >= pending.full {
                pending.hand_over(false);
            }
        });
    }

    /// Appends what `encode` writes, as one entry, for `service`. As in Envoy, an entry is dropped if the buffer is full and
    /// cannot be handed over.
    pub fn append_entry(&self, service: &LogService, encode: impl FnOnce(&mut Vec<u8>)) {
        let same = |sink: &Sink| matches!(sink, Sink::Service(known) if known.is_same(service));
        let new = || {
            let settings = service.settings();
            Pending::new(Sink::Service(service.clone()), settings.full, settings.interval)
        };
        self.with(same, new, |pending| {
            if pending.lines > 0 && pending.bytes.len() >= pending.full {
                pending.hand_over(false);
                if pending.lines > 0 {
                    self.entries.inc(GrpcAccessLogCounter::LogsDropped);
                    return;
                }
            }
            pending.add(encode);
            self.entries.inc(GrpcAccessLogCounter::LogsWritten);
            if pending.bytes.len() >= pending.full {
                pending.hand_over(false);
            }
        });
    }

    fn with(
        &self,
        same: impl Fn(&Sink) -> bool,
        new: impl FnOnce() -> Pending,
        act: impl FnOnce(&mut Pending),
    ) {
        let mut all = self.pending.borrow_mut();
        let known = all.iter().position(|pending| same(&pending.sink));
        let at = known.unwrap_or(all.len());
        if known.is_none() {
            all.push(new());
            self.wake.notify_one();
        }
        if let Some(pending) = all.get_mut(at) {
            act(pending);
        }
    }

    /// Hands everything over, and forgets sinks that had nothing.
    pub fn flush(&self) {
        self.pending.borrow_mut().retain_mut(|pending| pending.hand_over(true));
    }

    /// Flushes each sink at its interval for as long as it gets lines; sleeps without wake-ups otherwise.
    pub async fn flush_when_due(self: Rc<Self>) {
        loop {
            let next = self.pending.borrow().iter().map(|pending| pending.due).min();
            let due = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = due => self.flush_due(Instant::now()),
            }
        }
    }

    fn flush_due(&self, now: Instant) {
        self.pending.borrow_mut().retain_mut(|pending| {
            if pending.due > now {
                return true;
            }
            pending.due = now + pending.interval;
            pending.hand_over(true)
        });
    }
}

impl Drop for WorkerLogs {
    fn drop(&mut self) {
        self.flush();
        for pending in self.pending.borrow().iter().filter(|pending| pending.lines > 0) {
            self.entries.add(GrpcAccessLogCounter::LogsDropped, pending.lines);
        }
    }
}

impl Pending {
    fn new(sink: Sink, full: usize, interval: Duration) -> Self {
        let due = Instant::now() + interval;
        Self { sink, bytes: Vec::new(), lines: 0, last: 4096, full, interval, due }
    }

    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.last);
        }
        write(&mut self.bytes);
        self.lines += 1;
    }

    /// Tells whether there was anything. A service may not take it: then it is kept.
    fn hand_over(&mut self, by_timer: bool) -> bool {
        if self.lines == 0 {
            return false;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.last = bytes.len();
        match &self.sink {
            Sink::File(file) => file.submit(bytes, self.lines, by_timer),
            Sink::Service(service) => {
                if let Err(kept) = service.submit(bytes, self.lines) {
                    self.bytes = kept;
                    return true;
                }
            }
        }
        self.lines = 0;
        true
    }
}
