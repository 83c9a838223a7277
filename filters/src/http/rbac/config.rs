//! The configuration of the RBAC filter; a route's own holds the same message.

use std::sync::{Arc, OnceLock};

use sampan_api::envoy::extensions::filters::http::rbac::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Access, COUNTERS, Keys, Rbac, SHADOW_COUNTERS, Words};
use crate::config::rbac::{Tracking, rules, tree};
use crate::config::{Compiled, FilterContext, payload};
use crate::rbac::Engine;

const YES: Support = Support::Supported;

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("rules", YES),
            ("rules_stat_prefix", YES),
            ("matcher", YES),
            ("shadow_rules", YES),
            ("shadow_matcher", YES),
            ("shadow_rules_stat_prefix", YES),
            ("track_per_rule_stats", YES),
        ],
    ),
    (PER_ROUTE, &[("rbac", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Rbac = payload(bytes)?;
    let (prefix, shadow_prefix) = prefixes(&proto, context);
    let access = access(&proto, "", context)?;
    let rbac = Rbac {
        access,
        counters: context.counters.counters(&dotted(&prefix), COUNTERS),
        shadow_counters: context.counters.counters(&dotted(&shadow_prefix), SHADOW_COUNTERS),
        words: Words::default(),
        unmatched: OnceLock::new(),
    };
    Ok(Arc::new(rbac))
}

/// Compiles the configuration of a route or virtual host; without one, all pass.
pub fn compile_route(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::RbacPerRoute = payload(bytes)?;
    let proto = proto.rbac.unwrap_or_default();
    Ok(Arc::new(access(&proto, "rbac", context)?))
}

/// What the names of counters begin with, for rules and for shadow rules.
fn prefixes(proto: &pb::Rbac, context: &FilterContext<'_>) -> (String, String) {
    let base = format!("{}rbac.", context.prefix);
    (join(&base, &proto.rules_stat_prefix), join(&base, &proto.shadow_rules_stat_prefix))
}

fn access(proto: &pb::Rbac, path: &str, context: &FilterContext<'_>) -> Compiled<Access> {
    let mut errors = Vec::new();
    let at = |field: &str| crate::config::matcher::under(path, field);
    let (prefix, shadow_prefix) = prefixes(proto, context);
    let (policies, shadow_policies) = (join(&prefix, "policy."), join(&shadow_prefix, "policy."));
    let tracking = |prefix| -> Tracking<'_> { proto.track_per_rule_stats.then_some((context, prefix)) };
    // As in Envoy, a matcher goes before rules.
    let own = match (&proto.matcher, &proto.rules) {
        (Some(matcher), _) => tree(matcher, &at("matcher"), &mut errors),
        (None, Some(own)) => Some(Engine::Rules(rules(own, tracking(&policies), &at("rules"), &mut errors))),
        (None, None) => None,
    };
    let shadow = match (&proto.shadow_matcher, &proto.shadow_rules) {
        (Some(matcher), _) => tree(matcher, &at("shadow_matcher"), &mut errors),
        (None, Some(own)) => {
            Some(Engine::Rules(rules(own, tracking(&shadow_policies), &at("shadow_rules"), &mut errors)))
        }
        (None, None) => None,
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Access {
        rules: own,
        shadow,
        keys: Some(&*proto.rules_stat_prefix).filter(|it| !it.is_empty()).map(Keys::enforced),
        shadow_keys: Some(&*proto.shadow_rules_stat_prefix).filter(|it| !it.is_empty()).map(Keys::shadow),
    })
}

/// Two parts of a stat's name, with a dot between them.
fn join(first: &str, second: &str) -> String {
    match (first, second) {
        (first, "") => first.to_owned(),
        (first, second) => format!("{}{second}", dotted(first)),
    }
}

/// A prefix that ends in a dot.
fn dotted(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('.') { prefix.to_owned() } else { format!("{prefix}.") }
}
