//! A first, plain version; its full form follows.
use crate::{listener::bind::ActiveListener, net::io::Io, tcp::config::TcpConfig, worker::Worker};
use sampan_filters_api::{StreamInfo, network::NetworkFilter};
use std::{rc::Rc, sync::Arc};
pub async fn serve(
    _: &Rc<Worker>,
    _: &Arc<ActiveListener>,
    _: &TcpConfig,
    _: Io,
    _: StreamInfo,
    _: Vec<Box<dyn NetworkFilter>>,
) {
}
