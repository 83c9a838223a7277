//! `envoy.filters.http.cors`: answers preflight requests, and tells browsers which origins may read a response.
//!
//! The filter's own configuration is empty: policies come from routes. Each field is that of the most specific level which sets
//! it; whether the policy is in force is for the most specific level alone to say.
//!
//! ```text
//! no origin, or no policy in force -> untouched
//! preflight (OPTIONS, access-control-request-method) -> 200 with what is allowed; one from another origin may go on
//! other requests -> the response of an allowed origin gets its headers
//! ```

pub mod config;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, RouteConfig, Start, Stream};
use sampan_filters_api::{Counters, Headers, Known, LocalReply, RequestHead, RuntimeFraction};
use sampan_model::route::StringMatch;

/// What a route says about requests from other origins.
#[derive(Debug)]
pub struct Policy {
    /// `allow_origin_string_match`
    pub origins: Vec<StringMatch>,
    /// `allow_methods`
    pub methods: Box<str>,
    /// `allow_headers`
    pub headers: Box<str>,
    /// `expose_headers`
    pub expose: Box<str>,
    /// `max_age`
    pub max_age: Box<str>,
    /// `allow_credentials`
    pub credentials: Option<bool>,
    /// `allow_private_network_access`
    pub private_network: Option<bool>,
    /// `forward_not_matching_preflights`
    pub forward_others: Option<bool>,
    /// `filter_enabled`
    pub enabled: RuntimeFraction,
    /// `shadow_enabled`
    pub shadow: RuntimeFraction,
}

/// The names of [`Cors::counters`].
pub const COUNTERS: &[&str] = &["origin_valid", "origin_invalid"];
const VALID: usize = 0;
const INVALID: usize = 1;

/// The factory.
#[derive(Debug)]
pub struct Cors {
    /// `cors.origin_valid`, `cors.origin_invalid`
    pub counters: Arc<Counters>,
}

/// One stream whose route has a policy in force.
struct Instance {
    policies: Vec<Arc<Policy>>,
    counters: Arc<Counters>,
    /// Only counted, without effect.
    shadow: bool,
    /// The origin of the request, once it is known to be allowed.
    origin: Vec<u8>,
}

impl HttpFilterFactory for Cors {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::RESPONSE_HEAD)
    }

    fn reads_facts(&self, _: Option<&RouteConfig>) -> bool {
        false
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        if start.routes.is_empty() || !start.forwards {
            return None;
        }
        origin(start.request)?;
        let policies: Vec<Arc<Policy>> = start.levels().collect();
        let own = policies.first()?;
        let on = own.enabled.holds(start.runtime, || fastrand::u64(..));
        if !on && !own.shadow.holds(start.runtime, || fastrand::u64(..)) {
            return None;
        }
        let counters = Arc::clone(&self.counters);
        Some(Box::new(Instance { policies, counters, shadow: !on, origin: Vec::new() }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let request = &*stream.request;
        let Some(origin) = origin(request) else {
            return Flow::Continue;
        };
        let allowed = self.allows(&origin);
        self.counters.inc(if allowed { VALID } else { INVALID });
        if self.shadow {
            return Flow::Continue;
        }
        if allowed {
            self.origin = origin.into_owned();
        }
        let method = request.headers.value("access-control-request-method").unwrap_or_default();
        if request.method() != b"OPTIONS" || method.is_empty() || (!allowed && self.forwards_others()) {
            return Flow::Continue;
        }
        let mut reply = LocalReply::new(200, "cors_response");
        reply.as_is = true;
        self.answer_preflight(request, method, &mut reply.headers);
        Flow::Reply(Box::new(reply))
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let Some(response) = stream.response.as_mut().filter(|_| !self.origin.is_empty()) else {
            return Flow::Continue;
        };
        response.headers.set(ALLOW_ORIGIN, &self.origin);
        if self.credentials() {
            response.headers.set(ALLOW_CREDENTIALS, "true");
        }
        let expose = self.text(|policy| &policy.expose);
        if !expose.is_empty() {
            response.headers.set("access-control-expose-headers", expose);
        }
        Flow::Continue
    }
}

/// The origin of a request. Several of them are one that hardly anybody allows, as in Envoy.
fn origin(request: &RequestHead) -> Option<Cow<'_, [u8]>> {
    // Most requests have none, which is told without looking at each field.
    let first = request.headers.known(Known::Origin)?;
    let rest: Vec<&[u8]> = request.headers.values(b"origin").skip(1).collect();
    let whole = if rest.is_empty() {
        Cow::Borrowed(first)
    } else {
        Cow::Owned(std::iter::once(first).chain(rest).collect::<Vec<_>>().join(&b','))
    };
    (!whole.is_empty()).then_some(whole)
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

impl Instance {
    fn allows(&self, origin: &[u8]) -> bool {
        let own = self.policies.iter().find(|policy| !policy.origins.is_empty());
        // A matcher that takes `*` is meant to take all.
        own.is_some_and(|policy| {
            policy.origins.iter().any(|rule| rule.is_match(b"*") || rule.is_match(origin))
        })
    }

    fn forwards_others(&self) -> bool {
        self.policies.iter().find_map(|policy| policy.forward_others).unwrap_or(true)
    }

    fn credentials(&self) -> bool {
        self.policies.iter().find_map(|policy| policy.credentials).unwrap_or(false)
    }

    fn private_network(&self) -> bool {
        self.policies.iter().find_map(|policy| policy.private_network).unwrap_or(false)
    }

    fn text(&self, field: impl Fn(&Policy) -> &str) -> &str {
        self.policies.iter().map(|policy| field(policy)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn answer_preflight(&self, request: &RequestHead, method: &[u8], headers: &mut Headers) {
        if !self.origin.is_empty() {
            headers.append(ALLOW_ORIGIN, &self.origin);
        }
        if self.credentials() {
            headers.append(ALLOW_CREDENTIALS, "true");
        }
        let asked = request.headers.value("access-control-request-headers").unwrap_or_default();
        for (name, allowed, asked) in [
            ("access-control-allow-methods", self.text(|policy| &policy.methods), method),
            ("access-control-allow-headers", self.text(|policy| &policy.headers), asked),
        ] {
            match allowed {
                "" => {}
                "*" => headers.append(name, asked),
                list => headers.append(name, list),
            }
        }
        let max_age = self.text(|policy| &policy.max_age);
        if !max_age.is_empty() {
            headers.append("access-control-max-age", max_age);
        }
        let asks = request.headers.value("access-control-request-private-network") == Some(b"true");
        if asks && self.private_network() {
            headers.append("access-control-allow-private-network", "true");
        }
    }
}
