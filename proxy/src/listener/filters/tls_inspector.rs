//! `envoy.filters.listener.tls_inspector`: whether the client speaks TLS, to whom, and what protocols it offers.
//!
//! Only looks: the handshake, if the chosen chain has one, reads the same bytes again.

use std::sync::Arc;

use sampan_filters_api::ConnectionInfo;
use sampan_filters_api::info::ProtocolList;

use super::client_hello::{Parsed, Said, parse};
use super::{Refusal, refusal};
use crate::listener::accepted::{Accepted, Look, Unseen};
use crate::telemetry::stats::kinds::{TlsInspectorCounter as Counter, TlsInspectorHistogram as Histogram};
use crate::worker::Worker;

/// Its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsInspector {
    /// `max_client_hello_size`
    pub longest: usize,
    /// `close_connection_on_client_hello_parsing_errors`
    pub close_on_error: bool,
}

/// What records may add to a hello that is spread over many.
const FRAMING: usize = 2 * 1024;

impl TlsInspector {
    /// Waits for the ClientHello, unless the first bytes are something else.
    pub(super) async fn inspect(
        &self,
        worker: &Worker,
        socket: &mut Accepted,
        info: &mut ConnectionInfo,
    ) -> Result<(), Refusal> {
        let stats = &worker.filter_stats().tls_inspector;
        let mut length = 0;
        let look = |bytes: &[u8]| {
            length = bytes.len();
            match parse(bytes, self.longest) {
                Parsed::Part => Look::More,
                parsed => Look::Enough(parsed),
            }
        };
        let parsed = match socket.look(&worker.first_bytes, self.longest + FRAMING, look).await {
            Ok(parsed) => parsed,
            Err(Unseen::TooMany) => Parsed::TooLong,
            Err(unseen) => return Err(refusal(unseen)),
        };
        match parsed {
            Parsed::Whole(said) => {
                stats.inc(Counter::TlsFound);
                note(said, info, |counter| stats.inc(counter));
            }
            Parsed::TooLong => {
                stats.inc(Counter::ClientHelloTooLarge);
                return Err(Refusal::Filter);
            }
            Parsed::Other | Parsed::Part => {
                stats.inc(Counter::TlsNotFound);
                if self.close_on_error {
                    return Err(Refusal::Filter);
                }
            }
        }
        stats.record(Histogram::BytesProcessed, length as u64);
        Ok(())
    }
}

fn note(said: Said, info: &mut ConnectionInfo, count: impl Fn(Counter)) {
    let facts = info.facts_mut();
    facts.transport_protocol = Some("tls");
    match said.protocols.and_then(|list| ProtocolList::from_wire(&list)) {
        Some(protocols) => {
            facts.application_protocols = protocols;
            count(Counter::AlpnFound);
        }
        None => count(Counter::AlpnNotFound),
    }
    match said.server_name {
        Some(name) => {
            // Names are compared without regard to case; what is no text matches no name.
            let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
            info.requested_server_name = Some(Arc::from(name));
            count(Counter::SniFound);
        }
        None => count(Counter::SniNotFound),
    }
}
