//! What one stream has subscribed to of one type, and what it is due: the server's half of the xDS protocol, without I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::Resource;
use super::conversation::{Seen, Transport};
use super::tables::{Row, Table};
use super::types;

/// The subscription of one stream to one type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    asked: bool,
    wildcard: bool,
    names: BTreeSet<String>,
    /// What the proxy has been sent, or said it has: name to version.
    known: BTreeMap<String, String>,
    /// Of the last response.
    nonce: Option<String>,
    /// Whether a response is owed even if nothing has changed.
    owed: bool,
}

/// A response that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) version: String,
    /// The resources with their versions.
    pub(super) resources: Vec<(Resource, String)>,
    pub(super) removed: Vec<String>,
}

impl Subscription {
    /// Takes a request in. A stale one (a nonce that is not the last response's) changes nothing.
    pub(super) fn ask(&mut self, seen: &Seen) {
        match seen.transport {
            Transport::Delta => self.ask_delta(seen),
            Transport::Sotw | Transport::Rest => self.ask_sotw(seen),
        }
        self.asked = true;
    }

    /// Notes the nonce of a response that did not come from [`Self::due`].
    pub(super) fn sent(&mut self, nonce: String) {
        self.nonce = Some(nonce);
    }

    /// The response that the subscription is due, if any; it counts as sent.
    pub(super) fn due(&mut self, table: &Table, delta: bool) -> Option<Due> {
        if !self.asked || !table.exists() {
            return None;
        }
        let due = if delta { self.due_delta(table) } else { self.due_sotw(table) }?;
        self.owed = false;
        if !delta {
            self.known.clear();
        }
        self.known
            .extend(due.resources.iter().map(|(resource, version)| (resource.name.clone(), version.clone())));
        for name in &due.removed {
            self.known.remove(name);
        }
        Some(due)
    }

    fn ask_sotw(&mut self, seen: &Seen) {
        let stale = self.asked && !seen.nonce.is_empty() && self.nonce.as_ref() != Some(&seen.nonce);
        if stale {
            return;
        }
        let names: BTreeSet<String> = seen.names.iter().cloned().collect();
        if !self.asked {
            self.owed = true;
            self.wildcard = names.is_empty() && types::is_wildcard(&seen.type_url);
        }
        self.known.retain(|name, _| self.wildcard || names.contains(name));
        self.owed |= names.iter().any(|name| !self.names.contains(name));
        self.names = names;
    }

    fn ask_delta(&mut self, seen: &Seen) {
        if !self.asked {
            self.wildcard = seen.names.is_empty();
            self.known.clone_from(&seen.initial_versions);
            self.owed = seen.initial_versions.is_empty();
        }
        for name in &seen.names {
            if name == "*" {
                self.wildcard = true;
            } else {
                self.names.insert(name.clone());
                // Whoever subscribes to what it has wants to have it again; on a new stream it says what it has.
                if self.asked {
                    self.known.remove(name);
                }
            }
        }
        for name in &seen.unsubscribed {
            if name == "*" {
                self.wildcard = false;
            }
            self.names.remove(name);
            if !self.wildcard {
                self.known.remove(name);
            }
        }
    }

    fn selected<'t>(&self, table: &'t Table) -> Vec<(&'t String, &'t Row)> {
        if self.wildcard {
            return table.rows().collect();
        }
        table.rows().filter(|(name, _)| self.names.contains(*name)).collect()
    }

    fn due_sotw(&self, table: &Table) -> Option<Due> {
        let selected = self.selected(table);
        let changed = selected.iter().any(|(name, row)| self.known.get(*name) != Some(&row.version));
        let removed = self.wildcard && self.known.keys().any(|name| table.row(name).is_none());
        let owed = self.owed && (self.wildcard || !selected.is_empty());
        if !changed && !removed && !owed {
            return None;
        }
        let resources =
            selected.into_iter().map(|(_, row)| (row.resource.clone(), row.version.clone())).collect();
        Some(Due { version: table.version(), resources, removed: Vec::new() })
    }

    fn due_delta(&self, table: &Table) -> Option<Due> {
        let changed = self
            .selected(table)
            .into_iter()
            .filter(|(name, row)| self.known.get(*name) != Some(&row.version));
        let resources: Vec<_> = changed.map(|(_, row)| (row.resource.clone(), row.version.clone())).collect();
        let gone = self.known.keys().filter(|name| table.row(name).is_none());
        let removed: Vec<String> = gone.cloned().collect();
        let owed = self.owed && self.wildcard;
        (!resources.is_empty() || !removed.is_empty() || owed).then(|| Due {
            version: table.version(),
            resources,
            removed,
        })
    }
}
