//! `envoy.config.core.v3.HttpService` -> a collector that is reached by HTTP.

use sampan_api::envoy::config::core::v3 as pb;
use sampan_api::envoy::config::core::v3::http_uri::HttpUpstreamType;
use sampan_api::{MessageSupport, Support};

use super::super::{Scope, headers, value};
use crate::telemetry::trace::HttpCollector;

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.HttpService",
        &[
            ("http_uri", YES),
            ("request_headers_to_add", YES),
            ("formatters", Support::Later("headers of exports are plain text")),
        ],
    ),
    ("envoy.config.core.v3.HttpUri", &[("uri", YES), ("cluster", YES), ("timeout", YES)]),
];

/// The collector; `None` after the scope was told what is wrong. A path alone in the place of a URI goes to the cluster's name.
pub fn compile(proto: &pb::HttpService, at: &Scope<'_>) -> Option<HttpCollector> {
    let before = at.rejects().len();
    let uri_at = at.field("http_uri");
    let Some(uri) = &proto.http_uri else { return uri_at.reject("is required") };
    let cluster = match &uri.http_upstream_type {
        Some(HttpUpstreamType::Cluster(cluster)) if !cluster.is_empty() => cluster.as_str(),
        _ => return uri_at.field("cluster").reject("is required"),
    };
    let (host, path) = split(&uri.uri);
    let host = if host.is_empty() { cluster } else { host };
    let timeout = value::duration(uri.timeout.as_ref(), &uri_at.field("timeout"));
    let list = at.field("request_headers_to_add");
    let added = headers::adds(&proto.request_headers_to_add, &list);
    let mut found = Vec::new();
    for (index, add) in added.into_iter().enumerate() {
        let Some(text) = add.value.literal().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            list.index(index).reject::<()>("operators are not supported in the headers of exports");
            continue;
        };
        found.push((add.name, text.into()));
    }
    (at.rejects().len() == before).then(|| HttpCollector {
        cluster: cluster.into(),
        host: host.into(),
        path: path.into(),
        headers: found,
        timeout,
    })
}

/// Host, and path with its query.
fn split(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn uris_are_split_as_envoy_does() {
        assert_eq!(split("http://h:1/v1/traces?a=b"), ("h:1", "/v1/traces?a=b"));
        assert_eq!(split("https://h"), ("h", "/"));
        assert_eq!(split("/api/v2/spans"), ("", "/api/v2/spans"));
        assert_eq!(split("h/p"), ("h", "/p"));
    }
}
