//! A resource of an update: from the wire to a typed message that has been checked.
//!
//! Called by [`super::update`] for each resource that differs from the one in force. What is wrong is collected with its
//! field paths; what is understood but not supported goes into the report.

use std::sync::Arc;

use bytes::Bytes;
use sampan_api::Message;
use sampan_api::{
    Descriptors, FieldError, NoteKind, Policy, SupportTable, UnknownFields, decode_wire, validate,
};

use crate::admin::source::Unsupported;
use crate::cli::Options;
use crate::control::compile::Reject;
use crate::control::support;

/// Decodes resources as the options ask for it.
pub struct Decoder {
    table: SupportTable,
    policy: Policy,
    strict: bool,
    log_unknown: bool,
}

/// A resource, decoded.
pub struct Incoming<M> {
    /// What it is called in messages: `cluster web`.
    pub shown: String,
    /// The typed message.
    pub proto: M,
    /// The same, untyped.
    pub message: Message,
    /// As it came.
    pub wire: Bytes,
    /// `Resource.version`, or the version of the update.
    pub version: Arc<str>,
    /// What it asks for and does not get.
    pub unsupported: Vec<Unsupported>,
    /// The number of fields that the API does not have.
    pub unknown_fields: u64,
}

impl Decoder {
    /// A decoder by the flags of the command line.
    pub fn new(options: &Options) -> Self {
        let unknown = if options.reject_unknown_dynamic_fields {
            UnknownFields::Reject
        } else {
            UnknownFields::Collect
        };
        Self {
            table: support::table(),
            policy: unknown.into(),
            strict: options.strict,
            log_unknown: !options.ignore_unknown_dynamic_fields,
        }
    }

    /// Decodes and checks a resource.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn decode<M: prost::Message + prost::Name + Default>(
        &self,
        shown: &str,
        wire: &Bytes,
        version: Arc<str>,
    ) -> Result<Incoming<M>, Vec<Reject>> {
        let told = |error: FieldError| reject(shown, error);
        let decoded = decode_wire::<M>(Descriptors::load(), wire, self.policy)
            .map_err(|errors| errors.into_iter().map(told).collect::<Vec<_>>())?;
        let mut rejects: Vec<Reject> = validate(&decoded.message).into_iter().map(told).collect();
        let unsupported = support::examine(&decoded.message, shown, &self.table);
        if self.strict {
            // What is ignored does no harm, so that even a strict check lets it pass.
            let harmful = unsupported.iter().filter(|field| !field.reason.starts_with("ignored"));
            rejects.extend(harmful.map(|field| Reject {
                resource: shown.to_owned(),
                path: field.field.clone(),
                value: String::new(),
                reason: field.reason.clone(),
                hint: String::new(),
            }));
        }
        if !rejects.is_empty() {
            return Err(rejects);
        }
        let unknown = decoded.notes.iter().filter(|note| note.kind == NoteKind::UnknownField);
        let unknown_fields = unknown.clone().count() as u64;
        if self.log_unknown {
            for note in unknown {
                tracing::warn!(target: "config", "{shown}: {}: {}", note.path, note.text);
            }
        }
        Ok(Incoming {
            shown: shown.to_owned(),
            proto: decoded.value,
            message: decoded.message,
            wire: wire.clone(),
            version,
            unsupported,
            unknown_fields,
        })
    }
}

fn reject(shown: &str, error: FieldError) -> Reject {
    Reject {
        resource: shown.to_owned(),
        path: error.path,
        value: error.value,
        reason: error.reason,
        hint: error.hint.unwrap_or_default(),
    }
}
