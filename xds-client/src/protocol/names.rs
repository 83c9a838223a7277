//! The names of one type on one stream: what the proxy wants, what the server has been told, and the difference.
//!
//! ```text
//!            add(name)                       told to the server
//! not wanted ---------> wanted, to be added ---------------------> wanted, announced
//!     ^   ^                 |                                          |
//!     |   +-----------------+ remove(name), never announced            | remove(name)
//!     +------------------------------------------------- to be removed +
//!                                told to the server
//! ```
//! A name that is given up and wanted again before the server was told is announced again: whoever asks anew has nothing, and
//! must be sent the resource although the server believes that it was sent already.
//!
//! The wildcard is the name `*`. When nothing else has been asked for on a stream, it is expressed by a first request without
//! names (the legacy form, which every control plane knows); from then on it is named.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Names, Resource};
use crate::kinds::Kind;

/// The name of the wildcard.
pub(crate) const WILDCARD: &str = "*";

#[derive(Debug, Default)]
pub(crate) struct NameSet {
    wanted: BTreeSet<Arc<str>>,
    /// What the server believes.
    announced: BTreeSet<Arc<str>>,
    added: BTreeSet<Arc<str>>,
    removed: BTreeSet<Arc<str>>,
    /// The server took a first request without names for the wildcard.
    is_legacy_wildcard: bool,
    /// It did at some time on this stream.
    was_legacy_wildcard: bool,
    /// Something was sent for this type on this stream.
    has_spoken: bool,
}

impl NameSet {
    /// Wants more; returns the names that are new.
    pub(crate) fn subscribe(&mut self, names: &Names) -> Vec<Arc<str>> {
        match names {
            Names::Wildcard => self.add(WILDCARD).into_iter().collect(),
            Names::These(names) => names.iter().filter_map(|name| self.add(name)).collect(),
        }
    }

    fn add(&mut self, name: &str) -> Option<Arc<str>> {
        if self.wanted.contains(name) {
            return None;
        }
        let name: Arc<str> = name.into();
        self.wanted.insert(Arc::clone(&name));
        self.removed.remove(&name);
        self.added.insert(Arc::clone(&name));
        Some(name)
    }

    /// Wants less.
    pub(crate) fn unsubscribe(&mut self, name: &str) {
        let Some(name) = self.wanted.take(name) else { return };
        self.added.remove(&name);
        if self.announced.contains(&name) {
            self.removed.insert(name);
        }
    }

    /// A new stream, whose server knows nothing.
    pub(crate) fn restart(&mut self) {
        self.announced.clear();
        self.removed.clear();
        self.added.clone_from(&self.wanted);
        self.is_legacy_wildcard = false;
        self.was_legacy_wildcard = false;
        self.has_spoken = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.wanted.contains(WILDCARD)
    }

    /// How many names, without the wildcard.
    pub(crate) fn count(&self) -> usize {
        self.wanted.len() - usize::from(self.is_wildcard())
    }

    /// Whether the server has something to be told.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// The names, `*` for the wildcard.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.wanted.iter()
    }

    /// Whether a resource is one that was asked for.
    pub(crate) fn covers(&self, type_url: &str, resource: &Resource) -> bool {
        resource.name.is_empty()
            || self.covers_name(type_url, &resource.name)
            || resource.aliases.iter().any(|alias| self.wanted.contains(alias.as_str()))
    }

    /// The same for a name.
    pub(crate) fn covers_name(&self, type_url: &str, name: &str) -> bool {
        if self.is_wildcard() || self.wanted.contains(name) {
            return true;
        }
        // A route configuration subscribes to the virtual hosts `<its name>/<domain>` by its name.
        let is_in_namespace =
            || name.rsplit_once('/').is_some_and(|(parent, _)| self.wanted.contains(parent));
        Kind::of(type_url).is_some_and(|kind| kind.short == "vhds") && is_in_namespace()
    }

    /// The name as kept here, to share its allocation.
    pub(crate) fn shared(&self, name: &str) -> Arc<str> {
        self.wanted.get(name).map_or_else(|| name.into(), Arc::clone)
    }

    /// The list for the next state-of-the-world request. The server then has been told, except where two requests are needed: the
    /// set stays dirty after the first.
    pub(crate) fn state_of_the_world(&mut self) -> Vec<String> {
        let first = !self.has_spoken;
        self.has_spoken = true;
        if first && self.wanted.len() == 1 && self.is_wildcard() {
            self.is_legacy_wildcard = true;
            self.was_legacy_wildcard = true;
            self.told();
            return Vec::new();
        }
        if self.is_legacy_wildcard {
            let is_asked_anew = self.added.contains(WILDCARD);
            if self.is_wildcard() && self.wanted.len() == 1 && !is_asked_anew {
                self.told();
                return Vec::new();
            }
            self.is_legacy_wildcard = false;
            if self.wanted.is_empty() || is_asked_anew {
                // An empty list would prolong the wildcard, so it is named first and left out next.
                return vec![WILDCARD.to_owned()];
            }
        }
        let again: BTreeSet<Arc<str>> = self.added.intersection(&self.announced).cloned().collect();
        if !again.is_empty() {
            let without: BTreeSet<Arc<str>> = self.wanted.difference(&again).cloned().collect();
            let list = without.iter().map(|name| String::from(&**name)).collect();
            self.announced = without;
            self.removed.clear();
            self.added.retain(|name| !self.announced.contains(name));
            return list;
        }
        if self.is_dirty() {
            self.told();
        }
        self.wanted.iter().map(|name| String::from(&**name)).collect()
    }

    /// State of the world: the server sends although nothing is wanted, so it has not heard that, or ignored it because a response
    /// of its own was under way. It is to be told again. False when it was never told anything.
    pub(crate) fn repeat_farewell(&mut self) -> bool {
        if self.was_legacy_wildcard {
            self.is_legacy_wildcard = true;
            self.announced.insert(WILDCARD.into());
            self.removed.insert(WILDCARD.into());
        }
        self.has_spoken
    }

    /// Names to subscribe and to unsubscribe in the next delta request, after which the server has been told.
    pub(crate) fn changes(&mut self) -> (Vec<String>, Vec<String>) {
        let first = !self.has_spoken;
        self.has_spoken = true;
        let mut subscribe: Vec<String> = Vec::new();
        if first && self.wanted.len() == 1 && self.is_wildcard() {
            self.is_legacy_wildcard = true;
        } else {
            subscribe.extend(self.added.iter().map(|name| String::from(&**name)));
            if self.is_legacy_wildcard && !self.added.is_empty() && self.is_wildcard() {
                self.is_legacy_wildcard = false;
                if !self.added.contains(WILDCARD) {
                    subscribe.push(WILDCARD.to_owned());
                }
            }
        }
        let unsubscribe = self.removed.iter().map(|name| String::from(&**name)).collect();
        self.told();
        (subscribe, unsubscribe)
    }

    /// Whether nothing was sent for the type on this stream.
    pub(crate) fn is_first(&self) -> bool {
        !self.has_spoken
    }

    /// The server knows what is wanted.
    pub(crate) fn told(&mut self) {
        for name in std::mem::take(&mut self.removed) {
            self.announced.remove(&name);
        }
        self.announced.append(&mut self.added);
    }
}
