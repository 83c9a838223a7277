//! What a control plane has to say: resources by type and name, each with the version in which it last changed.
//!
//! A change of several resources is one version, so that a proxy sees all of it or nothing. Read by [`super::session`], written by
//! whoever runs the server.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sampan_api::google::protobuf::Any;
use sampan_api::{Descriptors, Document, Format, Policy, TypedStructs, UnknownFields, type_url};
use tokio::sync::watch;

/// A resource to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Type and bytes. Nobody checks them here: a control plane can be wrong.
    pub body: Any,
}

/// Why a text is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a resource: {0}")]
pub struct ItemError(String);

impl Item {
    /// Reads a resource from YAML or JSON with its `@type`. Constraints of the API are not checked.
    ///
    /// # Errors
    /// The text does not parse, or the message of that type has no such fields.
    pub fn parse(name: &str, text: &str) -> Result<Self, ItemError> {
        let document = Document::parse(text, Format::Yaml).map_err(|error| ItemError(error.to_string()))?;
        let policy = Policy { unknown_fields: UnknownFields::Reject, typed_structs: TypedStructs::Resolve };
        let decoded = sampan_api::decode::<Any>(Descriptors::load(), &document, policy);
        let told = |errors: Vec<sampan_api::FieldError>| {
            ItemError(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        Ok(Self { name: name.to_owned(), body: decoded.map_err(told)?.value })
    }
}

/// The resources of a control plane. Share it by `Arc`.
#[derive(Debug)]
pub struct Catalog {
    contents: Mutex<Contents>,
    changed: watch::Sender<u64>,
}

/// What is in a catalog at one moment.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) version: u64,
    types: BTreeMap<String, BTreeMap<String, Row>>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) body: Any,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { contents: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Catalog {
    /// Adds, replaces and takes away as one change; `removed` has full message names and resource names. The new version.
    pub fn change(&self, items: Vec<Item>, removed: &[(&str, &str)]) -> u64 {
        let mut contents = self.lock();
        contents.version += 1;
        let version = contents.version;
        for (full_name, name) in removed {
            if let Some(rows) = contents.types.get_mut(&type_url::of(full_name)) {
                rows.remove(*name);
            }
        }
        for Item { name, body } in items {
            let rows = contents.types.entry(body.type_url.clone()).or_default();
            if rows.get(&name).is_none_or(|row| row.body != body) {
                rows.insert(name, Row { version, body });
            }
        }
        drop(contents);
        self.changed.send_replace(version);
        version
    }

    /// Tells of changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> T {
        read(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    pub(super) fn rows(&self, type_url: &str) -> impl Iterator<Item = (&String, &Row)> {
        self.types.get(type_url).into_iter().flatten()
    }

    pub(super) fn row(&self, type_url: &str, name: &str) -> Option<&Row> {
        self.types.get(type_url)?.get(name)
    }
}
