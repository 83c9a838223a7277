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
use sampan_api::envoy::config::core::v3::{ConfigSource, Node};
use sampan_api::{Descriptors, FieldError, Message, Note, NoteKind, SupportTable, Value, validate};
use sampan_filters_api::Direction;
use serde_json::Value as Json;

use crate::admin::source::Unsupported;
use crate::cli::{Mode, Options};
use crate::control::compile::bootstrap::{self as settings, Settings};
use crate::control::compile::cluster::Compiled;
use crate::control::compile::scope::Rejects;
use crate::control::compile::source as config_source;
use crate::control::compile::tls::{Inputs, LocalCluster};
use crate::control::compile::{Context, Reject, Scope, endpoints};
use crate::control::support;
use crate::reference::{GrpcSource, Source, SourceSpec};
use crate::snapshot::SlotNames;
use crate::telemetry::access_log::{FlushSettings, LogFiles, LogServices};
use crate::telemetry::stats::FilterSeries;
use crate::telemetry::trace::SpanSinks;

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
    /// Those of them whose names are to be resolved, or whose endpoints are to be discovered.
    pub discovering: Vec<Compiled>,
    /// Clusters whose hosts are checked actively, from the start.
    pub checked: Vec<Arc<str>>,
    /// The static listeners.
    pub listeners: Vec<Resource>,
    /// The static secrets.
    pub secrets: Vec<Resource>,
    /// The compiled listeners.
    pub compiled: Listeners,
    /// What they were compiled with.
    pub context: Context,
    /// The metrics of filters.
    pub series: Arc<FilterSeries>,
    /// Who this proxy is, as a control plane is told.
    pub identity: Node,
    /// `dynamic_resources`
    pub dynamic: Dynamic,
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
    discovering: Vec<Compiled>,
    checked: Vec<Arc<str>>,
    inputs: Inputs,
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
            discovering: Vec::new(),
            checked: Vec::new(),
            inputs: Inputs::default(),
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
        self.inputs.bind.clone_from(&compiled.upstream_bind);
        let node_facts = Arc::new(settings::node_facts(proto.node.as_ref()));
        self.inputs.filters.node = node_facts.clone();
        self.unsupported.extend(settings::unlogged(&proto).map(|field| Unsupported {
            resource: "bootstrap".into(),
            field: field.into(),
            reason: "not supported yet: admin requests are not logged".into(),
        }));
        let series = Arc::new(FilterSeries::default());
        let at = Scope::root("bootstrap", &self.rejects);
        let dynamic = dynamic(proto.dynamic_resources.as_ref(), &at.field("dynamic_resources"));
        let slots = Arc::new(SlotNames::default());
        self.inputs.names = slots.clone();
        let local = proto.cluster_manager.as_ref().map_or("", |manager| &manager.local_cluster_name);
        if !local.is_empty() {
            let locality = proto.node.as_ref().and_then(|node| node.locality.as_ref());
            let locality = Arc::new(locality.map(endpoints::place).unwrap_or_default());
            self.inputs.local = Some(LocalCluster { slot: slots.intern(local), locality });
        }
        // First, for the others name them.
        let secrets = self.secrets(parts.secrets);
        let clusters = self.clusters(parts.clusters);
        if !local.is_empty() && !clusters.iter().any(|cluster| *cluster.name == *local) {
            self.refuse(
                "bootstrap",
                "cluster_manager.local_cluster_name",
                format!("local cluster '{local}' must be defined"),
            );
        }
        let context = Context {
            slots: slots.clone(),
            routes: Arc::default(),
            scopes: Arc::default(),
            extensions: Arc::default(),
            runtime: compiled.runtime.clone(),
            clusters: Arc::new(clusters.iter().map(|cluster| (*cluster.name).into()).collect()),
            service_cluster: compiled.node.cluster.clone(),
            service_node: compiled.node.id.clone(),
            service_zone: compiled.node.zone.clone(),
            log_files: self.log_files.clone(),
            log_services: Arc::new(log_services(self.options)),
            span_sinks: Arc::new(span_sinks(self.options)),
            tracing_provider: settings::tracing_provider(&proto),
            tls: self.inputs.clone(),
            counters: self.inputs.filters.counters.clone(),
            failing: Arc::default(),
            series: series.clone(),
            node: node_facts,
            direction: Direction::Unspecified,
        };
        slots.intern_all(clusters.iter().map(|cluster| &*cluster.name));
        let (listeners, ready) = self.listeners(parts.listeners, &context);
        Some(Bootstrap {
            settings: compiled,
            node: node(&proto),
            rest: proto.encode_to_vec(),
            clusters,
            discovering: std::mem::take(&mut self.discovering),
            checked: std::mem::take(&mut self.checked),
            listeners,
            secrets,
            compiled: ready,
            context,
            series,
            identity: proto.node.clone().unwrap_or_default(),
            dynamic,
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

/// `dynamic_resources`: where configuration is to be had.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// `ads_config`
    pub ads: Option<GrpcSource>,
    /// `cds_config`
    pub clusters: Option<Source>,
    /// `lds_config`
    pub listeners: Option<Source>,
}

fn dynamic(proto: Option<&pb::bootstrap::DynamicResources>, at: &Scope<'_>) -> Dynamic {
    let Some(proto) = proto else { return Dynamic::default() };
    let ads =
        proto.ads_config.as_ref().and_then(|config| config_source::ads(config, &at.field("ads_config")));
    let one = |config: &Option<ConfigSource>, field: &str| {
        let at = at.field(field);
        let source = config_source::compile(Some(config.as_ref()?), &at)?;
        let usable = match &*source.spec {
            SourceSpec::Ads => proto.ads_config.is_some(),
            SourceSpec::Same => false,
            _ => true,
        };
        if usable { Some(source) } else { at.reject(config_source::NO_ADS) }
    };
    Dynamic {
        clusters: one(&proto.cds_config, "cds_config"),
        listeners: one(&proto.lds_config, "lds_config"),
        ads,
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

fn span_sinks(options: &Options) -> SpanSinks {
    match options.mode {
        Mode::Serve => SpanSinks::default(),
        Mode::Validate | Mode::InitOnly => SpanSinks::for_validation(),
    }
}

fn log_services(options: &Options) -> LogServices {
    match options.mode {
        Mode::Serve => LogServices::default(),
        Mode::Validate | Mode::InitOnly => LogServices::for_validation(),
    }
}

/// The schema of the API.
const API: Descriptors = Descriptors::load();
