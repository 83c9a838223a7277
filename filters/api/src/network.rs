//! What a network (TCP) filter is.
//!
//! A read filter sees the connection when it opens and each piece of bytes the client sends, before the
//! chain's last filter (`tcp_proxy`, the HTTP connection manager, or a terminal filter such as `echo`).
//! A chain without read filters is never asked, so its bytes may be spliced.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::call::{Calls, NoCalls};
use crate::info::{FilterState, StreamInfo, TlsInfo};
use crate::runtime::{NoRuntime, Runtime};

/// What runs when a filter's future is done.
pub type NetworkResume = Box<dyn FnOnce(&mut StreamInfo) -> NetworkFlow>;

/// What a network filter wants to happen next.
pub enum NetworkFlow {
    /// Go on with the next filter.
    Continue,
    /// Write these bytes to the client (if any), then close the connection.
    Close {
        /// Bytes for the client.
        farewell: Bytes,
        /// `%CONNECTION_TERMINATION_DETAILS%`
        details: Cow<'static, str>,
    },
    /// Read nothing more, and close the connection after this time. For [`NetworkFilter::on_open`]; later, it closes at once.
    CloseLater {
        /// How long it stays open.
        after: Duration,
        /// `%CONNECTION_TERMINATION_DETAILS%`
        details: Cow<'static, str>,
    },
    /// Write these bytes to the client and keep the read bytes from going on.
    Answer(Bytes),
    /// Hold the connection, and the bytes that were read, until the future is done; then do what its output says. Nothing more is
    /// read from the client meanwhile.
    Await(Pin<Box<dyn Future<Output = NetworkResume>>>),
}

impl fmt::Debug for NetworkFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("Continue"),
            Self::Close { farewell, details } => write!(f, "Close({farewell:?}, {details})"),
            Self::CloseLater { after, details } => write!(f, "CloseLater({after:?}, {details})"),
            Self::Answer(bytes) => write!(f, "Answer({bytes:?})"),
            Self::Await(_) => f.write_str("Await"),
        }
    }
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

    /// What it exchanges with the peer before the bytes of the application. Asked once, after [`NetworkFilter::on_open`].
    fn preamble(&mut self, _info: &mut StreamInfo) -> Option<Preamble> {
        None
    }

    /// How often [`NetworkFilter::on_tick`] is to be called while `tcp_proxy` forwards the connection.
    fn tick(&self) -> Option<Duration> {
        None
    }

    /// The time is over; the byte counts of `info` are those of now.
    fn on_tick(&mut self, _info: &mut StreamInfo) {}

    /// The connection is over, whatever way. For connections that `tcp_proxy` had.
    fn on_close(&mut self, _info: &mut StreamInfo) {}
}

/// What is exchanged with a peer before the bytes of the application, each direction by itself.
pub struct Preamble {
    /// Written before anything else.
    pub write: Bytes,
    /// Takes what the peer sends before anything else; none if that is nothing.
    pub read: Option<Box<dyn PreambleReader>>,
}

/// Takes the first bytes that a peer sends.
pub trait PreambleReader {
    /// Takes its part from the front of what has come; `end` when nothing more will. Bytes that it leaves are the application's
    /// once it is done. It must be done after a bounded number of bytes.
    fn read(&mut self, data: &mut BytesMut, end: bool) -> PreambleRead;
}

/// How far a [`PreambleReader`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreambleRead {
    /// It needs more.
    More,
    /// It has what it wants, or gives up wanting it.
    Done,
    /// What came cannot be understood, and neither can what follows: the connection must end.
    Broken,
}

/// Filter state of an upstream connection, which its streams read.
pub type UpstreamState = Rc<RefCell<FilterState>>;

/// A filter of a cluster (`Cluster.filters`), asked about each connection that was opened to a host.
pub trait UpstreamFilterFactory: Send + Sync {
    /// What the filter exchanges with the host; what it learns goes into the state of the connection.
    fn connected(&self, tls: Option<&TlsInfo>, state: &UpstreamState) -> Option<Preamble>;
}

/// A stat that a filter keeps for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterStat {
    /// Only grows.
    Counter(String, u64),
    /// Goes up and down.
    Gauge(String, u64),
}

/// What a factory may look at when a connection begins.
#[derive(Clone, Copy)]
pub struct NetworkStart<'a> {
    /// What is known so far.
    pub info: &'a StreamInfo,
    /// The runtime of the moment.
    pub runtime: &'a dyn Runtime,
    /// The means to ask services.
    pub calls: &'a dyn Calls,
}

impl<'a> NetworkStart<'a> {
    /// A connection where there is neither a runtime nor anybody to ask.
    pub fn bare(info: &'a StreamInfo) -> Self {
        Self { info, runtime: &NoRuntime, calls: &NoCalls }
    }
}

/// A configured network filter.
pub trait NetworkFilterFactory: Send + Sync {
    /// An instance for one connection, for a factory that wants to know more than facts.
    fn create_with(&self, start: &NetworkStart<'_>) -> Box<dyn NetworkFilter> {
        self.create(start.info)
    }

    /// Tells its stats, by full name. Asked at every reading.
    fn stats(&self, _tell: &mut dyn FnMut(FilterStat)) {}

    /// An instance for one connection.
    fn create(&self, info: &StreamInfo) -> Box<dyn NetworkFilter>;

    /// Whether nothing may follow it in a chain.
    fn is_terminal(&self) -> bool {
        false
    }
}
