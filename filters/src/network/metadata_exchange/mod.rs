//! `istio.metadata_exchange`: proxies of a mesh tell each other who they are before the bytes of a TCP stream.
//!
//! Both sides agree on it by ALPN (`istio-peer-exchange`); where that is not settled on, nothing happens. Each side writes its blob at
//! once and takes the other's off the front of what it reads, so neither direction waits for the other.
//!
//! ```text
//!  magic 0x3D230467 | length | Any { Struct { x-envoy-peer-metadata: {...}, x-envoy-peer-metadata-id: "..." } } | application
//!  other first bytes --> the application's (initial_header_not_found)
//!  too long, or not understood --> the connection ends (header_not_found): what follows cannot be told apart
//! ```

pub mod config;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use sampan_filters_api::info::{FilterState, MetadataValue, StateObject, TlsInfo};
use sampan_filters_api::network::{
    NetworkFilter, NetworkFilterFactory, Preamble, PreambleRead, PreambleReader, UpstreamFilterFactory,
    UpstreamState,
};
use sampan_filters_api::{ConnectionInfo, Counters, StreamInfo};

use crate::config::peer as wire;
use crate::peer::{self, Peer};
use crate::state::Text;

const MAGIC: u32 = 0x3D23_0467;
/// Magic and length.
const PREFIX: usize = 8;
/// The longest blob that is read. Envoy has no limit; a node's metadata is some hundred bytes.
const LONGEST: usize = 64 * 1024;

/// The names behind `metadata_exchange.`.
pub const COUNTERS: &[&str] = &[
    "alpn_protocol_not_found",
    "alpn_protocol_found",
    "initial_header_not_found",
    "header_not_found",
    "metadata_added",
];
const PROTOCOL_NOT_FOUND: usize = 0;
const PROTOCOL_FOUND: usize = 1;
const PREFIX_NOT_FOUND: usize = 2;
const BLOB_NOT_FOUND: usize = 3;
const ADDED: usize = 4;

/// The factory, for either side.
#[derive(Debug)]
pub struct MetadataExchange {
    protocol: Box<[u8]>,
    /// Labels besides the usual ones.
    labels: Arc<[Box<str>]>,
    /// What this proxy tells.
    blob: Bytes,
    counters: Arc<Counters>,
}

/// One connection of a listener.
struct Downstream {
    preamble: Option<Preamble>,
}

/// Reads what the peer tells.
struct Reader {
    target: Target,
    labels: Arc<[Box<str>]>,
    counters: Arc<Counters>,
}

/// Where a peer is kept.
enum Target {
    Downstream(Rc<ConnectionInfo>),
    Upstream(UpstreamState),
}

impl MetadataExchange {
    /// For a proxy that is `own`.
    pub fn new(
        protocol: &str,
        labels: Arc<[Box<str>]>,
        own: &Peer,
        id: &str,
        counters: Arc<Counters>,
    ) -> Self {
        let mut fields = vec![(peer::HEADER.into(), own.to_metadata())];
        if !id.is_empty() {
            fields.push((peer::HEADER_ID.into(), MetadataValue::String(id.into())));
        }
        let blob = wire::encode_any(&MetadataValue::Struct(fields));
        let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
        let blob = [&MAGIC.to_be_bytes()[..], &length.to_be_bytes(), &blob].concat();
        Self { protocol: protocol.as_bytes().into(), labels, blob: blob.into(), counters }
    }

    fn begin(&self, tls: Option<&TlsInfo>, target: Target) -> Option<Preamble> {
        if tls.and_then(|tls| tls.alpn.as_deref()) != Some(&*self.protocol) {
            self.counters.inc(PROTOCOL_NOT_FOUND);
            target.add(peer::NOT_FOUND, Rc::new(Text::of("true")));
            return None;
        }
        self.counters.inc(PROTOCOL_FOUND);
        self.counters.inc(ADDED);
        let (labels, counters) = (Arc::clone(&self.labels), Arc::clone(&self.counters));
        Some(Preamble { write: self.blob.clone(), read: Some(Box::new(Reader { target, labels, counters })) })
    }
}

impl NetworkFilterFactory for MetadataExchange {
    fn create(&self, info: &StreamInfo) -> Box<dyn NetworkFilter> {
        let connection = &info.connection;
        let target = Target::Downstream(Rc::clone(connection));
        Box::new(Downstream { preamble: self.begin(connection.tls.as_deref(), target) })
    }
}

impl NetworkFilter for Downstream {
    fn reads(&self) -> bool {
        false
    }

    fn preamble(&mut self, _info: &mut StreamInfo) -> Option<Preamble> {
        self.preamble.take()
    }
}

impl UpstreamFilterFactory for MetadataExchange {
    fn connected(&self, tls: Option<&TlsInfo>, state: &UpstreamState) -> Option<Preamble> {
        self.begin(tls, Target::Upstream(Rc::clone(state)))
    }
}

impl Target {
    fn add(&self, key: &'static str, object: Rc<dyn StateObject>) {
        let state = match self {
            Self::Downstream(connection) => &connection.state,
            Self::Upstream(state) => &**state,
        };
        let state: &mut FilterState = &mut state.borrow_mut();
        state.add(key, object);
    }

    /// The key of the peer on this side.
    fn key(&self) -> &'static str {
        match self {
            Self::Downstream(_) => peer::DOWNSTREAM,
            Self::Upstream(_) => peer::UPSTREAM,
        }
    }
}

impl Reader {
    fn without(&self, counter: usize, read: PreambleRead) -> PreambleRead {
        self.counters.inc(counter);
        self.target.add(peer::NOT_FOUND, Rc::new(Text::of("true")));
        read
    }
}

impl PreambleReader for Reader {
    fn read(&mut self, data: &mut BytesMut, end: bool) -> PreambleRead {
        let magic = MAGIC.to_be_bytes();
        let seen = data.len().min(magic.len());
        if data[..seen] != magic[..seen] {
            return self.without(PREFIX_NOT_FOUND, PreambleRead::Done);
        }
        let Some(length) = data.get(magic.len()..PREFIX).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        else {
            return if end { self.without(PREFIX_NOT_FOUND, PreambleRead::Done) } else { PreambleRead::More };
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return self.without(BLOB_NOT_FOUND, PreambleRead::Broken);
        }
        let Some(blob) = data.get(PREFIX..PREFIX + length) else {
            return if end { self.without(BLOB_NOT_FOUND, PreambleRead::Broken) } else { PreambleRead::More };
        };
        let Some(told) = wire::decode_any(blob) else {
            return self.without(BLOB_NOT_FOUND, PreambleRead::Broken);
        };
        data.advance(PREFIX + length);
        match told.at(&[peer::HEADER]) {
            Some(metadata) => {
                let peer = Peer::of_metadata(metadata, &self.labels);
                self.target.add(self.target.key(), Rc::new(peer));
            }
            None => self.target.add(peer::NOT_FOUND, Rc::new(Text::of("true"))),
        }
        PreambleRead::Done
    }
}
