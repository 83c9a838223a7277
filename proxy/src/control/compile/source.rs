//! `envoy.config.core.v3.ConfigSource` -> [`Source`]: where a resource is to be had.
//!
//! Used wherever one resource names another, and for `dynamic_resources` of the bootstrap. Nothing is opened here; clusters
//! are named, and looked up when a stream is opened.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3 as pb;
use sampan_api::envoy::config::core::v3::api_config_source::ApiType;
use sampan_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use sampan_api::envoy::config::core::v3::grpc_service::google_grpc::channel_credentials::CredentialSpecifier;
use sampan_api::envoy::config::core::v3::grpc_service::{GoogleGrpc, TargetSpecifier};
use sampan_api::{MessageSupport, Support};

use super::{Scope, value};
use crate::reference::{GrpcPeer, GrpcSource, GrpcTarget, RestSource, Source, SourceKey, SourceSpec};

const YES: Support = Support::Supported;
const ANY_HOST: Support = Support::Ignored("an attempt goes to any host; a filter that sets it is refused");
const CHANNEL: Support = Support::Ignored("the channel's own settings count");

/// `initial_fetch_timeout` where nothing is configured.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// `request_timeout` where nothing is configured.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// `rate_limit_settings` where they are set and empty.
const RATE: (u32, f64) = (100, 10.0);

/// Why a resource cannot be had.
pub const NO_ADS: &str =
    "the aggregated stream is meant, and the bootstrap has no dynamic_resources.ads_config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.ConfigSource",
        &[
            ("path", YES),
            ("path_config_source", YES),
            ("api_config_source", YES),
            ("ads", YES),
            ("self", YES),
            ("initial_fetch_timeout", YES),
            ("resource_api_version", YES),
            ("authorities", Support::Later("resources are not asked for by xdstp names")),
        ],
    ),
    ("envoy.config.core.v3.AggregatedConfigSource", &[]),
    ("envoy.config.core.v3.SelfConfigSource", &[("transport_api_version", YES)]),
    ("envoy.config.core.v3.PathConfigSource", &[("path", YES), ("watched_directory", YES)]),
    ("envoy.config.core.v3.WatchedDirectory", &[("path", YES)]),
    (
        "envoy.config.core.v3.ApiConfigSource",
        &[
            ("api_type", YES),
            ("transport_api_version", YES),
            ("cluster_names", YES),
            ("grpc_services", YES),
            ("refresh_delay", YES),
            ("request_timeout", YES),
            ("rate_limit_settings", YES),
            ("set_node_on_first_message_only", YES),
            ("config_validators", Support::Later("there are no such validators")),
        ],
    ),
    ("envoy.config.core.v3.RateLimitSettings", &[("max_tokens", YES), ("fill_rate", YES)]),
    (
        "envoy.config.core.v3.RetryPolicy",
        &[
            ("retry_back_off", YES),
            // Of what filters ask. A stream is opened again for as long as it is wanted.
            ("num_retries", YES),
            ("retry_on", YES),
            ("retry_priority", ANY_HOST),
            ("retry_host_predicate", ANY_HOST),
            ("host_selection_retry_max_attempts", Support::Ignored("an attempt goes to any host")),
        ],
    ),
    ("envoy.config.core.v3.BackoffStrategy", &[("base_interval", YES), ("max_interval", YES)]),
    (
        "envoy.config.core.v3.GrpcService",
        &[
            ("envoy_grpc", YES),
            ("google_grpc", YES),
            ("timeout", YES),
            ("initial_metadata", YES),
            ("retry_policy", YES),
        ],
    ),
    (
        "envoy.config.core.v3.GrpcService.EnvoyGrpc",
        &[
            ("cluster_name", YES),
            ("authority", YES),
            ("max_receive_message_length", YES),
            ("retry_policy", YES),
            ("skip_envoy_headers", Support::Ignored("no x-envoy headers are sent to gRPC services")),
        ],
    ),
    (
        "envoy.config.core.v3.GrpcService.GoogleGrpc",
        &[
            ("target_uri", YES),
            ("channel_credentials", YES),
            ("stat_prefix", Support::Ignored("its stats are the control plane's")),
            ("credentials_factory_name", Support::Later("there are no such credentials")),
            ("config", CHANNEL),
            ("per_stream_buffer_limit_bytes", CHANNEL),
            ("channel_args", CHANNEL),
            ("call_credentials", Support::Later("a source that sets it is refused")),
        ],
    ),
    (
        "envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelCredentials",
        &[("local_credentials", YES), ("google_default", Support::Later("a source that sets it is refused"))],
    ),
    ("envoy.config.core.v3.GrpcService.GoogleGrpc.GoogleLocalCredentials", &[]),
    ("envoy.config.core.v3.HeaderValue", &[("key", YES), ("value", YES), ("raw_value", YES)]),
];

/// Where a resource is to be had; `None` after the scope was told why not.
#[allow(deprecated)] // `path`
pub fn compile(proto: Option<&pb::ConfigSource>, at: &Scope<'_>) -> Option<Source> {
    let Some(proto) = proto else { return at.reject("the config source is missing") };
    let timeout = at.field("initial_fetch_timeout");
    let fetch_timeout = value::timeout(proto.initial_fetch_timeout.as_ref(), Some(FETCH_TIMEOUT), &timeout);
    let (key, spec) = match &proto.config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_)) => ("ads".to_owned(), SourceSpec::Ads),
        Some(ConfigSourceSpecifier::Self_(_)) => ("self".to_owned(), SourceSpec::Same),
        Some(ConfigSourceSpecifier::Path(path)) => file(path, None, &at.field("path"))?,
        Some(ConfigSourceSpecifier::PathConfigSource(source)) => {
            let watched = source.watched_directory.as_ref().map(|directory| directory.path.as_str());
            file(&source.path, watched, &at.field("path_config_source").field("path"))?
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(source)) => api(source, &at.field("api_config_source"))?,
        None => {
            return at.reject_value(
                "",
                "no kind of source is given",
                "give ads, api_config_source or path_config_source",
            );
        }
    };
    Some(Source { key: SourceKey(key.into()), spec: Arc::new(spec), fetch_timeout })
}

/// The source that the resource itself comes from.
pub fn own() -> Source {
    let spec = Arc::new(SourceSpec::Same);
    Source { key: SourceKey("self".into()), spec, fetch_timeout: Some(FETCH_TIMEOUT) }
}

/// The aggregated stream (`dynamic_resources.ads_config`).
pub fn ads(proto: &pb::ApiConfigSource, at: &Scope<'_>) -> Option<GrpcSource> {
    match proto.api_type() {
        ApiType::Grpc | ApiType::AggregatedGrpc => grpc(proto, false, at),
        ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => grpc(proto, true, at),
        other => at.field("api_type").reject_value(
            other.as_str_name(),
            "an aggregated source speaks gRPC",
            "use GRPC or DELTA_GRPC",
        ),
    }
}

fn file(path: &str, watched: Option<&str>, at: &Scope<'_>) -> Option<(String, SourceSpec)> {
    if path.is_empty() {
        return at.reject("the path is empty");
    }
    // Envoy refuses a missing file as well: a typo would otherwise be found when it is too late.
    if !std::path::Path::new(path).exists() {
        return at.reject_value(
            path,
            format!("paths must refer to an existing path in the system: '{path}' does not exist"),
            "create the file first; it is read again whenever it is replaced",
        );
    }
    let key = format!("path:{path}");
    Some((key, SourceSpec::File { path: path.into(), watched: watched.map(Into::into) }))
}

fn api(proto: &pb::ApiConfigSource, at: &Scope<'_>) -> Option<(String, SourceSpec)> {
    match proto.api_type() {
        ApiType::Grpc => {
            let source = grpc(proto, false, at)?;
            Some((grpc_key("grpc", &source), SourceSpec::Grpc(source)))
        }
        ApiType::DeltaGrpc => {
            let source = grpc(proto, true, at)?;
            Some((grpc_key("delta-grpc", &source), SourceSpec::Grpc(source)))
        }
        // As in Envoy, these mean "by the aggregated stream".
        ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc => Some(("ads".to_owned(), SourceSpec::Ads)),
        ApiType::Rest => {
            let source = rest(proto, at)?;
            Some((format!("rest:{}", source.cluster), SourceSpec::Rest(source)))
        }
        #[allow(deprecated)]
        ApiType::DeprecatedAndUnavailableDoNotUse => {
            at.field("api_type").reject_value("REST_LEGACY", "this type no longer exists", "use REST or GRPC")
        }
    }
}

/// Names the servers, and tells sources apart that differ in anything else.
fn grpc_key(kind: &str, source: &GrpcSource) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    static KEYS: std::sync::OnceLock<RandomState> = std::sync::OnceLock::new();
    let names: Vec<&str> = source
        .targets
        .iter()
        .map(|target| match &target.peer {
            GrpcPeer::Cluster(name) | GrpcPeer::Address(name) => &**name,
        })
        .collect();
    let plain = source.targets.iter().all(|t| t.metadata.is_empty() && t.authority.is_empty());
    let names = names.join(",");
    if plain && source.rate_limit.is_none() && source.back_off.is_none() {
        return format!("{kind}:{names}");
    }
    let hash = KEYS.get_or_init(RandomState::new).hash_one(format!("{source:?}"));
    format!("{kind}:{names}#{hash:016x}")
}

fn grpc(proto: &pb::ApiConfigSource, delta: bool, at: &Scope<'_>) -> Option<GrpcSource> {
    let list = at.field("grpc_services");
    if !proto.cluster_names.is_empty() {
        return at.field("cluster_names").reject_value(
            proto.cluster_names.join(", "),
            "cluster_names belong to REST sources",
            "name the cluster in grpc_services[].envoy_grpc.cluster_name",
        );
    }
    if proto.grpc_services.is_empty() {
        return list.reject("API configs must have at least one gRPC service specified");
    }
    let before = at.rejects().len();
    let each = proto.grpc_services.iter().enumerate();
    let targets = each.filter_map(|(index, service)| grpc_target(service, &list.index(index))).collect();
    let rate_limit = proto.rate_limit_settings.as_ref().map(|settings| {
        let tokens = value::number_or(settings.max_tokens.as_ref(), RATE.0);
        (tokens, settings.fill_rate.as_ref().map_or(RATE.1, |rate| rate.value))
    });
    let back_off = proto.grpc_services.iter().enumerate().find_map(|(index, service)| {
        let Some(TargetSpecifier::EnvoyGrpc(envoy)) = &service.target_specifier else { return None };
        let policy = envoy.retry_policy.as_ref()?;
        self::back_off(policy, &list.index(index).field("envoy_grpc").field("retry_policy"))
    });
    (at.rejects().len() == before).then_some(GrpcSource {
        targets,
        back_off,
        delta,
        node_once: proto.set_node_on_first_message_only,
        rate_limit,
    })
}

/// A gRPC service to call.
pub fn grpc_target(proto: &pb::GrpcService, at: &Scope<'_>) -> Option<GrpcTarget> {
    let metadata = proto.initial_metadata.iter().map(|header| {
        let value = if header.value.is_empty() {
            String::from_utf8_lossy(&header.raw_value).into_owned()
        } else {
            header.value.clone()
        };
        (header.key.to_ascii_lowercase().into(), value.into())
    });
    let (peer, authority, message_cap) = match &proto.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => {
            let cap = value::number(envoy.max_receive_message_length.as_ref()).map(|cap| cap as usize);
            (GrpcPeer::Cluster(envoy.cluster_name.as_str().into()), envoy.authority.as_str().into(), cap)
        }
        Some(TargetSpecifier::GoogleGrpc(google)) => {
            let uri = google_grpc(google, &at.field("google_grpc"))?;
            (GrpcPeer::Address(uri), Arc::default(), None)
        }
        None => return at.reject("neither envoy_grpc nor google_grpc is given"),
    };
    let timeout = value::timeout(proto.timeout.as_ref(), None, &at.field("timeout"));
    Some(GrpcTarget { peer, authority, metadata: metadata.collect(), timeout, message_cap })
}

/// The first and the longest delay before a stream is opened again; `None` where the policy does not say.
pub fn back_off(proto: &pb::RetryPolicy, at: &Scope<'_>) -> Option<(Duration, Duration)> {
    let at = at.field("retry_back_off");
    let proto = proto.retry_back_off.as_ref()?;
    let Some(base) = value::duration(proto.base_interval.as_ref(), &at.field("base_interval")) else {
        return at.field("base_interval").reject("is required");
    };
    let base = base.max(Duration::from_millis(1));
    let longest = value::duration(proto.max_interval.as_ref(), &at.field("max_interval"));
    let longest = longest.unwrap_or(base.saturating_mul(10));
    if longest < base {
        return at.field("max_interval").reject("must not be less than the base_interval");
    }
    Some((base, longest))
}

/// Host and port of a `google_grpc` target.
fn google_grpc(proto: &GoogleGrpc, at: &Scope<'_>) -> Option<Arc<str>> {
    let credentials = proto.channel_credentials.as_ref().and_then(|c| c.credential_specifier.as_ref());
    match credentials {
        None | Some(CredentialSpecifier::LocalCredentials(_)) => {}
        Some(_) => {
            return at.field("channel_credentials").reject_value(
                "",
                "these credentials are not supported",
                "use envoy_grpc and a cluster with a TLS transport socket",
            );
        }
    }
    if !proto.call_credentials.is_empty() {
        return at.field("call_credentials").reject("call credentials are not supported");
    }
    let target = proto.target_uri.rsplit('/').next().unwrap_or_default();
    let port = target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return at.field("target_uri").reject_value(
            &proto.target_uri,
            "a target is a host and a port",
            "such as dns:///xds.example.com:18000",
        );
    }
    Some(target.into())
}

fn rest(proto: &pb::ApiConfigSource, at: &Scope<'_>) -> Option<RestSource> {
    let [cluster] = proto.cluster_names.as_slice() else {
        return at.field("cluster_names").reject_value(
            proto.cluster_names.join(", "),
            "a REST source has exactly one cluster",
            "",
        );
    };
    let delay = at.field("refresh_delay");
    let Some(refresh) =
        value::duration(proto.refresh_delay.as_ref(), &delay).filter(|delay| !delay.is_zero())
    else {
        return delay.reject("a REST source needs a refresh_delay above zero");
    };
    let timeout =
        value::timeout(proto.request_timeout.as_ref(), Some(REQUEST_TIMEOUT), &at.field("request_timeout"));
    Some(RestSource {
        cluster: cluster.as_str().into(),
        refresh,
        timeout: timeout.unwrap_or(REQUEST_TIMEOUT),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::compiled;
    use super::*;

    #[track_caller]
    fn grpc_source(policy: &str) -> Result<GrpcSource, Vec<String>> {
        let services = format!("[{{envoy_grpc: {{cluster_name: c, retry_policy: {{{policy}}}}}}}]");
        let yaml = format!("{{api_type: DELTA_GRPC, grpc_services: {services}}}");
        compiled::<pb::ApiConfigSource, _>(&yaml, |proto, _, at| ads(proto, at))
    }

    #[test]
    fn a_stream_has_a_back_off_of_its_own() {
        let back_off = |policy: &str| {
            let read = grpc_source(policy).unwrap().back_off;
            read.map(|(first, longest)| (first.as_millis(), longest.as_millis()))
        };
        assert_eq!(back_off(""), None);
        assert_eq!(back_off("retry_back_off: {base_interval: 0.1s}"), Some((100, 1000)));
        assert_eq!(back_off("retry_back_off: {base_interval: 1s, max_interval: 60s}"), Some((1000, 60_000)));
        let refused = grpc_source("retry_back_off: {base_interval: 2s, max_interval: 1s}").unwrap_err();
        let at = "grpc_services[0].envoy_grpc.retry_policy.retry_back_off.max_interval: ";
        assert_eq!(refused, [format!("{at}must not be less than the base_interval")]);
    }
}
