//! A start without a control plane: the last-good file speaks in its place, by the same updates, until it does itself.
//!
//! ```text
//! asked of a source --answered--> (nothing to do)
//!     '--no stream, or no answer in time--> away: the file answers what is asked --first answer--> taking over --grace--> over
//! ```
//! What the file brought and the server has not named when the grace is over is removed, listeners before clusters: a server may
//! split its state over several responses, and routes must have moved before a cluster goes. Only then is the file written again.
//! Called by the event loop of [`super`]; without `--last-good-file` it does nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use sampan_api::type_url;
use sampan_xds::{Content, Reply, Resource, SourceId, Update};
use serde_json::json;

use super::phase::Phase;
use super::sources::Asked;
use super::update::Type;
use super::{Discovery, Local, Parts};
use crate::control::last_good::{Counts, FileError, Limits, Node, Saved, Source, Writer, read};
use crate::control::store::{Key, Kind};
use crate::logging::target;
use crate::reference::SourceKey;

/// How long a source may take for its first answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a control plane may take to say everything, from the moment at which it has spoken of each kind.
const GRACE: Duration = Duration::from_secs(5);

/// The use of the last-good file.
pub struct LastGood {
    path: PathBuf,
    max_age: Option<Duration>,
    node: Node,
    counts: Arc<Counts>,
    writer: Writer,
    /// Whether the start is still going on, so that the file may be needed.
    is_armed: bool,
    /// What was asked for and neither answered nor fed.
    pending: BTreeSet<Asked>,
    /// Sources that were asked for anything.
    known: HashSet<SourceKey>,
    has_wildcards: bool,
    /// Sources whose place the file takes.
    away: HashSet<SourceKey>,
    saved: Option<Saved>,
    /// The file was looked at and is not to be used.
    is_refused: bool,
    /// What came from the file.
    restored: BTreeMap<SourceKey, Restored>,
}

/// What came from the file in place of a source.
#[derive(Default)]
struct Restored {
    kinds: BTreeMap<Kind, Fed>,
    /// The grace has begun.
    is_ending: bool,
}

#[derive(Default)]
struct Fed {
    /// Names that the server has not spoken of.
    names: HashSet<Arc<str>>,
    /// All there is of the kind was asked for, so that what the server does not name is gone.
    is_whole: bool,
    is_answered: bool,
}

impl LastGood {
    /// By the command line; `None` if it wants none.
    pub(super) fn new(parts: &Parts) -> Option<Self> {
        let wanted = parts.options.last_good.as_ref()?;
        let (path, counts) = (PathBuf::from(&wanted.path), Counts::new(parts.stats.clone()));
        let node = Node { id: parts.node.id.clone(), cluster: parts.node.cluster.clone() };
        parts.view.came_from(json!({"source": Source::None.name()}));
        Some(Self {
            writer: Writer::start(path.clone(), node.clone(), parts.store.clone(), counts.clone()),
            path,
            max_age: wanted.max_age,
            node,
            counts,
            is_armed: true,
            pending: BTreeSet::new(),
            known: HashSet::new(),
            has_wildcards: false,
            away: HashSet::new(),
            saved: None,
            is_refused: false,
            restored: BTreeMap::new(),
        })
    }

    /// Reads the file, once; whether it can be used.
    fn load(&mut self) -> bool {
        if self.saved.is_some() || self.is_refused {
            return self.saved.is_some();
        }
        let limits = Limits { node: self.node.clone(), max_age: self.max_age, now: SystemTime::now() };
        let path = self.path.display();
        match read(&self.path, &limits) {
            Ok(saved) => self.saved = Some(saved),
            Err(FileError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {
                tracing::info!(target: target::CONFIG, "last-good file {path}: there is none yet");
            }
            Err(error) => {
                tracing::warn!(target: target::CONFIG, "last-good file {path} is not used: {error}; waiting for the control plane");
            }
        }
        self.is_refused = self.saved.is_none();
        self.saved.is_some()
    }

    /// What the file has for these, all of one source and kind; notes that it was fed.
    fn update(&mut self, source: &SourceKey, kind: Kind, asked: &[Asked]) -> Option<Update> {
        let saved = self.saved.as_ref()?;
        let group = saved.groups.iter().find(|group| group.source == *source && group.kind == kind);
        let is_whole = asked.iter().any(|asked| asked.name.is_none());
        let names: HashSet<&str> = asked.iter().filter_map(|asked| asked.name.as_deref()).collect();
        let url = type_url::of(kind.message());
        let entries = group.into_iter().flat_map(|group| &group.entries);
        let resources: Vec<Resource> = entries
            .filter(|entry| is_whole || names.contains(&*entry.name))
            .map(|entry| Resource {
                name: entry.name.to_string(),
                aliases: Vec::new(),
                version: entry.version.clone(),
                type_url: url.clone(),
                body: entry.wire.clone(),
                ttl: None,
            })
            .collect();
        if !is_whole && resources.is_empty() {
            return None;
        }
        let fed = self.restored.entry(source.clone()).or_default().kinds.entry(kind).or_default();
        fed.is_whole |= is_whole;
        fed.names.extend(resources.iter().map(|resource| Arc::from(resource.name.as_str())));
        // Virtual hosts are asked for by their route configurations, and the others are all there is.
        let content = if is_whole && kind != Kind::VirtualHost {
            Content::Full(resources)
        } else {
            Content::Delta { resources, removed: Vec::new() }
        };
        Some(Update {
            source: SourceId::new(source.0.clone()),
            type_url: url.into(),
            version: group.map(|group| group.version.clone()).unwrap_or_default(),
            control_plane: None,
            content,
            unchanged: Vec::new(),
            reply: Reply::unheard(),
        })
    }

    /// Whether all there is came from control planes.
    fn is_whole(&self) -> bool {
        self.restored.is_empty()
            && if self.has_wildcards {
                self.pending.iter().all(|asked| asked.name.is_some())
            } else {
                self.pending.is_empty()
            }
    }
}

impl Restored {
    /// Notes what a server says of a kind; whether it has now spoken of each.
    fn answered(&mut self, kind: Kind, update: &mut Update) -> bool {
        let Some(fed) = self.kinds.get_mut(&kind) else { return false };
        fed.is_answered = true;
        {
            let named = names(update);
            fed.names.retain(|name| !named.contains(&**name));
        }
        if matches!(update.content, Content::Full(_)) {
            // They live until the grace is over.
            update.unchanged.extend(fed.names.iter().map(ToString::to_string));
        }
        let has_whole = self.kinds.values().any(|fed| fed.is_whole);
        self.kinds.values().all(|fed| fed.is_answered || (has_whole && !fed.is_whole))
    }
}

/// The names that an update speaks of.
fn names(update: &Update) -> HashSet<&str> {
    let (resources, removed) = match &update.content {
        Content::Full(resources) => (resources, &[][..]),
        Content::Delta { resources, removed } => (resources, &removed[..]),
    };
    let resources = resources.iter().map(|resource| resource.name.as_str());
    resources.chain(removed.iter().chain(&update.unchanged).map(String::as_str)).collect()
}

impl Discovery {
    /// Takes note of what was asked of servers; the first time, a source gets its time to answer.
    fn note_asked(&mut self) {
        let Some(last_good) = &mut self.last_good else { return };
        for asked in self.sources.take_asked() {
            last_good.has_wildcards |= asked.name.is_none();
            if last_good.known.insert(asked.source.clone()) {
                let (local, source) = (self.local.clone(), asked.source.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(PATIENCE).await;
                    let _ = local.send(Local::Unanswered(source));
                });
            }
            last_good.pending.insert(asked);
        }
    }

    /// A source cannot be reached, or does not answer: the file takes its place where something is still asked of it.
    pub(super) fn without(&mut self, source: &SourceKey, reason: &str) {
        self.note_asked();
        let Some(last_good) = self.last_good.as_mut().filter(|last_good| last_good.is_armed) else { return };
        let is_asked = last_good.pending.iter().any(|asked| asked.source == *source);
        if !is_asked || last_good.away.contains(source) || !last_good.load() {
            return;
        }
        last_good.away.insert(source.clone());
        let Some(saved) = &last_good.saved else { return };
        let written = DateTime::<Utc>::from(saved.written).to_rfc3339_opts(SecondsFormat::Secs, true);
        let path = last_good.path.display();
        tracing::warn!(target: target::CONFIG, "{source}: {reason}: serving the last-good file {path}, written {written}");
        last_good.counts.source(Source::File);
        self.view.came_from(
            json!({"source": Source::File.name(), "path": path.to_string(), "written": written, "reason": reason}),
        );
    }

    /// Answers from the file what is asked of sources that are away; whether there was anything.
    pub(super) fn feed_last_good(&mut self) -> bool {
        self.note_asked();
        let Some(last_good) = &mut self.last_good else { return false };
        let mut due: BTreeMap<(Kind, SourceKey), Vec<Asked>> = BTreeMap::new();
        let store = self.store.lock();
        last_good.pending.retain(|asked| {
            let is_due = last_good.away.contains(&asked.source);
            if is_due {
                let key = asked.name.clone().map(|name| Key { source: asked.source.clone(), name });
                // What a server sent before it went is newer than the file.
                if key.is_none_or(|key| store.kind(asked.kind).latest(&key).is_none()) {
                    due.entry((asked.kind, asked.source.clone())).or_default().push(asked.clone());
                }
            }
            !is_due
        });
        drop(store);
        let updates: Vec<Update> =
            due.iter().filter_map(|((kind, source), asked)| last_good.update(source, *kind, asked)).collect();
        let has_fed = !updates.is_empty();
        for update in updates {
            self.update(update);
        }
        if !has_fed {
            self.end_start();
        }
        has_fed
    }

    /// A server answered, before its update is applied.
    pub(super) fn answered(&mut self, update: &mut Update) {
        self.note_asked();
        let Some(last_good) = self.last_good.as_mut().filter(|last_good| last_good.is_armed) else { return };
        let Some(kind) = Type::named(&update.type_url).map(|entry| entry.kind) else { return };
        let source = SourceKey(update.source.as_str().into());
        let named = names(update);
        last_good.pending.retain(|asked| {
            asked.source != source
                || asked.kind != kind
                || asked.name.as_ref().is_some_and(|name| !named.contains(&**name))
        });
        last_good.away.remove(&source);
        let Some(restored) = last_good.restored.get_mut(&source) else { return };
        if restored.answered(kind, update) && !restored.is_ending {
            restored.is_ending = true;
            tracing::info!(target: target::CONFIG, "{source}: the control plane is back; what it does not name goes in {} s", GRACE.as_secs());
            let local = self.local.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GRACE).await;
                let _ = local.send(Local::TakenOver(source));
            });
        }
    }

    /// The grace of a source is over: what only the file had goes.
    pub(super) fn taken_over(&mut self, source: &SourceKey) {
        let restored = self.last_good.as_mut().and_then(|last_good| last_good.restored.remove(source));
        // Users before what they use.
        for (kind, fed) in restored.into_iter().flat_map(|restored| restored.kinds).rev() {
            let Some(entry) = Type::of(kind).filter(|_| fed.is_whole) else { continue };
            for name in fed.names {
                let key = Key { source: source.clone(), name };
                tracing::info!(target: target::CONFIG, "{source}: {} {} is not in the control plane's configuration any more", kind.shown(), key.name);
                entry.take_away(self, &key);
            }
        }
    }

    /// Something changed in what is in force: the file follows, if all of that is a control plane's.
    pub(super) fn keep_last_good(&self) {
        let Some(last_good) = &self.last_good else { return };
        if !last_good.is_armed {
            last_good.writer.changed();
        }
    }

    /// Ends the time in which the file may be needed, if a control plane has said everything.
    fn end_start(&mut self) {
        let Some(last_good) = self.last_good.as_mut() else { return };
        if !last_good.is_armed || self.phase != Phase::Live || !last_good.is_whole() {
            return;
        }
        last_good.is_armed = false;
        last_good.saved = None;
        last_good.pending = BTreeSet::new();
        self.sources.note_asked(false);
        if last_good.known.is_empty() {
            return;
        }
        tracing::info!(target: target::CONFIG, "the configuration in force is the control plane's");
        last_good.counts.source(Source::ControlPlane);
        self.view.came_from(json!({"source": Source::ControlPlane.name()}));
        last_good.writer.changed();
    }
}
