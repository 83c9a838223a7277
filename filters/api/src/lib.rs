//! What a filter is: traits, headers, stream facts, local replies.
//!
//! This crate knows no socket, no codec, no runtime and no proto. Filters (`filters/`) are written against
//! it, and the data plane (`proxy/`) drives it.

pub mod call;
pub mod cel;
pub mod counters;
pub mod flags;
pub mod format;
pub mod head;
pub mod headers;
pub mod http;
pub mod info;
pub mod known;
pub mod network;
pub mod node;
pub mod protocols;
pub mod reply;
pub mod runtime;
pub mod series;

pub use call::{Answer, Call, CallError, Calls};
pub use counters::{CounterStore, Counters};
pub use flags::{Flag, Flags};
pub use head::{Protocol, RequestHead, ResponseHead};
pub use headers::Headers;
pub use info::{Address, ConnectionInfo, StreamInfo};
pub use known::{FieldName, Known};
pub use node::{Direction, NodeFacts};
pub use protocols::ProtocolSet;
pub use reply::LocalReply;
pub use runtime::{Runtime, RuntimeFraction, RuntimeSwitch};
pub use series::{Series, SeriesKind, SeriesStore};
