//! The client side: `UpstreamTlsContext`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use sampan_filters_api::ProtocolSet;

use super::choice::Only;
use super::{ContextError, Inventory, Part, RulesSource, identity, refused};
use crate::tls::material::Identity;
use crate::tls::params::Parameters;
use crate::tls::secrets::{Dependent, Secrets, Slot};
use crate::tls::verify::{PeerVerifier, Rules};

/// An `UpstreamTlsContext`, read.
#[derive(Debug)]
pub struct ClientSpec {
    /// `cluster.<name>`, for messages and stats.
    pub scope: Arc<str>,
    /// `tls_params`
    pub parameters: Parameters,
    /// `alpn_protocols`; empty leaves it to whoever connects.
    pub alpn: Vec<Vec<u8>>,
    /// The own certificate.
    pub identity: Option<Arc<Slot>>,
    /// The validation context.
    pub rules: RulesSource,
    /// `sni`
    pub sni: Option<Arc<str>>,
    /// `auto_host_sni`: the host's name is the server name.
    pub host_sni: bool,
    /// `auto_sni_san_validation`: the server name must be one of the certificate's.
    pub sni_must_match: bool,
    /// `max_session_keys`
    pub sessions: usize,
    /// Whether a slot is filled by SDS.
    pub dynamic: bool,
}

/// The client side of a cluster.
pub struct ClientContext {
    spec: ClientSpec,
    current: ArcSwapOption<ClientTls>,
    updates: AtomicU64,
    not_ready: AtomicU64,
}

/// A client context in force.
pub struct ClientTls {
    /// For connections whose names are checked by the configured rules.
    configured: Arc<ClientConfig>,
    /// For connections whose server name must be the certificate's.
    named: Arc<ClientConfig>,
    verifiers: (Arc<PeerVerifier>, Arc<PeerVerifier>),
    identity: Option<Arc<Identity>>,
    rules: Option<Arc<Rules>>,
}

/// Whom a connection is to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// The server name that a request asks for (`auto_sni`).
    pub requested: Option<&'a str>,
    /// The requested name must be one of the certificate's (`auto_san_validation`).
    pub must_match: bool,
    /// The host's name; may be empty.
    pub hostname: &'a str,
    /// The host's address, where it has one.
    pub address: Option<std::net::IpAddr>,
    /// The application protocols to offer in place of `alpn_protocols`.
    pub protocols: Option<ProtocolSet>,
}

/// How to begin a handshake.
pub struct Start {
    /// The configuration, without ALPN.
    pub config: Arc<ClientConfig>,
    /// What rustls calls the server by: the server name, or the address where none is sent.
    pub name: ServerName<'static>,
    /// The server name that is sent.
    pub sni: Option<Arc<str>>,
    /// Who checks the server.
    pub verifier: Arc<PeerVerifier>,
}

/// A server name that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a server name")]
pub struct BadName(pub Box<str>);

impl ClientContext {
    /// A context that follows its secrets.
    ///
    /// # Errors
    /// The secrets that are there do not make a whole.
    pub fn new(spec: ClientSpec, secrets: &Secrets) -> Result<Arc<Self>, ContextError> {
        let context = Arc::new(Self {
            spec,
            current: ArcSwapOption::empty(),
            updates: AtomicU64::new(0),
            not_ready: AtomicU64::new(0),
        });
        let spec = &context.spec;
        let slots: Vec<_> = spec.identity.iter().chain(spec.rules.slots()).collect();
        secrets.register(&context, &slots)?;
        Ok(context)
    }

    /// What to connect with; `None`, and counted, while a secret is missing.
    pub fn current(&self) -> Option<Arc<ClientTls>> {
        let current = self.current.load_full();
        if current.is_none() {
            self.not_ready.fetch_add(1, Relaxed);
        }
        current
    }

    /// `alpn_protocols`
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.spec.alpn
    }

    /// The names of the secrets that are missing.
    pub fn missing(&self) -> Vec<Arc<str>> {
        let slots = self.spec.identity.iter().chain(self.spec.rules.slots());
        slots.filter(|slot| slot.secret().is_none()).map(|slot| slot.name.clone()).collect()
    }

    /// How to begin a handshake with a peer.
    ///
    /// # Errors
    /// The name cannot be sent.
    pub fn start(&self, tls: &ClientTls, peer: &Peer<'_>) -> Result<Start, BadName> {
        let spec = &self.spec;
        let host = spec.host_sni.then_some(peer.hostname).filter(|name| !name.is_empty());
        let wanted = peer.requested.or(host).or(spec.sni.as_deref()).filter(|name| !name.is_empty());
        let named = (peer.must_match && peer.requested.is_some()) || spec.sni_must_match;
        let (config, verifier) =
            if named { (&tls.named, &tls.verifiers.1) } else { (&tls.configured, &tls.verifiers.0) };
        let (name, sni) = if let Some(wanted) = wanted {
            // An address is never sent as a server name (RFC 6066 §3), but it is what the certificate is checked for.
            let name = ServerName::try_from(wanted.to_owned()).map_err(|_| BadName(wanted.into()))?;
            let sent = matches!(name, ServerName::DnsName(_));
            (name, sent.then(|| Arc::from(wanted)))
        } else {
            let address = peer.address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
            (ServerName::IpAddress(address.into()), None)
        };
        Ok(Start { config: config.clone(), name, sni, verifier: verifier.clone() })
    }

    fn build(&self) -> Result<Part<ClientTls>, ContextError> {
        let spec = &self.spec;
        let identity = match &spec.identity {
            None => None,
            Some(slot) => match identity(slot, &spec.scope)? {
                Part::Here(identity) => Some(identity),
                Part::Missing => return Ok(Part::Missing),
            },
        };
        let Part::Here(rules) = spec.rules.rules(&spec.scope)? else { return Ok(Part::Missing) };
        let in_force = rules.clone().unwrap_or_default();
        let verifier = |named| Arc::new(PeerVerifier::for_servers(in_force.clone(), &spec.parameters, named));
        let verifiers = (verifier(false), verifier(true));
        let configured = self.config(identity.as_ref(), &verifiers.0)?;
        let named = self.config(identity.as_ref(), &verifiers.1)?;
        Ok(Part::Here(ClientTls { configured, named, verifiers, identity, rules }))
    }

    fn config(
        &self,
        identity: Option<&Arc<Identity>>,
        verifier: &Arc<PeerVerifier>,
    ) -> Result<Arc<ClientConfig>, ContextError> {
        let spec = &self.spec;
        let builder = ClientConfig::builder_with_provider(spec.parameters.provider.clone())
            .with_protocol_versions(&spec.parameters.versions)
            .map_err(refused(&spec.scope))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Only(identity.clone()))),
            None => builder.with_no_client_auth(),
        };
        // Sessions begin anew with each build, so that none outlives the rules it was made under.
        config.resumption = match spec.sessions {
            0 => Resumption::disabled(),
            count => Resumption::in_memory_sessions(count),
        };
        Ok(Arc::new(config))
    }
}

impl ClientTls {
    /// The own certificate, where one is configured.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }
}

impl Dependent for ClientContext {
    fn prepare(self: Arc<Self>) -> Result<Box<dyn FnOnce() + Send>, ContextError> {
        let next = match self.build()? {
            Part::Here(tls) => Some(Arc::new(tls)),
            Part::Missing => None,
        };
        Ok(Box::new(move || {
            if self.spec.dynamic && next.is_some() {
                self.updates.fetch_add(1, Relaxed);
            }
            self.current.store(next);
        }))
    }

    fn inventory(&self) -> Inventory {
        let current = self.current.load();
        let rules = current.as_ref().and_then(|tls| tls.rules.clone());
        let verified = rules.as_ref().is_some_and(|rules| !rules.verify_nothing() && !rules.accept_untrusted);
        Inventory {
            scope: self.spec.scope.clone(),
            is_server: false,
            ready: current.is_some(),
            updates: self.updates.load(Relaxed),
            not_ready: self.not_ready.load(Relaxed),
            trusts_anybody: current.is_some() && !verified,
            identities: current.as_ref().and_then(|tls| tls.identity.clone()).into_iter().collect(),
            authorities: rules.iter().flat_map(|rules| rules.all_authorities().cloned()).collect(),
        }
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientContext").field("scope", &self.spec.scope).finish_non_exhaustive()
    }
}
