//! The policy `override_host`: hosts named by a request header or by metadata, and another policy for when none is to be had.

use std::sync::Arc;

use sampan_api::envoy::extensions::load_balancing_policies::override_host::v3 as pb;
use sampan_api::envoy::extensions::load_balancing_policies::override_host::v3::override_host::OverrideHostSource;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{OverrideHost, OverrideSource};

use super::super::super::{Scope, value};
use super::super::metadata_key;
use super::{Balance, typed};
use crate::control::compile::tls::LocalCluster;

const YES: Support = Support::Supported;

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        &[("override_host_sources", YES), ("selected_host_key", YES), ("fallback_policy", YES)],
    ),
    (
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource",
        &[("header", YES), ("metadata", YES)],
    ),
];

pub(super) fn compile(
    any: &Any,
    depth: usize,
    local: Option<&LocalCluster>,
    at: &Scope<'_>,
) -> Option<Balance> {
    let config: pb::OverrideHost = value::payload(any, at)?;
    let sources = at.field("override_host_sources");
    let each = config.override_host_sources.iter().enumerate();
    let sources = each.map(|(index, proto)| source(proto, &sources.index(index))).collect::<Option<_>>()?;
    let selected =
        config.selected_host_key.as_ref().map(|key| metadata_key(key, &at.field("selected_host_key")));
    let at = at.field("fallback_policy");
    let Some(list) = &config.fallback_policy else { return at.reject("is required") };
    let mut balance = typed::compile(list, depth + 1, local, &at)?;
    if balance.override_host.is_some() {
        return at.reject("override_host within override_host is not supported");
    }
    balance.override_host = Some(Arc::new(OverrideHost { sources, selected }));
    Some(balance)
}

fn source(proto: &OverrideHostSource, at: &Scope<'_>) -> Option<OverrideSource> {
    match (proto.header.as_str(), &proto.metadata) {
        ("", None) => at.reject("Empty override source"),
        ("", Some(key)) => {
            let (namespace, path) = metadata_key(key, &at.field("metadata"));
            Some(OverrideSource::Metadata(namespace, path))
        }
        (name, None) => Some(OverrideSource::Header(name.to_ascii_lowercase().into())),
        (_, Some(_)) => at.reject("Only one override source must be set"),
    }
}
