//! Clients that say exactly what a case tells them to: raw HTTP/1 and TCP, well-formed HTTP/2, and HTTP/2 frame by frame.

pub mod frames;
pub mod h2;
pub mod raw;

use super::wire::Message;

/// What a client saw of one exchange.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Statuses of informational responses that came first.
    pub informational: Vec<u16>,
    /// The final response; its `line` is empty if none came.
    pub message: Message,
    /// How the exchange ended, where that is not the orderly end of a message.
    pub end: Option<String>,
    /// Bytes outside any message (tunnels, TCP).
    pub raw: Option<Vec<u8>>,
}
