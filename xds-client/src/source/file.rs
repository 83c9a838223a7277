//! Reads a `DiscoveryResponse` from a file, and again whenever the file is replaced: `path_config_source`.
//!
//! ```text
//! watch the directory --> read --> event --> wait: moved there, or names added --+
//!    ^  | fails             ^                                                    |
//!    |  v                   +----------------------------------------------------+
//!  back-off <------------------- the directory is gone --------------------------+
//! ```
//! The watch stands before the file is read, so that no replacement falls in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::per_type::{PerType, Running};
use super::settings::FileSettings;
use super::shared::{Ended, Shared, now};
use super::text::{self, Language};
use super::wire::Wire;
use crate::event::{Event, SourceId, TypeUrl};
use crate::protocol::{Backoff, Machine, Received, Sotw};
use crate::transport::watch::{Seen, Watch};

/// A source that is a file.
pub(super) fn source(id: SourceId, settings: FileSettings, events: mpsc::Sender<Event>) -> PerType<Sotw> {
    PerType::new(move |type_url, runtime| {
        let shared = Shared::new(Sotw::new(None, false));
        let reader = Reader {
            source: id.clone(),
            type_url: Arc::clone(type_url),
            settings: settings.clone(),
            shared: Arc::clone(&shared),
            events: events.clone(),
        };
        Some(Running { shared, task: runtime.spawn(reader.run()) })
    })
}

struct Reader {
    source: SourceId,
    type_url: TypeUrl,
    settings: FileSettings,
    shared: Arc<Shared<Sotw>>,
    events: mpsc::Sender<Event>,
}

impl Reader {
    async fn run(self) {
        tokio::select! {
            Ended = self.follow() => {}
            Ended = self.shared.keep_time(&self.source, &self.events) => {}
        }
    }

    /// Watches, over and over: a directory may come later, or be replaced.
    async fn follow(&self) -> Ended {
        let mut backoff =
            Backoff::new(Duration::from_millis(500), Duration::from_secs(30), fastrand::Rng::new());
        loop {
            let reason = match Box::pin(self.watch(&mut backoff)).await {
                Ok(Ended) => return Ended,
                Err(error) => format!("cannot watch {}: {error}", self.directory().display()),
            };
            if self.tell(Err(reason)).await.is_err() {
                return Ended;
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// Reads now and after every change, until the directory cannot be watched.
    async fn watch(&self, backoff: &mut Backoff) -> std::io::Result<Ended> {
        let mut watch = Watch::new()?;
        watch.add(self.directory())?;
        backoff.reset();
        loop {
            let request = self.shared.machine().poll(&self.type_url);
            if request.is_some() {
                let content = Box::pin(self.read()).await;
                if self.tell(content).await.is_err() {
                    return Ok(Ended);
                }
            }
            while !self.shared.machine().is_poll_due(&self.type_url) {
                tokio::select! {
                    seen = watch.next() => {
                        let seen = seen?;
                        if seen.iter().any(|one| matches!(one, Seen::Lost(_))) {
                            return Err(std::io::Error::other("the directory was removed or moved away"));
                        }
                        if seen.iter().any(|one| self.concerns(one)) {
                            break;
                        }
                    }
                    () = self.shared.requests.notified() => {}
                }
            }
        }
    }

    fn directory(&self) -> &Path {
        let parent = || self.settings.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.settings.watched_directory.as_deref().or_else(parent).unwrap_or(Path::new("."))
    }

    fn concerns(&self, seen: &Seen) -> bool {
        let is_ours = |path: &PathBuf| path.file_name() == self.settings.path.file_name();
        match seen {
            Seen::Moved(path) => self.settings.watched_directory.is_some() || is_ours(path),
            Seen::Lost(_) | Seen::Overflow => true,
        }
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        let path = self.settings.path.display();
        let cap = self.settings.size_cap;
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(&self.settings.path).await;
        let file = file.map_err(|error| format!("cannot open {path}: {error}"))?;
        let read = file.take(cap as u64 + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("cannot read {path}: {error}"))?;
        if bytes.len() > cap {
            return Err(format!("{path} is longer than {cap} bytes"));
        }
        Ok(bytes)
    }

    /// Reports what was read, or why nothing was.
    async fn tell(&self, content: Result<Vec<u8>, String>) -> Result<(), Ended> {
        let parsed = content.and_then(|bytes| {
            let response = text::read(&bytes, self.language()?);
            response.map_err(|reason| format!("{}: {reason}", self.settings.path.display()))
        });
        self.shared.note(parsed.as_ref().err());
        let event = match parsed {
            Ok(message) => {
                let (mut response, control_plane) = Sotw::decode(message);
                if response.type_url.is_empty() {
                    response.type_url = self.type_url.to_string();
                }
                let type_url = response.type_url.clone();
                let received = self.shared.machine().receive(response, now());
                self.shared.wake();
                match received {
                    Received::Deliver(delivery) => {
                        self.shared.update(&self.source, delivery, control_plane.map(Into::into))
                    }
                    Received::Handled => return Ok(()),
                    Received::Unwanted => {
                        self.failed(format!("{} holds {type_url}", self.settings.path.display()))
                    }
                }
            }
            Err(reason) => self.failed(reason),
        };
        self.events.send(event).await.map_err(|_| Ended)
    }

    fn failed(&self, reason: String) -> Event {
        Event::Failed { source: self.source.clone(), type_url: Arc::clone(&self.type_url), reason }
    }

    fn language(&self) -> Result<Language, String> {
        let extension = self.settings.path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Ok(Language::Yaml),
            "pb" => Ok(Language::Binary),
            "pb_text" => {
                Err("protobuf text format is not supported; write it as .json, .yaml or .pb".to_owned())
            }
            _ => Ok(Language::Json),
        }
    }
}
