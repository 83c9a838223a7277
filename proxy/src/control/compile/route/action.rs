//! `RouteAction`: to which cluster, with which rewrites and timeouts.

use sampan_api::envoy::config::core::v3::{RoutingPriority, TypedExtensionConfig};
use sampan_api::envoy::config::route::v3 as pb;
use sampan_api::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier as ProtoSpecifier, HostRewriteSpecifier,
};
use sampan_api::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightedHost;
use sampan_api::envoy::config::route::v3::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use sampan_api::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use sampan_model::route::{
    ClusterSpecifier, Draw, HeaderName, HostRewrite, PathMatch, PathRewrite, Priority, RouteAction,
    RouteMatch, RouteTimeouts, UriTemplateRewrite, WeightedCluster, WeightedClusters, WeightedTarget,
};

use super::super::http::filters;
use super::super::{Scope, extension, headers, labels, value};
use super::special::{self, Inherited};
use super::{Build, hashing, retry};
use crate::http::route::{Forward, WeightedPayload};

const URI_TEMPLATE: &str = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";

/// Compiles the action of a route that `matcher` chooses (none if that is refused).
pub fn compile(
    proto: &pb::RouteAction,
    matcher: Option<&RouteMatch>,
    build: &Build<'_>,
    inherited: &Inherited,
    at: &Scope<'_>,
) -> Option<Box<Forward>> {
    let found_before = at.rejects().len();
    let cluster = cluster(proto, build, at);
    let path_rewrite = path_rewrite(proto, matcher, at);
    let host_rewrite = host_rewrite(proto, at);
    let timeouts = timeouts(proto, at);
    let (upgrades, terminate_connect) = upgrades(proto, at);
    let hash_policies = hashing::compile(&proto.hash_policy, &at.field("hash_policy"));
    let criteria = labels::criteria(proto.metadata_match.as_ref(), None);
    let retry = retry::compile(proto.retry_policy.as_ref(), &at.field("retry_policy"));
    let special = special::compile(proto, build, inherited, at);
    let mut action = RouteAction::new(cluster?);
    action.cluster_not_found_status = match proto.cluster_not_found_response_code() {
        ClusterNotFoundResponseCode::ServiceUnavailable => 503,
        ClusterNotFoundResponseCode::NotFound => 404,
        ClusterNotFoundResponseCode::InternalServerError => 500,
    };
    action.path_rewrite = path_rewrite?;
    action.host_rewrite = host_rewrite?;
    action.append_x_forwarded_host = proto.append_x_forwarded_host;
    action.timeouts = timeouts;
    action.priority = match proto.priority() {
        RoutingPriority::Default => Priority::Default,
        RoutingPriority::High => Priority::High,
    };
    let auto_host_rewrite = matches!(action.host_rewrite, HostRewrite::Auto);
    (at.rejects().len() == found_before).then(|| {
        Box::new(Forward {
            action,
            upgrades,
            terminate_connect,
            auto_host_rewrite,
            hash_policies,
            criteria,
            retry,
            buffer_limit: None,
            special,
        })
    })
}

fn cluster(
    proto: &pb::RouteAction,
    build: &Build<'_>,
    at: &Scope<'_>,
) -> Option<ClusterSpecifier<WeightedPayload>> {
    match &proto.cluster_specifier {
        Some(ProtoSpecifier::Cluster(name)) => {
            build.cluster(name, &at.field("cluster")).map(ClusterSpecifier::Cluster)
        }
        Some(ProtoSpecifier::ClusterHeader(name)) => {
            header_name(name, &at.field("cluster_header")).map(ClusterSpecifier::Header)
        }
        Some(ProtoSpecifier::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters");
            self::weighted(weighted, proto, build, &at).map(ClusterSpecifier::Weighted)
        }
        Some(ProtoSpecifier::ClusterSpecifierPlugin(name)) => {
            at.field("cluster_specifier_plugin").reject_value(name, "there is no such plugin", "")
        }
        Some(ProtoSpecifier::InlineClusterSpecifierPlugin(_)) => {
            at.field("inline_cluster_specifier_plugin").reject("cluster specifier plugins are not supported")
        }
        None => at.reject("no cluster is given"),
    }
}

fn header_name(name: &str, at: &Scope<'_>) -> Option<HeaderName> {
    if name.is_empty() { at.reject("the header has no name") } else { Some(HeaderName::new(name)) }
}

fn weighted(
    proto: &pb::WeightedCluster,
    action: &pb::RouteAction,
    build: &Build<'_>,
    at: &Scope<'_>,
) -> Option<WeightedClusters<WeightedPayload>> {
    let list = at.field("clusters");
    let each = proto.clusters.iter().enumerate();
    let entries: Vec<_> =
        each.filter_map(|(index, entry)| weight(entry, action, build, &list.index(index))).collect();
    if entries.len() != proto.clusters.len() {
        return None;
    }
    let prefix = &proto.runtime_key_prefix;
    let keys = proto.clusters.iter().filter(|_| !prefix.is_empty());
    let draw = Draw {
        keys: keys.map(|entry| format!("{prefix}.{}", entry.name).into()).collect(),
        header: match &proto.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) => {
                Some(HeaderName::new(name)).filter(|_| !name.is_empty())
            }
            _ => None,
        },
        by_hash: matches!(&proto.random_value_specifier, Some(RandomValueSpecifier::UseHashPolicy(on)) if on.value),
    };
    match WeightedClusters::new(entries) {
        Ok(clusters) => Some(clusters.drawn_by(draw)),
        Err(error) => list.reject(error.to_string()),
    }
}

fn weight(
    proto: &ClusterWeight,
    action: &pb::RouteAction,
    build: &Build<'_>,
    at: &Scope<'_>,
) -> Option<WeightedCluster<WeightedPayload>> {
    let target = match (proto.name.as_str(), proto.cluster_header.as_str()) {
        ("", "") => at.reject("either name or cluster_header must be given"),
        (name, "") => build.cluster(name, &at.field("name")).map(WeightedTarget::Cluster),
        ("", header) => Some(WeightedTarget::Header(HeaderName::new(header))),
        (_, _) => at.reject("only one of name and cluster_header may be given"),
    };
    let lists = (
        &proto.request_headers_to_add[..],
        &proto.request_headers_to_remove[..],
        &proto.response_headers_to_add[..],
        &proto.response_headers_to_remove[..],
    );
    let payload = WeightedPayload {
        headers: headers::ops(lists, at),
        filters: filters::overrides(
            &proto.typed_per_filter_config,
            build.context,
            &at.field("typed_per_filter_config"),
        ),
        host_rewrite: proto
            .host_rewrite_specifier
            .as_ref()
            .map(|WeightedHost::HostRewriteLiteral(host)| host.as_str().into()),
        criteria: labels::criteria(action.metadata_match.as_ref(), proto.metadata_match.as_ref()),
    };
    let weight = match value::number(proto.weight.as_ref()) {
        Some(weight) => Some(weight),
        None => at.field("weight").reject("is required"),
    };
    Some(WeightedCluster { target: target?, weight: weight?, payload })
}

fn path_rewrite(
    proto: &pb::RouteAction,
    matcher: Option<&RouteMatch>,
    at: &Scope<'_>,
) -> Option<PathRewrite> {
    let prefix = !proto.prefix_rewrite.is_empty();
    let whole = !proto.path_rewrite.is_empty();
    let set = [prefix, whole, proto.regex_rewrite.is_some(), proto.path_rewrite_policy.is_some()];
    if set.iter().filter(|set| **set).count() > 1 {
        return at.reject(
            "only one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite may be given",
        );
    }
    if whole {
        return headers::literal(&proto.path_rewrite, &at.field("path_rewrite")).map(PathRewrite::Whole);
    }
    if prefix {
        return Some(PathRewrite::Prefix(proto.prefix_rewrite.as_str().into()));
    }
    if let Some(rewrite) = &proto.regex_rewrite {
        return headers::regex_rewrite(rewrite, &at.field("regex_rewrite")).map(PathRewrite::Regex);
    }
    match &proto.path_rewrite_policy {
        Some(policy) => {
            let at = at.field("path_rewrite_policy");
            template(policy, matcher?, &at).map(PathRewrite::UriTemplate)
        }
        None => Some(PathRewrite::None),
    }
}

fn template(
    policy: &TypedExtensionConfig,
    matcher: &RouteMatch,
    at: &Scope<'_>,
) -> Option<UriTemplateRewrite> {
    let any = policy.typed_config.as_ref().filter(|any| extension::is(any, URI_TEMPLATE));
    let Some(any) = any else {
        return at.reject_value(
            extension::shown(policy),
            "there is no such path rewrite policy",
            "use envoy.path.rewrite.uri_template",
        );
    };
    let PathMatch::UriTemplate(template) = &matcher.path else {
        return at.reject("the route must match by envoy.path.match.uri_template too");
    };
    let at = at.field("typed_config");
    let config: UriTemplateRewriteConfig = value::payload(any, &at)?;
    match UriTemplateRewrite::new(&config.path_template_rewrite, template) {
        Ok(rewrite) => Some(rewrite),
        Err(error) => at.field("path_template_rewrite").reject_value(&error.template, error.reason, ""),
    }
}

fn host_rewrite(proto: &pb::RouteAction, at: &Scope<'_>) -> Option<HostRewrite> {
    Some(match &proto.host_rewrite_specifier {
        None => HostRewrite::None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => HostRewrite::Literal(host.as_str().into()),
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => HostRewrite::Auto,
        Some(HostRewriteSpecifier::AutoHostRewrite(_)) => HostRewrite::None,
        Some(HostRewriteSpecifier::HostRewrite(host)) => {
            HostRewrite::Literal(headers::literal(host, &at.field("host_rewrite"))?)
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            HostRewrite::Header(header_name(name, &at.field("host_rewrite_header"))?)
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => {
            HostRewrite::PathRegex(headers::regex_rewrite(rewrite, &at.field("host_rewrite_path_regex"))?)
        }
    })
}

/// Timeouts; zero stays zero, which is "off" and not "default".
#[expect(deprecated, reason = "1.40 accepts max_grpc_timeout and grpc_timeout_offset")]
fn timeouts(proto: &pb::RouteAction, at: &Scope<'_>) -> RouteTimeouts {
    let own = |field: Option<&_>, name: &str| value::duration(field, &at.field(name));
    let stream = proto.max_stream_duration.as_ref();
    let stream_at = at.field("max_stream_duration");
    let inner = |field: Option<&_>, name: &str| value::duration(field, &stream_at.field(name));
    RouteTimeouts {
        request: own(proto.timeout.as_ref(), "timeout"),
        idle: own(proto.idle_timeout.as_ref(), "idle_timeout"),
        flush: own(proto.flush_timeout.as_ref(), "flush_timeout"),
        has_max_stream: stream.is_some(),
        max_grpc_timeout: own(proto.max_grpc_timeout.as_ref(), "max_grpc_timeout"),
        grpc_timeout_offset: own(proto.grpc_timeout_offset.as_ref(), "grpc_timeout_offset"),
        max_stream_duration: inner(
            stream.and_then(|stream| stream.max_stream_duration.as_ref()),
            "max_stream_duration",
        ),
        grpc_timeout_header_max: inner(
            stream.and_then(|stream| stream.grpc_timeout_header_max.as_ref()),
            "grpc_timeout_header_max",
        ),
        grpc_timeout_header_offset: inner(
            stream.and_then(|stream| stream.grpc_timeout_header_offset.as_ref()),
            "grpc_timeout_header_offset",
        ),
    }
}

/// Upgrades of the route, and whether CONNECT is terminated.
fn upgrades(proto: &pb::RouteAction, at: &Scope<'_>) -> (Vec<(Box<str>, bool)>, bool) {
    let list = at.field("upgrade_configs");
    let mut found: Vec<(Box<str>, bool)> = Vec::new();
    let mut terminate = false;
    for (index, upgrade) in proto.upgrade_configs.iter().enumerate() {
        let at = list.index(index);
        let name: Box<str> = upgrade.upgrade_type.to_ascii_lowercase().into();
        if let Some(connect) = &upgrade.connect_config {
            let at = at.field("connect_config");
            if &*name != "connect" {
                at.reject_value::<()>(&name, "only the upgrade type CONNECT may have a connect_config", "");
            }
            if connect.proxy_protocol_config.is_some() {
                at.field("proxy_protocol_config").reject::<()>("the PROXY protocol is not supported yet");
            }
            if connect.allow_post {
                at.field("allow_post").reject::<()>("POST as CONNECT is not supported yet");
            }
            terminate = true;
        }
        if found.iter().any(|(known, _)| *known == name) {
            at.field("upgrade_type").reject_value::<()>(&name, "duplicate upgrade type", "");
            continue;
        }
        found.push((name, value::switch(upgrade.enabled.as_ref()).unwrap_or(true)));
    }
    (found, terminate)
}
