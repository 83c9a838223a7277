//! The places that configuration comes from: opened when the first resource is asked of them, and asked for more.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::Node;
use sampan_xds::{
    Event, FileSettings, Names, RateLimit, RestSettings, RestTarget, Source as Stream, SourceId,
    StreamSettings, TypeUrl, Variant,
};
use tokio::sync::mpsc;

use super::connector;
use super::update::Type;
use crate::control::publish::Publisher;
use crate::control::store::{Key, Kind};
use crate::reference::{GrpcSource, Source, SourceKey, SourceSpec};
use crate::telemetry::stats::{Provided, Provider, Stats};

/// All sources.
pub struct Sources {
    publisher: Arc<Publisher>,
    stats: Arc<Stats>,
    node: Node,
    /// `dynamic_resources.ads_config`
    ads: Option<GrpcSource>,
    /// What was asked for since it was last taken, where somebody wants to know.
    asked: Option<Vec<Asked>>,
    /// What has been asked of, by key.
    open: HashMap<SourceKey, Opened>,
    events: mpsc::Sender<Event>,
}

/// Something that was asked of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asked {
    /// The server.
    pub source: SourceKey,
    /// The kind.
    pub kind: Kind,
    /// The name; `None` for all there are.
    pub name: Option<Arc<str>>,
}

struct Opened {
    source: Source,
    stream: Stream,
}

impl Sources {
    /// No source is open yet.
    pub fn new(
        publisher: Arc<Publisher>,
        stats: Arc<Stats>,
        node: Node,
        ads: Option<GrpcSource>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { publisher, stats, node, ads, asked: None, open: HashMap::new(), events }
    }

    /// The source that is meant: `self` stands for `own`, the one that the resource came from. `None` if the aggregated
    /// stream is meant and there is none.
    pub fn resolve(&self, source: &Source, own: &SourceKey) -> Option<Source> {
        match &*source.spec {
            SourceSpec::Same => {
                if *own == SourceKey::ads() {
                    let spec = Arc::new(SourceSpec::Ads);
                    let ads = Source { key: SourceKey::ads(), spec, fetch_timeout: source.fetch_timeout };
                    return self.resolve(&ads, own);
                }
                let opened = self.open.get(own)?;
                Some(Source { fetch_timeout: source.fetch_timeout, ..opened.source.clone() })
            }
            SourceSpec::Ads if self.ads.is_none() => None,
            _ => Some(source.clone()),
        }
    }

    /// Asks for a resource by name.
    pub fn subscribe(&mut self, source: &Source, kind: Kind, name: &str) {
        self.ask(source, kind, Names::These(vec![name.to_owned()]));
    }

    /// Asks for all resources of a kind.
    pub fn subscribe_all(&mut self, source: &Source, kind: Kind) {
        self.ask(source, kind, Names::Wildcard);
    }

    /// Asks a source that is open for another resource by name.
    pub fn subscribe_open(&mut self, source: &SourceKey, kind: Kind, name: &str) {
        if let Some(source) = self.open.get(source).map(|opened| opened.source.clone()) {
            self.subscribe(&source, kind, name);
        }
    }

    /// Notes from now on what is asked for, or no longer.
    pub fn note_asked(&mut self, is_wanted: bool) {
        self.asked = is_wanted.then(Vec::new);
    }

    /// What was asked of servers since the last time.
    pub fn take_asked(&mut self) -> Vec<Asked> {
        self.asked.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn ask(&mut self, source: &Source, kind: Kind, names: Names) {
        let Some(url) = type_url(kind) else { return };
        if let Some(asked) = self.asked.as_mut().filter(|_| !source.key.is_file()) {
            let one = |name: Option<&String>| Asked {
                source: source.key.clone(),
                kind,
                name: name.map(|name| name.as_str().into()),
            };
            match &names {
                Names::Wildcard => asked.push(one(None)),
                Names::These(names) => asked.extend(names.iter().map(|name| one(Some(name)))),
            }
        }
        if !self.open.contains_key(&source.key) {
            let Some(stream) = self.start(source) else { return };
            self.open.insert(source.key.clone(), Opened { source: source.clone(), stream });
        }
        if let Some(opened) = self.open.get(&source.key) {
            // To the client, zero is for ever and none is its own default.
            let timeout = source.fetch_timeout.unwrap_or(Duration::ZERO);
            opened.stream.subscribe(&url, names, Some(timeout));
        }
    }

    /// Asks for a resource no longer.
    pub fn unsubscribe(&mut self, kind: Kind, key: &Key) {
        if let (Some(url), Some(opened)) = (type_url(kind), self.open.get(&key.source)) {
            opened.stream.unsubscribe(&url, &[key.name.to_string()]);
        }
    }

    fn start(&self, source: &Source) -> Option<Stream> {
        let id = SourceId::new(source.key.0.clone());
        let events = self.events.clone();
        Some(match &*source.spec {
            SourceSpec::Ads => {
                let stream = Stream::ads(id, self.stream(self.ads.as_ref()?), events);
                self.stats.provide(Arc::new(ControlPlane(stream.clone())));
                stream
            }
            SourceSpec::Same => return None,
            SourceSpec::Grpc(grpc) => Stream::grpc(id, self.stream(grpc), events),
            SourceSpec::Rest(rest) => {
                let (connector, is_http2) =
                    (connector::cluster(&self.publisher, &rest.cluster, &Arc::default()), false);
                let target = RestTarget { connector, is_http2 };
                let mut settings = RestSettings::new(self.node.clone(), vec![target], rest.refresh);
                settings.request_timeout = rest.timeout;
                Stream::rest(id, settings, events)
            }
            SourceSpec::File { path, watched } => {
                let mut settings = FileSettings::new(&**path);
                settings.watched_directory = watched.as_ref().map(|directory| PathBuf::from(&**directory));
                Stream::file(id, settings, events)
            }
        })
    }

    fn stream(&self, grpc: &GrpcSource) -> StreamSettings {
        let targets = grpc.targets.iter().map(|one| connector::target(&self.publisher, one)).collect();
        let mut settings = StreamSettings::new(self.node.clone(), targets);
        settings.set_node_on_first_message_only = grpc.node_once;
        settings.variant = if grpc.delta { Variant::Delta } else { Variant::StateOfTheWorld };
        settings.rate_limit =
            grpc.rate_limit.map(|(max_tokens, fill_rate)| RateLimit { max_tokens, fill_rate });
        if let Some((base, longest)) = grpc.back_off {
            (settings.backoff_base, settings.backoff_max) = (base, longest);
        }
        if let Some(cap) = grpc.targets.iter().find_map(|target| target.message_cap) {
            settings.message_cap = cap;
        }
        settings
    }
}

/// The aggregated stream as `control_plane.` stats.
struct ControlPlane(Stream);

impl Provider for ControlPlane {
    fn provide(&self, out: &mut Provided<'_>) {
        let status = self.0.status();
        out.gauge("control_plane.connected_state".to_owned(), u64::from(status.is_connected()));
        out.gauge("control_plane.pending_requests".to_owned(), status.pending_requests() as u64);
        out.counter("control_plane.rate_limit_enforced".to_owned(), status.rate_limit_enforced());
    }
}

/// The type URL of a kind that is asked for.
fn type_url(kind: Kind) -> Option<TypeUrl> {
    Type::of(kind).map(|entry| sampan_api::type_url::of(entry.kind.message()).into())
}
