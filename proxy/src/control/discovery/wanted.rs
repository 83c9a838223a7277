//! Resources that others need by name: who needs them, and whether they have come.
//!
//! ```text
//! need by the first --> Awaited --arrives--> Here
//!                         \--initial_fetch_timeout--> GivenUp --arrives--> Here
//! the last one leaves --> forgotten
//! ```
//!
//! One table for each kind that is asked for by name (assignments, route configurations, filters).

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::control::store::Key;
use crate::reference::SourceKey;

/// Who needs a resource: the kind and name of another one, with a number where several versions of it may live.
pub type User = Arc<str>;

/// The state of a resource that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has been asked for.
    Awaited,
    /// It did not come in time; whoever needs it goes on without.
    GivenUp,
    /// It is there.
    Here,
}

/// What is needed of one kind.
#[derive(Debug, Default)]
pub struct Wanted(HashMap<Key, Want>);

#[derive(Debug)]
struct Want {
    state: State,
    /// In the order of their coming; most have one.
    users: SmallVec<[User; 1]>,
}

impl Wanted {
    /// Notes that `user` needs a resource; true if nobody did before, so that it is to be asked for.
    pub fn need(&mut self, key: &Key, user: &User) -> bool {
        let mut first = false;
        let want = self.0.entry(key.clone()).or_insert_with(|| {
            first = true;
            Want { state: State::Awaited, users: SmallVec::new() }
        });
        if !want.users.contains(user) {
            want.users.push(user.clone());
        }
        first
    }

    /// Notes that `user` no longer needs it; true if nobody does now, so that it is to be asked for no longer.
    pub fn leave(&mut self, key: &Key, user: &User) -> bool {
        let Some(want) = self.0.get_mut(key) else { return false };
        want.users.retain(|other| other != user);
        let last = want.users.is_empty();
        if last {
            self.0.remove(key);
        }
        last
    }

    /// The state of a resource, if anybody needs it.
    pub fn state(&self, key: &Key) -> Option<State> {
        self.0.get(key).map(|want| want.state)
    }

    /// Whether whoever needs it may go on.
    pub fn is_settled(&self, key: &Key) -> bool {
        self.state(key) != Some(State::Awaited)
    }

    /// Who needs a resource.
    pub fn users(&self, key: &Key) -> Vec<User> {
        self.0.get(key).map(|want| want.users.iter().cloned().collect()).unwrap_or_default()
    }

    /// Notes that it came; who needs it, or nobody if it was never asked for.
    pub fn arrived(&mut self, key: &Key) -> Vec<User> {
        let Some(want) = self.0.get_mut(key) else { return Vec::new() };
        want.state = State::Here;
        want.users.iter().cloned().collect()
    }

    /// Notes that it is gone, by word of the server: whoever needs it goes on with what it has.
    pub fn gone(&mut self, key: &Key) -> Vec<User> {
        let Some(want) = self.0.get_mut(key) else { return Vec::new() };
        want.state = State::GivenUp;
        want.users.iter().cloned().collect()
    }

    /// Notes that it did not come in time, if it has not come; true if somebody waited.
    pub fn give_up(&mut self, key: &Key) -> bool {
        match self.0.get_mut(key) {
            Some(want) if want.state == State::Awaited => {
                want.state = State::GivenUp;
                true
            }
            _ => false,
        }
    }

    /// Notes that nothing more will come from a source for now.
    pub fn give_up_all(&mut self, source: &SourceKey) {
        for (_, want) in self.0.iter_mut().filter(|(key, _)| key.source == *source) {
            if want.state == State::Awaited {
                want.state = State::GivenUp;
            }
        }
    }

    /// What has been asked for and has not come.
    pub fn awaited(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(|(_, want)| want.state == State::Awaited).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { source: SourceKey::ads(), name: name.into() }
    }

    #[test]
    fn asked_for_once_and_forgotten_with_the_last() {
        let (mut wanted, a, b): (_, User, User) = (Wanted::default(), "a".into(), "b".into());
        assert!(wanted.need(&key("r"), &a));
        assert!(!wanted.need(&key("r"), &b));
        assert!(!wanted.is_settled(&key("r")));
        assert_eq!(wanted.awaited().count(), 1);
        assert_eq!(wanted.arrived(&key("r")), [a.clone(), b.clone()]);
        assert!(wanted.is_settled(&key("r")) && !wanted.give_up(&key("r")));
        assert!(!wanted.leave(&key("r"), &a));
        assert!(wanted.leave(&key("r"), &b));
        assert_eq!(wanted.state(&key("r")), None);
        assert!(wanted.arrived(&key("other")).is_empty(), "nobody asked for it");
    }

    #[test]
    fn giving_up_settles_it_until_it_comes() {
        let (mut wanted, a): (_, User) = (Wanted::default(), "a".into());
        wanted.need(&key("r"), &a);
        assert!(wanted.give_up(&key("r")));
        assert_eq!((wanted.state(&key("r")), wanted.is_settled(&key("r"))), (Some(State::GivenUp), true));
        wanted.arrived(&key("r"));
        assert_eq!(wanted.state(&key("r")), Some(State::Here));
    }
}
