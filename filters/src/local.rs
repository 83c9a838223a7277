//! What a worker has for itself of a configured filter: its share of the configuration, and what it has worked out from traffic.
//!
//! So a stream takes a count that no other thread touches, and caches need no lock. What belongs to a configuration that is gone goes
//! when the next one is first used.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What a worker keeps for a filter.
pub trait Local: Any {
    /// Whether nothing but this thread holds the configuration.
    fn is_stale(&self) -> bool;
}

thread_local! {
    static KNOWN: RefCell<HashMap<u64, Rc<dyn Local>, ahash::RandomState>> = RefCell::default();
}

/// This thread's part of the filter with a number (`next_id`), made at first use.
pub fn of<T: Local>(id: u64, make: impl FnOnce() -> T) -> Rc<T> {
    let found = KNOWN.with_borrow(|known| known.get(&id).cloned());
    let found = found.map(|local| local as Rc<dyn Any>).and_then(|local| local.downcast().ok());
    found.unwrap_or_else(|| {
        let fresh = Rc::new(make());
        KNOWN.with_borrow_mut(|known| {
            known.retain(|_, local| !local.is_stale());
            known.insert(id, fresh.clone());
        });
        fresh
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::local_ratelimit::next_id;

    struct Copy(Arc<u8>);

    impl Local for Copy {
        fn is_stale(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }
    }

    #[test]
    fn one_for_each_filter_until_its_configuration_is_gone() {
        let (one, other) = (next_id(), next_id());
        let config = Arc::new(1);
        let first = of(one, || Copy(config.clone()));
        assert!(Rc::ptr_eq(&first, &of(one, || Copy(Arc::new(2)))));
        let weak = Rc::downgrade(&first);
        drop((config, first));
        assert!(weak.upgrade().is_some());
        let held = Arc::new(3);
        of(other, || Copy(held.clone()));
        assert!(weak.upgrade().is_none());
    }
}
