//! What the control plane serves: one table of resources for each type, each change with a version.

use std::collections::BTreeMap;

use super::Resource;

/// The resources of one type.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// How often the table has changed; its text is `version_info`.
    changes: u64,
    rows: BTreeMap<String, Row>,
}

/// A resource and the version of the table in which it last changed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) resource: Resource,
    pub(super) version: String,
}

impl Table {
    /// The version of the table; `0` before there was anything in it.
    pub(super) fn version(&self) -> String {
        self.changes.to_string()
    }

    /// Whether anything was ever put into it: an empty table is sent only once it was emptied.
    pub(super) fn exists(&self) -> bool {
        self.changes > 0
    }

    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&String, &Row)> {
        self.rows.iter()
    }

    /// Replaces everything; a row that does not differ keeps its version. Gives the table's new version.
    pub(super) fn set(&mut self, resources: impl IntoIterator<Item = Resource>) -> String {
        let resources: Vec<Resource> = resources.into_iter().collect();
        self.rows.retain(|name, _| resources.iter().any(|resource| resource.name == *name));
        self.put(resources)
    }

    /// Adds or changes some. Gives the table's new version.
    pub(super) fn put(&mut self, resources: impl IntoIterator<Item = Resource>) -> String {
        self.changes += 1;
        let version = self.version();
        for resource in resources {
            if self.rows.get(&resource.name).is_some_and(|row| row.resource == resource) {
                continue;
            }
            self.rows.insert(resource.name.clone(), Row { resource, version: version.clone() });
        }
        version
    }

    /// Gives some a new version without changing them, so that they are sent again. Gives the table's new version.
    pub(super) fn renew(&mut self, names: &[&str]) -> String {
        self.changes += 1;
        let version = self.version();
        for (name, row) in &mut self.rows {
            if names.contains(&name.as_str()) {
                row.version.clone_from(&version);
            }
        }
        version
    }

    /// Removes some. Gives the table's new version.
    pub(super) fn remove(&mut self, names: &[&str]) -> String {
        self.changes += 1;
        for name in names {
            self.rows.remove(*name);
        }
        self.version()
    }
}
