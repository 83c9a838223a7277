//! `envoy.filters.listener.proxy_protocol`: the client's address as a proxy in front tells it.
//!
//! The header is taken out of the connection. Whoever may connect may say what it likes, so a listener with this filter has to be
//! out of reach of others than the proxy in front; `direct_source_prefix_ranges` of its chains can see to it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Address, ConnectionInfo};

use super::proxy_header::{Header, LONGEST, Parsed, Version, parse};
use super::stats::ProxyStats;
use super::{Refusal, refusal};
use crate::listener::accepted::{Accepted, Look};
use crate::telemetry::stats::kinds::{
    ProxyProtocolCounter as Counter, ProxyVersionCounter as VersionCounter,
};
use crate::worker::Worker;

/// Its settings.
#[derive(Debug, Clone, Default)]
pub struct ProxyProtocol {
    /// `allow_requests_without_proxy_protocol`
    pub optional: bool,
    /// `disallowed_versions`
    pub disallowed: Vec<Version>,
    /// `rules`
    pub rules: Vec<TlvRule>,
    /// `stat_prefix`
    pub stat_prefix: Arc<str>,
}

/// What is kept of a header's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlvRule {
    /// `tlv_type`
    pub kind: u8,
    /// `metadata_namespace`
    pub namespace: Arc<str>,
    /// `key`
    pub key: Arc<str>,
    /// `value_string_encoding` BASE64; as text otherwise.
    pub base64: bool,
}

impl ProxyProtocol {
    /// Waits for the header and takes it out.
    pub(super) async fn read(
        &self,
        worker: &Worker,
        socket: &mut Accepted,
        info: &mut ConnectionInfo,
    ) -> Result<(), Refusal> {
        let stats = worker.filter_stats().proxy_protocol(&self.stat_prefix);
        let look = |bytes: &[u8]| match parse(bytes) {
            Parsed::Part => Look::More,
            parsed => Look::Enough(self.judge(parsed, &stats, info)),
        };
        let judged = socket.look(&worker.first_bytes, LONGEST, look).await.map_err(refusal)?;
        match judged {
            Ok(0) => Ok(()),
            Ok(length) => socket.consume(length, &worker.first_bytes).map_err(|_| Refusal::Error),
            Err(refusal) => Err(refusal),
        }
    }

    /// Takes over what the header says; its length, 0 if there is none.
    fn judge(
        &self,
        parsed: Parsed<'_>,
        stats: &ProxyStats,
        info: &mut ConnectionInfo,
    ) -> Result<usize, Refusal> {
        let version = match &parsed {
            Parsed::Whole(Header { version, .. }) | Parsed::Bad(version) => *version,
            Parsed::Absent if self.optional => {
                stats.block.inc(Counter::NotFoundAllowed);
                return Ok(0);
            }
            Parsed::Absent | Parsed::Endless | Parsed::Part => {
                stats.block.inc(Counter::NotFoundDisallowed);
                stats.error();
                return Err(Refusal::Filter);
            }
        };
        // A binary header is read before it is asked whether it may be; its faults are told first.
        let is_allowed = !self.disallowed.contains(&version);
        let header = match parsed {
            Parsed::Whole(header) if is_allowed => header,
            Parsed::Bad(_) if is_allowed || version == Version::V2 => {
                stats.version(version).inc(VersionCounter::Error);
                stats.error();
                return Err(Refusal::Filter);
            }
            _ => {
                stats.version(version).inc(VersionCounter::Found);
                stats.version(version).inc(VersionCounter::Disallowed);
                return Err(Refusal::Filter);
            }
        };
        stats.version(version).inc(VersionCounter::Found);
        self.note(&header, info);
        Ok(header.length)
    }

    fn note(&self, header: &Header<'_>, info: &mut ConnectionInfo) {
        let Some((source, destination)) = header.addresses else { return };
        if info.local != Address::Socket(destination) {
            info.restore_local(Address::Socket(destination));
        }
        info.remote = Address::Socket(source);
        for rule in &self.rules {
            let Some((_, value)) = header.fields.iter().find(|(kind, _)| *kind == rule.kind) else {
                continue;
            };
            let text = if rule.base64 { STANDARD.encode(value) } else { text(value) };
            let value = MetadataValue::String(text.into());
            info.facts_mut().metadata.set(&rule.namespace, &rule.key, value);
        }
    }
}

/// Bytes as text: where they are none, Envoy writes exclamation marks.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_marked() {
        assert_eq!(text(b"a\xffb\xe2\x82c\xc3\xa9"), "a!b!!c\u{e9}");
    }
}
