//! The configuration of the network filter `set_filter_state`.

use std::sync::Arc;

use sampan_api::envoy::extensions::filters::network::set_filter_state::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::network::NetworkFilterFactory;

use super::{SetFilterState, States};
use crate::config::{Compiled, FilterContext, payload, state};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.network.set_filter_state.v3.Config";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[("on_new_connection", YES), ("on_downstream_tls_handshake", YES), ("on_downstream_data", YES)],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::Config = payload(bytes)?;
    let mut errors = Vec::new();
    let states = States {
        open: state::values(
            &proto.on_new_connection,
            state::OF_CONNECTIONS,
            "on_new_connection",
            &mut errors,
        ),
        handshake: state::values(
            &proto.on_downstream_tls_handshake,
            state::OF_CONNECTIONS,
            "on_downstream_tls_handshake",
            &mut errors,
        ),
        data: state::values(
            &proto.on_downstream_data,
            state::OF_CONNECTIONS,
            "on_downstream_data",
            &mut errors,
        ),
    };
    if errors.is_empty() { Ok(Arc::new(SetFilterState(Arc::new(states)))) } else { Err(errors) }
}
