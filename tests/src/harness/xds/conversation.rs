//! The record of a control plane: every request, response and stream, in order, with what a test asks of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Instant;

use sampan_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::types::short;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A gRPC stream, state of the world.
    Sotw,
    /// A gRPC stream, incremental.
    Delta,
    /// `POST /v3/discovery:…`.
    Rest,
}

/// A request as the proxy sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// Which stream (or REST connection) it came on, counted from 1.
    pub stream: usize,
    /// How it came.
    pub transport: Transport,
    /// `type_url`
    pub type_url: String,
    /// `version_info`: the last version the proxy accepted (not in the incremental variant).
    pub version: String,
    /// `resource_names`, or `resource_names_subscribe`, sorted.
    pub names: Vec<String>,
    /// `resource_names_unsubscribe`, sorted.
    pub unsubscribed: Vec<String>,
    /// `initial_resource_versions`
    pub initial_versions: BTreeMap<String, String>,
    /// `response_nonce`
    pub nonce: String,
    /// `error_detail.message` of a refusal.
    pub error: Option<String>,
    /// The id in `node`, if there is a node.
    pub node: Option<String>,
}

impl Seen {
    pub(super) fn sotw(stream: usize, transport: Transport, request: DiscoveryRequest) -> Self {
        let mut names = request.resource_names;
        names.sort();
        Self {
            at: Instant::now(),
            stream,
            transport,
            type_url: request.type_url,
            version: request.version_info,
            names,
            unsubscribed: Vec::new(),
            initial_versions: BTreeMap::new(),
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            node: request.node.map(|node| node.id),
        }
    }

    pub(super) fn delta(stream: usize, request: DeltaDiscoveryRequest) -> Self {
        let (mut names, mut unsubscribed) =
            (request.resource_names_subscribe, request.resource_names_unsubscribe);
        names.sort();
        unsubscribed.sort();
        Self {
            at: Instant::now(),
            stream,
            transport: Transport::Delta,
            type_url: request.type_url,
            version: String::new(),
            names,
            unsubscribed,
            initial_versions: request.initial_resource_versions.into_iter().collect(),
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| status.message),
            node: request.node.map(|node| node.id),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A proxy opened a stream; its number and the path of the method.
    Opened(usize, String),
    /// A request.
    Asked(Seen),
    /// A response was sent.
    Answered {
        /// When it was handed to the codec.
        at: Instant,
        /// On which stream.
        stream: usize,
        /// The type.
        type_url: String,
        /// `version_info` or `system_version_info`.
        version: String,
        /// `nonce`
        nonce: String,
        /// The resources in it, in order.
        names: Vec<String>,
        /// `removed_resources`
        removed: Vec<String>,
    },
    /// What a proxy sent was no request.
    Garbled(usize, String),
    /// A stream ended.
    Closed(usize),
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(stream, path) => write!(f, "#{stream} opened {path}"),
            Self::Garbled(stream, why) => write!(f, "#{stream} -> no request: {why}"),
            Self::Closed(stream) => write!(f, "#{stream} closed"),
            Self::Answered { stream, type_url, version, nonce, names, removed, .. } => {
                let (type_url, names, removed) = (short(type_url), some_of(names), some_of(removed));
                write!(f, "#{stream} <- {type_url} v{version} {nonce} {names} removed {removed}")
            }
            Self::Asked(seen) => {
                write!(
                    f,
                    "#{} -> {} v{:?} nonce {:?} names {} unsubscribed {} initial {:?} node {:?} error {:?}",
                    seen.stream,
                    short(&seen.type_url),
                    seen.version,
                    seen.nonce,
                    some_of(&seen.names),
                    some_of(&seen.unsubscribed),
                    seen.initial_versions.iter().take(4).collect::<Vec<_>>(),
                    seen.node,
                    seen.error
                )
            }
        }
    }
}

/// The first names of a long list.
fn some_of(names: &[String]) -> String {
    let more = names.len().saturating_sub(6);
    let text = names.iter().take(6).cloned().collect::<Vec<_>>().join(" ");
    if more == 0 { format!("[{text}]") } else { format!("[{text} and {more} more]") }
}

/// How many events are kept: long churn keeps the last ones.
const KEPT: usize = 200_000;

/// The record.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) events: Vec<Happened>,
    /// What each nonce was sent with: type and version.
    nonces: HashMap<String, (String, String)>,
    /// Answers of proxies by type and version: refused or not.
    verdicts: HashMap<(String, String), Seen>,
}

impl Record {
    pub(super) fn add(&mut self, event: Happened) {
        match &event {
            Happened::Asked(seen) => self.verdict(seen),
            Happened::Answered { type_url, version, nonce, .. } => {
                self.nonces.insert(nonce.clone(), (type_url.clone(), version.clone()));
            }
            Happened::Opened(..) | Happened::Garbled(..) | Happened::Closed(_) => {}
        }
        if self.events.len() >= KEPT {
            self.events.drain(..KEPT / 2);
        }
        self.events.push(event);
    }

    /// The proxy's answer to a version of a type, the first that came.
    pub(super) fn answer(&self, type_url: &str, version: &str) -> Option<&Seen> {
        self.verdicts.get(&(type_url.to_owned(), version.to_owned()))
    }

    fn verdict(&mut self, seen: &Seen) {
        let sent = self.nonces.get(&seen.nonce);
        // REST has no nonces: the version that the next request names is the one it accepted.
        let rest = (seen.transport == Transport::Rest).then(|| (seen.type_url.clone(), seen.version.clone()));
        if let Some(key) = sent.cloned().or(rest) {
            self.verdicts.entry(key).or_insert_with(|| seen.clone());
        }
    }
}
