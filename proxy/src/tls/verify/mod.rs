//! Checks a peer's certificate: chain, names, pins, in this order, as Envoy does.
//!
//! One verifier serves both sides of a handshake. Paths are built by webpki, without its check of names: Envoy compares
//! only what it is told to (`match_typed_subject_alt_names`, `auto_san_validation`), whatever the server name was. The error that goes
//! back to rustls makes the alert; the reason goes into the [`Report`](super::report::Report).

mod chain;
mod rules;
mod spiffe;
#[cfg(test)]
mod tests;

pub use rules::{NameKind, NameRule, Rules, RulesError, TrustDomains, dns_matches};

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use sampan_filters_api::info::CertificateInfo;

use super::certificate;
use super::params::Parameters;
use super::report::{Cause, Refusal, note};

/// Which side of the handshake the peer is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerSide {
    /// A client that presents a certificate.
    Client,
    /// A server.
    Server,
}

/// Verifies peers by the rules of one context.
pub struct PeerVerifier {
    rules: Arc<Rules>,
    side: PeerSide,
    /// `require_client_certificate`
    mandatory: bool,
    /// The server name must be one of the certificate's (`auto_san_validation`), in place of the configured names.
    by_server_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
    hints: Vec<DistinguishedName>,
}

impl PeerVerifier {
    /// For clients.
    pub fn for_clients(rules: Arc<Rules>, parameters: &Parameters, mandatory: bool) -> Self {
        let hints = if rules.suppress_authority_list {
            Vec::new()
        } else {
            let subjects = rules.all_authorities().flat_map(|authorities| authorities.subjects());
            subjects.map(DistinguishedName::in_sequence).collect()
        };
        Self { mandatory, hints, ..Self::new(rules, PeerSide::Client, parameters) }
    }

    /// For servers.
    pub fn for_servers(rules: Arc<Rules>, parameters: &Parameters, by_server_name: bool) -> Self {
        Self { by_server_name, ..Self::new(rules, PeerSide::Server, parameters) }
    }

    fn new(rules: Arc<Rules>, side: PeerSide, parameters: &Parameters) -> Self {
        let algorithms = parameters.provider.signature_verification_algorithms;
        let schemes = match &parameters.signatures {
            None => algorithms.supported_schemes(),
            Some(wanted) => {
                let has = |scheme: &SignatureScheme| algorithms.supported_schemes().contains(scheme);
                wanted.iter().copied().filter(has).collect()
            }
        };
        Self { rules, side, mandatory: false, by_server_name: false, algorithms, schemes, hints: Vec::new() }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let info = certificate::parse(leaf)
            .map_err(|error| refuse(Cause::Chain, error.to_string(), CertificateError::BadEncoding))?;
        note(|report| report.peer = Some(info.clone()));
        match self.judge(&info, leaf, intermediates, server, now) {
            Ok(validated) => {
                note(|report| report.validated = validated);
                Ok(())
            }
            Err((cause, reason, error)) => {
                let error = refuse(cause, reason, error);
                if self.rules.accept_untrusted { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Whether anything was verified; why the certificate is refused.
    fn judge(
        &self,
        info: &CertificateInfo,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<bool, (Cause, String, CertificateError)> {
        let rules = &*self.rules;
        let chained = match (&rules.spiffe, &rules.authorities) {
            (Some(domains), _) => {
                let authorities = spiffe::authorities(info, leaf, domains)?;
                chain::verify(self, authorities, leaf, intermediates, now)?;
                true
            }
            (None, Some(authorities)) => {
                chain::verify(self, authorities, leaf, intermediates, now)?;
                true
            }
            (None, None) => false,
        };
        if self.by_server_name {
            check_server_name(info, server)?;
        } else if !rules.names.is_empty() && !rules.names.iter().any(|rule| rule.matches(info)) {
            let names = presented(info);
            return Err((
                Cause::Name,
                format!("no SAN of the certificate matches; it has {names}"),
                not_wanted(),
            ));
        }
        let pinned = self.check_pins(leaf)?;
        Ok(chained || pinned)
    }

    /// Whether a pin matches; there may be none.
    fn check_pins(&self, leaf: &CertificateDer<'_>) -> Result<bool, (Cause, String, CertificateError)> {
        let rules = &*self.rules;
        if rules.certificate_pins.is_empty() && rules.key_pins.is_empty() {
            return Ok(false);
        }
        let pinned = rules.certificate_pins.contains(&certificate::sha256(leaf))
            || certificate::spki_sha256(leaf).is_ok_and(|hash| rules.key_pins.contains(&hash));
        if pinned {
            return Ok(true);
        }
        let reason = "neither the certificate nor its key is pinned".to_owned();
        Err((Cause::Pin, reason, not_wanted()))
    }
}

/// Whether the name by which a server is called is one of its certificate's.
fn check_server_name(
    info: &CertificateInfo,
    server: Option<&ServerName<'_>>,
) -> Result<(), (Cause, String, CertificateError)> {
    let fits = match server {
        Some(ServerName::DnsName(wanted)) => {
            info.dns_sans.iter().any(|name| dns_matches(name, wanted.as_ref()))
        }
        Some(ServerName::IpAddress(wanted)) => {
            let wanted = std::net::IpAddr::from(*wanted).to_string();
            info.ip_sans.contains(&wanted)
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let wanted = server.map(ServerName::to_str).unwrap_or_default();
    let reason = format!("no SAN of the certificate is {wanted}; it has {}", presented(info));
    Err((Cause::Name, reason, not_wanted()))
}

/// Leaves the reason in the report and makes the error whose alert the peer gets.
fn refuse(cause: Cause, reason: String, error: CertificateError) -> Error {
    note(|report| {
        report.refusal = Some(Refusal { cause, reason });
        report.alert = Some(error.clone().into());
    });
    Error::InvalidCertificate(error)
}

/// A good certificate, but not one of those that are wanted: the alert is `certificate_unknown`, as Envoy's.
fn not_wanted() -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(NotWanted)))
}

#[derive(Debug, thiserror::Error)]
#[error("not one of the certificates that are wanted")]
struct NotWanted;

/// Notes what a peer signed with.
fn signed(
    dss: &DigitallySignedStruct,
    verified: Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    note(|report| report.scheme = Some(dss.scheme));
    verified
}

/// The names of a certificate, for a message.
fn presented(info: &CertificateInfo) -> String {
    const MOST: usize = 8;
    let names = [&info.uri_sans, &info.dns_sans, &info.ip_sans, &info.email_sans];
    let all: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    match all.len() {
        0 => "none".to_owned(),
        n if n <= MOST => all.join(", "),
        n => format!("{} and {} more", all[..MOST].join(", "), n - MOST),
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier").field("side", &self.side).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, None, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss, verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss, verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, Some(server_name), now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss, verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signed(dss, verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
