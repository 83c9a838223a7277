//! `envoy.filters.http.rbac`: answers 403 to requests that its rules do not let pass.
//!
//! Shadow rules are asked first and change nothing: they count, and leave what they said in the dynamic metadata. A route's own
//! configuration takes the place of the filter's; without rules, all pass.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, LocalReply, StreamInfo};

use crate::rbac::{Decision, Engine, Subject};

/// Rules, shadow rules, and how what they say is told.
#[derive(Debug)]
pub struct Access {
    /// `rules`, `matcher`
    pub rules: Option<Engine>,
    /// `shadow_rules`, `shadow_matcher`
    pub shadow: Option<Engine>,
    /// `rules_stat_prefix`: what the keys of metadata begin with.
    pub prefix: Box<str>,
    /// `shadow_rules_stat_prefix`
    pub shadow_prefix: Box<str>,
}

/// The names of [`Rbac::counters`].
pub const COUNTERS: &[&str] = &["allowed", "denied"];
/// The names of [`Rbac::shadow_counters`].
pub const SHADOW_COUNTERS: &[&str] = &["shadow_allowed", "shadow_denied"];

/// The factory.
#[derive(Debug)]
pub struct Rbac {
    /// The filter's own configuration.
    pub access: Arc<Access>,
    /// What the rules said.
    pub counters: Arc<Counters>,
    /// What the shadow rules said.
    pub shadow_counters: Arc<Counters>,
}

/// One stream.
struct Instance {
    access: Arc<Access>,
    /// The prefixes of a route are used where it has them, else the filter's.
    own: Arc<Access>,
    counters: Arc<Counters>,
    shadow_counters: Arc<Counters>,
    /// What a refusal leaves in the dynamic metadata: logs see it, the reply's own headers do not, as in Envoy.
    late: Vec<(String, MetadataValue)>,
}

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.rbac";

impl HttpFilterFactory for Rbac {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD.and(Phases::COMPLETE)
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let access = start.route::<Access>().unwrap_or_else(|| Arc::clone(&self.access));
        if access.rules.is_none() && access.shadow.is_none() {
            return None;
        }
        Some(Box::new(Instance {
            access,
            own: Arc::clone(&self.access),
            counters: Arc::clone(&self.counters),
            shadow_counters: Arc::clone(&self.shadow_counters),
            late: Vec::new(),
        }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let access = &*self.access;
        let mut notes = Vec::new();
        if let Some(rules) = &access.shadow {
            let decision =
                rules.decide(Subject { request: Some(stream.request), response: None, info: stream.info });
            self.shadow_counters.inc(usize::from(!decision.allowed));
            count_policy(&decision, 2);
            let prefix = own_or(&access.shadow_prefix, &self.own.shadow_prefix);
            note(&mut notes, prefix, ["shadow_effective_policy_id", "shadow_engine_result"], &decision);
        }
        let Some(rules) = &access.rules else {
            tell(stream.info, notes);
            return Flow::Continue;
        };
        let decision =
            rules.decide(Subject { request: Some(stream.request), response: None, info: stream.info });
        if let Some(hint) = decision.hint {
            stream.info.metadata.set("envoy.common", "access_log_hint", MetadataValue::Bool(hint));
        }
        self.counters.inc(usize::from(!decision.allowed));
        count_policy(&decision, 0);
        let prefix = own_or(&access.prefix, &self.own.prefix);
        note(&mut notes, prefix, ["enforced_effective_policy_id", "enforced_engine_result"], &decision);
        if decision.allowed {
            tell(stream.info, notes);
            return Flow::Continue;
        }
        self.late = notes;
        Flow::Reply(Box::new(LocalReply::new(403, decision.details()).body("RBAC: access denied")))
    }

    fn on_complete(&mut self, stream: &mut Stream<'_>) {
        tell(stream.info, std::mem::take(&mut self.late));
    }
}

fn own_or<'p>(route: &'p str, own: &'p str) -> &'p str {
    if route.is_empty() { own } else { route }
}

/// Counts for the policy that matched: allowed at `first`, denied behind it.
fn count_policy(decision: &Decision<'_>, first: usize) {
    if let Some(counters) = decision.policy.and_then(|policy| policy.counters.as_ref()) {
        counters.inc(first + usize::from(!decision.allowed));
    }
}

/// Notes a decision under the keys for the policy and for the result.
fn note(notes: &mut Vec<(String, MetadataValue)>, prefix: &str, keys: [&str; 2], decision: &Decision<'_>) {
    if let Some(policy) = decision.policy {
        let name = MetadataValue::String(Arc::clone(&policy.name));
        notes.push((format!("{prefix}{}", keys[0]), name));
    }
    notes.push((format!("{prefix}{}", keys[1]), decision.result()));
}

/// Puts notes into the dynamic metadata.
fn tell(info: &mut StreamInfo, notes: Vec<(String, MetadataValue)>) {
    for (key, value) in notes {
        info.metadata.set(NAMESPACE, &key, value);
    }
}
