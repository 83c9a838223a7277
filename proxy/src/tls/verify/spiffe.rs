//! SPIFFE X.509-SVIDs: the trust domain of the peer's identity chooses the authorities.
//!
//! <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>: one URI SAN that is a SPIFFE ID, not a CA, a key that
//! may sign but neither certificates nor revocation lists.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use sampan_filters_api::info::CertificateInfo;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::TrustDomains;
use crate::tls::material::Authorities;
use crate::tls::report::Cause;

type Refused = (Cause, String, CertificateError);

/// The authorities of the trust domain that the certificate names.
pub(super) fn authorities<'d>(
    info: &CertificateInfo,
    leaf: &CertificateDer<'_>,
    domains: &'d TrustDomains,
) -> Result<&'d Authorities, Refused> {
    if !may_identify(leaf) {
        let reason = "the certificate may sign others, so it is no SPIFFE identity".to_owned();
        return Err((Cause::Chain, reason, CertificateError::InvalidPurpose));
    }
    let [uri] = info.uri_sans.as_slice() else {
        let reason =
            format!("a SPIFFE identity has one URI SAN, the certificate has {}", info.uri_sans.len());
        return Err((Cause::Chain, reason, CertificateError::ApplicationVerificationFailure));
    };
    let Some(domain) = trust_domain(uri) else {
        let reason = format!("{uri} is not a SPIFFE ID");
        return Err((Cause::Chain, reason, CertificateError::ApplicationVerificationFailure));
    };
    domains.get(domain).map(AsRef::as_ref).ok_or_else(|| {
        (Cause::Chain, format!("no trust bundle for {domain}"), CertificateError::UnknownIssuer)
    })
}

/// The trust domain of a SPIFFE ID.
fn trust_domain(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("spiffe://")?;
    let domain = rest.split('/').next()?;
    (!domain.is_empty()).then_some(domain)
}

fn may_identify(leaf: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(leaf) else { return false };
    let tbs = &certificate.tbs_certificate;
    let ca = match tbs.get::<BasicConstraints>() {
        Ok(constraints) => constraints.is_some_and(|(_, constraints)| constraints.ca),
        Err(_) => true,
    };
    let signs = match tbs.get::<KeyUsage>() {
        Ok(usage) => usage.is_some_and(|(_, usage)| usage.key_cert_sign() || usage.crl_sign()),
        Err(_) => true,
    };
    !ca && !signs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_domains_are_whole_names() {
        assert_eq!(trust_domain("spiffe://td/ns/x"), Some("td"));
        assert_eq!(trust_domain("spiffe://td"), Some("td"));
        for other in ["spiffe:///x", "https://td/x", "spiffe:/td", ""] {
            assert_eq!(trust_domain(other), None, "{other}");
        }
    }
}
