//! Where lines go: a bounded buffer that a thread of its own writes out.
//!
//! ```text
//! threads that log --append under a short lock--> pending (at most 1 MiB) --swap--> writer thread --write--> file
//! ```
//!
//! The writer never waits for more, so what was logged is with the kernel microseconds later and a crash of
//! the process loses nothing else; a panic and an orderly exit call [`Sink::flush`]. Created by `main.rs`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LoggingError;

/// How many bytes may wait for the writer. More is dropped and counted.
const MAX_PENDING: usize = 1 << 20;
/// How long `flush` waits for a writer that does not get on.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The destination of the process log. Clones share it.
#[derive(Clone)]
pub struct Sink {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    writing: bool,
    reopen: bool,
    closed: bool,
    dropped: u64,
    dropped_told: u64,
}

impl Sink {
    /// Writes to standard error, or appends to the file at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub fn open(path: Option<&str>) -> Result<Self, LoggingError> {
        let Some(path) = path else { return Self::start(Box::new(io::stderr()), None) };
        let source = Source { path: path.to_owned() };
        let file = source.open().map_err(|source| LoggingError::Open { path: path.to_owned(), source })?;
        Self::start(Box::new(file), Some(source))
    }

    /// Writes to `output`; for tests.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn to_writer(output: Box<dyn Write + Send>) -> Result<Self, LoggingError> {
        Self::start(output, None)
    }

    fn start(output: Box<dyn Write + Send>, source: Option<Source>) -> Result<Self, LoggingError> {
        let inner = Arc::new(Inner { state: Mutex::default(), work: Condvar::new(), idle: Condvar::new() });
        let thread = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || thread.run(output, source.as_ref()))
            .map_err(LoggingError::Thread)?;
        Ok(Self { inner })
    }

    pub(super) fn write(&self, line: &[u8]) {
        let mut state = self.inner.lock();
        if state.pending.len() + line.len() > MAX_PENDING {
            state.dropped += 1;
            return;
        }
        state.pending.extend_from_slice(line);
        drop(state);
        self.inner.work.notify_one();
    }

    pub(super) fn reopen(&self) {
        self.inner.lock().reopen = true;
        self.inner.work.notify_one();
    }

    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        let mut state = self.inner.lock();
        while !state.pending.is_empty() || state.reopen || state.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.inner.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }
}

/// The file behind `--log-path`, to be opened again after a rotation.
struct Source {
    path: String,
}

impl Source {
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.path)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-done under this lock, so a panic elsewhere does not spoil the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: Box<dyn Write + Send>, source: Option<&Source>) {
        let mut batch = Vec::new();
        while let Some(reopen) = self.next(&mut batch) {
            if reopen && let Some(source) = source {
                match source.open() {
                    Ok(file) => output = Box::new(file),
                    // Keep the old file: a log in the wrong place is better than none.
                    Err(error) => {
                        batch.extend(format!("cannot reopen log file '{}': {error}\n", source.path).bytes());
                    }
                }
            }
            // There is no other place to complain to when the log itself cannot be written.
            let _ = output.write_all(&batch);
            let _ = output.flush();
            batch.clear();
        }
    }

    /// Waits for work and takes it; `None` when the sink is closed.
    fn next(&self, batch: &mut Vec<u8>) -> Option<bool> {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if state.dropped > state.dropped_told {
                let lost = state.dropped - state.dropped_told;
                state.dropped_told = state.dropped;
                batch.extend(
                    format!("{lost} log lines were dropped: the log cannot be written fast enough\n").bytes(),
                );
            }
            if !state.pending.is_empty() || !batch.is_empty() || state.reopen {
                state.writing = true;
                // What waited was logged before the loss was noticed, so it goes first.
                let told = std::mem::replace(batch, std::mem::take(&mut state.pending));
                batch.extend(told);
                return Some(std::mem::take(&mut state.reopen));
            }
            self.idle.notify_all();
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The thread holds one reference and this is the last handle: let the thread finish and end.
        if Arc::strong_count(&self.inner) <= 2 {
            self.inner.lock().closed = true;
            self.inner.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Lets the test decide when a write returns.
    struct Gate {
        entered: mpsc::Sender<Vec<u8>>,
        proceed: mpsc::Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(bytes.to_vec()).ok();
            self.proceed.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_writer_drops_and_tells() {
        let (entered, batches) = mpsc::channel();
        let (go, proceed) = mpsc::channel();
        let sink = Sink::to_writer(Box::new(Gate { entered, proceed })).expect("a thread");
        sink.write(b"first\n");
        assert_eq!(batches.recv().expect("the first batch"), b"first\n");
        // The writer is stuck in the first write: this fills the buffer, and the rest is lost.
        let line = vec![b'x'; MAX_PENDING / 2];
        sink.write(&line);
        sink.write(&line);
        sink.write(b"lost\n");
        sink.write(b"lost too\n");
        assert_eq!(sink.dropped(), 2);
        go.send(()).expect("the writer waits");
        let second = batches.recv().expect("the second batch");
        assert!(String::from_utf8_lossy(&second[MAX_PENDING..]).starts_with("2 log lines were dropped"));
        drop(go);
        sink.flush();
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let sink = Sink::open(path.to_str()).expect("a file");
        sink.write(b"one\n");
        sink.flush();
        let old = folder.path().join("log.1");
        std::fs::rename(&path, &old).expect("a rename");
        sink.reopen();
        sink.write(b"two\n");
        sink.flush();
        assert_eq!(std::fs::read_to_string(&old).expect("the old file"), "one\n");
        assert_eq!(std::fs::read_to_string(&path).expect("the new file"), "two\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let error = Sink::open(Some("/nonexistent/folder/log")).err().expect("an error").to_string();
        assert!(error.starts_with("Failed to open log-file '/nonexistent/folder/log'."), "{error}");
    }
}
