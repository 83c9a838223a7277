//! `envoy.filters.http.stateful_session`: sends a client to the host that it was sent to before, which a cookie or a header names.
//!
//! ```text
//! request: cookie or header --decoded--> the host that is wanted (strict: no other)
//! response: the host it was, where that is another one --encoded--> set-cookie, or the header
//! ```

pub mod config;
mod cookie;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::WantedHost;
use sampan_filters_api::{Counters, Flag, RequestHead};

pub use cookie::CookieState;

/// Where the host is kept.
#[derive(Debug)]
pub enum SessionState {
    /// `CookieBasedSessionState`
    Cookie(CookieState),
    /// `HeaderBasedSessionState`: the name.
    Header(Box<str>),
}

/// The settings of a filter or a route.
#[derive(Debug)]
pub struct Settings {
    /// `session_state`; without it, the filter does nothing.
    pub state: Option<SessionState>,
    /// `strict`, with the status of a request whose host is not there.
    pub strict: Option<u16>,
}

/// What a route says.
#[derive(Debug)]
pub enum Route {
    /// `disabled`
    Off,
    /// `stateful_session`
    Own(Arc<Settings>),
}

/// The names of [`StatefulSession::counters`].
pub const COUNTERS: &[&str] = &["failed_closed", "failed_open", "no_session", "routed"];
const FAILED_CLOSED: usize = 0;
const FAILED_OPEN: usize = 1;
const NO_SESSION: usize = 2;
const ROUTED: usize = 3;

/// The factory.
#[derive(Debug)]
pub struct StatefulSession {
    /// The filter's own settings.
    pub settings: Arc<Settings>,
    /// `stateful_session.<stat_prefix>.…`, where a prefix is given.
    pub counters: Option<Arc<Counters>>,
}

struct Instance {
    settings: Arc<Settings>,
    /// Routes count nothing.
    counters: Option<Arc<Counters>>,
    /// The request is one of a session, which may have no host yet.
    active: bool,
    /// The host of the session.
    wanted: Option<Box<str>>,
}

impl HttpFilterFactory for StatefulSession {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let (settings, counters) = match start.route::<Route>().as_deref() {
            Some(Route::Off) => return None,
            Some(Route::Own(settings)) => (settings.clone(), None),
            None => (self.settings.clone(), self.counters.clone()),
        };
        if settings.state.is_none() && counters.is_none() {
            return None;
        }
        Some(Box::new(Instance { settings, counters, active: false, wanted: None }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let found = match &self.settings.state {
            None => return Flow::Continue,
            Some(SessionState::Cookie(cookie)) if !cookie.fits(stream.request.path()) => {
                return Flow::Continue;
            }
            Some(SessionState::Cookie(cookie)) => cookie.host(stream.request),
            Some(SessionState::Header(name)) => header(stream.request, name),
        };
        self.active = true;
        if let Some(address) = found {
            let wanted = WantedHost { address: address.clone(), strict: self.settings.strict };
            stream.info.upstream.wanted = Some(Box::new(wanted));
            self.wanted = Some(address);
        }
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let Some(address) = stream.info.upstream.address.as_ref().map(ToString::to_string) else {
            if self.active && self.settings.strict.is_some() && stream.info.flags.has(Flag::NoHealthyUpstream)
            {
                self.count(FAILED_CLOSED);
            }
            return Flow::Continue;
        };
        if !self.active {
            self.count(NO_SESSION);
            return Flow::Continue;
        }
        if self.wanted.as_deref() == Some(&*address) {
            self.count(ROUTED);
            return Flow::Continue;
        }
        if self.settings.strict.is_none() {
            self.count(FAILED_OPEN);
        }
        let Some(response) = stream.response.as_deref_mut() else { return Flow::Continue };
        match &self.settings.state {
            Some(SessionState::Cookie(cookie)) => {
                response.headers.append("set-cookie", cookie.set(&address));
            }
            Some(SessionState::Header(name)) => {
                response.headers.set(name.as_bytes(), STANDARD.encode(&address));
            }
            None => {}
        }
        Flow::Continue
    }
}

impl Instance {
    fn count(&self, counter: usize) {
        if let Some(counters) = &self.counters {
            counters.inc(counter);
        }
    }
}

/// The host that a header names.
fn header(request: &RequestHead, name: &str) -> Option<Box<str>> {
    let decoded = STANDARD.decode(request.headers.value(name)?).ok()?;
    host(decoded)
}

/// An address, if it is text.
fn host(bytes: Vec<u8>) -> Option<Box<str>> {
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(Into::into)
}
