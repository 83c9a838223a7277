//! What a peer's certificate must be: the compiled form of `CertificateValidationContext`.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_filters_api::info::CertificateInfo;
use sampan_model::route::StringMatch;
use webpki::CertRevocationList;

use crate::tls::certificate::sha256;
use crate::tls::material::Authorities;

/// The rules of one validation context.
#[derive(Debug, Default, Clone)]
pub struct Rules {
    /// `trusted_ca`
    pub authorities: Option<Arc<Authorities>>,
    /// `crl`
    pub revoked: Vec<Arc<CertRevocationList<'static>>>,
    /// SHA-256 of the lists.
    pub revoked_digest: [u8; 32],
    /// `only_verify_leaf_cert_crl`
    pub revoked_leaf_only: bool,
    /// `verify_certificate_spki`
    pub key_pins: Vec<[u8; 32]>,
    /// `verify_certificate_hash`
    pub certificate_pins: Vec<[u8; 32]>,
    /// `match_typed_subject_alt_names` and the deprecated `match_subject_alt_names`
    pub names: Vec<NameRule>,
    /// `allow_expired_certificate`
    pub allow_expired: bool,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`
    pub accept_untrusted: bool,
    /// `max_verify_depth`
    pub max_depth: Option<u32>,
    /// `suppress_client_ca_list`
    pub suppress_authority_list: bool,
    /// `custom_validator_config` of SPIFFE
    pub spiffe: Option<Arc<TrustDomains>>,
}

/// The authorities of each SPIFFE trust domain.
pub type TrustDomains = HashMap<Box<str>, Arc<Authorities>, ahash::RandomState>;

/// Rules that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Names without authorities.
    #[error("SAN-based verification of peer certificates without trusted CA is insecure and not allowed")]
    NamesWithoutAuthorities,
    /// A certificate is required and nothing says which.
    #[error(
        "require_client_certificate has no effect without a trusted CA or pins, so no client would be asked for a certificate"
    )]
    RequiredWithoutRules,
    /// A revocation list without authorities.
    #[error("Failed to load CRL without trusted CA")]
    RevocationWithoutAuthorities,
}

impl Rules {
    /// These rules with those of a dynamic context merged in: what is set there replaces, lists are joined
    /// (`combined_validation_context`).
    pub fn merged(&self, dynamic: &Self) -> Self {
        fn joined<T: Clone>(a: &[T], b: &[T]) -> Vec<T> {
            a.iter().chain(b).cloned().collect()
        }
        Self {
            authorities: dynamic.authorities.clone().or_else(|| self.authorities.clone()),
            revoked: if dynamic.revoked.is_empty() { self.revoked.clone() } else { dynamic.revoked.clone() },
            revoked_digest: if dynamic.revoked.is_empty() {
                self.revoked_digest
            } else {
                dynamic.revoked_digest
            },
            revoked_leaf_only: self.revoked_leaf_only || dynamic.revoked_leaf_only,
            key_pins: joined(&self.key_pins, &dynamic.key_pins),
            certificate_pins: joined(&self.certificate_pins, &dynamic.certificate_pins),
            names: joined(&self.names, &dynamic.names),
            allow_expired: self.allow_expired || dynamic.allow_expired,
            accept_untrusted: self.accept_untrusted || dynamic.accept_untrusted,
            max_depth: dynamic.max_depth.or(self.max_depth),
            suppress_authority_list: self.suppress_authority_list || dynamic.suppress_authority_list,
            spiffe: dynamic.spiffe.clone().or_else(|| self.spiffe.clone()),
        }
    }

    /// Whether they can be used as they are.
    ///
    /// # Errors
    /// They would look stricter than they are.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.authorities.is_some() || self.spiffe.is_some() {
            Ok(())
        } else if !self.names.is_empty() {
            Err(RulesError::NamesWithoutAuthorities)
        } else if !self.revoked.is_empty() {
            Err(RulesError::RevocationWithoutAuthorities)
        } else {
            Ok(())
        }
    }

    /// Whether anything is verified at all.
    pub fn verify_nothing(&self) -> bool {
        self.authorities.is_none()
            && self.spiffe.is_none()
            && self.key_pins.is_empty()
            && self.certificate_pins.is_empty()
    }

    /// Whether a client that shows no certificate cannot satisfy them.
    pub fn demand_certificate(&self) -> bool {
        !self.names.is_empty() || !self.key_pins.is_empty() || !self.certificate_pins.is_empty()
    }

    /// Stands for the rules as a whole: a session made under one set is not resumed under another.
    pub fn digest(&self) -> [u8; 32] {
        let mut text = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {} {}",
            self.key_pins,
            self.certificate_pins,
            self.names,
            self.revoked_digest,
            self.revoked_leaf_only,
            self.max_depth,
            self.allow_expired,
            self.accept_untrusted
        );
        let mut domains: Vec<_> = self.spiffe.iter().flat_map(|domains| domains.iter()).collect();
        domains.sort_by_key(|(name, _)| *name);
        let named = domains.iter().map(|(name, authorities)| (&***name, *authorities));
        for (name, authorities) in self.authorities.iter().map(|authorities| ("", authorities)).chain(named) {
            text.push_str(name);
            authorities.certificates.iter().for_each(|certificate| text.push_str(&certificate.sha256));
        }
        sha256(text.as_bytes())
    }

    /// All authorities, for the admin server.
    pub fn all_authorities(&self) -> impl Iterator<Item = &Arc<Authorities>> {
        self.authorities.iter().chain(self.spiffe.iter().flat_map(|domains| domains.values()))
    }
}

/// The kinds of alternative names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// DNS
    Dns,
    /// URI
    Uri,
    /// An email address
    Email,
    /// An IP address
    Ip,
    /// Another kind, by its OID
    Other(Box<str>),
}

/// One of `match_typed_subject_alt_names`.
#[derive(Clone, Debug, PartialEq)]
pub struct NameRule {
    /// Which names are looked at. A URI never matches a rule for DNS names, nor the other way about.
    pub kind: NameKind,
    /// What they must be like.
    pub pattern: StringMatch,
    /// The text of an exact DNS rule, which wildcard certificates match too.
    pub exact_dns: Option<Box<str>>,
}

impl NameRule {
    /// Whether one of a certificate's names matches.
    pub fn matches(&self, certificate: &CertificateInfo) -> bool {
        let is_match = |name: &String| self.pattern.is_match(name.as_bytes());
        match &self.kind {
            NameKind::Dns => match &self.exact_dns {
                Some(wanted) => certificate.dns_sans.iter().any(|name| dns_matches(name, wanted)),
                None => certificate.dns_sans.iter().any(is_match),
            },
            NameKind::Uri => certificate.uri_sans.iter().any(is_match),
            NameKind::Email => certificate.email_sans.iter().any(is_match),
            NameKind::Ip => certificate.ip_sans.iter().any(is_match),
            NameKind::Other(oid) => {
                certificate.other_sans.iter().any(|(kind, name)| **kind == **oid && is_match(name))
            }
        }
    }
}

/// Whether a DNS name of a certificate, perhaps with a wildcard as its first label, stands for `wanted` (RFC 6125 §6.4).
pub fn dns_matches(presented: &str, wanted: &str) -> bool {
    if presented.eq_ignore_ascii_case(wanted) {
        return !presented.is_empty();
    }
    let Some(suffix) = presented.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) else {
        return false;
    };
    // A wildcard takes one label, and never stands right below the root.
    let Some(dot) = wanted.find('.') else { return false };
    dot > 0 && suffix[1..].contains('.') && wanted[dot..].eq_ignore_ascii_case(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_take_one_label() {
        for (presented, wanted, matches) in [
            ("a.example.com", "A.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("a*.example.com", "ab.example.com", false),
            ("*", "com", false),
            ("", "", false),
        ] {
            assert_eq!(dns_matches(presented, wanted), matches, "{presented} {wanted}");
        }
    }

    #[test]
    fn dynamic_rules_are_merged_over_the_default() {
        let pin = |n| Rules { key_pins: vec![[n; 32]], ..Rules::default() };
        let both = Rules { accept_untrusted: true, max_depth: Some(3), ..pin(1) }.merged(&pin(2));
        assert_eq!(
            (both.key_pins, both.accept_untrusted, both.max_depth),
            (vec![[1; 32], [2; 32]], true, Some(3))
        );
        let names = vec![NameRule {
            kind: NameKind::Uri,
            pattern: StringMatch::exact("spiffe://a/b", false),
            exact_dns: None,
        }];
        let rules = Rules { names, ..Rules::default() };
        assert_eq!(rules.check(), Err(RulesError::NamesWithoutAuthorities));
        assert!(rules.verify_nothing());
    }
}
