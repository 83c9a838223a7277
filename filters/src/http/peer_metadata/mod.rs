//! `istio.metadata_exchange` for HTTP: proxies of a mesh tell each other by headers who they are.
//!
//! ```text
//!  request  -- learn who the client is, take the headers off; put the own ones on -->  upstream
//!  client  <-- put the own ones on, if it told; learn who the host is, take them off --  response
//! ```
//!
//! What is learned lies in the filter state ([`crate::peer`]). A header's value is decoded once and remembered by each worker, by the
//! value itself: a client that sends another's name with it cannot change what is known of that one.

pub mod config;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sampan_filters_api::Headers;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::{ClusterFacts, MetadataValue};

use crate::config::peer as wire;
use crate::local::{self, Local};
use crate::peer::{self, Peer};

/// A way to learn who a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `istio_headers`
    Headers,
    /// `baggage`
    Baggage,
    /// `workload_discovery`. Finds nothing where the control plane does not tell of workloads.
    Workloads,
}

/// How a peer is told.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    /// `skip_external_clusters`
    pub skip_external: bool,
}

/// The factory.
#[derive(Debug)]
pub struct PeerMetadata(Arc<Exchange>);

/// What is exchanged.
#[derive(Debug)]
struct Exchange {
    id: u64,
    of_client: Vec<Discovery>,
    of_host: Vec<Discovery>,
    tell_client: Option<Teller>,
    tell_host: Option<Teller>,
    labels: Arc<[Box<str>]>,
    /// The values of the own headers: the node, and its metadata.
    own: (Box<[u8]>, Box<[u8]>),
}

/// Peers by the value that tells of them.
type Peers = HashMap<Box<[u8]>, Option<Rc<Peer>>, ahash::RandomState>;

/// A worker's part.
struct Known {
    exchange: Arc<Exchange>,
    /// Who sent a value; none if it cannot be understood.
    peers: RefCell<Peers>,
}

/// One stream.
struct Instance {
    known: Rc<Known>,
    /// The client is not to be told, nor the host: the cluster is outside of the mesh, or does without.
    silent: [bool; 2],
    /// The client told its node, and its metadata.
    told: [bool; 2],
}

/// Values that a worker remembers at most, and the longest of them. A longer one, up to [`LONGEST`], is decoded each time.
const MOST: usize = 512;
const LONGEST_KEPT: usize = 4 * 1024;
/// A longer value is not looked at.
const LONGEST: usize = 32 * 1024;

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl PeerMetadata {
    /// For a proxy that is `own`; each pair is for the client and for the host.
    pub fn new(
        id: u64,
        (of_client, of_host): (Vec<Discovery>, Vec<Discovery>),
        (tell_client, tell_host): (Option<Teller>, Option<Teller>),
        labels: Arc<[Box<str>]>,
        own: &Peer,
        node: &str,
    ) -> Self {
        let value = base64::engine::general_purpose::STANDARD.encode(wire::encode(&own.to_metadata()));
        let own = (node.as_bytes().into(), value.into_bytes().into());
        Self(Arc::new(Exchange { id, of_client, of_host, tell_client, tell_host, labels, own }))
    }
}

impl HttpFilterFactory for PeerMetadata {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let exchange = &self.0;
        let facts = start.cluster.and_then(|_| (start.upstream)());
        let silent = [exchange.tell_client, exchange.tell_host]
            .map(|teller| teller.zip(facts.as_deref()).is_some_and(|(teller, facts)| teller.skips(facts)));
        let known =
            local::of(exchange.id, || Known { exchange: Arc::clone(exchange), peers: RefCell::default() });
        Some(Box::new(Instance { known, silent, told: [false; 2] }))
    }
}

impl Local for Known {
    fn is_stale(&self) -> bool {
        Arc::strong_count(&self.exchange) == 1
    }
}

impl Teller {
    /// Whether nothing is to be told on streams to this cluster.
    fn skips(self, facts: &ClusterFacts) -> bool {
        let says = |key| facts.metadata(&["istio", key]) == Some(&MetadataValue::Bool(true));
        (self.skip_external && (&*facts.name == "PassthroughCluster" || says("external")))
            || says("disable_mx")
    }
}

impl Known {
    /// Who sent a value.
    fn peer(&self, value: &[u8]) -> Option<Rc<Peer>> {
        if value.is_empty() || value.len() > LONGEST {
            return None;
        }
        if let Some(known) = self.peers.borrow().get(value) {
            return known.clone();
        }
        let metadata = BASE64.decode(value).ok().and_then(|bytes| wire::decode(&bytes));
        let peer = metadata.map(|metadata| Rc::new(Peer::of_metadata(&metadata, &self.exchange.labels)));
        if value.len() <= LONGEST_KEPT {
            let mut peers = self.peers.borrow_mut();
            if peers.len() >= MOST {
                peers.clear();
            }
            peers.insert(value.into(), peer.clone());
        }
        peer
    }

    /// The first way that tells who sent a head.
    fn discover(&self, ways: &[Discovery], headers: &Headers, told: &mut [bool; 2]) -> Option<Rc<Peer>> {
        ways.iter().find_map(|way| match way {
            Discovery::Headers => {
                let value = headers.value(peer::HEADER);
                *told = [headers.value(peer::HEADER_ID).is_some(), value.is_some()];
                self.peer(value?)
            }
            Discovery::Baggage => {
                let baggage = headers.value("baggage").and_then(|value| std::str::from_utf8(value).ok())?;
                (baggage.len() <= LONGEST).then(|| Rc::new(Peer::of_baggage(baggage)))
            }
            Discovery::Workloads => None,
        })
    }
}

/// Takes the headers off that are for proxies only.
fn strip(ways: &[Discovery], headers: &mut Headers) {
    if ways.contains(&Discovery::Headers) {
        headers.remove(peer::HEADER_ID);
        headers.remove(peer::HEADER);
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let exchange = &self.known.exchange;
        let headers = &mut stream.request.headers;
        if let Some(found) = self.known.discover(&exchange.of_client, headers, &mut self.told) {
            stream.info.filter_state.add(peer::DOWNSTREAM, found);
        }
        strip(&exchange.of_client, headers);
        if exchange.tell_host.is_some() && !self.silent[1] {
            headers.set(peer::HEADER_ID, &exchange.own.0);
            headers.set(peer::HEADER, &exchange.own.1);
        }
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let exchange = &self.known.exchange;
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        let headers = &mut response.headers;
        if let Some(found) = self.known.discover(&exchange.of_host, headers, &mut [false; 2]) {
            stream.info.filter_state.add(peer::UPSTREAM, found);
        }
        strip(&exchange.of_host, headers);
        if exchange.tell_client.is_some() && !self.silent[0] {
            let [id, metadata] = self.told;
            if id {
                headers.set(peer::HEADER_ID, &exchange.own.0);
            }
            if metadata {
                headers.set(peer::HEADER, &exchange.own.1);
            }
        }
        Flow::Continue
    }
}
