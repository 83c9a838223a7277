//! How far a stream has come, and what deadline follows from that.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::timeouts::Deadlines;
use crate::failure::Kind;
use crate::net::alarm::earlier;

/// How far a stream has come; shared by its two directions.
pub(super) struct Progress {
    deadlines: Deadlines,
    /// When the request was complete.
    pub request_done: Cell<Option<Instant>>,
    last_activity: Cell<Instant>,
    /// Since when the client's next body bytes have been waited for.
    body_awaited: Cell<Option<Instant>>,
    /// Since when the client has taken nothing of the response, and how much there is to take.
    unread: Cell<Option<(Instant, usize)>>,
    /// The response head was passed on.
    pub head_sent: Cell<bool>,
    /// Another protocol took over.
    pub switched: Cell<bool>,
    /// The client was told to go on with its body.
    pub continued: Cell<bool>,
}

/// The time limits of one try.
#[derive(Default)]
pub(super) struct Try {
    /// When it is over, once it has begun and the request is complete.
    ends: Cell<Option<Instant>>,
    /// When the upstream was heard last, where its silence has a limit.
    heard: Cell<Option<Instant>>,
}

impl Try {
    /// The upstream said something.
    #[inline]
    pub fn hear(&self) {
        if self.heard.get().is_some() {
            self.heard.set(Some(Instant::now()));
        }
    }

    /// Its response has begun: from now on it may only not fall silent.
    pub fn answered(&self) {
        self.ends.set(None);
    }

    /// It goes on without limits, beside another try.
    pub fn outlive(&self) {
        self.ends.set(None);
        self.heard.set(None);
    }
}

impl Progress {
    /// A stream at its beginning.
    pub fn new(deadlines: Deadlines, bodiless: bool, now: Instant) -> Self {
        Self {
            deadlines,
            request_done: Cell::new(bodiless.then_some(now)),
            last_activity: Cell::new(now),
            body_awaited: Cell::new(None),
            unread: Cell::new(None),
            head_sent: Cell::new(false),
            switched: Cell::new(false),
            continued: Cell::new(false),
        }
    }

    /// The next deadline of the stream, and of one of its tries.
    pub fn next(&self, tried: &Try) -> Option<Instant> {
        let d = &self.deadlines;
        let idle = d.idle.map(|limit| self.last_activity.get() + limit);
        let response = if self.switched.get() {
            None
        } else {
            d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit)
        };
        let request = if self.request_done.get().is_none() { d.request } else { None };
        let slow = earlier(self.body_overdue(), self.flush_overdue());
        let max = earlier(d.max_stream, d.upstream_max);
        earlier(earlier(earlier(idle, slow), response), earlier(earlier(request, self.try_ends(tried)), max))
    }

    /// How long the next try may take, for the upstream to know; `None` is without limit.
    pub fn left_for_try(&self) -> Option<Duration> {
        let since = self.request_done.get();
        let left = self
            .deadlines
            .response
            .map(|limit| limit.saturating_sub(since.map_or(Duration::ZERO, |since| since.elapsed())));
        match (self.deadlines.per_try.filter(|_| !self.deadlines.hedges), left) {
            (Some(per_try), Some(left)) => Some(per_try.min(left)),
            (per_try, left) => per_try.or(left),
        }
    }

    /// The time of a try begins, unless the request is not complete yet.
    pub fn begin_try(&self, tried: &Try) {
        let limits = &self.deadlines;
        if self.request_done.get().is_none() || limits.per_try.is_none() && limits.per_try_idle.is_none() {
            return;
        }
        let now = Instant::now();
        tried.ends.set(limits.per_try.map(|limit| now + limit));
        tried.heard.set(limits.per_try_idle.map(|_| now));
    }

    /// When a try is over: it takes too long, or its upstream is silent for too long.
    fn try_ends(&self, tried: &Try) -> Option<Instant> {
        earlier(tried.ends.get(), self.silence_ends(tried))
    }

    fn silence_ends(&self, tried: &Try) -> Option<Instant> {
        tried.heard.get().zip(self.deadlines.per_try_idle).map(|(since, limit)| since + limit)
    }

    /// How long the response may take, from the end of the request.
    pub fn response_limit(&self) -> Option<Duration> {
        self.deadlines.response
    }

    /// Whether a try that takes too long is left to go on beside another one.
    pub fn hedges(&self) -> bool {
        self.deadlines.hedges
    }

    /// Whether a timeout of the response is to be no error.
    pub fn has_alternative(&self) -> bool {
        self.deadlines.alternative
    }

    /// Which deadline it was that passed.
    pub fn expired(&self, tried: &Try) -> Kind {
        let now = Instant::now();
        let d = &self.deadlines;
        let request_complete = self.request_done.get().is_some();
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit))
            && !self.switched.get()
        {
            Kind::ResponseTimeout
        } else if passed(tried.ends.get()) {
            Kind::PerTryTimeout
        } else if passed(self.silence_ends(tried)) {
            Kind::PerTryIdleTimeout
        } else if passed(d.max_stream) {
            Kind::MaxDuration { request_complete }
        } else if passed(d.upstream_max) {
            Kind::UpstreamMaxDuration
        } else if self.request_done.get().is_none() && passed(d.request) {
            Kind::RequestTimeout
        } else {
            Kind::StreamIdle { request_complete }
        }
    }

    /// When the client's next body bytes are overdue.
    fn body_overdue(&self) -> Option<Instant> {
        if self.request_done.get().is_some() || self.head_sent.get() {
            return None;
        }
        self.body_awaited.get().zip(self.deadlines.body_idle).map(|(since, limit)| since + limit)
    }

    fn flush_overdue(&self) -> Option<Instant> {
        self.unread.get().zip(self.deadlines.flush).map(|((since, _), limit)| since + limit)
    }

    /// The client's next body bytes are waited for from now on; or, with `false`, the upstream.
    pub fn awaits_body(&self, awaits: bool) {
        self.body_awaited.set(awaits.then(Instant::now));
    }

    /// Whether the upstream takes the body as it comes. While it does not, the client is not to blame.
    pub fn upstream_takes(&self, takes: bool) {
        if self.body_awaited.get().is_some() != takes && self.request_done.get().is_none() {
            self.awaits_body(takes);
        }
    }

    /// So many bytes of the response wait for the client; `None` if it has taken all.
    pub fn unread(&self, left: Option<usize>) {
        match (left, self.unread.get()) {
            (None, None) => {}
            (Some(left), Some((_, before))) if left == before => {}
            _ => self.unread.set(left.map(|left| (Instant::now(), left))),
        }
    }

    /// Whether the stream was over before it began (`grpc-timeout: 0m`).
    pub fn is_over(&self) -> bool {
        self.deadlines.max_stream.is_some_and(|at| at <= Instant::now())
    }

    /// When something happened last.
    pub fn last_activity(&self) -> Instant {
        self.last_activity.get()
    }

    /// Something happened, so the idle timeout begins anew.
    pub fn touch(&self) {
        self.last_activity.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(bodiless: bool) -> Progress {
        let limit = |seconds| Some(Duration::from_secs(seconds));
        let deadlines = Deadlines {
            idle: limit(300),
            response: None,
            per_try: None,
            per_try_idle: None,
            hedges: false,
            alternative: false,
            request: None,
            max_stream: None,
            upstream_max: None,
            body_idle: limit(60),
            flush: limit(30),
        };
        Progress::new(deadlines, bodiless, Instant::now())
    }

    fn seconds(progress: &Progress) -> u64 {
        let left = progress.next(&Try::default()).map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or(0, |left| left.as_secs_f64().round() as u64)
    }

    #[test]
    fn a_slow_body_is_waited_for_as_long_as_it_is_the_clients_turn() {
        let progress = progress(false);
        assert_eq!(seconds(&progress), 300);
        progress.awaits_body(true);
        assert_eq!(seconds(&progress), 60);
        progress.awaits_body(false);
        assert_eq!(seconds(&progress), 300);
        progress.awaits_body(true);
        progress.head_sent.set(true);
        assert_eq!(seconds(&progress), 300);
    }

    #[test]
    fn a_try_has_a_time_and_may_not_be_silent() {
        let mut progress = progress(true);
        progress.deadlines.per_try = Some(Duration::from_secs(20));
        progress.deadlines.per_try_idle = Some(Duration::from_secs(10));
        let tried = Try::default();
        let left = |tried: &Try| {
            let left = progress.next(tried).map(|at| at.saturating_duration_since(Instant::now()));
            left.map_or(0, |left| left.as_secs_f64().round() as u64)
        };
        assert_eq!(left(&tried), 300, "it has not begun");
        tried.hear();
        assert_eq!(left(&tried), 300);
        progress.begin_try(&tried);
        assert_eq!(left(&tried), 10);
        tried.answered();
        assert_eq!(left(&tried), 10, "a response may not stop either");
        tried.heard.set(Some(Instant::now().checked_sub(Duration::from_secs(11)).unwrap()));
        assert_eq!(progress.expired(&tried), Kind::PerTryIdleTimeout);
        tried.hear();
        assert_eq!(left(&tried), 10);
        tried.outlive();
        assert_eq!(left(&tried), 300);
    }

    #[test]
    fn a_response_that_nobody_reads_is_given_up() {
        let progress = progress(true);
        progress.unread(Some(10));
        assert_eq!(seconds(&progress), 30);
        let since = progress.unread.get();
        progress.unread(Some(10));
        assert_eq!(progress.unread.get(), since, "the clock goes on");
        progress.unread(Some(9));
        assert_ne!(progress.unread.get(), since);
        progress.unread(None);
        assert_eq!(seconds(&progress), 300);
    }
}
