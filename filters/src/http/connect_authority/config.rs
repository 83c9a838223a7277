//! The configuration of `connect_authority`; a route's own is the same message.

use std::sync::Arc;

use sampan_api::istio as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{ConnectAuthority, OfRoute};
use crate::config::{Compiled, ConfigError, FilterContext, payload};

const YES: Support = Support::Supported;

/// Full name of the message, for the filter and for routes.
pub const MESSAGE: &str = "io.istio.http.connect_authority.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(MESSAGE, &[("enabled", YES), ("port", YES)])];

/// Makes the factory. Only what routes say counts, as in Istio.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    of_route(bytes)?;
    Ok(Arc::new(ConnectAuthority))
}

/// Compiles the settings of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    Ok(Arc::new(of_route(bytes)?))
}

fn of_route(bytes: &[u8]) -> Compiled<OfRoute> {
    let proto: pb::ConnectAuthority = payload(bytes)?;
    let port = u16::try_from(proto.port)
        .map_err(|_| vec![ConfigError::new("port", "is no port").value(proto.port)])?;
    Ok(OfRoute { enabled: proto.enabled, port: (port > 0).then_some(port) })
}
