//! One delta stream as the server sees it: what the proxy asks for, what it was sent, what is to be sent next. No I/O.
//!
//! ```text
//! nothing due --catalog changed, more asked for--> response sent, nonce open --ACK or NACK with that nonce--> nothing due
//! ```
//! A type waits while a response of its own or of a type before it is open, so that clusters are known before the routes that use
//! them. What was refused is not sent again before it changes. Whoever removes a cluster changes the routes first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sampan_api::envoy::config::core::v3::ControlPlane;
use sampan_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use super::Answered;
use super::catalog::{Contents, Row};
use crate::kinds::Kind;

/// Subscribed names on one stream; a client that asks for more gets no more.
const MOST_NAMES: usize = 100_000;
/// Types on one stream.
const MOST_TYPES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Session {
    node: String,
    /// By rank, then by type URL: the order of responses.
    types: BTreeMap<(usize, String), Subscription>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    is_wildcard: bool,
    names: BTreeSet<String>,
    /// What the proxy has, by version; `None` is that there is no such resource.
    sent: HashMap<String, Option<String>>,
    /// The nonce that is open, and the version of its response.
    open: Option<(String, u64)>,
    /// A response has been sent: a wildcard's first is due even if it is empty.
    is_answered: bool,
}

impl Session {
    /// Takes a request; what it answers, if it is an answer.
    pub(super) fn request(&mut self, request: DeltaDiscoveryRequest) -> Option<Answered> {
        if let Some(node) = request.node {
            self.node = node.id;
        }
        let key = (Kind::rank(&request.type_url), request.type_url);
        if self.types.len() >= MOST_TYPES && !self.types.contains_key(&key) {
            return None;
        }
        let is_first = !self.types.contains_key(&key);
        let subscription = self.types.entry(key.clone()).or_default();
        if is_first {
            subscription.is_wildcard = request.resource_names_subscribe.is_empty();
            let known = request.initial_resource_versions.into_iter().take(MOST_NAMES);
            subscription.sent = known.map(|(name, version)| (name, Some(version))).collect();
        }
        subscription.subscribe(request.resource_names_subscribe, is_first);
        subscription.unsubscribe(request.resource_names_unsubscribe);
        let (nonce, version) = subscription.open.as_ref()?;
        if *nonce != request.response_nonce {
            return None;
        }
        let version = *version;
        subscription.open = None;
        let error = request.error_detail.map(|status| status.message);
        Some(Answered { node: self.node.clone(), type_url: key.1, version, error })
    }

    /// The next response that is due.
    pub(super) fn response(&mut self, contents: &Contents) -> Option<DeltaDiscoveryResponse> {
        for ((_, type_url), subscription) in &mut self.types {
            if subscription.open.is_some() {
                return None;
            }
            let resources = subscription.news(type_url, contents);
            let removed = subscription.gone(type_url, contents);
            let is_first_of_wildcard = subscription.is_wildcard && !subscription.is_answered;
            if resources.is_empty() && removed.is_empty() && !is_first_of_wildcard {
                continue;
            }
            self.nonces += 1;
            let nonce = self.nonces.to_string();
            subscription.is_answered = true;
            subscription.open = Some((nonce.clone(), contents.version));
            return Some(DeltaDiscoveryResponse {
                system_version_info: contents.version.to_string(),
                type_url: type_url.clone(),
                resources,
                removed_resources: removed,
                nonce,
                control_plane: Some(ControlPlane { identifier: "sampan".to_owned() }),
                ..DeltaDiscoveryResponse::default()
            });
        }
        None
    }
}

impl Subscription {
    fn subscribe(&mut self, names: Vec<String>, is_first: bool) {
        for name in names {
            if name == "*" {
                self.is_wildcard = true;
            } else if self.names.len() < MOST_NAMES {
                // Who asks again has nothing, unless this is a new stream and it said so.
                if !is_first {
                    self.sent.remove(&name);
                }
                self.names.insert(name);
            }
        }
    }

    fn unsubscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == "*" {
                self.is_wildcard = false;
                self.sent.retain(|name, _| self.names.contains(name));
            } else if self.names.remove(&name) && !self.is_wildcard {
                self.sent.remove(&name);
            }
        }
    }

    /// Resources that the proxy does not have in this version.
    fn news(&mut self, type_url: &str, contents: &Contents) -> Vec<Resource> {
        let (names, sent, all) = (&self.names, &mut self.sent, self.is_wildcard);
        let mut news = Vec::new();
        let mut add = |name: &String, row: &Row| {
            let version = row.version.to_string();
            let before = sent.insert(name.clone(), Some(version.clone())).flatten();
            if before.is_none_or(|before| before != version) {
                let resource = Some(row.body.clone());
                news.push(Resource { name: name.clone(), version, resource, ..Resource::default() });
            }
        };
        if all {
            contents.rows(type_url).for_each(|(name, row)| add(name, row));
        } else {
            let known = names.iter().filter_map(|name| Some((name, contents.row(type_url, name)?)));
            known.for_each(|(name, row)| add(name, row));
        }
        news
    }

    /// Names of what the proxy has, or asks for, and there is not.
    fn gone(&mut self, type_url: &str, contents: &Contents) -> Vec<String> {
        let is_missing = |name: &&String| contents.row(type_url, name).is_none();
        let had = self.sent.iter().filter(|(_, version)| version.is_some()).map(|(name, _)| name);
        let asked = self.names.iter().filter(|name| !self.sent.contains_key(*name));
        let gone: BTreeSet<String> = had.chain(asked).filter(is_missing).cloned().collect();
        for name in &gone {
            if self.names.contains(name) {
                self.sent.insert(name.clone(), None);
            } else {
                self.sent.remove(name);
            }
        }
        gone.into_iter().collect()
    }
}
