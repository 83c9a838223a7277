//! The configuration of `istio.alpn`.

use std::sync::Arc;

use sampan_api::istio as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::HttpFilterFactory;
use sampan_filters_api::{Protocol, ProtocolSet};

use super::Alpn;
use crate::config::{Compiled, ConfigError, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("alpn_override", YES)]),
    (
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig.AlpnOverride",
        &[("upstream_protocol", YES), ("alpn_override", YES)],
    ),
];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::AlpnFilterConfig = payload(bytes)?;
    let mut alpn = Alpn::default();
    for (index, one) in proto.alpn_override.iter().enumerate() {
        let names = &one.alpn_override;
        let set = ProtocolSet::of(names);
        if set.is_none() && !names.is_empty() {
            let path = format!("alpn_override[{index}].alpn_override");
            let error = ConfigError::new(path, "these cannot be offered").value(names.join(", "));
            return Err(vec![
                error.hint("a name has 1 to 255 bytes; there may be 64, and 256 different lists"),
            ]);
        }
        let protocol = match one.upstream_protocol() {
            pb::AlpnProtocol::Http10 => Protocol::Http10,
            pb::AlpnProtocol::Http11 => Protocol::Http11,
            pb::AlpnProtocol::Http2 => Protocol::Http2,
        };
        alpn.add(protocol, set);
    }
    Ok(Arc::new(alpn))
}
