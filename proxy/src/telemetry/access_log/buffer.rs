//! A worker's share of the access logs: lines that wait to be handed to the writer threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::file::{LogFile, LogFiles};

/// The buffers of one worker, one per file that it has written to lately.
///
/// The worker spawns [`WorkerLogs::flush_when_due`] beside its other tasks. What is left is handed over
/// when the value is dropped.
#[derive(Debug)]
pub struct WorkerLogs {
    pending: RefCell<Vec<Pending>>,
    interval: Duration,
    full: usize,
    /// Tells the flushing task that there is something to wait for.
    wake: Notify,
}

#[derive(Debug)]
struct Pending {
    file: LogFile,
    bytes: Vec<u8>,
    lines: u64,
    /// The size of the last batch, as a guess at the next one's.
    last: usize,
}

impl WorkerLogs {
    /// Buffers that follow the process's settings.
    pub fn new(files: &LogFiles) -> Rc<Self> {
        let settings = files.settings();
        Rc::new(Self {
            pending: RefCell::new(Vec::new()),
            interval: settings.interval.max(Duration::from_millis(1)),
            full: settings.full,
            wake: Notify::new(),
        })
    }

    /// Appends what `render` writes, as one line, for `file`.
    pub fn append(&self, file: &LogFile, render: impl FnOnce(&mut Vec<u8>)) {
        let mut all = self.pending.borrow_mut();
        let known = all.iter().position(|pending| pending.file.is_same(file));
        let at = known.unwrap_or(all.len());
        if known.is_none() {
            all.push(Pending { file: file.clone(), bytes: Vec::new(), lines: 0, last: 4096 });
        }
        let Some(pending) = all.get_mut(at) else { return };
        if pending.bytes.is_empty() {
            pending.bytes.reserve(pending.last);
            self.wake.notify_one();
        }
        render(&mut pending.bytes);
        pending.lines += 1;
        if pending.bytes.len() >= self.full {
            pending.hand_over(false);
        }
    }

    /// Hands every line over to the writers, and forgets files that had none.
    pub fn flush(&self) {
        self.pending.borrow_mut().retain_mut(|pending| pending.hand_over(true));
    }

    /// Flushes at the interval for as long as there are lines; sleeps without wake-ups otherwise.
    pub async fn flush_when_due(self: Rc<Self>) {
        loop {
            self.wake.notified().await;
            while !self.pending.borrow().is_empty() {
                tokio::time::sleep(self.interval).await;
                self.flush();
            }
        }
    }
}

impl Drop for WorkerLogs {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Pending {
    /// Tells whether there was anything.
    fn hand_over(&mut self, by_timer: bool) -> bool {
        if self.lines == 0 {
            return false;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.last = bytes.len();
        self.file.submit(bytes, std::mem::take(&mut self.lines), by_timer);
        true
    }
}
