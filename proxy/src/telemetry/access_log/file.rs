//! The files that access logs are written to: one writer thread per path, however many logs name it.
//!
//! A file is open for as long as a log or a worker's buffer refers to it. [`LogFiles`] keeps only weak
//! references, so configuration that is gone closes its files by being dropped.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::writer::{Message, Output, Writer};
use crate::telemetry::stats::Block;
use crate::telemetry::stats::kinds::{Filesystem, FilesystemCounter, FilesystemGauge};

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LogTarget {
    /// A path; created if need be, appended to.
    Path(Box<str>),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// When a worker hands lines over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushSettings {
    /// `--file-flush-interval-msec`
    pub interval: Duration,
    /// `--file-flush-min-size-kb`, in bytes.
    pub full: usize,
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open '{target}': {source}")]
pub struct OpenError {
    /// What was to be opened.
    pub target: LogTarget,
    /// Why it cannot be.
    pub source: io::Error,
}

/// All open log files of the process.
#[derive(Debug)]
pub struct LogFiles {
    settings: FlushSettings,
    /// Whether files are really opened; validation opens none.
    dry: bool,
    files: Mutex<HashMap<LogTarget, Weak<Shared>>>,
    counts: Arc<Counts>,
}

/// An open log file. Clones share it.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: Option<SyncSender<Message>>,
    state: Arc<FileState>,
}

/// What the threads on both ends of a channel share.
#[derive(Debug)]
pub(super) struct FileState {
    /// Bytes on their way to the writer.
    queued: AtomicUsize,
    reopen: AtomicBool,
    counts: Arc<Counts>,
}

/// The sums behind `filesystem.*`.
#[derive(Debug, Default)]
struct Counts {
    lines: AtomicU64,
    by_timer: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    reopen_failed: AtomicU64,
    queued: AtomicUsize,
}

/// How many batches, and how many bytes, may wait for one writer.
const MAX_BATCHES: usize = 256;
const MAX_QUEUED: usize = 16 << 20;

impl Default for FlushSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), full: 64 << 10 }
    }
}

impl FlushSettings {
    /// The settings of the command line; 0 KiB leaves the size to the default.
    pub fn new(interval: Duration, min_size_kb: u32) -> Self {
        let default = Self::default();
        let full = if min_size_kb == 0 { default.full } else { min_size_kb as usize * 1024 };
        Self { interval, full: full.min(MAX_QUEUED / 4) }
    }
}

impl LogFiles {
    /// No files yet.
    pub fn new(settings: FlushSettings) -> Self {
        Self { settings, dry: false, files: Mutex::default(), counts: Arc::default() }
    }

    /// Opens nothing: for `--mode validate`.
    pub fn for_validation() -> Self {
        Self { dry: true, ..Self::new(FlushSettings::default()) }
    }

    /// When workers hand lines over.
    pub fn settings(&self) -> FlushSettings {
        self.settings
    }

    /// The file at `target`, opened if it is not open yet.
    ///
    /// # Errors
    /// The file cannot be opened or its thread not be started.
    pub fn open(&self, target: &LogTarget) -> Result<LogFile, OpenError> {
        let target = target.clone().canonical();
        let mut files = self.lock();
        if let Some(shared) = files.get(&target).and_then(Weak::upgrade) {
            return Ok(LogFile(shared));
        }
        let state = Arc::new(FileState {
            queued: AtomicUsize::new(0),
            reopen: AtomicBool::new(false),
            counts: Arc::clone(&self.counts),
        });
        let sender = if self.dry { None } else { Some(start(&target, &state)?) };
        let shared = Arc::new(Shared { sender, state });
        files.retain(|_, file| file.strong_count() > 0);
        files.insert(target, Arc::downgrade(&shared));
        Ok(LogFile(shared))
    }

    /// Makes every writer open its path anew before it writes again (SIGHUP, `/reopen_logs`).
    pub fn reopen(&self) {
        for file in self.lock().values().filter_map(Weak::upgrade) {
            file.state.reopen.store(true, Relaxed);
            // A full channel has messages to come, at which the writer will look.
            let _ = file.sender.as_ref().map(|sender| sender.try_send(Message::Wake));
        }
    }

    /// Waits until all lines that were handed over are written; false if `limit` ends first.
    pub fn drain(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let files: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        files.iter().all(|file| file.drain(deadline))
    }

    /// Brings the control thread's block of `filesystem.*` up to date.
    pub fn publish(&self, block: &Block<Filesystem>) {
        let counts = &self.counts;
        for (counter, total) in [
            (FilesystemCounter::WriteBuffered, &counts.lines),
            (FilesystemCounter::FlushedByTimer, &counts.by_timer),
            (FilesystemCounter::WriteCompleted, &counts.completed),
            (FilesystemCounter::WriteFailed, &counts.failed),
            (FilesystemCounter::ReopenFailed, &counts.reopen_failed),
        ] {
            let known = block.counter(counter);
            block.add(counter, total.load(Relaxed).saturating_sub(known));
        }
        block.set(FilesystemGauge::WriteTotalBuffered, counts.queued.load(Relaxed) as i64);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LogTarget, Weak<Shared>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    /// Whether both are the same open file.
    pub(super) fn is_same(&self, other: &LogFile) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Gives whole lines to the writer. Never waits: if too much is on its way already, they are dropped and
    /// count as failed writes.
    pub(crate) fn submit(&self, bytes: Vec<u8>, lines: u64, by_timer: bool) {
        let Some(sender) = &self.0.sender else { return };
        let state = &self.0.state;
        let counts = &state.counts;
        let size = bytes.len();
        counts.lines.fetch_add(lines, Relaxed);
        if state.enqueued(size) {
            match sender.try_send(Message::Lines { bytes, count: lines }) {
                Ok(()) => {
                    counts.by_timer.fetch_add(u64::from(by_timer), Relaxed);
                    return;
                }
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => state.dequeued(size),
            }
        }
        counts.failed.fetch_add(lines, Relaxed);
    }
}

impl Shared {
    fn drain(&self, deadline: Instant) -> bool {
        let Some(sender) = &self.sender else { return true };
        let (done, written) = mpsc::sync_channel(1);
        let mut message = Message::Done(done);
        loop {
            match sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    message = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

impl FileState {
    /// Counts bytes as under way; false, and not counted, if there are too many.
    fn enqueued(&self, size: usize) -> bool {
        if self.queued.fetch_add(size, Relaxed) + size > MAX_QUEUED {
            self.queued.fetch_sub(size, Relaxed);
            return false;
        }
        self.counts.queued.fetch_add(size, Relaxed);
        true
    }

    fn dequeued(&self, size: usize) {
        self.queued.fetch_sub(size, Relaxed);
        self.counts.queued.fetch_sub(size, Relaxed);
    }

    /// Counts a batch that the writer is done with.
    pub(super) fn finished(&self, size: usize, lines: u64, written: bool) {
        self.dequeued(size);
        if written {
            self.counts.completed.fetch_add(1, Relaxed);
        } else {
            self.counts.failed.fetch_add(lines, Relaxed);
        }
    }

    /// Whether the path is to be opened anew; tells it once.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Relaxed)
    }

    pub(super) fn reopen_failed(&self) {
        self.counts.reopen_failed.fetch_add(1, Relaxed);
    }
}

impl LogTarget {
    /// A path of this name.
    pub fn path(path: &str) -> Self {
        LogTarget::Path(path.into())
    }

    /// The device files of the standard streams mean the streams, which may be sockets that have no path.
    fn canonical(self) -> Self {
        match self {
            LogTarget::Path(path) if matches!(&*path, "/dev/stdout" | "/proc/self/fd/1") => LogTarget::Stdout,
            LogTarget::Path(path) if matches!(&*path, "/dev/stderr" | "/proc/self/fd/2") => LogTarget::Stderr,
            other => other,
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogTarget::Path(path) => path,
            LogTarget::Stdout => "/dev/stdout",
            LogTarget::Stderr => "/dev/stderr",
        })
    }
}

/// Opens a target and starts its thread.
fn start(target: &LogTarget, state: &Arc<FileState>) -> Result<SyncSender<Message>, OpenError> {
    let failed = |source| OpenError { target: target.clone(), source };
    let output = Output::open(target).map_err(failed)?;
    let (sender, receiver) = mpsc::sync_channel(MAX_BATCHES);
    let writer = Writer { target: target.clone(), output, state: Arc::clone(state) };
    std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || writer.run(&receiver))
        .map_err(failed)?;
    Ok(sender)
}
