//! What a network (TCP) filter is.
//!
//! A read filter sees the connection when it opens and each piece of bytes the client sends, before the
//! chain's last filter (`tcp_proxy`, the HTTP connection manager, or a terminal filter such as `echo`).
//! A chain without read filters is never asked, so its bytes may be spliced.

use bytes::{Bytes, BytesMut};

use crate::info::StreamInfo;

/// What a network filter wants to happen next.
#[derive(Debug)]
pub enum NetworkFlow {
    /// Go on with the next filter.
    Continue,
    /// Write these bytes to the client (if any), then close the connection.
    Close {
        /// Bytes for the client.
        farewell: Bytes,
        /// `%CONNECTION_TERMINATION_DETAILS%`
        details: &'static str,
    },
    /// Write these bytes to the client and keep the read bytes from going on.
    Answer(Bytes),
}

/// A filter's part in one connection.
pub trait NetworkFilter {
    /// The connection was accepted and its chain chosen.
    fn on_open(&mut self, _info: &mut StreamInfo) -> NetworkFlow {
        NetworkFlow::Continue
    }

    /// The client sent bytes; `end` when it half-closed. Bytes left in `data` go on.
    fn on_data(&mut self, _info: &mut StreamInfo, _data: &mut BytesMut, _end: bool) -> NetworkFlow {
        NetworkFlow::Continue
    }

    /// Whether it wants [`NetworkFilter::on_data`]; a chain in which none does may be spliced.
    fn reads(&self) -> bool {
        true
    }
}

/// A configured network filter.
pub trait NetworkFilterFactory: Send + Sync {
    /// An instance for one connection.
    fn create(&self, info: &StreamInfo) -> Box<dyn NetworkFilter>;

    /// Whether nothing may follow it in a chain.
    fn is_terminal(&self) -> bool {
        false
    }
}
