//! What a filter is: traits, headers, stream facts, local replies.
//!
//! This crate knows no socket, no codec, no runtime and no proto. Filters (`filters/`) are written against
//! it, and the data plane (`proxy/`) drives it.

pub mod flags;
pub mod format;
pub mod head;
pub mod headers;
pub mod http;
pub mod info;
pub mod known;
pub mod network;
pub mod reply;

pub use flags::{Flag, Flags};
pub use head::{Protocol, RequestHead, ResponseHead};
pub use headers::Headers;
pub use info::{Address, ConnectionInfo, StreamInfo};
pub use known::Known;
pub use reply::LocalReply;
