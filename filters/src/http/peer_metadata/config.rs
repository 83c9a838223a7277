//! The configuration of `istio.metadata_exchange` for HTTP.

use std::sync::Arc;

use sampan_api::istio as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;

use super::{Discovery, PeerMetadata, Teller};
use crate::config::{Compiled, ConfigError, FilterContext, payload};
use crate::http::local_ratelimit::next_id;
use crate::peer::Peer;

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "io.istio.http.peer_metadata.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("downstream_discovery", YES),
            ("upstream_discovery", YES),
            ("downstream_propagation", YES),
            ("upstream_propagation", YES),
            (
                "shared_with_upstream",
                Support::Ignored("streams and their upstream connections share no state"),
            ),
            ("additional_labels", YES),
        ],
    ),
    (
        "io.istio.http.peer_metadata.Config.DiscoveryMethod",
        &[("baggage", YES), ("workload_discovery", YES), ("istio_headers", YES)],
    ),
    ("io.istio.http.peer_metadata.Config.PropagationMethod", &[("istio_headers", YES)]),
    ("io.istio.http.peer_metadata.Config.IstioHeaders", &[("skip_external_clusters", YES)]),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::PeerMetadataConfig = payload(bytes)?;
    let mut errors = Vec::new();
    let labels: Arc<[Box<str>]> = proto.additional_labels.iter().map(|label| label.as_str().into()).collect();
    let own = Peer::of_node(context.node, &labels);
    let mut teller = |methods: &[pb::PropagationMethod], path: &str| {
        let mut chosen = None;
        for (index, method) in methods.iter().enumerate() {
            match method.method_specifier {
                Some(pb::Propagation::IstioHeaders(headers)) => {
                    chosen = Some(Teller { skip_external: headers.skip_external_clusters });
                }
                None => errors.push(ConfigError::new(format!("{path}[{index}]"), "no method is given")),
            }
        }
        chosen
    };
    let tell_client = teller(&proto.downstream_propagation, "downstream_propagation");
    let tell_host = teller(&proto.upstream_propagation, "upstream_propagation");
    let of_client = discoveries(&proto.downstream_discovery, "downstream_discovery", true, &mut errors);
    let of_host = discoveries(&proto.upstream_discovery, "upstream_discovery", false, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Arc::new(PeerMetadata::new(
        next_id(),
        (of_client, of_host),
        (tell_client, tell_host),
        labels,
        &own,
        &context.node.id,
    )))
}

fn discoveries(
    methods: &[pb::DiscoveryMethod],
    path: &str,
    downstream: bool,
    errors: &mut Vec<ConfigError>,
) -> Vec<Discovery> {
    let each = methods.iter().enumerate();
    each.filter_map(|(index, method)| match method.method_specifier {
        Some(pb::Discovery::IstioHeaders(_)) => Some(Discovery::Headers),
        Some(pb::Discovery::WorkloadDiscovery(_)) => Some(Discovery::Workloads),
        // Hosts do not answer with it; Istio warns and goes on as well.
        Some(pb::Discovery::Baggage(_)) => downstream.then_some(Discovery::Baggage),
        None => {
            errors.push(ConfigError::new(format!("{path}[{index}]"), "no method is given"));
            None
        }
    })
    .collect()
}
