//! Loads the bootstrap: `-c FILE` with `--config-yaml` laid over it, to settings and resources that have all been checked.
//!
//! ```text
//! file --text by its extension--> message <--merged-- --config-yaml
//!   message -> clusters, listeners, secrets one by one, and the rest
//!   each: constraints of the API -> what is not supported -> typed -> compiled once, to validate it -> wire bytes kept
//! ```
//!
//! Everything that is wrong is collected, not only the first. Called by [`crate::run`] at start-up; the text and the
//! message trees are gone when it returns.

mod resource;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost::Message as _;
use sampan_api::envoy::config::bootstrap::v3 as pb;
use sampan_api::{Descriptors, FieldError, Message, Note, NoteKind, SupportTable, Value, validate};
use serde_json::Value as Json;

use crate::admin::source::Unsupported;
use crate::cli::{Mode, Options};
use crate::control::compile::bootstrap::{self as settings, Settings};
use crate::control::compile::cluster::Compiled;
use crate::control::compile::scope::Rejects;
use crate::control::compile::{Context, Reject, Scope};
use crate::control::support;
use crate::snapshot::SlotNames;
use crate::telemetry::access_log::{FlushSettings, LogFiles};

pub use resource::{Listeners, Resource};
pub use source::name_of;

/// Everything that the bootstrap holds, checked.
pub struct Bootstrap {
    /// The settings of the process.
    pub settings: Settings,
    /// The node, for the admin server.
    pub node: Json,
    /// The wire bytes of the bootstrap without its static resources, for the config dump.
    pub rest: Vec<u8>,
    /// The static clusters.
    pub clusters: Vec<Resource>,
    /// Those of them whose names are to be resolved.
    pub resolving: Vec<Compiled>,
    /// The static listeners.
    pub listeners: Vec<Resource>,
    /// The static secrets.
    pub secrets: Vec<Resource>,
    /// The compiled listeners.
    pub compiled: Listeners,
    /// What they were compiled with.
    pub slots: Arc<SlotNames>,
    /// What was accepted and has no effect.
    pub unsupported: Vec<Unsupported>,
    /// The files of access logs.
    pub log_files: Arc<LogFiles>,
    /// Lines for the log: deprecated and unknown fields.
    pub warnings: Vec<String>,
}

/// Loads what the options name.
///
/// # Errors
/// Everything that is wrong.
pub fn load(options: &Options) -> Result<Bootstrap, Vec<Reject>> {
    let (message, notes) =
        source::read(options).map_err(|errors| errors.into_iter().map(told).collect::<Vec<_>>())?;
    let mut load = Load::new(options);
    load.notes(notes);
    let loaded = load.bootstrap(message);
    let rejects = load.rejects.into_vec();
    match loaded {
        Some(bootstrap) if rejects.is_empty() => Ok(bootstrap),
        _ => Err(rejects),
    }
}

/// One run of loading.
struct Load<'a> {
    options: &'a Options,
    log_files: Arc<LogFiles>,
    table: SupportTable,
    rejects: Rejects,
    resolving: Vec<Compiled>,
    unsupported: Vec<Unsupported>,
    warnings: Vec<String>,
}

impl<'a> Load<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            log_files: Arc::new(log_files(options)),
            table: support::table(),
            rejects: Rejects::default(),
            resolving: Vec::new(),
            unsupported: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn bootstrap(&mut self, mut message: Message) -> Option<Bootstrap> {
        let parts = Parts::take(&mut message);
        self.examine(&message, "bootstrap");
        let mut proto = match message.to_prost::<pb::Bootstrap>() {
            Ok(proto) => proto,
            Err(error) => {
                self.refuse("bootstrap", "", error.to_string());
                return None;
            }
        };
        settings::identify(proto.node.get_or_insert_default(), self.options);
        let compiled = settings::compile(&proto, self.options, &Scope::root("bootstrap", &self.rejects));
        let slots = Arc::new(SlotNames::default());
        let clusters = self.clusters(parts.clusters);
        let context = Context {
            slots: slots.clone(),
            runtime: compiled.runtime.clone(),
            clusters: Arc::new(clusters.iter().map(|cluster| (*cluster.name).into()).collect()),
            service_cluster: compiled.node.cluster.clone(),
            service_node: compiled.node.id.clone(),
            log_files: self.log_files.clone(),
        };
        slots.intern_all(clusters.iter().map(|cluster| &*cluster.name));
        let (listeners, ready) = self.listeners(parts.listeners, &context);
        let secrets = self.secrets(parts.secrets);
        Some(Bootstrap {
            settings: compiled,
            node: node(&proto),
            rest: proto.encode_to_vec(),
            clusters,
            resolving: std::mem::take(&mut self.resolving),
            listeners,
            secrets,
            compiled: ready,
            slots,
            unsupported: std::mem::take(&mut self.unsupported),
            warnings: std::mem::take(&mut self.warnings),
            log_files: self.log_files.clone(),
        })
    }

    /// Checks the API's own constraints and collects what is not supported.
    fn examine(&mut self, message: &Message, resource: &str) {
        for error in validate(message) {
            self.rejects.push(Reject { resource: resource.to_owned(), ..told(error) });
        }
        let found = support::examine(message, resource, &self.table);
        if self.options.strict {
            for field in found {
                // What is ignored does no harm, so that even a strict check lets it pass.
                if !field.reason.starts_with("ignored") {
                    self.refuse(&field.resource, &field.field, field.reason.clone());
                }
                self.unsupported.push(field);
            }
        } else {
            self.unsupported.extend(found);
        }
    }

    fn notes(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note.kind {
                NoteKind::DisallowedByDefault => self.refuse("bootstrap", &note.path, note.text),
                NoteKind::Deprecated if self.options.skip_deprecated_logs => {}
                _ => self.warnings.push(format!("{}: {}", note.path, note.text)),
            }
        }
    }

    fn refuse(&self, resource: &str, path: &str, reason: impl Into<String>) {
        self.rejects.push(Reject {
            resource: resource.to_owned(),
            path: path.to_owned(),
            value: String::new(),
            reason: reason.into(),
            hint: String::new(),
        });
    }
}

/// The static resources, taken out of the bootstrap.
#[derive(Default)]
struct Parts {
    clusters: Vec<Message>,
    listeners: Vec<Message>,
    secrets: Vec<Message>,
}

impl Parts {
    fn take(bootstrap: &mut Message) -> Self {
        let field = bootstrap.message_type().field("static_resources");
        let Some((field, Value::Message(mut resources))) = field.and_then(|f| Some((f, bootstrap.take(f)?)))
        else {
            return Self::default();
        };
        let mut list = |name: &str| match resources.message_type().field(name).and_then(|f| resources.take(f))
        {
            Some(Value::List(items)) => items
                .into_iter()
                .filter_map(|item| match item {
                    Value::Message(message) => Some(message),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let parts =
            Self { clusters: list("clusters"), listeners: list("listeners"), secrets: list("secrets") };
        bootstrap.set(field, Value::Message(resources));
        parts
    }
}

fn told(error: FieldError) -> Reject {
    Reject {
        resource: "bootstrap".to_owned(),
        path: error.path,
        value: error.value,
        reason: error.reason,
        hint: error.hint.unwrap_or_default(),
    }
}

/// The node as JSON.
fn node(proto: &pb::Bootstrap) -> Json {
    let node = proto.node.clone().unwrap_or_default();
    Message::from_prost(&node).map_or(Json::Null, |read| sampan_api::message_to_json(&read.message, true))
}

fn log_files(options: &Options) -> LogFiles {
    match options.mode {
        Mode::Serve => {
            LogFiles::new(FlushSettings::new(options.file_flush_interval, options.file_flush_min_size_kb))
        }
        Mode::Validate | Mode::InitOnly => LogFiles::for_validation(),
    }
}

/// The schema of the API.
const API: Descriptors = Descriptors::load();
