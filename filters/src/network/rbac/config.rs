//! The configuration of the network filter `rbac`.

use std::sync::Arc;

use sampan_api::envoy::config::rbac::v3 as rbac;
use sampan_api::envoy::config::rbac::v3::permission::Rule;
use sampan_api::envoy::config::rbac::v3::principal::Identifier;
use sampan_api::envoy::extensions::filters::network::rbac::v3 as pb;
use sampan_api::envoy::extensions::filters::network::rbac::v3::rbac::EnforcementType;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::{Access, Rbac};
use crate::config::rbac::{rules, tree};
use crate::config::{Compiled, ConfigError, FilterContext, duration, payload};
use crate::http::rbac::{COUNTERS, SHADOW_COUNTERS};
use crate::rbac::Engine;

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[
        ("rules", YES),
        ("matcher", YES),
        ("shadow_rules", YES),
        ("shadow_matcher", YES),
        ("shadow_rules_stat_prefix", YES),
        ("stat_prefix", YES),
        ("enforcement_type", YES),
        ("delay_deny", YES),
    ],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::Rbac = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.stat_prefix.is_empty() {
        errors.push(ConfigError::new("stat_prefix", "is required"));
    }
    for own in proto.rules.iter().chain(&proto.shadow_rules) {
        refuse_headers(own, &mut errors);
    }
    // As in Envoy, a matcher goes before rules.
    let own = match (&proto.matcher, &proto.rules) {
        (Some(matcher), _) => tree(matcher, "matcher", &mut errors),
        (None, own) => own.as_ref().map(|own| Engine::Rules(rules(own, None, "rules", &mut errors))),
    };
    let shadow = match (&proto.shadow_matcher, &proto.shadow_rules) {
        (Some(matcher), _) => tree(matcher, "shadow_matcher", &mut errors),
        (None, own) => own.as_ref().map(|own| Engine::Rules(rules(own, None, "shadow_rules", &mut errors))),
    };
    let delay = match proto.delay_deny.as_ref().map(|delay| duration(delay, "delay_deny")).transpose() {
        Ok(delay) => delay,
        Err(error) => {
            errors.push(error);
            None
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let dot = if proto.stat_prefix.ends_with('.') { "" } else { "." };
    let prefix = format!("{}{}{dot}rbac.", context.prefix, proto.stat_prefix);
    let shadow_prefix = match &*proto.shadow_rules_stat_prefix {
        "" => prefix.clone(),
        own if own.ends_with('.') => format!("{prefix}{own}"),
        own => format!("{prefix}{own}."),
    };
    Ok(Arc::new(Rbac(Arc::new(Access {
        rules: own,
        shadow,
        shadow_prefix: proto.shadow_rules_stat_prefix.as_str().into(),
        continuous: proto.enforcement_type() == EnforcementType::Continuous,
        delay,
        counters: context.counters.counters(&prefix, COUNTERS),
        shadow_counters: context.counters.counters(&shadow_prefix, SHADOW_COUNTERS),
    }))))
}

/// A connection has no headers; Envoy refuses rules about them here.
fn refuse_headers(rules: &rbac::Rbac, errors: &mut Vec<ConfigError>) {
    for (name, policy) in &rules.policies {
        let permissions = policy.permissions.iter().any(|permission| asks_header(permission, 0));
        let principals = policy.principals.iter().any(|principal| principal_asks_header(principal, 0));
        if permissions || principals {
            let path = format!("rules.policies[{name:?}]");
            errors.push(ConfigError::new(path, "found header rule, which is not supported for connections"));
        }
    }
}

/// Deeper rules are refused anyway.
const DEEPEST: usize = 64;

fn asks_header(permission: &rbac::Permission, depth: usize) -> bool {
    match &permission.rule {
        _ if depth > DEEPEST => false,
        Some(Rule::Header(_)) => true,
        Some(Rule::AndRules(set) | Rule::OrRules(set)) => {
            set.rules.iter().any(|rule| asks_header(rule, depth + 1))
        }
        Some(Rule::NotRule(rule)) => asks_header(rule, depth + 1),
        _ => false,
    }
}

fn principal_asks_header(principal: &rbac::Principal, depth: usize) -> bool {
    match &principal.identifier {
        _ if depth > DEEPEST => false,
        Some(Identifier::Header(_)) => true,
        Some(Identifier::AndIds(set) | Identifier::OrIds(set)) => {
            set.ids.iter().any(|id| principal_asks_header(id, depth + 1))
        }
        Some(Identifier::NotId(id)) => principal_asks_header(id, depth + 1),
        _ => false,
    }
}
