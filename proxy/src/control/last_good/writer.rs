//! Writes the last-good file: one second after a change at the earliest, and never on the control thread.
//!
//! The control thread takes references to what is in force; looking for secrets, encoding and the disk are a blocking task's. What
//! was looked through is remembered by its bytes, so that a change of one resource of ten thousand costs one look.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sampan_api::{Descriptors, Message, holds_secret};
use tokio::sync::Notify;

use super::counts::Counts;
use super::file::{self, Entry, Group, Node, Saved};
use crate::control::store::{Key, Kind, Origin, SharedStore, Stored};
use crate::logging::target;
use crate::reference::SourceKey;

/// How long changes are collected.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// The handle of the task that writes.
pub struct Writer(Arc<Notify>);

impl Writer {
    /// Starts the task. Must be called within a tokio runtime.
    pub fn start(path: PathBuf, node: Node, store: SharedStore, counts: Arc<Counts>) -> Self {
        let wake = Arc::new(Notify::new());
        let task = Task { path, node, store, counts, seen: HashMap::new(), told: None };
        tokio::spawn(task.run(wake.clone()));
        Self(wake)
    }

    /// What is in force has changed, and all of it is a control plane's.
    pub fn changed(&self) {
        self.0.notify_one();
    }
}

/// What is in force of one kind.
type Taken = Vec<(Kind, Arc<str>, Vec<(Key, Arc<Stored>)>)>;
/// Resources that were looked through, and whether they hold a secret.
type Seen = HashMap<(Kind, Key), (Bytes, bool)>;

struct Task {
    path: PathBuf,
    node: Node,
    store: SharedStore,
    counts: Arc<Counts>,
    seen: Seen,
    /// The failure that was logged last.
    told: Option<String>,
}

impl Task {
    async fn run(mut self, wake: Arc<Notify>) {
        loop {
            wake.notified().await;
            tokio::time::sleep(DEBOUNCE).await;
            let taken = self.take();
            let (path, node, seen) = (self.path.clone(), self.node.clone(), std::mem::take(&mut self.seen));
            let written = tokio::task::spawn_blocking(move || {
                let (groups, seen, left_out) = sort(taken, seen);
                let saved = Saved { node, written: SystemTime::now(), groups };
                (file::write(&path, &saved).map_err(|error| error.to_string()), seen, left_out)
            });
            // An error here is that the process ends, or a panic, after which everything is looked through again.
            let Ok((written, seen, left_out)) = written.await else { continue };
            self.seen = seen;
            self.tell(written, left_out);
        }
    }

    fn take(&self) -> Taken {
        let store = self.store.lock();
        let of = |kind: Kind| {
            let resources = store.kind(kind);
            let active = resources.active.iter().map(|(key, stored)| (key.clone(), stored.clone()));
            (kind, resources.version.clone(), active.collect())
        };
        Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret).map(of).collect()
    }

    fn tell(&mut self, written: Result<usize, String>, left_out: u64) {
        let path = self.path.display();
        match written {
            Ok(bytes) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.counts.written(now.as_secs(), left_out);
                self.told = None;
                tracing::debug!(target: target::CONFIG, "last-good file {path}: {bytes} bytes written, {left_out} resources with secrets left out");
            }
            Err(error) => {
                self.counts.failed();
                if self.told.as_ref() != Some(&error) {
                    tracing::warn!(target: target::CONFIG, "last-good file {path}: cannot be written: {error}; the file that is there stays");
                    self.told = Some(error);
                }
            }
        }
    }
}

/// Groups by source, without what holds a secret; what was looked through, and how much was left out.
fn sort(taken: Taken, mut before: Seen) -> (Vec<Group>, Seen, u64) {
    let (mut groups, mut seen, mut left_out) = (Vec::<Group>::new(), Seen::new(), 0);
    for (kind, version, resources) in taken {
        for (key, stored) in resources {
            let Origin::Dynamic { version: own } = &stored.origin else { continue };
            // A file is there at the next start as well.
            if key.source.is_file() {
                continue;
            }
            let known = before.remove(&(kind, key.clone())).filter(|(wire, _)| is_same(wire, &stored.wire));
            let is_secret = known.map_or_else(|| is_secret(kind, &stored), |(_, is_secret)| is_secret);
            let group = group_of(&mut groups, &key.source, kind, &version);
            if is_secret {
                left_out += 1;
            } else {
                let entry = Entry { name: key.name.clone(), version: own.clone(), wire: stored.wire.clone() };
                group.entries.push(entry);
            }
            seen.insert((kind, key), (stored.wire.clone(), is_secret));
        }
    }
    (groups, seen, left_out)
}

/// Keys come in order of their sources, so that the group is the last one or a new one.
fn group_of<'g>(
    groups: &'g mut Vec<Group>,
    source: &SourceKey,
    kind: Kind,
    version: &Arc<str>,
) -> &'g mut Group {
    let at = groups.iter().position(|group| group.kind == kind && group.source == *source);
    let at = at.unwrap_or_else(|| {
        let (source, version) = (source.clone(), version.clone());
        groups.push(Group { source, kind, version, entries: Vec::new() });
        groups.len() - 1
    });
    &mut groups[at]
}

/// The same bytes at the same place: those that are kept here cannot have been freed.
fn is_same(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

fn is_secret(kind: Kind, stored: &Stored) -> bool {
    let message = Descriptors::load().message(kind.message());
    let read = message.and_then(|message| Message::from_wire(message, &stored.wire).ok());
    // What cannot be read cannot be judged; it never is, for it was accepted.
    let is_secret = read.is_none_or(|read| holds_secret(&read.message));
    if is_secret {
        tracing::info!(target: target::CONFIG, "last-good file: {} {} holds a secret and is left out", kind.shown(), stored.name);
    }
    is_secret
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use sampan_api::envoy::config::cluster::v3::Cluster;

    use super::*;

    fn stored(name: &str) -> Arc<Stored> {
        let proto = Cluster { name: name.to_owned(), ..Cluster::default() };
        Arc::new(Stored {
            name: name.into(),
            wire: proto.encode_to_vec().into(),
            origin: Origin::Dynamic { version: "7".into() },
            updated: chrono::Utc::now(),
        })
    }

    fn key(source: &str, name: &str) -> Key {
        Key { source: SourceKey(source.into()), name: name.into() }
    }

    #[test]
    fn what_holds_a_secret_or_came_from_a_file_is_left_out() {
        let (plain, secret, file) = (key("ads", "plain"), key("ads", "secret"), key("path:/x", "file"));
        let (one, two) = (stored("plain"), stored("secret"));
        // What was found before counts for as long as the bytes are the same.
        let before: Seen = [
            ((Kind::Cluster, secret.clone()), (two.wire.clone(), true)),
            ((Kind::Cluster, plain.clone()), (Bytes::from_static(b"other"), true)),
        ]
        .into();
        let resources = vec![(plain.clone(), one), (secret.clone(), two), (file, stored("file"))];
        let (groups, seen, left_out) = sort(vec![(Kind::Cluster, "9".into(), resources)], before);
        assert_eq!((groups.len(), left_out, seen.len()), (1, 1, 2));
        assert_eq!((&*groups[0].version, &*groups[0].source.0), ("9", "ads"));
        assert_eq!(groups[0].entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["plain"]);
        assert_eq!((seen[&(Kind::Cluster, plain)].1, seen[&(Kind::Cluster, secret)].1), (false, true));
    }
}
