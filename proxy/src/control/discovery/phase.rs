//! The order of the start, and what it waits for.
//!
//! ```text
//! Primary    clusters of the bootstrap that need no control plane   (names resolved)
//! Runtime    runtime layers that are discovered
//! Clusters   the first answer to CDS, and every cluster warm
//! Listeners  the first answer to LDS, and every listener warm
//! Live       workers run
//! ```
//!
//! Each wait ends by `initial_fetch_timeout` at the latest, where that is not zero. After [`Phase::Live`] resources warm one by
//! one.

use std::sync::Arc;

use super::Discovery;
use super::needs::Need;
use super::scopes;
use super::update::Type;
use crate::admin::source::UnreadyTargets;
use crate::control::store::{Key, Kind};
use crate::logging::target;
use crate::reference::{Source, SourceKey};

/// How far the start has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clusters of the bootstrap.
    #[default]
    Primary,
    /// Runtime layers.
    Runtime,
    /// Discovered clusters.
    Clusters,
    /// Listeners.
    Listeners,
    /// Done.
    Live,
}

/// The name under which a wildcard subscription is kept.
const ALL: &str = "*";

impl Discovery {
    /// Goes on as far as nothing is waited for.
    pub(super) fn advance(&mut self) {
        while self.phase != Phase::Live && self.is_phase_over() {
            match self.phase {
                Phase::Primary => {
                    self.phase = Phase::Runtime;
                    self.subscribe_layers();
                }
                Phase::Runtime => {
                    self.phase = Phase::Clusters;
                    self.subscribe_all(Kind::Cluster, self.dynamic.clusters.clone());
                }
                Phase::Clusters => {
                    tracing::info!(target: target::UPSTREAM, "cm init: all clusters initialized");
                    self.phase = Phase::Listeners;
                    self.subscribe_all(Kind::Listener, self.dynamic.listeners.clone());
                    self.settle_listeners();
                    self.publish();
                }
                Phase::Listeners => {
                    tracing::info!(target: target::CONFIG, "all dependencies initialized. starting workers");
                    self.phase = Phase::Live;
                    if let Some(live) = self.live.take() {
                        // Nobody waits if an exit was asked for in the meantime.
                        let _ = live.send(());
                    }
                }
                Phase::Live => {}
            }
        }
    }

    fn is_phase_over(&self) -> bool {
        match self.phase {
            Phase::Primary => {
                let mut warming = self.clusters.warming();
                !warming.any(|name| self.clusters.resolves(name))
            }
            Phase::Runtime => self.layers.wanted.awaited().next().is_none(),
            Phase::Clusters => self.is_answered(Kind::Cluster) && self.clusters.warming().next().is_none(),
            Phase::Listeners => self.is_answered(Kind::Listener) && self.listeners.warming().next().is_none(),
            Phase::Live => true,
        }
    }

    /// Whether listeners may be put in force: not before the clusters that they send to.
    pub(super) fn may_listen(&self) -> bool {
        self.phase >= Phase::Listeners
    }

    fn subscribe_all(&mut self, kind: Kind, source: Option<Source>) {
        let Some(source) = source.and_then(|source| self.sources.resolve(&source, &SourceKey::ads())) else {
            return;
        };
        self.wildcards.need(&wildcard(kind, &source.key), &Arc::from("start"));
        self.counters.attempted(kind);
        self.sources.subscribe_all(&source, kind);
    }

    fn is_answered(&self, kind: Kind) -> bool {
        !self.wildcards.awaited().any(|key| key.name.starts_with(prefix(kind)))
    }

    /// Notes that the first answer of a kind that is asked for as a whole came.
    pub(super) fn settle_wildcard(&mut self, kind: Kind, source: &SourceKey) {
        self.wildcards.arrived(&wildcard(kind, source));
        if kind == Kind::Scope {
            self.scopes.wanted.arrived(&scopes::all(source));
        }
    }

    /// Goes on without what did not come in time.
    pub(super) fn fetch_timed_out(&mut self, source: &str, url: &str, names: &[String]) {
        let Some(entry) = Type::named(url) else { return };
        let source = SourceKey(source.into());
        for name in names {
            if name == ALL {
                self.counters.timed_out(entry.kind);
                self.wildcards.give_up(&wildcard(entry.kind, &source));
                if entry.kind == Kind::Scope {
                    self.scopes.wanted.give_up(&scopes::all(&source));
                }
                tracing::warn!(target: target::CONFIG, "{source}: {url}: no answer within initial_fetch_timeout; going on without");
                continue;
            }
            let key = Key { source: source.clone(), name: name.as_str().into() };
            let gave_up = match entry.kind {
                Kind::Endpoints => self.assignments.give_up(&key),
                Kind::Route => self.routes.wanted.give_up(&key),
                Kind::Runtime => self.layers.wanted.give_up(&key),
                Kind::Extension => self.extensions.wanted.give_up(&key),
                Kind::Secret => self.give_up_secret(&key),
                _ => false,
            };
            if gave_up {
                self.count_timeout(entry.kind, &key);
                tracing::warn!(target: target::CONFIG, "{source}: {url}: {name:?} did not come within initial_fetch_timeout; going on without");
            }
        }
    }

    fn count_timeout(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Endpoints => {
                for user in self.assignments.users(key) {
                    self.counters.endpoints_timed_out(&self.clusters.stat_name(&user));
                }
            }
            Kind::Route => self.counters.routes_timed_out(key),
            _ => self.counters.timed_out(kind),
        }
    }

    /// A source that is polled or read could not deliver.
    pub(super) fn fetch_failed(&mut self, source: &str, url: &str) {
        let Some(entry) = Type::named(url) else { return };
        self.counters.failed(entry.kind);
        // A file that is bad is an answer, and no better one is on its way: the start does not wait for it.
        if source.starts_with("path:") {
            let source = SourceKey(source.into());
            self.wildcards.give_up(&wildcard(entry.kind, &source));
            for wanted in [&mut self.assignments, &mut self.routes.wanted, &mut self.layers.wanted] {
                wanted.give_up_all(&source);
            }
        }
    }

    /// The stream of a source ended: every type on it counts a failure.
    pub(super) fn disconnected(&mut self, source: &str) {
        let dynamic = [
            (Kind::Cluster, self.dynamic.clusters.as_ref()),
            (Kind::Listener, self.dynamic.listeners.as_ref()),
        ];
        let kinds: Vec<Kind> = dynamic
            .into_iter()
            .filter(|(_, from)| from.is_some_and(|from| &*from.key.0 == source))
            .map(|(kind, _)| kind)
            .collect();
        for kind in kinds {
            self.counters.failed(kind);
        }
    }

    /// What has not finished initializing, for `/init_dump`.
    pub(super) fn tell_unready(&mut self) {
        let mut unready = Vec::new();
        for name in self.clusters.warming() {
            let waits = self.clusters.waits_for(name);
            let targets = match waits {
                Some(key) => vec![format!("ClusterLoadAssignment {} from {}", key.name, key.source)],
                None => vec![format!("Cluster {name}")],
            };
            unready.push(UnreadyTargets { name: format!("cluster {name}"), targets });
        }
        for name in self.listeners.warming() {
            let needs = self.listeners.needs(name).iter().filter(|need| !self.is_settled(need));
            let targets = needs.map(Need::shown).collect();
            unready.push(UnreadyTargets { name: format!("listener {name}"), targets });
        }
        for key in self.layers.wanted.awaited() {
            let target = format!("Runtime {} from {}", key.name, key.source);
            unready.push(UnreadyTargets { name: "runtime".to_owned(), targets: vec![target] });
        }
        for key in self.wildcards.awaited() {
            let (kind, _) = key.name.split_once(' ').unwrap_or((&key.name, ""));
            let target = format!("{kind} from {}", key.source);
            unready.push(UnreadyTargets { name: "server".to_owned(), targets: vec![target] });
        }
        self.view.waits_for(unready);
    }
}

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Cluster => "CDS",
        Kind::Listener => "LDS",
        _ => "",
    }
}

fn wildcard(kind: Kind, source: &SourceKey) -> Key {
    Key { source: source.clone(), name: format!("{} {ALL}", prefix(kind)).into() }
}
