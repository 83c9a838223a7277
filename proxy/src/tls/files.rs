//! Files that secrets were read from: noticed when they change, read again as a whole.
//!
//! Files are looked at twice a second instead of being subscribed to: that works on every file system, with symbolic links
//! that are swapped (as Kubernetes does) and with files that do not exist for a moment. A reading that fails, because a
//! certificate was replaced and its key not yet, is repeated when the next file changes.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::secrets::{Secret, Secrets};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

type Read = dyn Fn() -> Result<Secret, String> + Send + Sync;

/// The files of one secret.
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Vec<Option<State>>,
    read: Arc<Read>,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches `files`, out of which `read` makes the secret.
    pub fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<Secret, String> + Send + Sync + 'static,
    ) -> Self {
        let seen = states(&files);
        Self { files, seen, read: Arc::new(read) }
    }

    /// Reads again if anything has changed.
    pub(super) fn reread(&mut self) -> Option<Result<Secret, String>> {
        let now = states(&self.files);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some((self.read)())
    }

    /// The files, for messages.
    pub(super) fn shown(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", self.shown())
    }
}

fn states(files: &[PathBuf]) -> Vec<Option<State>> {
    let state = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some(State {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.iter().map(state).collect()
}

/// Looks after the files of all secrets, for as long as there are any.
pub async fn look_after(secrets: Weak<Secrets>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match secrets.upgrade() {
            Some(secrets) => secrets.check_files(),
            None => return,
        }
    }
}
