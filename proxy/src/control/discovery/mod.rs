//! Configuration that changes: xDS in, tables and snapshots out. The one writer of the [`Store`](super::store), as a task of
//! the control thread.
//!
//! ```text
//! sampan-xds --Event--> update: decode, compile, stage --> warming tables --settle--> Edits --one publication--> snapshot
//!                         \--ACK, or NACK with the path of each fault
//! ```
//!
//! A burst of events is applied, then settled and published once. Until the first configuration is there, the start goes through
//! the phases of [`Phase`]; [`run`](crate::run) waits for [`Phase::Live`] before it starts the workers.
//!
//! | Module | Does |
//! |---|---|
//! | [`update`] | the loop over the resources of an update, and the table of types |
//! | [`clusters`], [`listeners`], [`routes`], [`virtual_hosts`], [`scopes`], [`extensions`], [`layers`] | what is done with each type |
//! | [`needs`], [`wanted`] | who needs what by name |
//! | [`sources`], [`connector`] | where it comes from |
//! | [`last_good`] | a start without a control plane, and how one takes over |

mod clusters;
pub mod connector;
mod counters;
mod decode;
mod extensions;
mod fingerprint;
mod last_good;
mod layers;
mod listeners;
mod needs;
mod phase;
mod probation;
mod routes;
mod scopes;
mod secrets;
mod sources;
mod update;
mod virtual_hosts;
mod wanted;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sampan_api::envoy::config::core::v3::Node;
use sampan_xds::{Event, Update};
use tokio::sync::{mpsc, oneshot};

use self::clusters::Clusters;
use self::counters::Counters;
use self::decode::Decoder;
use self::extensions::Extensions;
use self::last_good::LastGood;
use self::layers::Layers;
use self::listeners::Listeners;
use self::phase::Phase;
use self::routes::Routes;
use self::scopes::Scopes;
use self::secrets::SecretSubscriptions;
use self::sources::Sources;
use self::virtual_hosts::VirtualHosts;
use self::wanted::Wanted;
use super::compile::Context;
use super::compile::cluster::Compiled;
use super::dns::Resolvers;
use super::generations::{Change, SharedGenerations};
use super::health::Outside;
use super::publish::{Edits, Publisher};
use super::store::{Key, Kind, SharedStore, Stored, View};
use crate::bootstrap::{Dynamic, Resource};
use crate::cli::Options;
use crate::http::demand::Demand;
use crate::listener::bind::ActiveListener;
use crate::logging::target;
use crate::reference::SourceKey;
use crate::snapshot::ClusterParts;
use crate::telemetry::stats::Stats;

/// What discovery works with.
pub struct Parts {
    /// The flags.
    pub options: Arc<Options>,
    /// Who this proxy is.
    pub node: Node,
    /// `dynamic_resources`
    pub dynamic: Dynamic,
    /// What compiling needs to know.
    pub context: Context,
    /// Where snapshots go.
    pub publisher: Arc<Publisher>,
    /// Where resources are kept.
    pub store: SharedStore,
    /// The history of the configuration.
    pub generations: SharedGenerations,
    /// What the admin server sees.
    pub view: Arc<View>,
    /// Where counters come from.
    pub stats: Arc<Stats>,
    /// What checks of hosts work with.
    pub watching: Arc<Outside>,
    /// The number of workers.
    pub workers: usize,
}

/// What the bootstrap brings.
pub struct Fixed {
    /// All clusters.
    pub clusters: Vec<Resource>,
    /// Those of them that wait for names or endpoints.
    pub discovering: Vec<Compiled>,
    /// The listeners, bound.
    pub listeners: Vec<ActiveListener>,
}

/// What the control thread tells itself.
#[derive(Debug)]
enum Local {
    /// The names of a cluster were each asked for once.
    Resolved(Arc<str>),
    /// The hosts of a cluster that waits were each checked once.
    Checked(Arc<str>, Arc<ClusterParts>),
    /// The drain time of a version of a listener is over.
    Drained(Arc<str>),
    /// A source had its time for a first answer.
    Unanswered(SourceKey),
    /// A control plane had its time to say what of the last-good file is still there.
    TakenOver(SourceKey),
}

/// The state of everything that is discovered.
pub struct Discovery {
    options: Arc<Options>,
    dynamic: Dynamic,
    context: Context,
    publisher: Arc<Publisher>,
    store: SharedStore,
    view: Arc<View>,
    stats: Arc<Stats>,
    watching: Arc<Outside>,
    workers: usize,
    decoder: Decoder,
    counters: Counters,
    resolvers: Arc<Resolvers>,
    sources: Sources,
    clusters: Clusters,
    /// Assignments that clusters name.
    assignments: Wanted,
    listeners: Listeners,
    routes: Routes,
    secrets: SecretSubscriptions,
    virtual_hosts: VirtualHosts,
    scopes: Scopes,
    extensions: Extensions,
    layers: Layers,
    /// What was said of the last update of a kind, if it was rejected.
    rejected: HashMap<Kind, String>,
    /// Types that are asked for as a whole.
    wildcards: Wanted,
    /// Names of the clusters in force, as compiling wants them; `None` when they have changed.
    known_clusters: Option<Arc<HashSet<Box<str>>>>,
    /// What is to be published.
    edits: Edits,
    /// What of the configuration changed since the last publication.
    changes: Vec<Change>,
    generations: SharedGenerations,
    last_good: Option<LastGood>,
    phase: Phase,
    /// Whom to tell when the first configuration is in force.
    live: Option<oneshot::Sender<()>>,
    /// Messages to itself; bounded by the numbers of clusters and of listener versions.
    local: mpsc::UnboundedSender<Local>,
}

/// Events that may wait for the control thread. When it is that far behind, streams are not read.
const QUEUE: usize = 64;
/// Events that are applied before their sum is published.
const BURST: usize = 256;

/// Starts discovery as a task; the receiver comes when everything is there that the start waits for.
pub fn start(parts: Parts, fixed: Fixed, demanded: mpsc::Receiver<Demand>) -> oneshot::Receiver<()> {
    let (events, incoming) = mpsc::channel(QUEUE);
    let (local, own) = mpsc::unbounded_channel();
    let (live, started) = oneshot::channel();
    let last_good = LastGood::new(&parts);
    let mut sources = Sources::new(
        parts.publisher.clone(),
        parts.stats.clone(),
        parts.node,
        parts.dynamic.ads.clone(),
        events,
    );
    sources.note_asked(last_good.is_some());
    let mut discovery = Discovery {
        decoder: Decoder::new(&parts.options),
        counters: Counters::new(parts.stats.clone()),
        resolvers: Arc::default(),
        options: parts.options,
        dynamic: parts.dynamic,
        context: parts.context,
        publisher: parts.publisher,
        store: parts.store,
        view: parts.view,
        stats: parts.stats,
        watching: parts.watching,
        workers: parts.workers,
        sources,
        clusters: Clusters::default(),
        assignments: Wanted::default(),
        listeners: Listeners::default(),
        routes: Routes::default(),
        secrets: SecretSubscriptions::default(),
        virtual_hosts: VirtualHosts::default(),
        scopes: Scopes::default(),
        extensions: Extensions::default(),
        layers: Layers::default(),
        rejected: HashMap::new(),
        wildcards: Wanted::default(),
        known_clusters: None,
        edits: Edits::default(),
        changes: Vec::new(),
        generations: parts.generations,
        last_good,
        phase: Phase::default(),
        live: Some(live),
        local,
    };
    discovery.adopt_clusters(&fixed.clusters, fixed.discovering);
    discovery.adopt_listeners(fixed.listeners);
    discovery.settle();
    tokio::spawn(discovery.run(incoming, own, demanded));
    started
}

impl Discovery {
    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Event>,
        mut own: mpsc::UnboundedReceiver<Local>,
        mut demanded: mpsc::Receiver<Demand>,
    ) {
        loop {
            tokio::select! {
                Some(local) = own.recv() => self.local(local),
                Some(event) = incoming.recv() => self.event(event),
                Some(demand) = demanded.recv() => self.demand(demand),
                else => return,
            }
            for _ in 0..BURST {
                if let Ok(local) = own.try_recv() {
                    self.local(local);
                } else if let Ok(event) = incoming.try_recv() {
                    self.event(event);
                } else if let Ok(demand) = demanded.try_recv() {
                    self.demand(demand);
                } else {
                    break;
                }
            }
            self.settle();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Update(mut update) => {
                self.answered(&mut update);
                self.update(update);
            }
            Event::Connected { source } => {
                tracing::debug!(target: target::UPSTREAM, "{source}: connected to the control plane");
            }
            Event::Disconnected { source, reason, next_try } => {
                self.disconnected(source.as_str());
                self.without(&SourceKey(source.as_str().into()), &reason);
                tracing::warn!(
                    target: target::CONFIG,
                    "{source}: no stream to the control plane: {reason}; next attempt in {} ms",
                    next_try.as_millis()
                );
            }
            Event::FetchTimeout { source, type_url, names } => {
                self.fetch_timed_out(source.as_str(), &type_url, &names);
            }
            Event::Expired { source, type_url, names } => self.expired(source.as_str(), &type_url, &names),
            Event::Failed { source, type_url, reason } => {
                tracing::warn!(target: target::CONFIG, "{source}: {type_url}: {reason}");
                self.fetch_failed(source.as_str(), &type_url);
                self.without(&SourceKey(source.as_str().into()), &reason);
            }
        }
    }

    fn local(&mut self, local: Local) {
        match local {
            Local::Resolved(cluster) => self.resolved(&cluster),
            Local::Checked(cluster, parts) => self.checked(&cluster, &parts),
            Local::Drained(listener) => self.drained(&listener),
            Local::Unanswered(source) => self.without(&source, "no answer yet"),
            Local::TakenOver(source) => self.taken_over(&source),
        }
    }

    /// Puts in force what is ready, and publishes what changed; with a last-good file, what that brings as well.
    fn settle(&mut self) {
        self.settle_once();
        while self.feed_last_good() {
            self.settle_once();
        }
    }

    fn settle_once(&mut self) {
        self.follow_secrets();
        self.settle_clusters();
        self.settle_listeners();
        self.publish();
        self.wake_demands();
        self.advance();
        self.count_clusters();
        self.count_listeners();
        self.tell_unready();
    }

    fn publish(&mut self) {
        let (edits, changes) = (std::mem::take(&mut self.edits), std::mem::take(&mut self.changes));
        if changes.is_empty() {
            if !edits.is_empty() {
                self.publisher.apply(edits);
            }
            return;
        }
        let connections = Arc::new(AtomicU64::new(0));
        let number = self.publisher.apply(Edits { connections: Some(connections.clone()), ..edits });
        self.generations.lock().add(number, changes, connections);
        self.keep_last_good();
    }

    /// What compiling needs to know, with the clusters of now.
    fn context(&mut self) -> Context {
        let known = self
            .known_clusters
            .get_or_insert_with(|| Arc::new(self.clusters.active().map(|name| Box::from(&**name)).collect()));
        Context { clusters: known.clone(), tls: self.context.tls.fresh(), ..self.context.clone() }
    }

    /// Notes who sent an update.
    fn change_source(&mut self, update: &Update) {
        if let Some(identifier) = &update.control_plane {
            self.stats.set_text("control_plane.identifier", identifier);
        }
    }

    /// Notes a change of what is in force; `before` is what was.
    fn record(&mut self, kind: Kind, key: &Key, before: Option<Arc<Stored>>) {
        let after = self.store.lock().kind(kind).active.get(key).cloned();
        self.changes.push(Change { kind, key: key.clone(), before, after });
    }
}
