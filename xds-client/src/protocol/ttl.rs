//! Deadlines by name: when a resource expires, and until when its first arrival is waited for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Names, each with an instant.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_name: HashMap<Arc<str>, Instant>,
    by_time: BTreeSet<(Instant, Arc<str>)>,
}

impl Deadlines {
    pub(crate) fn set(&mut self, name: Arc<str>, at: Instant) {
        self.clear(&name);
        self.by_time.insert((at, Arc::clone(&name)));
        self.by_name.insert(name, at);
    }

    pub(crate) fn clear(&mut self, name: &str) {
        if let Some((name, at)) = self.by_name.remove_entry(name) {
            self.by_time.remove(&(at, name));
        }
    }

    /// Keeps only the names for which `keep` is true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.by_name.retain(|name, _| keep(name));
        let left = &self.by_name;
        self.by_time.retain(|(_, name)| left.contains_key(name));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the names whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        while self.by_time.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.by_time.pop_first() else { break };
            self.by_name.remove(&name);
            names.push(name);
        }
        names
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_name_comes_due_once_at_its_latest_instant() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut deadlines = Deadlines::default();
        deadlines.set("a".into(), at(10));
        deadlines.set("b".into(), at(20));
        deadlines.set("a".into(), at(30));
        deadlines.set("c".into(), at(20));
        deadlines.set("d".into(), at(5));
        deadlines.clear("c");
        deadlines.retain(|name| name != "d");
        assert_eq!(deadlines.next(), Some(at(20)));
        assert!(deadlines.due(at(19)).is_empty());
        assert_eq!(deadlines.due(at(25)), ["b".into()]);
        assert_eq!(deadlines.due(at(30)), ["a".into()]);
        assert!(deadlines.is_empty() && deadlines.next().is_none());
    }
}
