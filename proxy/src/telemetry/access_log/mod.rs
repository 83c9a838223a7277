//! Access logs: one line per request or connection, to files and standard streams.
//!
//! ```text
//! stream ends ── AccessLog::record ──┬─ Filter: is it wanted?
//!                (on the worker)     └─ LineFormat renders into ── WorkerLogs, a buffer per file and worker
//!                                                                     │ whole lines, when 64 KiB are full
//!                                                                     │ or the flush interval is over
//!                                        bounded channel, try_send ───┘
//!                                              │
//!                                   one writer thread per path (LogFile) ── write ── disk, pipe, terminal
//! ```
//!
//! What a request pays is one rendering into a buffer that its worker owns. A disk that stalls holds up the
//! writer thread alone: what does not fit into the channel is dropped and counted, so memory stays bounded.
//!
//! `control/compile/access_log.rs` builds [`AccessLog`]s and opens their files in [`LogFiles`], which `main.rs`
//! owns; the workers keep one [`WorkerLogs`] each.

mod buffer;
mod file;
mod filter;
mod format;
mod metadata;
#[cfg(test)]
mod tests;
mod writer;

pub use buffer::WorkerLogs;
pub use file::{FlushSettings, LogFile, LogFiles, LogTarget, OpenError};
pub use filter::{Comparison, Filter, Operation, Sampled};
pub use format::{ENVOY_DEFAULT, ISTIO_DEFAULT, LineFormat};
pub use metadata::{MetadataMatch, ValueMatch};

use sampan_filters_api::format::FormatContext;
use sampan_model::fraction::RuntimeValues;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLog {
    filter: Option<Filter>,
    format: LineFormat,
    file: LogFile,
}

/// Something to log, and what filters ask beside it.
#[derive(Clone, Copy)]
pub struct LogEvent<'a> {
    /// The stream, its heads and the kind of event.
    pub context: FormatContext<'a>,
    /// Runtime values in force.
    pub runtime: &'a dyn RuntimeValues,
    /// Evenly spread over streams; for sampling of streams without a request id.
    pub random: u64,
}

impl AccessLog {
    /// A log that writes to `file` what `filter`, if there is one, lets through.
    pub fn new(filter: Option<Filter>, format: LineFormat, file: LogFile) -> Self {
        Self { filter, format, file }
    }

    /// Logs an event, if the filter wants it.
    pub fn record(&self, event: &LogEvent<'_>, worker: &WorkerLogs) {
        if self.filter.as_ref().is_none_or(|filter| filter.wants(event)) {
            worker.append(&self.file, |line| self.format.render(&event.context, line));
        }
    }
}
