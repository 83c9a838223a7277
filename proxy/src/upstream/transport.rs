//! How a cluster's hosts are spoken to: in the clear or by TLS, the same way for all or by their metadata.
//!
//! Compiled from `transport_socket` and `transport_socket_matches`; [`super::cluster`] chooses when it makes a pool.

use std::sync::Arc;

use sampan_filters_api::info::MetadataValue;
use sampan_model::cluster::Metadata;

use crate::tls::context::ClientContext;

/// The namespace of endpoint metadata that `transport_socket_matches` looks at.
const NAMESPACE: &str = "envoy.transport_socket_match";

/// One transport.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// In the clear.
    #[default]
    Plain,
    /// By TLS.
    Tls(Arc<ClientContext>),
}

/// What a host's metadata must have, by key.
pub type Labels = Vec<(Box<str>, MetadataValue)>;

/// The transports of a cluster.
#[derive(Debug, Default)]
pub struct Transports {
    matches: Vec<(Labels, Transport)>,
    default: Transport,
    auto_sni: bool,
    auto_san_validation: bool,
    /// Stands for the configuration: what two versions share need not be connected anew.
    digest: [u8; 32],
}

/// Which of a cluster's transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(Option<usize>);

impl Transports {
    /// The first of `matches` whose labels a host has, or `default`.
    pub fn new(
        matches: Vec<(Labels, Transport)>,
        default: Transport,
        auto_sni: bool,
        auto_san_validation: bool,
        digest: [u8; 32],
    ) -> Self {
        Self { matches, default, auto_sni, auto_san_validation, digest }
    }

    /// Whether any host is reached by TLS.
    pub fn any_tls(&self) -> bool {
        let mut all = self.matches.iter().map(|(_, transport)| transport).chain([&self.default]);
        all.any(|transport| matches!(transport, Transport::Tls(_)))
    }

    /// Which transport a host with this metadata gets.
    pub fn choose(&self, metadata: Option<&Metadata>) -> Index {
        if self.matches.is_empty() {
            return Index(None);
        }
        let found = metadata
            .and_then(|metadata| metadata.0.downcast_ref::<MetadataValue>())
            .and_then(|metadata| metadata.at(&[NAMESPACE]));
        let has = |label: &(Box<str>, MetadataValue)| {
            found.and_then(|found| found.at(&[&label.0])) == Some(&label.1)
        };
        Index(self.matches.iter().position(|(labels, _)| labels.iter().all(has)))
    }

    /// A transport that was chosen here.
    pub fn transport(&self, index: Index) -> &Transport {
        index.0.and_then(|index| self.matches.get(index)).map_or(&self.default, |(_, transport)| transport)
    }

    /// Whether a request's host is the server name.
    pub fn by_host(&self) -> bool {
        self.auto_sni || self.auto_san_validation
    }

    /// `auto_san_validation`
    pub fn must_match(&self) -> bool {
        self.auto_san_validation
    }

    /// Whether the same configuration made both.
    pub fn is_like(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.digest == other.digest
    }
}

/// What ALPN offers where the configuration does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Nothing: a TCP connection.
    Nothing,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// Both; the answer decides.
    Both,
}

impl Offer {
    /// The names of the protocols.
    pub fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_whose_labels_a_host_has_is_its_transport() {
        let text = |text: &str| MetadataValue::String(text.into());
        let transports = Transports::new(
            vec![
                (vec![("tlsMode".into(), text("istio"))], Transport::Plain),
                (vec![("tlsMode".into(), text("istio")), ("v".into(), text("2"))], Transport::Plain),
                (Vec::new(), Transport::Plain),
            ],
            Transport::Plain,
            false,
            false,
            [0; 32],
        );
        let metadata = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(key, value)| (Arc::from(*key), text(value))).collect();
            Metadata(Arc::new(MetadataValue::Struct(vec![(NAMESPACE.into(), MetadataValue::Struct(fields))])))
        };
        assert_eq!(transports.choose(Some(&metadata(&[("tlsMode", "istio")]))), Index(Some(0)));
        assert_eq!(transports.choose(Some(&metadata(&[("tlsMode", "other")]))), Index(Some(2)));
        assert_eq!(transports.choose(None), Index(Some(2)));
        assert_eq!(Transports::default().choose(None), Index(None));
    }
}
