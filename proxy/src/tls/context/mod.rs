//! TLS contexts: what a listener's filter chain or a cluster does TLS with.
//!
//! A context is made once from its configuration and rebuilt in place whenever one of its secrets changes
//! ([`super::secrets`]); who holds it (a filter chain, a cluster) asks for its current state at each handshake.

mod choice;
mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientContext, ClientSpec, ClientTls, Peer};
pub use server::{ServerContext, ServerSpec, ServerTls};

use std::sync::Arc;

use super::material::{Authorities, Identity};
use super::secrets::{Secret, Slot};
use super::verify::{Rules, RulesError};

/// Secrets that do not make a context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Another kind of secret than is referred to.
    #[error("{context}: the secret {name:?} is of the kind {is}, a {wanted} is needed")]
    Kind {
        /// Which context.
        context: Arc<str>,
        /// The secret.
        name: Arc<str>,
        /// Its kind.
        is: &'static str,
        /// The kind that is needed.
        wanted: &'static str,
    },
    /// Rules that contradict each other.
    #[error("{context}: {source}")]
    Rules {
        /// Which context.
        context: Arc<str>,
        /// What is wrong.
        source: RulesError,
    },
    /// What rustls does not take.
    #[error("{context}: {reason}")]
    Tls {
        /// Which context.
        context: Arc<str>,
        /// What is wrong.
        reason: String,
    },
}

/// Whether a text can be sent or checked as a server's name.
pub fn is_server_name(name: &str) -> bool {
    rustls::pki_types::ServerName::try_from(name).is_ok()
}

/// Where the rules for a peer's certificate come from.
#[derive(Debug, Clone, Default)]
pub struct RulesSource {
    /// `validation_context`, or the default part of a combined one; `None` if no validation is configured.
    pub fixed: Option<Arc<Rules>>,
    /// The slot of a dynamic part.
    pub dynamic: Option<Arc<Slot>>,
}

/// What a context holds now.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// `listener.<address>` or `cluster.<name>`.
    pub scope: Arc<str>,
    /// For clients that connect to us; else for servers.
    pub is_server: bool,
    /// Whether it can serve.
    pub ready: bool,
    /// How often secrets of SDS changed it.
    pub updates: u64,
    /// How often it could not serve because a secret was missing.
    pub not_ready: u64,
    /// It takes any server for the right one: there is no trusted CA.
    pub trusts_anybody: bool,
    /// Its own certificates.
    pub identities: Vec<Arc<Identity>>,
    /// Whom it trusts.
    pub authorities: Vec<Arc<Authorities>>,
}

/// A part that may not have arrived yet.
enum Part<T> {
    Here(T),
    Missing,
}

fn identity(slot: &Slot, context: &Arc<str>) -> Result<Part<Arc<Identity>>, ContextError> {
    match slot.secret().as_deref() {
        None => Ok(Part::Missing),
        Some(Secret::Certificate(identity)) => Ok(Part::Here(identity.clone())),
        Some(other) => Err(wrong_kind(slot, other, "tls_certificate", context)),
    }
}

impl RulesSource {
    fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.dynamic.iter()
    }

    /// The rules in force; `None` if there are none at all.
    fn rules(&self, context: &Arc<str>) -> Result<Part<Option<Arc<Rules>>>, ContextError> {
        let rules = match &self.dynamic {
            None => self.fixed.clone(),
            Some(slot) => match slot.secret().as_deref() {
                None => return Ok(Part::Missing),
                Some(Secret::Validation(dynamic)) => Some(match &self.fixed {
                    Some(fixed) => Arc::new(fixed.merged(dynamic)),
                    None => dynamic.clone(),
                }),
                Some(other) => return Err(wrong_kind(slot, other, "validation_context", context)),
            },
        };
        if let Some(rules) = &rules {
            rules.check().map_err(|source| ContextError::Rules { context: context.clone(), source })?;
        }
        Ok(Part::Here(rules))
    }
}

fn wrong_kind(slot: &Slot, secret: &Secret, wanted: &'static str, context: &Arc<str>) -> ContextError {
    ContextError::Kind { context: context.clone(), name: slot.name.clone(), is: secret.kind(), wanted }
}

fn refused(context: &Arc<str>) -> impl Fn(rustls::Error) -> ContextError + '_ {
    |error| ContextError::Tls { context: context.clone(), reason: error.to_string() }
}
