//! The configuration, which is empty.

use std::sync::Arc;

use sampan_api::MessageSupport;
use sampan_api::istio as pb;
use sampan_filters_api::info::UPSTREAM_SERVER_NAME;
use sampan_filters_api::network::NetworkFilterFactory;

use crate::config::{Compiled, FilterContext, payload};
use crate::network::server_name::KeepServerName;

/// Full name of the message.
pub const MESSAGE: &str = "io.istio.tcp.forward_downstream_sni.v1.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(MESSAGE, &[])];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    payload::<pb::ForwardDownstreamSni>(bytes)?;
    Ok(Arc::new(KeepServerName(UPSTREAM_SERVER_NAME)))
}
