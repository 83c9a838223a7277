//! Services that filters ask: `GrpcService` and `HttpUri`, which name a cluster.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::core::v3::grpc_service::TargetSpecifier;
use sampan_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use sampan_api::envoy::config::core::v3::{
    GrpcService as GrpcProto, HttpUri as HttpProto, RetryPolicy as RetryProto,
};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::call::{MOST_OF_AN_ANSWER, Retry};
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
    if envoy.retry_policy.is_some() {
        let reason = "is for streams of xDS, and has no effect on what filters ask";
        let error = ConfigError::new(under(path, "envoy_grpc.retry_policy"), reason);
        return Err(error.hint("use the retry_policy beside envoy_grpc"));
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
        retry: retry(proto.retry_policy.as_ref(), None, &under(path, "retry_policy"))?,
    })
}

/// Waits where the policy has none: at most a second before the second attempt.
const BASE_INTERVAL: Duration = Duration::from_secs(1);

/// When a service at `path` is asked again; `on` are conditions in place of the policy's own.
pub fn retry(
    proto: Option<&RetryProto>,
    on: Option<&str>,
    path: &str,
) -> Result<Option<Arc<Retry>>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    let hosts = [
        ("retry_priority", proto.retry_priority.is_some()),
        ("retry_host_predicate", !proto.retry_host_predicate.is_empty()),
    ];
    if let Some((field, _)) = hosts.iter().find(|(_, set)| *set) {
        return Err(ConfigError::new(under(path, field), "a service is asked again at any of its hosts"));
    }
    let back_off = proto.retry_back_off.as_ref();
    let at = &under(path, "retry_back_off");
    let read = |proto: &_, field: &str| duration(proto, &under(at, field));
    let base = back_off.and_then(|proto| proto.base_interval.as_ref());
    let base_interval = match (base, back_off) {
        (Some(proto), _) => read(proto, "base_interval")?.max(Duration::from_millis(1)),
        (None, Some(_)) => return Err(ConfigError::new(under(at, "base_interval"), "is required")),
        (None, None) => BASE_INTERVAL,
    };
    let most = back_off.and_then(|proto| proto.max_interval.as_ref());
    let max_interval = most.map(|proto| read(proto, "max_interval")).transpose()?;
    let max_interval = max_interval.unwrap_or(base_interval.saturating_mul(10));
    Ok(Some(Arc::new(Retry {
        on: on.unwrap_or(&proto.retry_on).into(),
        retries: proto.num_retries.map_or(1, |number| number.value),
        base_interval,
        max_interval: max_interval.max(Duration::from_millis(1)),
    })))
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

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::testing::bytes;
    use super::*;

    fn proto(yaml: &str) -> RetryProto {
        RetryProto::decode(&*bytes::<RetryProto>(yaml)).unwrap()
    }

    fn read(yaml: &str) -> Result<(u32, u128, u128), ConfigError> {
        let policy = proto(yaml);
        let retry = retry(Some(&policy), None, "p")?.unwrap();
        Ok((retry.retries, retry.base_interval.as_millis(), retry.max_interval.as_millis()))
    }

    #[test]
    fn a_policy_has_defaults() {
        assert_eq!(read("{}").unwrap(), (1, 1000, 10_000));
        assert_eq!(read("{num_retries: 3, retry_back_off: {base_interval: 0.02s}}").unwrap(), (3, 20, 200));
        let both = "{retry_back_off: {base_interval: 0s, max_interval: 2s}}";
        assert_eq!(read(both).unwrap(), (1, 1, 2000), "there is a pause, however short");
        let policy = proto("{retry_on: reset}");
        assert_eq!(&*retry(Some(&policy), Some("5xx"), "p").unwrap().unwrap().on, "5xx");
        assert_eq!(retry(None, None, "p").unwrap(), None);
    }

    #[test]
    fn refusals_tell_where() {
        let refused = |yaml: &str| read(yaml).unwrap_err().path;
        assert_eq!(refused("{retry_back_off: {max_interval: 1s}}"), "p.retry_back_off.base_interval");
        assert_eq!(refused("{retry_priority: {name: p}}"), "p.retry_priority");
        assert_eq!(refused("{retry_host_predicate: [{name: p}]}"), "p.retry_host_predicate");
    }
}
