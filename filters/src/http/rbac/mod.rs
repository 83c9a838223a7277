//! `envoy.filters.http.rbac`: answers 403 to requests that its rules do not let pass.
//!
//! Shadow rules are asked first and change nothing: they count, and leave what they said in the dynamic metadata. A route's own
//! configuration takes the place of the filter's; without rules, all pass.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use sampan_filters_api::http::{
    Flow, HttpFilter, HttpFilterFactory, Phases, RouteConfig, Start, Stream, of_level,
};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, LocalReply};

use crate::rbac::{Decision, Engine, Subject};

/// Rules, shadow rules, and how what they say is told.
#[derive(Debug)]
pub struct Access {
    /// `rules`, `matcher`
    pub rules: Option<Engine>,
    /// `shadow_rules`, `shadow_matcher`
    pub shadow: Option<Engine>,
    /// Behind `rules_stat_prefix`; the filter's are used where a route has none.
    pub keys: Option<Keys>,
    /// Behind `shadow_rules_stat_prefix`
    pub shadow_keys: Option<Keys>,
}

impl Access {
    fn has_any(&self) -> bool {
        self.rules.is_some() || self.shadow.is_some()
    }

    fn reads_facts(&self) -> bool {
        self.rules.iter().chain(&self.shadow).any(Engine::reads_facts)
    }
}

/// The keys of the dynamic metadata that tell what rules said.
#[derive(Debug)]
pub struct Keys {
    /// Whose value is the policy that matched.
    policy: Arc<str>,
    /// Whose value is `allowed` or `denied`.
    result: Arc<str>,
}

impl Keys {
    /// Of the rules that are enforced.
    pub fn enforced(prefix: &str) -> Self {
        Self::new(prefix, "enforced")
    }

    /// Of the shadow rules.
    pub fn shadow(prefix: &str) -> Self {
        Self::new(prefix, "shadow")
    }

    fn new(prefix: &str, kind: &str) -> Self {
        Self {
            policy: format!("{prefix}{kind}_effective_policy_id").into(),
            result: format!("{prefix}{kind}_engine_result").into(),
        }
    }
}

/// What is written for every request, made once.
#[derive(Debug)]
pub struct Words {
    allowed: Arc<str>,
    denied: Arc<str>,
    /// Without a prefix.
    keys: Keys,
    shadow_keys: Keys,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            allowed: "allowed".into(),
            denied: "denied".into(),
            keys: Keys::enforced(""),
            shadow_keys: Keys::shadow(""),
        }
    }
}

/// The names of [`Rbac::counters`].
pub const COUNTERS: &[&str] = &["allowed", "denied"];
/// The names of [`Rbac::shadow_counters`].
pub const SHADOW_COUNTERS: &[&str] = &["shadow_allowed", "shadow_denied"];

/// The factory.
#[derive(Debug)]
pub struct Rbac {
    /// The filter's own configuration.
    pub access: Access,
    /// What the rules said.
    pub counters: Arc<Counters>,
    /// What the shadow rules said.
    pub shadow_counters: Arc<Counters>,
    /// What is written.
    pub words: Words,
    /// What is told of requests that pass by no policy; made by the first of them.
    pub unmatched: OnceLock<Arc<MetadataValue>>,
}

/// One stream.
struct Instance<'f> {
    /// The route's configuration, in the place of the filter's.
    route: Option<Arc<Access>>,
    own: &'f Rbac,
}

const NAMESPACE: &str = "envoy.filters.http.rbac";

impl HttpFilterFactory for Rbac {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn reads_facts(&self, route: Option<&RouteConfig>) -> bool {
        of_level(&self.access, route).is_none_or(Access::reads_facts)
    }

    fn passing(&self) -> Option<Phases> {
        self.access.has_any().then_some(Phases::REQUEST_HEAD)
    }

    fn at_hook(&self, hook: &mut dyn FnMut(&mut dyn HttpFilter) -> Flow) -> Flow {
        hook(&mut Instance { route: None, own: self })
    }

    fn create<'f>(&'f self, start: &Start<'_>) -> Option<Box<dyn HttpFilter + 'f>> {
        let route = start.route::<Access>();
        if !route.as_deref().unwrap_or(&self.access).has_any() {
            return None;
        }
        Some(Box::new(Instance { route, own: self }))
    }
}

impl HttpFilter for Instance<'_> {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let own = self.own;
        let access = self.route.as_deref().unwrap_or(&own.access);
        let subject = Subject { request: Some(stream.request), response: None, info: stream.info };
        let shadow = access.shadow.as_ref().map(|rules| rules.decide(subject));
        let enforced = access.rules.as_ref().map(|rules| rules.decide(subject));
        if let Some(decision) = &shadow {
            own.shadow_counters.inc(usize::from(!decision.allowed));
            count_policy(decision, 2);
        }
        if let Some(decision) = &enforced {
            if let Some(hint) = decision.hint {
                stream.info.metadata.set("envoy.common", "access_log_hint", MetadataValue::Bool(hint));
            }
            own.counters.inc(usize::from(!decision.allowed));
            count_policy(decision, 0);
        }
        match enforced.filter(|decision| !decision.allowed) {
            None => {
                self.told(stream, shadow, enforced);
                Flow::Continue
            }
            Some(refusal) => {
                let mut reply = LocalReply::new(403, refusal.details()).body("RBAC: access denied");
                // Logs see it, the reply's own headers do not, as in Envoy.
                reply.late = Some((NAMESPACE, self.tell(shadow, enforced)));
                Flow::Reply(Box::new(reply))
            }
        }
    }
}

impl Instance<'_> {
    /// Tells of a request that passes: the same for all that the filter's own rules let pass by the same policy.
    fn told(&self, stream: &mut Stream<'_>, shadow: Option<Decision<'_>>, enforced: Option<Decision<'_>>) {
        let tell = || self.tell(shadow, enforced);
        let metadata = &mut stream.info.metadata;
        match enforced {
            Some(decision) if self.route.is_none() && shadow.is_none() => {
                let once = decision.policy.map_or(&self.own.unmatched, |policy| &policy.told);
                metadata.set_all(NAMESPACE, once.get_or_init(tell));
            }
            _ => metadata.set_all(NAMESPACE, &tell()),
        }
    }

    fn tell(&self, shadow: Option<Decision<'_>>, enforced: Option<Decision<'_>>) -> Arc<MetadataValue> {
        let own = self.own;
        let access = self.route.as_deref().unwrap_or(&own.access);
        let words = &own.words;
        let mut fields = Vec::new();
        for (decision, given, plain) in [
            (shadow, [&access.shadow_keys, &own.access.shadow_keys], &words.shadow_keys),
            (enforced, [&access.keys, &own.access.keys], &words.keys),
        ] {
            let Some(decision) = decision else { continue };
            let keys = given.into_iter().find_map(Option::as_ref).unwrap_or(plain);
            let result = if decision.allowed { &words.allowed } else { &words.denied };
            let policy = decision.policy.map(|policy| (&keys.policy, &policy.name));
            let all = policy.into_iter().chain([(&keys.result, result)]);
            fields
                .extend(all.map(|(key, value)| (Arc::clone(key), MetadataValue::String(Arc::clone(value)))));
        }
        Arc::new(MetadataValue::Struct(fields))
    }
}

fn count_policy(decision: &Decision<'_>, first: usize) {
    if let Some(counters) = decision.policy.and_then(|policy| policy.counters.as_ref()) {
        counters.inc(first + usize::from(!decision.allowed));
    }
}
