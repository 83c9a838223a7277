//! `envoy.filters.network.rbac`: closes connections that its rules do not let pass.
//!
//! The rules are asked when the client's first bytes come, as in Envoy, so that a protocol in which the server speaks first is
//! not held up before it has said anything. Shadow rules are asked with them and only count.

pub mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::network::{NetworkFilter, NetworkFilterFactory, NetworkFlow};
use sampan_filters_api::{Counters, StreamInfo};

use crate::rbac::{Engine, Subject};

/// Rules, and how what they say is told.
#[derive(Debug)]
pub struct Access {
    /// `rules`, `matcher`
    pub rules: Option<Engine>,
    /// `shadow_rules`, `shadow_matcher`
    pub shadow: Option<Engine>,
    /// `shadow_rules_stat_prefix`: what the keys of metadata begin with.
    pub shadow_prefix: Box<str>,
    /// `enforcement_type`: asked at every read.
    pub continuous: bool,
    /// `delay_deny`: how long a connection stays that is to be closed.
    pub delay: Option<Duration>,
    /// What the rules said.
    pub counters: Arc<Counters>,
    /// What the shadow rules said.
    pub shadow_counters: Arc<Counters>,
}

/// The factory.
#[derive(Debug)]
pub struct Rbac(pub Arc<Access>);

/// One connection.
struct Connection {
    access: Arc<Access>,
    asked: bool,
}

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.network.rbac";

impl NetworkFilterFactory for Rbac {
    fn create(&self, _info: &StreamInfo) -> Box<dyn NetworkFilter> {
        Box::new(Connection { access: Arc::clone(&self.0), asked: false })
    }
}

impl NetworkFilter for Connection {
    fn on_data(&mut self, info: &mut StreamInfo, _data: &mut BytesMut, _end: bool) -> NetworkFlow {
        let access = &*self.access;
        if !std::mem::replace(&mut self.asked, true) {
            access.ask_shadow(info);
        } else if !access.continuous {
            return NetworkFlow::Continue;
        }
        let Some(rules) = &access.rules else { return NetworkFlow::Continue };
        let decision = rules.decide(Subject { request: None, response: None, info });
        access.counters.inc(usize::from(!decision.allowed));
        let details = (!decision.allowed).then(|| decision.details());
        if let Some(hint) = decision.hint {
            info.metadata.set("envoy.common", "access_log_hint", MetadataValue::Bool(hint));
        }
        match (details, access.delay) {
            (None, _) => NetworkFlow::Continue,
            (Some(details), None) => NetworkFlow::Close { farewell: Bytes::new(), details: details.into() },
            (Some(details), Some(after)) => NetworkFlow::CloseLater { after, details: details.into() },
        }
    }

    fn reads(&self) -> bool {
        self.access.rules.is_some() || self.access.shadow.is_some()
    }
}

impl Access {
    fn ask_shadow(&self, info: &mut StreamInfo) {
        let Some(rules) = &self.shadow else { return };
        let decision = rules.decide(Subject { request: None, response: None, info });
        self.shadow_counters.inc(usize::from(!decision.allowed));
        let key = |name: &str| format!("{}{name}", self.shadow_prefix);
        let result = decision.result();
        if let Some(policy) = decision.policy {
            let name = MetadataValue::String(Arc::clone(&policy.name));
            info.metadata.set(NAMESPACE, &key("shadow_effective_policy_id"), name);
        }
        info.metadata.set(NAMESPACE, &key("shadow_engine_result"), result);
    }
}
