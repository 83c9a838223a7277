//! Responses that the proxy has and has not answered, in the order in which they came.
//!
//! Answers take effect in that order whatever order they are given in, so that an older response never overwrites what a newer one
//! has set. Its size is bounded by the event channel and by what the proxy holds.

use std::collections::VecDeque;

/// Names a response that was handed to the proxy. Never used twice by one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What the proxy makes of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All of it is in force.
    Accept,
    /// Not all of it.
    Reject {
        /// For the control plane.
        detail: String,
        /// The names that were refused while the others were applied; empty when nothing was applied.
        refused: Vec<String>,
    },
}

impl Answer {
    /// Whether the resource (or removal) with this name is in force now.
    pub(crate) fn applies(&self, name: &str) -> bool {
        match self {
            Self::Accept => true,
            Self::Reject { refused, .. } => !refused.is_empty() && !refused.iter().any(|other| other == name),
        }
    }

    /// The detail of a NACK, of a length that servers take.
    pub(crate) fn into_error(self) -> Option<String> {
        const LIMIT: usize = 64 << 10;
        match self {
            Self::Accept => None,
            Self::Reject { mut detail, .. } => {
                if detail.len() > LIMIT {
                    let end = (0..=LIMIT).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or_default();
                    detail.truncate(end);
                    detail.push('…');
                }
                Some(detail)
            }
        }
    }
}

/// One response.
#[derive(Debug)]
pub(crate) struct Delivered<T> {
    pub(crate) ticket: Ticket,
    /// The stream on which it came.
    pub(crate) stream: u64,
    pub(crate) nonce: String,
    pub(crate) what: T,
    answer: Option<Answer>,
}

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    open: VecDeque<Delivered<T>>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { open: VecDeque::new() }
    }
}

impl<T> Inbox<T> {
    pub(crate) fn push(&mut self, ticket: Ticket, stream: u64, nonce: String, what: T) {
        self.open.push_back(Delivered { ticket, stream, nonce, what, answer: None });
    }

    /// Whether this response is here.
    pub(crate) fn holds(&self, ticket: Ticket) -> bool {
        self.open.iter().any(|one| one.ticket == ticket)
    }

    /// Files an answer; only the first to a response counts.
    pub(crate) fn file(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(one) = self.open.iter_mut().find(|one| one.ticket == ticket) {
            one.answer.get_or_insert(answer);
        }
    }

    /// Changes what is kept of each response.
    pub(crate) fn each(&mut self, change: impl FnMut(&mut T)) {
        self.open.iter_mut().map(|one| &mut one.what).for_each(change);
    }

    /// The oldest response, when it is answered.
    pub(crate) fn pop_answered(&mut self) -> Option<(Delivered<T>, Answer)> {
        let mut first = self.open.pop_front()?;
        if let Some(answer) = first.answer.take() {
            return Some((first, answer));
        }
        self.open.push_front(first);
        None
    }

    /// Whether a response, of this stream or an earlier one, waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_take_effect_in_the_order_of_the_responses() {
        let mut inbox = Inbox::default();
        for n in 1..=3 {
            inbox.push(Ticket(n), 1, n.to_string(), n);
        }
        let reject = Answer::Reject { detail: String::new(), refused: Vec::new() };
        inbox.file(Ticket(2), Answer::Accept);
        inbox.file(Ticket(2), reject);
        assert!(inbox.holds(Ticket(3)) && !inbox.holds(Ticket(4)));
        assert!(inbox.pop_answered().is_none());
        inbox.file(Ticket(1), Answer::Accept);
        let next = |inbox: &mut Inbox<u64>| inbox.pop_answered().map(|(one, answer)| (one.what, answer));
        assert_eq!(next(&mut inbox), Some((1, Answer::Accept)));
        assert_eq!(next(&mut inbox), Some((2, Answer::Accept)), "the first answer counts");
        assert!(inbox.pop_answered().is_none());
        assert!(inbox.is_waiting());
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let reject = |detail: String| Answer::Reject { detail, refused: Vec::new() }.into_error().unwrap();
        assert_eq!(reject("short".into()), "short");
        assert!(reject("ä".repeat(100_000)).len() <= (64 << 10) + '…'.len_utf8());
    }
}
