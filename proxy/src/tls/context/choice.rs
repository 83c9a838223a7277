//! Which certificate is presented.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::material::Identity;
use crate::tls::report::note;
use crate::tls::verify::dns_matches;

/// A server's certificates, in the order of the configuration.
///
/// The first that is for the server name and that the client can verify; of two kinds of key, ECDSA before RSA. A name that
/// no certificate has gets the first certificate, or with `full_scan_certs_on_sni_mismatch` the first that fits the client
/// best. A certificate whose key the client cannot use is never presented.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) identities: Vec<Arc<Identity>>,
    pub(super) full_scan: bool,
}

impl Choice {
    fn pick(&self, server: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Identity>> {
        let usable = |identity: &&Arc<Identity>| identity.key.key.choose_scheme(schemes).is_some();
        let best = |fits: &dyn Fn(&Identity) -> bool| {
            let fitting = || self.identities.iter().filter(usable).filter(|identity| fits(identity));
            fitting().find(|identity| identity.is_ecdsa).or_else(|| fitting().next())
        };
        if let Some(server) = server {
            let exact = best(&|identity| names(identity).any(|name| name.eq_ignore_ascii_case(server)));
            let found =
                exact.or_else(|| best(&|identity| names(identity).any(|name| dns_matches(name, server))));
            if found.is_some() {
                return found;
            }
        }
        if self.full_scan {
            return best(&|_| true);
        }
        self.identities.iter().find(usable)
    }
}

/// The DNS names that a certificate is for: its SANs, or its common name where it has none.
fn names(identity: &Identity) -> impl Iterator<Item = &str> {
    let leaf = identity.leaf();
    let sans = leaf.map(|leaf| leaf.dns_sans.as_slice()).unwrap_or_default();
    let common =
        leaf.filter(|leaf| leaf.dns_sans.is_empty() && leaf.uri_sans.is_empty() && leaf.ip_sans.is_empty());
    let common = common
        .and_then(|leaf| leaf.subject.strip_prefix("CN=").or_else(|| leaf.subject.split(",CN=").nth(1)));
    sans.iter().map(String::as_str).chain(common.map(|name| name.split(',').next().unwrap_or_default()))
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identity = self.pick(hello.server_name(), hello.signature_schemes())?;
        note(|report| report.local = identity.leaf().cloned());
        Some(identity.key.clone())
    }
}

/// A client's only certificate.
#[derive(Debug)]
pub(super) struct Only(pub(super) Arc<Identity>);

impl ResolvesClientCert for Only {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.key.choose_scheme(schemes)?;
        note(|report| report.local = self.0.leaf().cloned());
        Some(self.0.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Leaf, Mint};

    fn identity(mint: &Mint, leaf: Leaf) -> Arc<Identity> {
        Arc::new(leaf.sign(mint).identity())
    }

    #[test]
    fn the_name_and_then_the_key_decide() {
        let mint = Mint::new("root");
        let choice = Choice {
            identities: vec![
                identity(&mint, Leaf::named("first").dns("a.example").rsa()),
                identity(&mint, Leaf::named("second").dns("a.example")),
                identity(&mint, Leaf::named("third").dns("*.w.example")),
                identity(&mint, Leaf::named("fourth.example")),
            ],
            full_scan: false,
        };
        let both = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
        let rsa = [SignatureScheme::RSA_PSS_SHA256];
        let picked = |name, schemes: &[SignatureScheme]| {
            choice.pick(name, schemes).map(|identity| identity.leaf().unwrap().subject.clone())
        };
        assert_eq!(picked(Some("A.example"), &both).as_deref(), Some("CN=second"));
        assert_eq!(picked(Some("a.example"), &rsa).as_deref(), Some("CN=first"));
        assert_eq!(picked(Some("b.w.example"), &both).as_deref(), Some("CN=third"));
        assert_eq!(picked(Some("fourth.example"), &both).as_deref(), Some("CN=fourth.example"));
        assert_eq!(picked(Some("other.test"), &both).as_deref(), Some("CN=first"));
        assert_eq!(picked(None, &both).as_deref(), Some("CN=first"));
        assert_eq!(picked(None, &both[..1]).as_deref(), Some("CN=second"));
        assert_eq!(picked(None, &[SignatureScheme::ED25519]), None);
    }

    #[test]
    fn a_full_scan_prefers_ecdsa() {
        let mint = Mint::new("root");
        let identities =
            vec![identity(&mint, Leaf::named("rsa").rsa()), identity(&mint, Leaf::named("ecdsa"))];
        let choice = Choice { identities, full_scan: true };
        let both = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
        assert_eq!(choice.pick(Some("x"), &both).unwrap().leaf().unwrap().subject, "CN=ecdsa");
    }
}
