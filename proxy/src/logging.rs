//! The process log: lines in Envoy's shape, levels per component that change at run time.
//!
//! Code logs with `tracing`, naming the component: `tracing::info!(target: target::ROUTER, "...")`. An event
//! without a target of ours is filed by its module path ([`target::of`]), and so are events of the libraries.
//! A critical line is an error with the field `critical = true`.
//!
//! ```text
//! tracing macro -> LogSubscriber (interest cached per callsite) -> Format -> Sink (bounded buffer) -> thread -> file
//! ```
//!
//! A disabled line costs one load: each callsite's interest is fixed until a level changes, and a change
//! rebuilds the cache. An enabled line is formatted by the thread that logs and appended to a bounded buffer
//! that a thread of its own writes out at once, so a slow disk delays nobody; when the buffer is full, lines
//! are dropped, counted, and the loss is told in the log.
//!
//! Started by `main.rs`; the admin server changes levels and reopens the file through [`Logging`].

mod format;
mod level;
mod sink;
mod subscriber;
pub mod target;
#[cfg(test)]
mod tests;

pub use format::{DEFAULT_FORMAT, Format, FormatError, json_pattern};
pub use level::Level;
pub use sink::Sink;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::sync::Arc;

use subscriber::{LogSubscriber, Shared};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The log file cannot be opened.
    #[error("Failed to open log-file '{path}'. {source}")]
    Open {
        /// The path of `--log-path`.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the log writer: {0}")]
    Thread(std::io::Error),
    /// The process already has a subscriber.
    #[error("logging was started twice")]
    Twice,
}

/// The running log of the process. Clones share it.
#[derive(Clone)]
pub struct Logging {
    shared: Arc<Shared>,
}

impl Logging {
    /// Starts a log that writes to `sink`, with every component at `level`. It does not install it.
    pub fn new(sink: Sink, format: Format, level: Level) -> Self {
        Self { shared: Arc::new(Shared::new(sink, format, level)) }
    }

    /// Makes this the log of the whole process, and flushes it when a thread panics.
    ///
    /// # Errors
    /// [`LoggingError::Twice`] if the process already has a subscriber.
    pub fn install(&self) -> Result<(), LoggingError> {
        tracing::subscriber::set_global_default(self.subscriber()).map_err(|_| LoggingError::Twice)?;
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                tracing::error!(target: target::MAIN, critical = true, "{panic}\n{trace}");
            } else {
                tracing::error!(target: target::MAIN, critical = true, "{panic}");
            }
            log.flush();
        }));
        Ok(())
    }

    /// A subscriber over this log; `install` uses it, and so do tests in one thread.
    pub fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        LogSubscriber::new(Arc::clone(&self.shared))
    }

    /// Every logger with its level, in the order in which `/logging` lists them.
    pub fn levels(&self) -> impl Iterator<Item = (&'static str, Level)> + '_ {
        target::ALL.iter().enumerate().map(|(index, name)| (*name, self.shared.level(index)))
    }

    /// Sets the level of one logger. `false` if there is no logger of that name.
    pub fn set_level(&self, name: &str, level: Level) -> bool {
        let Some(index) = target::index(name) else { return false };
        self.shared.set_level(index, level);
        tracing::callsite::rebuild_interest_cache();
        true
    }

    /// Sets the level of every logger.
    pub fn set_all(&self, level: Level) {
        for index in 0..target::ALL.len() {
            self.shared.set_level(index, level);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    /// Changes the line format (the bootstrap's `application_log_config`).
    pub fn set_format(&self, format: Format) {
        self.shared.set_format(format);
    }

    /// Opens the log file anew, after a rotation. Nothing to do when logging to standard error.
    pub fn reopen(&self) {
        self.shared.sink.reopen();
    }

    /// Waits (a second at most) until what was logged is with the kernel.
    pub fn flush(&self) {
        self.shared.sink.flush();
    }

    /// How many lines were dropped since the start because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.shared.sink.dropped()
    }
}
