//! Wakes downstream connections when the worker has news for them: a drain, or listeners that changed.
//!
//! A connection has one place, registered whenever its task is polled, and whatever it waits for is asked again when it is
//! woken. A `Notify` per wait would cost every request; this costs a comparison of wakers.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

use super::Worker;

/// The waiting connections of a worker.
#[derive(Default)]
pub struct Idle {
    wakers: RefCell<Slab<Option<Waker>>>,
}

impl Idle {
    /// Wakes all of them.
    pub(super) fn wake_all(&self) {
        // Collected first: a woken task may register again at once.
        let wakers: Vec<Waker> = self.wakers.borrow_mut().iter_mut().filter_map(|(_, w)| w.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A connection's place among them.
pub struct IdleSlot {
    worker: Rc<Worker>,
    key: usize,
}

impl IdleSlot {
    /// A place for a new connection.
    pub fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: worker.clone(), key: worker.idle.wakers.borrow_mut().insert(None) }
    }

    /// Has the task of `cx` woken with the next news.
    #[inline]
    pub fn register(&self, cx: &Context<'_>) {
        let mut wakers = self.worker.idle.wakers.borrow_mut();
        let place = &mut wakers[self.key];
        if !place.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *place = Some(cx.waker().clone());
        }
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        self.worker.idle.wakers.borrow_mut().remove(self.key);
    }
}
