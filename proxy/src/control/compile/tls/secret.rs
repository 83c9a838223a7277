//! `Secret`, `TlsCertificate`, `TlsSessionTicketKeys`, and references to secrets.

use std::path::PathBuf;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::WatchedDirectory;
use sampan_api::envoy::extensions::transport_sockets::tls::v3 as pb;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use sampan_api::{MessageSupport, Support};

use super::super::Scope;
use super::super::scope::Rejects;
use super::source::{self, Files, Inputs};
use super::{REFUSED, YES, validation};
use crate::tls::files::Watch;
use crate::tls::material::Identity;
use crate::tls::secrets::{Delivered, Secret, SecretSource, Slot};
use crate::tls::tickets::TicketKeys;

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        &[
            ("name", YES),
            ("tls_certificate", YES),
            ("session_ticket_keys", YES),
            ("validation_context", YES),
            ("generic_secret", YES),
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        &[
            ("certificate_chain", YES),
            ("private_key", YES),
            ("watched_directory", YES),
            ("ocsp_staple", YES),
            ("pkcs12", REFUSED),
            ("private_key_provider", REFUSED),
            ("password", REFUSED),
            ("signed_certificate_timestamp", Support::Ignored("it has no effect in Envoy either")),
            ("tls_params", REFUSED),
        ],
    ),
    ("envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys", &[("keys", YES)]),
    (
        "envoy.extensions.transport_sockets.tls.v3.GenericSecret",
        &[("*", Support::Later("no filter takes a secret yet"))],
    ),
    ("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", &[("name", YES), ("sds_config", YES)]),
];

/// Reads a secret: of the bootstrap, of SDS, of a file.
///
/// Files that it names are watched where `watched` says so, as they are for secrets of SDS; for others only with a
/// `watched_directory`.
pub fn secret(proto: &pb::Secret, files: &Files, watched: bool, at: &Scope<'_>) -> Option<Delivered> {
    match &proto.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            tls_certificate(certificate, &proto.name, files, watched, &at.field("tls_certificate"))
        }
        Some(Type::ValidationContext(context)) => {
            validation::delivered(context, &proto.name, files, watched, &at.field("validation_context"))
        }
        Some(Type::SessionTicketKeys(keys)) => ticket_keys(keys, files, &at.field("session_ticket_keys")),
        Some(Type::GenericSecret(_)) => Some(Delivered { secret: Secret::Generic, watch: None }),
        None => at.reject("the secret is empty"),
    }
}

/// Reads a certificate with its key.
pub(super) fn tls_certificate(
    proto: &pb::TlsCertificate,
    name: &str,
    files: &Files,
    watched: bool,
    at: &Scope<'_>,
) -> Option<Delivered> {
    let identity = identity(proto, name, files, at)?;
    let paths = source::files_of([
        proto.certificate_chain.as_ref(),
        proto.private_key.as_ref(),
        proto.ocsp_staple.as_ref(),
    ]);
    let paths = watched_files(paths, proto.watched_directory.as_ref(), watched);
    let watch = paths.map(|paths| {
        let (proto, name) = (proto.clone(), name.to_owned());
        Watch::new(paths, move || reading(|at| identity_secret(&proto, &name, at)))
    });
    Some(Delivered { secret: Secret::Certificate(Arc::new(identity)), watch })
}

fn identity_secret(proto: &pb::TlsCertificate, name: &str, at: &Scope<'_>) -> Option<Secret> {
    identity(proto, name, &Files::default(), at).map(|identity| Secret::Certificate(Arc::new(identity)))
}

/// Runs a reading of files that have changed; its errors as one text.
pub(super) fn reading(read: impl FnOnce(&Scope<'_>) -> Option<Secret>) -> Result<Secret, String> {
    let rejects = Rejects::default();
    let secret = read(&Scope::root("files", &rejects));
    let found = rejects.into_vec();
    match secret {
        Some(secret) if found.is_empty() => Ok(secret),
        _ => Err(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// The files to watch; `None` if none are.
pub(super) fn watched_files(
    files: Vec<PathBuf>,
    directory: Option<&WatchedDirectory>,
    watched: bool,
) -> Option<Vec<PathBuf>> {
    (!files.is_empty() && (watched || directory.is_some())).then(|| {
        let directory = directory.map(|directory| PathBuf::from(&directory.path));
        files.into_iter().chain(directory).collect()
    })
}

fn identity(proto: &pb::TlsCertificate, name: &str, files: &Files, at: &Scope<'_>) -> Option<Identity> {
    refuse(proto, at)?;
    let (Some(chain), Some(key)) = (&proto.certificate_chain, &proto.private_key) else {
        return at.reject("a certificate needs a certificate_chain and a private_key");
    };
    let chain_at = at.field("certificate_chain");
    let chain_bytes = source::bytes(chain, files, &chain_at);
    let key_bytes = source::bytes(key, files, &at.field("private_key"));
    let staple = match &proto.ocsp_staple {
        None => None,
        Some(staple) => Some(source::bytes(staple, files, &at.field("ocsp_staple"))?.to_vec()),
    };
    let path = source::path(Some(chain));
    match Identity::new(&chain_bytes?, &key_bytes?, staple, name, path) {
        Ok(identity) => Some(identity),
        Err(error) => {
            let shown = format!("Failed to load certificate chain from {path}: {error}");
            at.reject_value("", shown, "")
        }
    }
}

fn refuse(proto: &pb::TlsCertificate, at: &Scope<'_>) -> Option<()> {
    let refused = [
        (proto.pkcs12.is_some(), "pkcs12", "PKCS #12 is not supported"),
        (proto.private_key_provider.is_some(), "private_key_provider", "there are no private key providers"),
        (proto.password.is_some(), "password", "encrypted keys are not supported"),
        (proto.tls_params.is_some(), "tls_params", "parameters of single certificates are not supported"),
    ];
    let before = at.rejects().len();
    for (_, field, why) in refused.iter().filter(|(set, ..)| *set) {
        at.field(field).reject::<()>(*why);
    }
    (at.rejects().len() == before).then_some(())
}

/// Reads session ticket keys.
pub(super) fn ticket_keys(
    proto: &pb::TlsSessionTicketKeys,
    files: &Files,
    at: &Scope<'_>,
) -> Option<Delivered> {
    let list = at.field("keys");
    let mut keys = Vec::with_capacity(proto.keys.len());
    for (index, key) in proto.keys.iter().enumerate() {
        keys.push(source::bytes(key, files, &list.index(index))?.to_vec());
    }
    match TicketKeys::new(keys) {
        Ok(keys) => Some(Delivered { secret: Secret::TicketKeys(Arc::new(keys)), watch: None }),
        Err(error) => list.reject(error.to_string()),
    }
}

/// The slot of a secret that is referred to; and whether SDS fills it.
pub(super) fn reference(
    proto: &pb::SdsSecretConfig,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<(Arc<Slot>, bool)> {
    if proto.name.is_empty() {
        return at.field("name").reject("a secret needs a name");
    }
    match &proto.sds_config {
        None if inputs.secrets.has_static(&proto.name) => {
            Some((inputs.slot(SecretSource::Static, &proto.name), false))
        }
        None => at.field("name").reject_value(
            &proto.name,
            "unknown static secret",
            "add it to static_resources.secrets, or say by sds_config where it comes from",
        ),
        Some(config) => {
            let source =
                SecretSource::Sds(super::super::source::compile(Some(config), &at.field("sds_config"))?);
            Some((inputs.slot(source, &proto.name), true))
        }
    }
}
