//! How far a stream has come, and what deadline follows from that.

use std::cell::Cell;
use std::time::Instant;

use super::timeouts::Deadlines;
use crate::failure::Kind;
use crate::net::alarm::earlier;

/// How far a stream has come; shared by its two directions.
pub(super) struct Progress {
    deadlines: Deadlines,
    /// When the request was complete.
    pub request_done: Cell<Option<Instant>>,
    last_activity: Cell<Instant>,
    /// The response head was passed on.
    pub head_sent: Cell<bool>,
    /// Another protocol took over.
    pub switched: Cell<bool>,
}

impl Progress {
    /// A stream at its beginning.
    pub fn new(deadlines: Deadlines, bodiless: bool) -> Self {
        let now = Instant::now();
        Self {
            deadlines,
            request_done: Cell::new(bodiless.then_some(now)),
            last_activity: Cell::new(now),
            head_sent: Cell::new(false),
            switched: Cell::new(false),
        }
    }

    /// The next deadline of the stream.
    pub fn next(&self) -> Option<Instant> {
        let d = &self.deadlines;
        let idle = d.idle.map(|limit| self.last_activity.get() + limit);
        let response = if self.switched.get() {
            None
        } else {
            d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit)
        };
        let request = if self.request_done.get().is_none() { d.request } else { None };
        earlier(earlier(idle, response), earlier(request, earlier(d.max_stream, d.upstream_max)))
    }

    /// Which deadline it was that passed.
    pub fn expired(&self) -> Kind {
        let now = Instant::now();
        let d = &self.deadlines;
        let request_complete = self.request_done.get().is_some();
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(d.response.zip(self.request_done.get()).map(|(limit, since)| since + limit))
            && !self.switched.get()
        {
            Kind::ResponseTimeout
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

    /// Something happened, so the idle timeout begins anew.
    pub fn touch(&self) {
        self.last_activity.set(Instant::now());
    }
}
