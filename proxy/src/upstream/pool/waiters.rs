//! Requests that wait for a connection, first come first served.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A line of waiting requests. What is handed over is a turn: the one woken tries again.
#[derive(Default)]
pub(super) struct Waiters {
    line: RefCell<VecDeque<Rc<RefCell<Place>>>>,
}

#[derive(Default)]
struct Place {
    called: bool,
    gone: bool,
    waker: Option<Waker>,
}

impl Waiters {
    /// Whether anyone waits.
    pub(super) fn is_empty(&self) -> bool {
        self.line.borrow().iter().all(|place| place.borrow().gone)
    }

    /// How many wait, those who have given up and were not passed yet included.
    pub(super) fn len(&self) -> usize {
        self.line.borrow().len()
    }

    /// Waits for a turn. Giving up (dropping) passes a turn that came meanwhile on to the next.
    pub(super) async fn wait(&self) {
        let place = Rc::new(RefCell::new(Place::default()));
        self.line.borrow_mut().push_back(place.clone());
        let guard = Leave { waiters: self, place: &place };
        poll_fn(|cx| {
            let mut place = place.borrow_mut();
            if place.called {
                return Poll::Ready(());
            }
            place.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        std::mem::forget(guard);
    }

    /// Gives the first in line its turn.
    pub(super) fn call_next(&self) {
        loop {
            // In a statement of its own: in the condition of a loop, the borrow would last through its body.
            let first = self.line.borrow_mut().pop_front();
            let Some(place) = first else { return };
            let mut place = place.borrow_mut();
            if place.gone {
                continue;
            }
            place.called = true;
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
            return;
        }
    }
}

impl Waiters {
    /// Gives everyone in line a turn.
    pub(super) fn call_all(&self) {
        let waiting = self.len();
        for _ in 0..waiting {
            self.call_next();
        }
    }
}

struct Leave<'a> {
    waiters: &'a Waiters,
    place: &'a Rc<RefCell<Place>>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let called = {
            let mut place = self.place.borrow_mut();
            place.gone = true;
            place.called
        };
        if called {
            self.waiters.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    #[test]
    fn turns_go_in_order_and_are_passed_on() {
        let waiters = Waiters::default();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut a, mut b, mut c) =
            (Box::pin(waiters.wait()), Box::pin(waiters.wait()), Box::pin(waiters.wait()));
        for future in [&mut a, &mut b, &mut c] {
            assert!(future.as_mut().poll(&mut cx).is_pending());
        }
        waiters.call_next();
        assert!(b.as_mut().poll(&mut cx).is_pending());
        drop(a);
        assert!(b.as_mut().poll(&mut cx).is_ready());
        drop(c);
        assert!(waiters.is_empty());
        waiters.call_next();
    }

    #[test]
    fn everyone_gets_a_turn() {
        let waiters = Waiters::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut line: Vec<_> = (0..5).map(|_| Box::pin(waiters.wait())).collect();
        assert!(line.iter_mut().all(|place| place.as_mut().poll(&mut cx).is_pending()));
        waiters.call_all();
        assert!(line.iter_mut().all(|place| place.as_mut().poll(&mut cx).is_ready()));
        assert_eq!(waiters.len(), 0);
    }
}
