//! The configuration of the metadata exchange: in a listener's chain, or in a cluster.

use std::sync::Arc;

use sampan_api::istio as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::{NetworkFilterFactory, UpstreamFilterFactory};

use super::{COUNTERS, MetadataExchange};
use crate::config::{Compiled, ConfigError, FilterContext, payload};
use crate::peer::Peer;

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";

/// What is read here.
pub const SUPPORT: &[MessageSupport] =
    &[(MESSAGE, &[("protocol", YES), ("enable_discovery", YES), ("additional_labels", YES)])];

/// Makes the factory for a chain.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    Ok(Arc::new(exchange(bytes, context)?))
}

/// Makes the factory for a cluster.
pub fn compile_upstream(
    bytes: &[u8],
    context: &FilterContext<'_>,
) -> Compiled<Arc<dyn UpstreamFilterFactory>> {
    Ok(Arc::new(exchange(bytes, context)?))
}

fn exchange(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<MetadataExchange> {
    let proto: pb::MetadataExchange = payload(bytes)?;
    if proto.protocol.is_empty() {
        let error = ConfigError::new("protocol", "is required");
        return Err(vec![error.hint("set it to istio-peer-exchange")]);
    }
    let labels: Arc<[Box<str>]> = proto.additional_labels.iter().map(|label| label.as_str().into()).collect();
    // Its locality is not told on this way, as in Istio.
    let own = Peer::of_metadata(&context.node.metadata, &labels);
    let counters = context.counters.counters("metadata_exchange.", COUNTERS);
    Ok(MetadataExchange::new(&proto.protocol, labels, &own, &context.node.id, counters))
}
