//! Services that filters ask: `GrpcService` and `HttpUri`, which name a cluster.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::grpc_service::TargetSpecifier;
use sampan_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use sampan_api::envoy::config::core::v3::{GrpcService as GrpcProto, HttpUri as HttpProto};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::call::MOST_OF_AN_ANSWER;
use sampan_filters_api::format::Template;

use super::matcher::under;
use super::{ConfigError, duration};
use crate::grpc::GrpcService;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[("envoy.config.core.v3.HttpUri", &[("*", YES)])];

/// A gRPC service at `path`; `timeout` is what holds where it says nothing.
pub fn grpc(proto: Option<&GrpcProto>, timeout: Duration, path: &str) -> Result<GrpcService, ConfigError> {
    let Some(proto) = proto else { return Err(ConfigError::new(path, "is required")) };
    let envoy = match &proto.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => envoy,
        Some(TargetSpecifier::GoogleGrpc(google)) => {
            let reason = "filters call services by way of clusters only";
            let error = ConfigError::new(under(path, "google_grpc"), reason).value(&google.target_uri);
            return Err(error.hint("use envoy_grpc and a cluster with the target as its endpoint"));
        }
        None => return Err(ConfigError::new(path, "neither envoy_grpc nor google_grpc is given")),
    };
    if envoy.cluster_name.is_empty() {
        return Err(ConfigError::new(under(path, "envoy_grpc.cluster_name"), "is required"));
    }
    if envoy.retry_policy.is_some() || proto.retry_policy.is_some() {
        let field = if envoy.retry_policy.is_some() { "envoy_grpc.retry_policy" } else { "retry_policy" };
        return Err(ConfigError::new(under(path, field), "filters ask their services once"));
    }
    let mut metadata = Vec::with_capacity(proto.initial_metadata.len());
    for (index, header) in proto.initial_metadata.iter().enumerate() {
        let at = format!("{}[{index}].value", under(path, "initial_metadata"));
        let text =
            if header.value.is_empty() { std::str::from_utf8(&header.raw_value) } else { Ok(&*header.value) };
        let text = text.map_err(|_| ConfigError::new(&*at, "only UTF-8 is supported"))?;
        let value = Template::parse_header_value(text)
            .map_err(|error| ConfigError::new(at, error.reason).value(error.operator).hint(error.hint))?;
        metadata.push((header.key.to_ascii_lowercase().into(), value));
    }
    let own = proto.timeout.as_ref().map(|proto| duration(proto, &under(path, "timeout"))).transpose()?;
    let cluster: Arc<str> = envoy.cluster_name.as_str().into();
    Ok(GrpcService {
        authority: if envoy.authority.is_empty() {
            Arc::clone(&cluster)
        } else {
            envoy.authority.as_str().into()
        },
        cluster,
        metadata,
        timeout: Some(own.unwrap_or(timeout)).filter(|limit| *limit > Duration::ZERO),
        longest: envoy.max_receive_message_length.map_or(MOST_OF_AN_ANSWER, |length| length.value as usize),
        marked: !envoy.skip_envoy_headers,
    })
}

/// `config.core.v3.HttpUri`
#[derive(Clone, Debug)]
pub struct HttpService {
    /// `cluster`
    pub cluster: Arc<str>,
    /// The host of `uri`, with its port.
    pub authority: Box<str>,
    /// The path of `uri`, `/` if it has none.
    pub path: Box<str>,
    /// `timeout`
    pub timeout: Duration,
}

/// An HTTP service at `path`.
pub fn http(proto: Option<&HttpProto>, timeout: Duration, path: &str) -> Result<HttpService, ConfigError> {
    let Some(proto) = proto else { return Err(ConfigError::new(path, "is required")) };
    let Some(HttpUpstreamType::Cluster(cluster)) = &proto.http_upstream_type else {
        return Err(ConfigError::new(under(path, "cluster"), "is required"));
    };
    let rest = proto.uri.split_once("://").map_or(proto.uri.as_str(), |(_, rest)| rest);
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    let own = proto.timeout.as_ref().map(|proto| duration(proto, &under(path, "timeout"))).transpose()?;
    Ok(HttpService {
        cluster: cluster.as_str().into(),
        authority: authority.into(),
        path: if target.is_empty() { "/" } else { target }.into(),
        timeout: own.unwrap_or(timeout),
    })
}
