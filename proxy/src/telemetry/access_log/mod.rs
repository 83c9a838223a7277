//! Access logs: one line per request or connection, to files and standard streams, or one entry to a service.
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
//! A gRPC access log service goes the same way: [`EntryFormat`] encodes a protobuf entry into the worker's buffer, at
//! `buffer_size_bytes` or `buffer_flush_interval` the buffer goes into a bounded channel, and on the other side a task of
//! the control thread (`control/access_log.rs`) sends it. See [`service`].
//!
//! `control/compile/access_log.rs` builds [`AccessLog`]s and opens their files in [`LogFiles`], which `main.rs`
//! owns, and their services in [`LogServices`]; the workers keep one [`WorkerLogs`] each.

mod buffer;
mod entry;
mod file;
mod filter;
mod format;
pub mod service;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use buffer::WorkerLogs;
pub use entry::{CustomTag, EntryFormat, EntryKind, LoggedHeader, LoggedHeaders, TagSource};
pub use file::{FlushSettings, LogFile, LogFiles, LogTarget, OpenError};
pub use filter::{Comparison, Filter, Operation, Sampled};
pub use format::{ENVOY_DEFAULT, ISTIO_DEFAULT, LineFormat};
pub use sampan_filters::matcher::{MetadataMatch, ValueMatch};
pub use service::{LogService, LogServices, ServiceSettings};

use sampan_filters_api::format::FormatContext;
use sampan_model::fraction::RuntimeValues;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLog {
    filter: Option<Filter>,
    output: Output,
}

#[derive(Debug)]
enum Output {
    Lines(LineFormat, LogFile),
    Entries(EntryFormat, LogService),
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
        Self { filter, output: Output::Lines(format, file) }
    }

    /// The same to a service.
    pub fn to_service(filter: Option<Filter>, format: EntryFormat, service: LogService) -> Self {
        Self { filter, output: Output::Entries(format, service) }
    }

    /// Logs an event, if the filter wants it.
    pub fn record(&self, event: &LogEvent<'_>, worker: &WorkerLogs) {
        if self.filter.as_ref().is_some_and(|filter| !filter.wants(event)) {
            return;
        }
        match &self.output {
            Output::Lines(format, file) => worker.append(file, |line| format.render(&event.context, line)),
            Output::Entries(format, service) => {
                worker.append_entry(service, |entries| format.encode(&event.context, entries));
            }
        }
    }
}
