//! `envoy.filters.http.jwt_authn`: lets requests pass that show the tokens which their rule asks for.
//!
//! ```text
//! route's own requirement, or the first rule that matches, or the filter state's -> Check --needs keys--> fetched --> Check anew
//!   good  what tokens say becomes headers and metadata, on its way
//!   bad   401, or 403 for the wrong audience (jwt_authn_access_denied{why})
//! ```
//! Tokens and keys are never logged.

pub mod config;
mod keys;
mod provider;
mod requirement;
mod source;
#[cfg(test)]
mod tests;
mod token;

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use sampan_filters_api::call::Calls;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Resume, Start, Stream};
use sampan_filters_api::{Counters, Known, LocalReply, RequestHead, StreamInfo};
use sampan_model::route::{MatchContext, RouteMatch};

use self::provider::Provider;
use self::requirement::{Check, Fetched, Outcome, Requirement};
use self::source::Source;
use self::token::Status;
use crate::matcher::View;

/// Requirements by name.
pub type Named = Vec<(Box<str>, Arc<Requirement>)>;

/// The configuration of the filter.
#[derive(Debug)]
pub struct Settings {
    /// `providers`, by name.
    pub providers: Vec<Arc<Provider>>,
    /// `rules`
    pub rules: Vec<Rule>,
    /// `requirement_map`, by name.
    pub named: Named,
    /// `filter_state_rules`: the key of the filter state, and what its values ask for.
    pub by_state: Option<(Box<str>, Named)>,
    /// `bypass_cors_preflight`
    pub bypass_preflight: bool,
    /// `strip_failure_response`
    pub silent: bool,
    /// `<http>.jwt_authn.[<stat_prefix>.]…`
    pub counters: Arc<Counters>,
}

/// `RequirementRule`
#[derive(Debug)]
pub struct Rule {
    /// `match`
    pub matcher: RouteMatch,
    /// What it asks for; nothing if there is none.
    pub requirement: Option<Arc<Requirement>>,
}

/// The configuration of a route.
#[derive(Debug)]
pub enum RouteSettings {
    /// `disabled`
    Off,
    /// `requirement_name`
    Named(Box<str>),
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] = &[
    "allowed",
    "denied",
    "cors_preflight_bypassed",
    "jwks_fetch_success",
    "jwks_fetch_failed",
    "jwt_cache_hit",
    "jwt_cache_miss",
];
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const BYPASSED: usize = 2;
const FETCHED: usize = 3;
const FETCH_FAILED: usize = 4;
const CACHE_HIT: usize = 5;
const CACHE_MISS: usize = 6;

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// The factory.
#[derive(Debug)]
pub struct JwtAuthn(pub Arc<Settings>);

/// One stream.
struct Instance {
    settings: Arc<Settings>,
    route: Option<Arc<RouteSettings>>,
    /// Where keys are fetched.
    calls: Option<Rc<dyn Calls>>,
}

impl HttpFilterFactory for JwtAuthn {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn begin(&self, calls: &dyn Calls) {
        for provider in &self.0.providers {
            if let Source::Remote(remote) = &provider.source {
                remote.start(calls);
            }
        }
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        // A filter that was discovered begins with its first request.
        self.begin(start.calls);
        let route = start.route::<RouteSettings>();
        let settings = Arc::clone(&self.0);
        let remote = settings.providers.iter().any(|provider| matches!(provider.source, Source::Remote(_)));
        Some(Box::new(Instance { settings, route, calls: remote.then(|| start.calls.share()) }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let settings = &self.settings;
        if settings.bypass_preflight && is_preflight(stream.request) {
            settings.counters.inc(BYPASSED);
            settings.counters.inc(ALLOWED);
            return Flow::Continue;
        }
        let requirement = match self.route.as_deref() {
            Some(RouteSettings::Off) => None,
            Some(RouteSettings::Named(name)) => match settings.named(name) {
                Some(requirement) => Some(requirement),
                None => return Flow::Reply(Box::new(settings.misnamed(name))),
            },
            None => settings.find(stream.request, stream.info),
        };
        let Some(requirement) = requirement else {
            settings.counters.inc(ALLOWED);
            return Flow::Continue;
        };
        let run = Run {
            settings: Arc::clone(settings),
            requirement: Arc::clone(requirement),
            calls: self.calls.clone(),
            fetched: Fetched::new(),
        };
        run.step(stream)
    }
}

/// A check that may have to wait for keys.
struct Run {
    settings: Arc<Settings>,
    requirement: Arc<Requirement>,
    calls: Option<Rc<dyn Calls>>,
    fetched: Fetched,
}

impl Run {
    fn step(mut self, stream: &mut Stream<'_>) -> Flow {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut check = Check {
            request: stream.request,
            changed: None,
            metadata: Vec::new(),
            clear_route: false,
            fetched: &self.fetched,
            providers: &self.settings.providers,
            cached: (0, 0),
            now: since.as_secs(),
        };
        match check.run(&self.requirement) {
            Outcome::Done(status) => {
                let Check { changed, metadata, clear_route, cached, .. } = check;
                for (index, count) in [(CACHE_HIT, cached.0), (CACHE_MISS, cached.1)] {
                    if count > 0 {
                        self.settings.counters.add(index, count);
                    }
                }
                for (key, value) in metadata {
                    stream.info.metadata.set(NAMESPACE, &key, value);
                }
                let refusal = (status != Status::Ok).then(|| self.settings.refusal(status, stream.request));
                // Also of a request that is refused: what was good of it is not logged.
                if let Some(changed) = changed {
                    *stream.request = changed;
                }
                if let Some(refusal) = refusal {
                    self.settings.counters.inc(DENIED);
                    return Flow::Reply(Box::new(refusal));
                }
                *stream.clear_route |= clear_route;
                self.settings.counters.inc(ALLOWED);
                Flow::Continue
            }
            Outcome::Needs(provider) => Flow::Await(Box::pin(async move {
                let keys = match (&provider.source, self.calls.as_deref()) {
                    (Source::Remote(remote), Some(calls)) => remote.fetch(calls).await,
                    (Source::Remote(_), None) => None,
                    (Source::Local(keys), _) => Some(Arc::clone(keys)),
                };
                self.fetched.push((provider.id, keys));
                Box::new(move |stream: &mut Stream<'_>| self.step(stream)) as Resume
            })),
        }
    }
}

impl Settings {
    fn named(&self, name: &str) -> Option<&Arc<Requirement>> {
        self.named.iter().find(|(known, _)| **known == *name).map(|(_, requirement)| requirement)
    }

    /// What a request must show: as the first rule says that matches, or else the filter state.
    fn find(&self, request: &RequestHead, info: &StreamInfo) -> Option<&Arc<Requirement>> {
        let view = View { request, tls: info.connection.tls.as_deref() };
        let path = request.path().split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
        let context = MatchContext::with_random(0);
        let rule = self.rules.iter().find(|rule| rule.matcher.is_match(&view, path, &context));
        if let Some(rule) = rule {
            return rule.requirement.as_ref();
        }
        let (key, values) = self.by_state.as_ref()?;
        let value = info.state(key)?.plain();
        values.iter().find(|(known, _)| **known == *value).map(|(_, requirement)| requirement)
    }

    fn refusal(&self, status: Status, request: &RequestHead) -> LocalReply {
        let code = if status == Status::AudienceNotAllowed { 403 } else { 401 };
        let mut reply = LocalReply::new(code, details(status.text()));
        if !self.silent {
            reply.body = status.text().into();
            let error = if status == Status::Missing { "" } else { ", error=\"invalid_token\"" };
            let realm = format!("Bearer realm=\"{}\"{error}", uri(request));
            reply.headers.append("www-authenticate", realm);
        }
        reply
    }

    /// A route asks for a requirement that there is not.
    fn misnamed(&self, name: &str) -> LocalReply {
        self.counters.inc(DENIED);
        let known: Vec<&str> = self.named.iter().map(|(name, _)| &**name).collect();
        let text = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
        let mut reply = LocalReply::new(403, details(&text));
        if !self.silent {
            reply.body = format!("Failed JWT authentication: {text}").into();
        }
        reply
    }
}

fn details(text: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"))
}

/// The address that the client asked for; of a long path the first of it.
fn uri(request: &RequestHead) -> String {
    const LONGEST: usize = 256;
    let path = request.headers.known(Known::XEnvoyOriginalPath).unwrap_or_else(|| request.path());
    let path = &path[..path.len().min(LONGEST)];
    let text = |bytes| String::from_utf8_lossy(bytes);
    let uri = format!("{}://{}{}", text(request.scheme()), text(request.authority()), text(path));
    // It stands between quotes.
    uri.replace(['"', '\\'], "")
}

fn is_preflight(request: &RequestHead) -> bool {
    let has = |name| request.headers.value(name).is_some_and(|value: &[u8]| !value.is_empty());
    request.method() == b"OPTIONS" && has("origin") && has("access-control-request-method")
}
