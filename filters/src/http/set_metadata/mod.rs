//! `envoy.filters.http.set_metadata`: puts configured values into the dynamic metadata of each request.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_filters_api::Counters;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::{DynamicMetadata, MetadataValue};

/// One entry of `metadata`.
#[derive(Debug)]
pub struct Entry {
    /// `metadata_namespace`
    pub namespace: Box<str>,
    /// `allow_overwrite`: merged into what is there; else left out if something is.
    pub overwrite: bool,
    /// `value`
    pub value: MetadataValue,
}

/// The names of [`SetMetadata::counters`].
pub const COUNTERS: &[&str] = &["overwrite_denied"];

/// The factory.
#[derive(Debug)]
pub struct SetMetadata {
    /// In order.
    pub entries: Arc<[Entry]>,
    /// `set_metadata.overwrite_denied`
    pub counters: Arc<Counters>,
}

/// One stream.
struct Instance {
    entries: Arc<[Entry]>,
    counters: Arc<Counters>,
}

impl HttpFilterFactory for SetMetadata {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, _start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        if self.entries.is_empty() {
            return None;
        }
        Some(Box::new(Instance { entries: Arc::clone(&self.entries), counters: Arc::clone(&self.counters) }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        for entry in &*self.entries {
            if !entry.set(&mut stream.info.metadata) {
                self.counters.inc(0);
            }
        }
        Flow::Continue
    }
}

impl Entry {
    /// False if something is there that must stay.
    fn set(&self, metadata: &mut DynamicMetadata) -> bool {
        let MetadataValue::Struct(fields) = &self.value else { return true };
        let there = metadata.namespace(&self.namespace).cloned();
        match there {
            Some(_) if !self.overwrite => return false,
            Some(mut there) => {
                merge(&mut there, &self.value);
                if let MetadataValue::Struct(fields) = there {
                    for (key, value) in fields {
                        metadata.set(&self.namespace, &key, value);
                    }
                }
            }
            None => {
                for (key, value) in fields {
                    metadata.set(&self.namespace, key, value.clone());
                }
            }
        }
        true
    }
}

/// Maps are merged, lists appended, everything else is replaced.
fn merge(into: &mut MetadataValue, from: &MetadataValue) {
    match (into, from) {
        (MetadataValue::Struct(into), MetadataValue::Struct(from)) => {
            for (key, value) in from {
                match into.iter_mut().find(|(known, _)| known == key) {
                    Some((_, known)) => merge(known, value),
                    None => into.push((Arc::clone(key), value.clone())),
                }
            }
        }
        (MetadataValue::List(into), MetadataValue::List(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}
