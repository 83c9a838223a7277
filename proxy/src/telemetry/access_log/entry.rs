//! Entries for an access log service: what `envoy.data.accesslog.v3` makes of a stream.
//!
//! | File | Message |
//! |---|---|
//! | `common.rs` | `AccessLogCommon` |
//! | `http.rs` | `HTTPRequestProperties`, `HTTPResponseProperties` |
//! | `tags.rs` | custom tags |
//! | `value.rs` | addresses, times, metadata |
//! | `tls.rs` | `TLSProperties` |
//!
//! An entry is encoded where the stream ends, as one element of `HTTPAccessLogEntries` or `TCPAccessLogEntries`, so a
//! buffer of entries is such a message already. Field numbers stand beside what is written; `control/compile` decodes
//! entries in its tests, and the differential test holds them against Envoy's.

mod common;
mod http;
mod tags;
mod tls;
mod value;

pub use http::{LoggedHeader, LoggedHeaders};
pub use tags::{CustomTag, TagSource};

use sampan_filters_api::format::FormatContext;

use super::wire::Fields;

/// Which of the two messages an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// `HTTPAccessLogEntry`
    Http,
    /// `TCPAccessLogEntry`
    Tcp,
}

/// What an entry is to hold beside what every entry holds.
#[derive(Debug)]
pub struct EntryFormat {
    /// The message.
    pub kind: EntryKind,
    /// `custom_tags`
    pub tags: Vec<CustomTag>,
    /// `filter_state_objects_to_log`
    pub filter_state: Vec<Box<str>>,
    /// The additional headers and trailers.
    pub headers: LoggedHeaders,
}

impl EntryFormat {
    /// Appends an entry.
    pub(super) fn encode(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        // repeated HTTPAccessLogEntry log_entry = 1;
        Fields::new(out).message(1, |entry| {
            entry.message(1, |common| common::write(self, context, common));
            match self.kind {
                EntryKind::Http => http::write(&self.headers, context, entry),
                EntryKind::Tcp => {
                    let bytes = &context.info.bytes;
                    entry.message(2, |connection| {
                        connection.number(1, bytes.received);
                        connection.number(2, bytes.sent);
                    });
                }
            }
        });
    }
}
