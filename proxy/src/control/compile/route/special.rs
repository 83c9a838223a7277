//! What few routes have: mirrors, internal redirects, hedging. What a virtual host or the whole configuration says of mirrors and
//! hedging holds for routes that say nothing, and is put into each of them here.

use sampan_api::envoy::config::common::mutation_rules::v3::HeaderMutation;
use sampan_api::envoy::config::common::mutation_rules::v3::header_mutation::Action;
use sampan_api::envoy::config::core::v3::TypedExtensionConfig;
use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route_action::{InternalRedirectAction, RequestMirrorPolicy};
use sampan_api::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig;
use sampan_api::{MessageSupport, Support, type_url};

use super::super::{Scope, headers, value};
use super::{Build, matching};
use crate::http::config::HeaderOps;
use crate::http::route::{InternalRedirects, Mirror, MirrorCluster, RedirectPredicate, Special};

const YES: Support = Support::Supported;
const AS_ENVOY: Support = Support::Ignored("Envoy does not read it either");

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        &[
            ("cluster", YES),
            ("cluster_header", YES),
            ("runtime_fraction", YES),
            ("trace_sampled", Support::Later("copies are not traced")),
            ("disable_shadow_host_suffix_append", YES),
            ("request_headers_mutations", YES),
            ("host_rewrite_literal", YES),
        ],
    ),
    (
        "envoy.config.route.v3.HedgePolicy",
        &[
            ("initial_requests", AS_ENVOY),
            ("additional_request_chance", AS_ENVOY),
            ("hedge_on_per_try_timeout", YES),
        ],
    ),
    (
        "envoy.config.route.v3.InternalRedirectPolicy",
        &[
            ("max_internal_redirects", YES),
            ("redirect_response_codes", YES),
            ("predicates", YES),
            ("allow_cross_scheme_redirect", YES),
            ("response_headers_to_copy", YES),
        ],
    ),
    ("envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig", &[]),
    (
        "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
        &[("allowed_route_names", YES)],
    ),
    ("envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig", &[]),
];

/// What routes take over from the levels above them.
#[derive(Clone, Default)]
pub(super) struct Inherited {
    pub mirrors: Vec<Mirror>,
    pub hedge: bool,
}

impl Inherited {
    /// Of a virtual host within its configuration.
    pub(super) fn of_host(&self, proto: &pb::VirtualHost, build: &Build<'_>, at: &Scope<'_>) -> Self {
        let own = mirrors(&proto.request_mirror_policies, build, &at.field("request_mirror_policies"));
        Self {
            mirrors: if own.is_empty() { self.mirrors.clone() } else { own },
            hedge: proto.hedge_policy.as_ref().is_some_and(|policy| policy.hedge_on_per_try_timeout),
        }
    }
}

/// What a route has; `None` for most.
pub(super) fn compile(
    proto: &pb::RouteAction,
    build: &Build<'_>,
    inherited: &Inherited,
    at: &Scope<'_>,
) -> Option<Box<Special>> {
    let own = mirrors(&proto.request_mirror_policies, build, &at.field("request_mirror_policies"));
    let hedge = proto.hedge_policy.as_ref();
    let special = Special {
        mirrors: if own.is_empty() { inherited.mirrors.clone() } else { own },
        redirects: redirects(proto, at),
        hedge: hedge.map_or(inherited.hedge, |policy| policy.hedge_on_per_try_timeout),
    };
    let any = !special.mirrors.is_empty() || special.redirects.is_some() || special.hedge;
    any.then(|| Box::new(special))
}

/// The policies of one level, in their order. Goes on after an error.
pub(super) fn mirrors(protos: &[RequestMirrorPolicy], build: &Build<'_>, at: &Scope<'_>) -> Vec<Mirror> {
    let each = protos.iter().enumerate();
    each.filter_map(|(index, proto)| mirror(proto, build, &at.index(index))).collect()
}

fn mirror(proto: &RequestMirrorPolicy, build: &Build<'_>, at: &Scope<'_>) -> Option<Mirror> {
    let cluster = match (proto.cluster.as_str(), proto.cluster_header.as_str()) {
        ("", "") => {
            return at.reject(
                "Exactly one of cluster or cluster_header in request mirror policy needs to be specified",
            );
        }
        (name, "") => MirrorCluster::Named(build.cluster(name, &at.field("cluster"))?),
        ("", header) => MirrorCluster::Header(header.to_ascii_lowercase().into()),
        _ => {
            return at
                .reject("Only one of cluster or cluster_header in request mirror policy can be specified");
        }
    };
    let fraction = match &proto.runtime_fraction {
        Some(fraction) => Some(matching::fraction(fraction, &at.field("runtime_fraction"))?),
        None => None,
    };
    let list = at.field("request_headers_mutations");
    let each = proto.request_headers_mutations.iter().enumerate();
    let mutations: Option<Vec<_>> = each.map(|(index, proto)| mutation(proto, &list.index(index))).collect();
    let host = (!proto.host_rewrite_literal.is_empty()).then(|| proto.host_rewrite_literal.as_str().into());
    Some(Mirror {
        cluster,
        fraction,
        host,
        suffix: !proto.disable_shadow_host_suffix_append,
        mutations: mutations?,
    })
}

fn mutation(proto: &HeaderMutation, at: &Scope<'_>) -> Option<HeaderOps> {
    let found_before = at.rejects().len();
    let one = match &proto.action {
        Some(Action::Append(option)) => {
            let add = headers::add(option, &at.field("append"));
            HeaderOps { request_add: add.into_iter().collect(), ..HeaderOps::default() }
        }
        Some(Action::Remove(name)) => {
            let name = headers::name(name, "removed", &at.field("remove"));
            HeaderOps { request_remove: name.into_iter().collect(), ..HeaderOps::default() }
        }
        Some(Action::RemoveOnMatch(_)) => {
            return at.field("remove_on_match").reject("is not supported yet");
        }
        None => return at.reject("no action is given"),
    };
    (at.rejects().len() == found_before).then_some(one)
}

#[expect(deprecated, reason = "1.40 accepts internal_redirect_action and max_internal_redirects")]
fn redirects(proto: &pb::RouteAction, at: &Scope<'_>) -> Option<InternalRedirects> {
    let Some(policy) = &proto.internal_redirect_policy else {
        let handled = proto.internal_redirect_action() == InternalRedirectAction::HandleInternalRedirect;
        return handled.then(|| InternalRedirects {
            most: value::number_or(proto.max_internal_redirects.as_ref(), 1),
            statuses: vec![302],
            predicates: Vec::new(),
            cross_scheme: false,
            copied: Vec::new(),
        });
    };
    let at = at.field("internal_redirect_policy");
    let list = at.field("predicates");
    let each = policy.predicates.iter().enumerate();
    let predicates = each.filter_map(|(index, proto)| predicate(proto, &list.index(index))).collect();
    let copied = at.field("response_headers_to_copy");
    let names = policy.response_headers_to_copy.iter().enumerate();
    Some(InternalRedirects {
        most: value::number_or(policy.max_internal_redirects.as_ref(), 1),
        statuses: statuses(&policy.redirect_response_codes),
        predicates,
        cross_scheme: policy.allow_cross_scheme_redirect,
        copied: names.filter_map(|(index, name)| copied_name(name, &copied.index(index))).collect(),
    })
}

/// Codes that are no redirects are left out, and 302 stands for an empty list, as in Envoy.
fn statuses(codes: &[u32]) -> Vec<u16> {
    const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
    if codes.is_empty() {
        return vec![302];
    }
    REDIRECTS.into_iter().filter(|status| codes.contains(&u32::from(*status))).collect()
}

fn copied_name(name: &str, at: &Scope<'_>) -> Option<Box<str>> {
    if name.starts_with(':') || name.is_empty() {
        return at.reject_value(name, ":-prefixed headers or Hosts may not be specified here.", "");
    }
    headers::name(name, "copied", at)
}

fn predicate(proto: &TypedExtensionConfig, at: &Scope<'_>) -> Option<RedirectPredicate> {
    let any = proto.typed_config.as_ref();
    let full = any.map_or("", |any| type_url::full_name(&any.type_url));
    match (full.strip_prefix("envoy.extensions.internal_redirect.").unwrap_or(full), any) {
        ("previous_routes.v3.PreviousRoutesConfig", _) => Some(RedirectPredicate::PreviousRoutes),
        ("safe_cross_scheme.v3.SafeCrossSchemeConfig", _) => Some(RedirectPredicate::SafeCrossScheme),
        ("allow_listed_routes.v3.AllowListedRoutesConfig", Some(any)) => {
            let config: AllowListedRoutesConfig = value::payload(any, &at.field("typed_config"))?;
            let names = config.allowed_route_names.iter().map(|name| name.as_str().into());
            Some(RedirectPredicate::AllowListed(names.collect()))
        }
        _ => at.field("typed_config").reject_value(
            full,
            "there is no such internal redirect predicate",
            "previous_routes, allow_listed_routes and safe_cross_scheme are",
        ),
    }
}
