//! `core.v3.DataSource` for key material, and what all TLS compiling needs.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sampan_api::envoy::config::core::v3::DataSource;
use sampan_api::envoy::config::core::v3::data_source::Specifier;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{BindAddress, Locality};
use sampan_model::route;

use super::super::Scope;
use super::super::cluster::FilterInputs;
use super::YES;
use crate::reference::Source;
use crate::snapshot::SlotNames;
use crate::tls::secrets::{SecretSource, Secrets, Slot};

/// The largest source: far beyond any bundle of authorities.
const MOST: u64 = 16 * 1024 * 1024;

pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.core.v3.DataSource",
    &[
        ("filename", YES),
        ("inline_bytes", YES),
        ("inline_string", YES),
        ("environment_variable", YES),
        ("watched_directory", Support::Later("it is read beside a certificate or validation context")),
    ],
)];

/// What compiling a context, or a cluster, needs besides its message, and what it found there.
///
/// Who keeps it and compiles again with it gets what was checked the first time: files as they were, secrets that are still
/// subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Where secrets are.
    pub secrets: Arc<Secrets>,
    /// Where upstream connections come from, where a cluster does not say (`cluster_manager.upstream_bind_config`).
    pub bind: Option<Arc<BindAddress>>,
    /// What the filters of clusters are compiled with.
    pub filters: FilterInputs,
    /// The proxies like this one (`cluster_manager.local_cluster_name`).
    pub local: Option<LocalCluster>,
    /// The slots of clusters, which clusters name too.
    pub names: Arc<SlotNames>,
    files: Files,
    slots: Arc<Mutex<Vec<Arc<Slot>>>>,
}

/// The cluster of the proxies like this one, and where this one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCluster {
    /// Its slot.
    pub slot: route::Slot,
    /// `node.locality`
    pub locality: Arc<Locality>,
}

impl Inputs {
    /// The same secrets; files are read anew.
    pub fn fresh(&self) -> Self {
        Self {
            secrets: self.secrets.clone(),
            bind: self.bind.clone(),
            filters: self.filters.clone(),
            local: self.local.clone(),
            names: self.names.clone(),
            ..Self::default()
        }
    }

    /// The files that were read.
    pub fn files(&self) -> Files {
        self.files.clone()
    }

    /// Discovered secrets that have not come.
    pub fn missing(&self) -> Vec<(Source, Arc<str>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter_map(|slot| slot.awaited()).collect()
    }

    /// The slot of a secret, which lives as long as this.
    pub(super) fn slot(&self, source: SecretSource, name: &str) -> Arc<Slot> {
        let slot = self.secrets.slot(source, name);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.iter().any(|known| Arc::ptr_eq(known, &slot)) {
            slots.push(slot.clone());
        }
        slot
    }
}

/// The content of files, each read once.
#[derive(Clone, Default)]
pub struct Files(Arc<Mutex<HashMap<PathBuf, Arc<[u8]>>>>);

impl Files {
    fn read(&self, path: &str) -> std::io::Result<Arc<[u8]>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = files.get(std::path::Path::new(path)) {
            return Ok(content.clone());
        }
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let mut content = Vec::new();
        file.take(MOST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MOST {
            return Err(std::io::Error::other(format!("it is larger than {MOST} bytes")));
        }
        let content: Arc<[u8]> = content.into();
        files.insert(path.into(), content.clone());
        Ok(content)
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

/// The bytes of a source. What is wrong is told without any of its content.
pub(super) fn bytes(source: &DataSource, files: &Files, at: &Scope<'_>) -> Option<Arc<[u8]>> {
    match &source.specifier {
        Some(Specifier::InlineString(text)) => Some(text.as_bytes().into()),
        Some(Specifier::InlineBytes(bytes)) => Some(bytes.as_slice().into()),
        Some(Specifier::EnvironmentVariable(name)) => match std::env::var_os(name) {
            Some(value) => Some(value.into_encoded_bytes().into()),
            None => {
                at.field("environment_variable").reject_value(name, "the environment variable is not set", "")
            }
        },
        Some(Specifier::Filename(name)) => match files.read(name) {
            Ok(content) => Some(content),
            Err(error) => at.field("filename").reject_value(
                name,
                format!("the file cannot be read: {error}"),
                "check that it exists and may be read by the user that the proxy runs as",
            ),
        },
        None => at.reject("no source is given"),
    }
}

/// The file of a source, or what else to call it.
pub(super) fn path(source: Option<&DataSource>) -> &str {
    match source.and_then(|source| source.specifier.as_ref()) {
        Some(Specifier::Filename(name)) => name,
        _ => "<inline>",
    }
}

/// The files among some sources.
pub(super) fn files_of<'s>(sources: impl IntoIterator<Item = Option<&'s DataSource>>) -> Vec<PathBuf> {
    let file = |source: Option<&'s DataSource>| match source?.specifier.as_ref()? {
        Specifier::Filename(name) => Some(PathBuf::from(name)),
        _ => None,
    };
    sources.into_iter().filter_map(file).collect()
}
