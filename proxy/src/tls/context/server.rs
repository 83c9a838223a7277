//! The server side: `DownstreamTlsContext`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache};

use super::choice::Choice;
use super::{ContextError, Inventory, Part, RulesSource, identity, refused, wrong_kind};
use crate::tls::material::Identity;
use crate::tls::params::Parameters;
use crate::tls::secrets::{Dependent, Secret, Secrets, Slot};
use crate::tls::tickets::{TicketKeys, Tickets};
use crate::tls::verify::{PeerVerifier, Rules, RulesError};

/// Sessions of clients without tickets that are remembered.
const SESSIONS: usize = 1024;

/// A `DownstreamTlsContext`, read.
#[derive(Debug)]
pub struct ServerSpec {
    /// `listener.<address>`, for messages and stats.
    pub scope: Arc<str>,
    /// `tls_params`
    pub parameters: Parameters,
    /// `alpn_protocols`
    pub alpn: Vec<Vec<u8>>,
    /// `tls_certificates`, or the slots of `tls_certificate_sds_secret_configs`.
    pub identities: Vec<Arc<Slot>>,
    /// The validation context.
    pub rules: RulesSource,
    /// `require_client_certificate`
    pub require_client_certificate: bool,
    /// `session_ticket_keys`
    pub ticket_keys: Option<Arc<Slot>>,
    /// `disable_stateless_session_resumption` is not set.
    pub stateless_resumption: bool,
    /// `disable_stateful_session_resumption` is not set.
    pub stateful_resumption: bool,
    /// `session_timeout`
    pub session_timeout: Option<Duration>,
    /// `full_scan_certs_on_sni_mismatch`
    pub full_scan: bool,
    /// `prefer_client_ciphers`
    pub prefer_client_ciphers: bool,
    /// Whether a slot is filled by SDS.
    pub dynamic: bool,
}

/// The server side of a filter chain.
pub struct ServerContext {
    spec: ServerSpec,
    current: ArcSwapOption<ServerTls>,
    updates: AtomicU64,
    not_ready: AtomicU64,
}

/// A server context in force.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// For clients that offer none of our protocols: Envoy goes on without one.
    without_alpn: Arc<ServerConfig>,
    /// Who checks the client's certificate.
    pub verifier: Option<Arc<PeerVerifier>>,
    identities: Vec<Arc<Identity>>,
    rules: Option<Arc<Rules>>,
}

impl ServerContext {
    /// A context that follows its secrets.
    ///
    /// # Errors
    /// The secrets that are there do not make a whole.
    pub fn new(spec: ServerSpec, secrets: &Secrets) -> Result<Arc<Self>, ContextError> {
        let context = Arc::new(Self {
            spec,
            current: ArcSwapOption::empty(),
            updates: AtomicU64::new(0),
            not_ready: AtomicU64::new(0),
        });
        let spec = &context.spec;
        let slots: Vec<_> =
            spec.identities.iter().chain(spec.rules.slots()).chain(&spec.ticket_keys).collect();
        secrets.register(&context, &slots)?;
        Ok(context)
    }

    /// What to accept handshakes with; `None`, and counted, while a secret is missing.
    pub fn current(&self) -> Option<Arc<ServerTls>> {
        let current = self.current.load_full();
        if current.is_none() {
            self.not_ready.fetch_add(1, Relaxed);
        }
        current
    }

    /// `listener.<address>`
    pub fn scope(&self) -> &Arc<str> {
        &self.spec.scope
    }

    /// The names of the secrets that are missing.
    pub fn missing(&self) -> Vec<Arc<str>> {
        let spec = &self.spec;
        let slots = spec.identities.iter().chain(spec.rules.slots()).chain(&spec.ticket_keys);
        slots.filter(|slot| slot.secret().is_none()).map(|slot| slot.name.clone()).collect()
    }

    fn build(&self) -> Result<Part<ServerTls>, ContextError> {
        let spec = &self.spec;
        let mut identities = Vec::with_capacity(spec.identities.len());
        for slot in &spec.identities {
            match identity(slot, &spec.scope)? {
                Part::Here(identity) => identities.push(identity),
                Part::Missing => return Ok(Part::Missing),
            }
        }
        let Part::Here(rules) = spec.rules.rules(&spec.scope)? else { return Ok(Part::Missing) };
        let Part::Here(keys) = self.ticket_keys()? else { return Ok(Part::Missing) };
        // What nothing is said about is not asked for.
        let asks = rules.as_ref().filter(|rules| !rules.verify_nothing());
        if asks.is_none() && spec.require_client_certificate {
            let (context, source) = (spec.scope.clone(), RulesError::RequiredWithoutRules);
            return Err(ContextError::Rules { context, source });
        }
        let verifier = asks.map(|rules| {
            let mandatory = spec.require_client_certificate || rules.demand_certificate();
            Arc::new(PeerVerifier::for_clients(rules.clone(), &spec.parameters, mandatory))
        });
        let builder = ServerConfig::builder_with_provider(spec.parameters.provider.clone())
            .with_protocol_versions(&spec.parameters.versions)
            .map_err(refused(&spec.scope))?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let choice = Choice { identities: identities.clone(), full_scan: spec.full_scan };
        let mut config = builder.with_cert_resolver(Arc::new(choice));
        config.ignore_client_order = !spec.prefer_client_ciphers;
        self.resumption(&mut config, rules.as_deref(), keys.as_deref())?;
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols.clone_from(&spec.alpn);
        let config = Arc::new(config);
        Ok(Part::Here(ServerTls { config, without_alpn, verifier, identities, rules }))
    }

    fn ticket_keys(&self) -> Result<Part<Option<Arc<TicketKeys>>>, ContextError> {
        let Some(slot) = &self.spec.ticket_keys else { return Ok(Part::Here(None)) };
        match slot.secret().as_deref() {
            None => Ok(Part::Missing),
            Some(Secret::TicketKeys(keys)) => Ok(Part::Here(Some(keys.clone()))),
            Some(other) => Err(wrong_kind(slot, other, "session_ticket_keys", &self.spec.scope)),
        }
    }

    /// Tickets and sessions begin anew with each build, so that none outlives the rules it was given under.
    fn resumption(
        &self,
        config: &mut ServerConfig,
        rules: Option<&Rules>,
        keys: Option<&TicketKeys>,
    ) -> Result<(), ContextError> {
        let spec = &self.spec;
        config.session_storage = if spec.stateful_resumption {
            ServerSessionMemoryCache::new(SESSIONS)
        } else {
            Arc::new(NoServerSessionStorage {})
        };
        if spec.stateless_resumption {
            let digest = rules.map(Rules::digest).unwrap_or_default();
            let tickets = Tickets::new(keys, digest, spec.session_timeout).map_err(|error| {
                ContextError::Tls { context: spec.scope.clone(), reason: error.to_string() }
            })?;
            let tickets: Arc<dyn ProducesTickets> = Arc::new(tickets);
            config.ticketer = tickets;
        } else if !spec.stateful_resumption {
            config.send_tls13_tickets = 0;
        }
        Ok(())
    }
}

impl Dependent for ServerContext {
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
        Inventory {
            scope: self.spec.scope.clone(),
            is_server: true,
            ready: current.is_some(),
            updates: self.updates.load(Relaxed),
            not_ready: self.not_ready.load(Relaxed),
            trusts_anybody: false,
            identities: current.as_ref().map(|tls| tls.identities.clone()).unwrap_or_default(),
            authorities: rules.iter().flat_map(|rules| rules.all_authorities().cloned()).collect(),
        }
    }
}

impl ServerTls {
    /// What to answer a client with.
    pub fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let common = hello.alpn().is_none_or(|mut offered| {
            offered.any(|protocol| self.config.alpn_protocols.iter().any(|ours| ours == protocol))
        });
        if common { self.config.clone() } else { self.without_alpn.clone() }
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerContext").field("scope", &self.spec.scope).finish_non_exhaustive()
    }
}
