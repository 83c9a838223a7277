//! A deadline that moves often and fires rarely.
//!
//! Timeouts are set for each request and nearly always lifted again. Entering and leaving the runtime's timer
//! for each would cost more than parsing the request. An alarm stays in the timer at the earliest moment it was ever
//! asked for and moves on only when that moment comes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// One timer for all deadlines of a connection or stream.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed; never for `None`.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if sleep.deadline() > deadline.into() {
            sleep.as_mut().reset(deadline.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }

    /// Waits for a deadline.
    pub async fn wait(&mut self, deadline: Option<Instant>) {
        poll_fn(|cx| self.poll(cx, deadline)).await;
    }
}

/// The earlier of two deadlines.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_last_deadline_asked_for() {
        let start = tokio::time::Instant::now();
        let at = |ms| Some((start + Duration::from_millis(ms)).into_std());
        let mut alarm = Alarm::default();
        for ms in [50, 500, 200] {
            assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, at(ms)))).await.is_pending());
        }
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, None))).await.is_pending());
        assert_eq!(earlier(at(5), None), at(5));
        assert_eq!(earlier(at(5), at(3)), at(3));
    }
}
