//! Certificates and keys, parsed and checked: what secrets hold once they have been read.
//!
//! Made by `control/compile/tls` from data sources, so an error here is a refused resource. Key material appears in no error,
//! no `Debug` and no dump.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use sampan_filters_api::info::CertificateInfo;
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};

use super::certificate;

/// Certificates of one source at most: a bundle of all public authorities has about 150.
const MOST_CERTIFICATES: usize = 10_000;

/// What is wrong with key material. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// No PEM section of the kind that is wanted.
    #[error("it holds no {0} in PEM")]
    Missing(&'static str),
    /// PEM that cannot be read.
    #[error("it is not PEM: {0}")]
    Pem(String),
    /// A certificate that cannot be read.
    #[error("certificate {position} is {source}")]
    Certificate {
        /// Its position, from 1.
        position: usize,
        /// What is wrong.
        source: certificate::Malformed,
    },
    /// An authority that webpki does not take.
    #[error("certificate {position} cannot be an authority: {source}")]
    Authority {
        /// Its position, from 1.
        position: usize,
        /// What is wrong.
        source: webpki::Error,
    },
    /// A revocation list that cannot be read.
    #[error("revocation list {position} cannot be read: {source}")]
    Revocation {
        /// Its position, from 1.
        position: usize,
        /// What is wrong.
        source: webpki::Error,
    },
    /// The key is encrypted.
    #[error("the private key is encrypted; only unencrypted keys can be read")]
    Encrypted,
    /// A kind of key that there is no support for.
    #[error(
        "the private key is of a kind that is not supported: use RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    Key,
    /// The key is that of another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// More certificates than anybody needs.
    #[error("it holds more than {MOST_CERTIFICATES} certificates")]
    TooMany,
    /// A ticket key of the wrong length.
    #[error("a session ticket key has {0} bytes; it must have 80")]
    TicketKey(usize),
}

/// A certificate chain with its key.
pub struct Identity {
    /// What rustls presents.
    pub key: Arc<CertifiedKey>,
    /// The certificates, the own one first.
    pub chain: Vec<Arc<CertificateInfo>>,
    /// The name that stats call it by; may be empty.
    pub name: Arc<str>,
    /// The file it came from, or `<inline>`.
    pub path: Arc<str>,
    /// The key is of the ECDSA kind.
    pub is_ecdsa: bool,
}

impl Identity {
    /// Reads a chain and the key of its first certificate, both in PEM, and a stapled OCSP response in DER.
    ///
    /// # Errors
    /// Anything is missing, unreadable, or does not fit.
    pub fn new(
        chain: &[u8],
        key: &[u8],
        staple: Option<Vec<u8>>,
        name: &str,
        path: &str,
    ) -> Result<Self, MaterialError> {
        let ders = certificates(chain)?;
        let infos = parse_all(&ders)?;
        let key = private_key(key)?;
        let key = sign::any_supported_type(&key).map_err(|_| MaterialError::Key)?;
        let mut certified = CertifiedKey::new(ders, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(_) => return Err(MaterialError::Mismatch),
        }
        certified.ocsp = staple;
        Ok(Self {
            is_ecdsa: certified.key.algorithm() == SignatureAlgorithm::ECDSA,
            key: Arc::new(certified),
            chain: infos,
            name: name.into(),
            path: path.into(),
        })
    }

    /// The own certificate.
    pub fn leaf(&self) -> Option<&Arc<CertificateInfo>> {
        self.chain.first()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The authorities of a validation context.
pub struct Authorities {
    anchors: Vec<Anchor>,
    /// The certificates.
    pub certificates: Vec<Arc<CertificateInfo>>,
    /// The name of the secret that holds them; may be empty.
    pub name: Arc<str>,
    /// The file they came from, or `<inline>`.
    pub path: Arc<str>,
}

struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Authorities {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn new(pem: &[u8], name: &str, path: &str) -> Result<Self, MaterialError> {
        let ders = certificates(pem)?;
        let certificates = parse_all(&ders)?;
        let mut anchors = Vec::with_capacity(ders.len());
        for (index, (der, info)) in ders.iter().zip(&certificates).enumerate() {
            let anchor = anchor_from_trusted_cert(der)
                .map_err(|source| MaterialError::Authority { position: index + 1, source })?;
            anchors.push(Anchor {
                anchor: anchor.to_owned(),
                not_before: info.not_before,
                not_after: info.not_after,
            });
        }
        Ok(Self { anchors, certificates, name: name.into(), path: path.into() })
    }

    /// Those that are valid at `now`, or all if `ever`.
    pub fn anchors(&self, now: SystemTime, ever: bool) -> Vec<TrustAnchor<'static>> {
        let valid = |anchor: &&Anchor| ever || (anchor.not_before <= now && now <= anchor.not_after);
        self.anchors.iter().filter(valid).map(|anchor| anchor.anchor.clone()).collect()
    }

    /// Whether this very certificate is among them.
    pub fn contains(&self, der: &[u8]) -> bool {
        self.certificates.iter().any(|certificate| *certificate.der == *der)
    }

    /// The subjects in DER, for the list of acceptable authorities.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.anchor.subject.as_ref())
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({}, {})", self.path, self.certificates.len())
    }
}

/// Reads certificate revocation lists in PEM.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn revocation_lists(pem: &[u8]) -> Result<Vec<CertRevocationList<'static>>, MaterialError> {
    let mut lists = Vec::new();
    for (index, der) in CertificateRevocationListDer::pem_slice_iter(pem).enumerate() {
        let der = der.map_err(|error| unreadable(&error))?;
        let list = OwnedCertRevocationList::from_der(&der)
            .map_err(|source| MaterialError::Revocation { position: index + 1, source })?;
        lists.push(list.into());
    }
    if lists.is_empty() { Err(MaterialError::Missing("certificate revocation list")) } else { Ok(lists) }
}

/// The certificates of a PEM text, in their order.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let mut ders = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        ders.push(der.map_err(|error| unreadable(&error))?);
        if ders.len() > MOST_CERTIFICATES {
            return Err(MaterialError::TooMany);
        }
    }
    if ders.is_empty() { Err(MaterialError::Missing("certificate")) } else { Ok(ders) }
}

fn parse_all(ders: &[CertificateDer<'_>]) -> Result<Vec<Arc<CertificateInfo>>, MaterialError> {
    let parse = |(index, der): (usize, &CertificateDer<'_>)| {
        certificate::parse(der).map_err(|source| MaterialError::Certificate { position: index + 1, source })
    };
    ders.iter().enumerate().map(parse).collect()
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if memchr::memmem::find(pem, b"ENCRYPTED").is_some() => {
            Err(MaterialError::Encrypted)
        }
        Err(pem::Error::NoItemsFound) => Err(MaterialError::Missing("private key")),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The error without any piece of the text.
fn unreadable(error: &pem::Error) -> MaterialError {
    MaterialError::Pem(match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section begins wrongly".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        _ => "it cannot be read".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Leaf, Mint};

    #[test]
    fn keys_must_fit_their_certificates() {
        let mint = Mint::new("root");
        let (one, two) = (Leaf::named("one").sign(&mint), Leaf::named("two").sign(&mint));
        let identity = Identity::new(one.pem.as_bytes(), one.key.as_bytes(), None, "n", "<inline>").unwrap();
        assert_eq!((identity.leaf().unwrap().subject.as_str(), identity.is_ecdsa), ("CN=one", true));
        let refused = |chain: &str, key: &str| {
            Identity::new(chain.as_bytes(), key.as_bytes(), None, "n", "<inline>").unwrap_err().to_string()
        };
        assert_eq!(refused(&one.pem, &two.key), "the private key does not belong to the certificate");
        assert_eq!(refused("", &one.key), "it holds no certificate in PEM");
        assert_eq!(refused(&one.pem, ""), "it holds no private key in PEM");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(refused(&one.pem, encrypted), MaterialError::Encrypted.to_string());
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let broken = one.pem.replace("-----END CERTIFICATE-----", "");
        assert!(refused(&broken, &one.key).starts_with("it is not PEM"));
    }

    #[test]
    fn authorities_know_their_validity() {
        let mint = Mint::new("root");
        let authorities = Authorities::new(mint.pem.as_bytes(), "", "ca.pem").unwrap();
        let now = SystemTime::now();
        assert_eq!(authorities.anchors(now, false).len(), 1);
        assert_eq!(authorities.anchors(SystemTime::UNIX_EPOCH, false).len(), 0);
        assert_eq!(authorities.anchors(SystemTime::UNIX_EPOCH, true).len(), 1);
        assert!(authorities.contains(&mint.der));
        assert!(Authorities::new(b"", "", "x").is_err());
    }
}
