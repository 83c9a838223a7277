//! The last generations of the configuration: what changed with each, when, and where it came from.
//!
//! A generation is a publication that changed a resource; a new DNS answer makes none. It keeps the changed resources as they
//! were and as they became, which share their bytes with the store. Written by [`super::discovery`]; the admin server prints
//! it (`/generations`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use sampan_api::{Descriptors, Message, message_to_json};
use serde_json::{Map, Value as Json, json};

use super::store::{Key, Kind, Origin, Stored};

/// Generations that are kept.
const MOST: usize = 16;
/// Bytes of replaced resources that are kept; older generations go first.
const MOST_BYTES: usize = 32 << 20;

/// A resource before and after a generation.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its kind.
    pub kind: Kind,
    /// Its source and name.
    pub key: Key,
    /// As it was; `None` for a new one.
    pub before: Option<Arc<Stored>>,
    /// As it became; `None` for one that is gone.
    pub after: Option<Arc<Stored>>,
}

/// One generation.
#[derive(Debug)]
struct Generation {
    number: u64,
    at: DateTime<Utc>,
    changes: Vec<Change>,
    /// Downstream connections that were accepted under it and are open.
    connections: Arc<AtomicU64>,
}

/// The generations, oldest first.
#[derive(Debug, Default)]
pub struct Generations {
    kept: VecDeque<Generation>,
}

/// The generations as control and admin share them.
#[derive(Debug, Clone, Default)]
pub struct SharedGenerations(Arc<Mutex<Generations>>);

impl SharedGenerations {
    /// The generations.
    pub fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A generation that is asked for and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("generation {asked} is not kept; {oldest} to {newest} are")]
pub struct Unknown {
    asked: u64,
    oldest: u64,
    newest: u64,
}

impl Generations {
    /// Adds a generation.
    pub fn add(&mut self, number: u64, changes: Vec<Change>, connections: Arc<AtomicU64>) {
        self.kept.push_back(Generation { number, at: Utc::now(), changes, connections });
        while self.kept.len() > MOST || (self.kept.len() > 1 && self.bytes() > MOST_BYTES) {
            self.kept.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        let replaced = self.kept.iter().flat_map(|g| &g.changes).filter_map(|change| change.before.as_ref());
        replaced.map(|stored| stored.wire.len()).sum()
    }

    /// `/generations`: newest first.
    pub fn list(&self) -> Json {
        let newest = self.kept.back().map_or(0, |generation| generation.number);
        let shown = self.kept.iter().rev().map(|generation| {
            json!({
                "generation": generation.number,
                "time": generation.at.to_rfc3339_opts(SecondsFormat::Millis, true),
                "connections": generation.connections.load(Relaxed),
                "changes": generation.changes.iter().map(|change| summary(change).into()).collect::<Vec<Json>>(),
            })
        });
        json!({"current": newest, "generations": shown.collect::<Vec<Json>>()})
    }

    /// `/generations/diff`: what changed after generation `from` up to `to`, field by field. Without numbers, what the last
    /// generation changed.
    ///
    /// # Errors
    /// A generation is not kept.
    pub fn diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Json, Unknown> {
        let (Some(oldest), Some(newest)) = (self.kept.front(), self.kept.back()) else {
            return Ok(json!({"from": 0, "to": 0, "changes": []}));
        };
        // The state before the oldest generation can be compared with as well: what was there then is kept.
        let (oldest, newest) = (oldest.number.saturating_sub(1), newest.number);
        let to = to.unwrap_or(newest);
        let before = self.kept.iter().rev().find(|g| g.number < to).map_or(oldest, |g| g.number);
        let from = from.unwrap_or(before);
        for asked in [from, to] {
            if asked < oldest || asked > newest {
                return Err(Unknown { asked, oldest, newest });
            }
        }
        let mut merged: BTreeMap<(Kind, &Key), Change> = BTreeMap::new();
        let between = self.kept.iter().filter(|g| g.number > from && g.number <= to);
        for change in between.flat_map(|generation| &generation.changes) {
            let entry = merged.entry((change.kind, &change.key)).or_insert_with(|| change.clone());
            entry.after.clone_from(&change.after);
        }
        let changes: Vec<Json> = merged.values().filter_map(fields).collect();
        Ok(json!({"from": from, "to": to, "changes": changes}))
    }
}

/// A change in one line.
fn summary(change: &Change) -> Map<String, Json> {
    let what = match (&change.before, &change.after) {
        (None, _) => "added",
        (Some(_), Some(_)) => "modified",
        (Some(_), None) => "removed",
    };
    let mut shown = Map::new();
    shown.insert("type".to_owned(), change.kind.shown().into());
    shown.insert("name".to_owned(), (&*change.key.name).into());
    shown.insert("change".to_owned(), what.into());
    shown.insert("source".to_owned(), (&*change.key.source.0).into());
    for (field, stored) in [("previous_version", &change.before), ("version", &change.after)] {
        if let Some(Origin::Dynamic { version }) = stored.as_ref().map(|stored| &stored.origin)
            && !version.is_empty()
        {
            shown.insert(field.to_owned(), (&**version).into());
        }
    }
    shown
}

/// A change field by field; `None` if in the end nothing did.
fn fields(change: &Change) -> Option<Json> {
    let shown = |stored: &Option<Arc<Stored>>| match stored {
        Some(stored) => json_of(change.kind, stored),
        None => Json::Null,
    };
    let mut found = Vec::new();
    compare(String::new(), &shown(&change.before), &shown(&change.after), &mut found);
    let (before, after) = (change.before.is_some(), change.after.is_some());
    if found.is_empty() && before == after {
        return None;
    }
    let mut shown = summary(change);
    // What a new resource says, or one that is gone, is in the config dump and not news field by field.
    if before && after {
        shown.insert("fields".to_owned(), found.into());
    }
    Some(shown.into())
}

fn json_of(kind: Kind, stored: &Stored) -> Json {
    let message = Descriptors::load().message(kind.message());
    let read = message.and_then(|message| Message::from_wire(message, &stored.wire).ok());
    read.map_or(Json::Null, |read| message_to_json(&read.message, true))
}

/// Tells the fields that differ, by their paths.
fn compare(path: String, before: &Json, after: &Json, found: &mut Vec<Json>) {
    match (before, after) {
        _ if before == after => {}
        (Json::Object(a), Json::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let field = |of: &Map<String, Json>| of.get(name).cloned().unwrap_or(Json::Null);
                compare(path, &field(a), &field(b), found);
            }
        }
        (Json::Array(a), Json::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let item = |of: &[Json]| of.get(index).cloned().unwrap_or(Json::Null);
                compare(format!("{path}[{index}]"), &item(a), &item(b), found);
            }
        }
        _ => found.push(json!({"path": path, "before": before, "after": after})),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use sampan_api::envoy::config::cluster::v3::Cluster;

    use super::*;
    use crate::reference::SourceKey;

    fn stored(alt: &str, version: &str) -> Arc<Stored> {
        let proto = Cluster { name: "c".to_owned(), alt_stat_name: alt.to_owned(), ..Cluster::default() };
        Arc::new(Stored {
            name: "c".into(),
            wire: proto.encode_to_vec().into(),
            origin: Origin::Dynamic { version: version.into() },
            updated: Utc::now(),
        })
    }

    fn change(before: Option<Arc<Stored>>, after: Option<Arc<Stored>>) -> Vec<Change> {
        let key = Key { source: SourceKey::ads(), name: "c".into() };
        vec![Change { kind: Kind::Cluster, key, before, after }]
    }

    fn history() -> Generations {
        let mut history = Generations::default();
        let (one, two) = (stored("one", "1"), stored("two", "2"));
        history.add(3, change(None, Some(one.clone())), Arc::default());
        history.add(5, change(Some(one), Some(two.clone())), Arc::default());
        history.add(6, change(Some(two), None), Arc::default());
        history
    }

    #[test]
    fn a_diff_is_field_by_field() {
        let diff = history().diff(Some(3), Some(5)).unwrap();
        assert_eq!(
            diff["changes"],
            json!([{
                "type": "cluster", "name": "c", "change": "modified", "source": "ads",
                "previous_version": "1", "version": "2",
                "fields": [{"path": "alt_stat_name", "before": "one", "after": "two"}],
            }])
        );
    }

    #[test]
    fn generations_add_up() {
        let history = history();
        assert_eq!(history.diff(Some(3), Some(6)).unwrap()["changes"][0]["change"], "removed");
        assert_eq!(history.diff(Some(2), Some(6)).unwrap()["changes"], json!([]), "it came and went");
        assert_eq!(history.diff(None, None).unwrap()["changes"][0]["previous_version"], "2");
        assert_eq!(
            history.diff(Some(1), None).unwrap_err().to_string(),
            "generation 1 is not kept; 2 to 6 are"
        );
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut history = Generations::default();
        for number in 1..=40 {
            history.add(number, change(None, Some(stored("a", "1"))), Arc::default());
        }
        let list = history.list();
        assert_eq!(list["generations"].as_array().unwrap().len(), MOST);
        assert_eq!(
            (list["current"].as_u64(), list["generations"][0]["connections"].as_u64()),
            (Some(40), Some(0))
        );
    }
}
