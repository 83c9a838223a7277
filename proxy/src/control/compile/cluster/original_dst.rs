//! Clusters of type `ORIGINAL_DST`: what may name a destination besides the downstream connection.

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::{LbConfig, OriginalDstLbConfig};
use sampan_api::envoy::r#type::metadata::v3::MetadataKey;
use sampan_api::envoy::r#type::metadata::v3::metadata_key::PathSegment;
use sampan_api::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::OriginalDst;

use super::super::{Scope, value};

const YES: Support = Support::Supported;
/// `http_header_name` where none is given.
const HEADER: &str = "x-envoy-original-dst-host";

pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig",
    &[
        ("use_http_header", YES),
        ("http_header_name", YES),
        ("upstream_port_override", YES),
        ("metadata_key", YES),
    ],
)];

/// The settings of such a cluster.
pub(super) fn compile(proto: &pb::Cluster, at: &Scope<'_>) -> Option<OriginalDst> {
    let Some(LbConfig::OriginalDstLbConfig(config)) = &proto.lb_config else {
        return Some(OriginalDst::default());
    };
    let at = at.field("original_dst_lb_config");
    Some(OriginalDst {
        header: header(config, &at),
        metadata: config.metadata_key.as_ref().map(|key| metadata(key, &at.field("metadata_key"))),
        port_override: match value::number(config.upstream_port_override.as_ref()) {
            Some(port) => match u16::try_from(port) {
                Ok(port) => Some(port),
                Err(_) => {
                    at.field("upstream_port_override").reject_value(port, "a port is at most 65535", "")?
                }
            },
            None => None,
        },
    })
}

fn header(config: &OriginalDstLbConfig, at: &Scope<'_>) -> Option<Box<str>> {
    let name = config.http_header_name.to_ascii_lowercase();
    match (config.use_http_header, name.is_empty()) {
        (true, true) => Some(HEADER.into()),
        (true, false) => Some(name.into()),
        (false, true) => None,
        (false, false) => at.field("http_header_name").reject_value(
            &config.http_header_name,
            "use_http_header is false",
            "set use_http_header to true if http_header_name is desired",
        ),
    }
}

/// The namespace and path of dynamic metadata.
pub(super) fn metadata(key: &MetadataKey, at: &Scope<'_>) -> (Box<str>, Vec<Box<str>>) {
    let at = at.field("path");
    let segment = |(index, segment): (usize, &PathSegment)| match &segment.segment {
        Some(Segment::Key(key)) => Some(Box::from(key.as_str())),
        Some(Segment::Index(_)) => at.index(index).reject("elements of lists cannot be addressed"),
        None => at.index(index).reject("the key is missing"),
    };
    (key.key.as_str().into(), key.path.iter().enumerate().filter_map(segment).collect())
}
