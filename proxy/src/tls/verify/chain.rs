//! The chain from a peer's certificate to an authority, by webpki.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::{PeerSide, PeerVerifier};
use crate::tls::certificate;
use crate::tls::material::Authorities;
use crate::tls::report::Cause;

type Refused = (Cause, String, CertificateError);

/// Builds a path from `leaf` to one of `authorities`.
pub(super) fn verify(
    verifier: &PeerVerifier,
    authorities: &Authorities,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Refused> {
    let rules = &*verifier.rules;
    let clock = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if authorities.contains(leaf) {
        return itself(leaf, clock, rules.allow_expired);
    }
    let now = if rules.allow_expired { while_valid(leaf, intermediates, clock) } else { now };
    let anchors = authorities.anchors(clock, rules.allow_expired);
    if anchors.is_empty() {
        return Err((Cause::Chain, "every trusted CA has expired".to_owned(), CertificateError::Expired));
    }
    let lists: Vec<&CertRevocationList<'_>> = rules.revoked.iter().map(AsRef::as_ref).collect();
    let depth =
        if rules.revoked_leaf_only { RevocationCheckDepth::EndEntity } else { RevocationCheckDepth::Chain };
    // Without lists there is nothing to check; with them, a certificate that none covers is refused, as OpenSSL does.
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        options
            .with_depth(depth)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build()
    });
    let usage = match verifier.side {
        PeerSide::Client => KeyUsage::client_auth(),
        PeerSide::Server => KeyUsage::server_auth(),
    };
    let shallow = |path: &webpki::VerifiedPath<'_>| {
        let deep =
            rules.max_depth.is_some_and(|most| path.intermediate_certificates().count() > most as usize);
        if deep { Err(Error::MaximumPathDepthExceeded) } else { Ok(()) }
    };
    let end_entity = EndEntityCert::try_from(leaf).map_err(refused)?;
    end_entity
        .verify_for_usage(
            verifier.algorithms.all,
            &anchors,
            intermediates,
            now,
            usage,
            revocation,
            Some(&shallow),
        )
        .map(drop)
        .map_err(refused)
}

/// A certificate that is itself trusted needs no issuer, only to be valid.
fn itself(leaf: &CertificateDer<'_>, now: SystemTime, ever: bool) -> Result<(), Refused> {
    let info = certificate::parse(leaf)
        .map_err(|error| (Cause::Chain, error.to_string(), CertificateError::BadEncoding))?;
    if ever || (info.not_before <= now && now <= info.not_after) {
        return Ok(());
    }
    let error = if now < info.not_before { CertificateError::NotValidYet } else { CertificateError::Expired };
    Err((Cause::Chain, "the certificate is not valid now".to_owned(), error))
}

/// A moment, at best now, at which none of the presented certificates had expired.
fn while_valid(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: SystemTime) -> UnixTime {
    let ends = std::iter::once(leaf).chain(intermediates).filter_map(|der| certificate::parse(der).ok());
    let first = ends.map(|info| info.not_after).min().unwrap_or(now).min(now);
    UnixTime::since_unix_epoch(first.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The reason in words, and the error whose alert fits.
fn refused(error: Error) -> Refused {
    let fitting = match &error {
        Error::CertExpired { .. } => CertificateError::Expired,
        Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Error::CertRevoked => CertificateError::Revoked,
        Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Error::UnknownIssuer | Error::MaximumPathDepthExceeded | Error::PathLenConstraintViolated => {
            CertificateError::UnknownIssuer
        }
        Error::InvalidSignatureForPublicKey | Error::InvalidCrlSignatureForPublicKey => {
            CertificateError::BadSignature
        }
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => {
            CertificateError::InvalidPurpose
        }
        _ => CertificateError::BadEncoding,
    };
    (Cause::Chain, describe(&error), fitting)
}

fn describe(error: &Error) -> String {
    match error {
        Error::CertExpired { .. } => "the certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "the certificate is not valid yet".to_owned(),
        Error::CertRevoked => "the certificate is revoked".to_owned(),
        Error::CrlExpired { .. } => "the revocation list has expired".to_owned(),
        Error::UnknownRevocationStatus => "no revocation list covers the certificate".to_owned(),
        Error::UnknownIssuer => "no trusted CA issued the certificate".to_owned(),
        Error::MaximumPathDepthExceeded => "the chain is longer than allowed".to_owned(),
        Error::CaUsedAsEndEntity => "a CA certificate was presented as the peer's own".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => "the certificate is not meant for this use".to_owned(),
        other => format!("the chain is not valid: {other}"),
    }
}
