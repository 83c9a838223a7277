//! Protocol versions, cipher suites, groups and signature algorithms: from the names that Envoy (BoringSSL) takes to what
//! rustls offers.
//!
//! A name is *known* if BoringSSL takes it. A known name that rustls lacks (CBC suites, RSA key exchange, P-521) is left out
//! and reported; a list of which nothing is left, or an unknown name, is refused. TLS 1.3 suites cannot be configured in
//! BoringSSL either, so they are always offered. Called by `control/compile/tls`.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suites, kx_group as groups};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};

/// The TLS 1.2 suites that rustls has, by BoringSSL's name, in the order of preference.
const TLS12: &[(&str, SupportedCipherSuite)] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
];

/// Suites that BoringSSL has and rustls has not: without forward secrecy, or in CBC mode.
const LACKING: &[&str] = &[
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "AES128-SHA256",
    "AES256-SHA256",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
    "DES-CBC3-SHA",
];

/// Groups by BoringSSL's names.
const GROUPS: &[(&str, &'static dyn SupportedKxGroup)] = &[
    ("X25519MLKEM768", groups::X25519MLKEM768),
    ("X25519", groups::X25519),
    ("P-256", groups::SECP256R1),
    ("prime256v1", groups::SECP256R1),
    ("P-384", groups::SECP384R1),
    ("secp384r1", groups::SECP384R1),
    ("MLKEM1024", groups::MLKEM1024),
];

/// Groups that BoringSSL has and rustls has not.
const GROUPS_LACKING: &[&str] = &["P-521", "secp521r1", "P-224", "secp224r1", "X25519Kyber768Draft00"];

/// Signature algorithms by BoringSSL's names.
const SIGNATURES: &[(&str, SignatureScheme)] = &[
    ("ecdsa_secp256r1_sha256", SignatureScheme::ECDSA_NISTP256_SHA256),
    ("ecdsa_secp384r1_sha384", SignatureScheme::ECDSA_NISTP384_SHA384),
    ("ecdsa_secp521r1_sha512", SignatureScheme::ECDSA_NISTP521_SHA512),
    ("rsa_pss_rsae_sha256", SignatureScheme::RSA_PSS_SHA256),
    ("rsa_pss_rsae_sha384", SignatureScheme::RSA_PSS_SHA384),
    ("rsa_pss_rsae_sha512", SignatureScheme::RSA_PSS_SHA512),
    ("rsa_pkcs1_sha256", SignatureScheme::RSA_PKCS1_SHA256),
    ("rsa_pkcs1_sha384", SignatureScheme::RSA_PKCS1_SHA384),
    ("rsa_pkcs1_sha512", SignatureScheme::RSA_PKCS1_SHA512),
    ("rsa_pkcs1_sha1", SignatureScheme::RSA_PKCS1_SHA1),
    ("ecdsa_sha1", SignatureScheme::ECDSA_SHA1_Legacy),
    ("ed25519", SignatureScheme::ED25519),
];

/// What a list of names came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Taken, in their order.
    pub taken: Vec<&'static str>,
    /// Known, and left out.
    pub lacking: Vec<String>,
    /// Not known at all.
    pub unknown: Vec<String>,
}

/// Sorts the names of a cipher list. `[A|B]` is a group of equal preference.
pub fn cipher_names(list: &[String]) -> Names {
    let mut names = Names::default();
    for entry in list.iter().flat_map(|entry| entry.split(':')) {
        let group = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
        for name in group.split('|') {
            names.sort(name, TLS12.iter().map(|row| row.0), LACKING);
        }
    }
    names
}

/// Sorts the names of a list of groups.
pub fn group_names(list: &[String]) -> Names {
    let mut names = Names::default();
    for name in list.iter().flat_map(|entry| entry.split(':')) {
        names.sort(name, GROUPS.iter().map(|row| row.0), GROUPS_LACKING);
    }
    names
}

/// Sorts the names of a list of signature algorithms.
pub fn signature_names(list: &[String]) -> Names {
    let mut names = Names::default();
    for name in list.iter().flat_map(|entry| entry.split(':')) {
        names.sort(name, SIGNATURES.iter().map(|row| row.0), &[]);
    }
    names
}

impl Names {
    fn sort(&mut self, name: &str, mut known: impl Iterator<Item = &'static str>, lacking: &[&str]) {
        if let Some(taken) = known.find(|known| *known == name) {
            if !self.taken.contains(&taken) {
                self.taken.push(taken);
            }
        } else if lacking.contains(&name) {
            self.lacking.push(name.to_owned());
        } else {
            self.unknown.push(name.to_owned());
        }
    }
}

/// What a handshake may settle on.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Suites and groups.
    pub provider: Arc<CryptoProvider>,
    /// Oldest first.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Signature algorithms of the peer; all that rustls has if `None`.
    pub signatures: Option<Vec<SignatureScheme>>,
}

/// The bounds of a [`Parameters`]' versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// TLS 1.2 may be spoken.
    pub tls12: bool,
    /// TLS 1.3 may be spoken.
    pub tls13: bool,
}

impl Parameters {
    /// Suites, groups and signature algorithms by names that were [taken](Names::taken); an empty list stands for the
    /// default.
    pub fn new(versions: Versions, ciphers: &[&str], group_list: &[&str], signatures: &[&str]) -> Self {
        let tls12 = |name: &str| TLS12.iter().find(|row| row.0 == name).map(|row| row.1);
        let mut cipher_suites = Vec::new();
        if versions.tls13 {
            cipher_suites.extend([
                suites::TLS13_AES_128_GCM_SHA256,
                suites::TLS13_AES_256_GCM_SHA384,
                suites::TLS13_CHACHA20_POLY1305_SHA256,
            ]);
        }
        if versions.tls12 && ciphers.is_empty() {
            cipher_suites.extend(TLS12.iter().map(|row| row.1));
        } else if versions.tls12 {
            cipher_suites.extend(ciphers.iter().filter_map(|name| tls12(name)));
        }
        let kx_groups = if group_list.is_empty() {
            // A post-quantum hybrid first: a client that has it gets it, others cost nothing.
            vec![groups::X25519MLKEM768, groups::X25519, groups::SECP256R1, groups::SECP384R1]
        } else {
            let group = |name: &&str| GROUPS.iter().find(|row| row.0 == *name).map(|row| row.1);
            group_list.iter().filter_map(group).collect()
        };
        let provider = CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() };
        let mut versions_list: Vec<&'static SupportedProtocolVersion> = Vec::new();
        if versions.tls12 {
            versions_list.push(&version::TLS12);
        }
        if versions.tls13 {
            versions_list.push(&version::TLS13);
        }
        let scheme = |name: &&str| SIGNATURES.iter().find(|row| row.0 == *name).map(|row| row.1);
        let signatures =
            (!signatures.is_empty()).then(|| signatures.iter().filter_map(scheme).collect::<Vec<_>>());
        Self { provider: Arc::new(provider), versions: versions_list, signatures }
    }
}

/// `TLSv1.3`, as access logs and stats print it.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "unknown",
    }
}

/// A suite by the name that BoringSSL gives it.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => TLS12.iter().find(|row| row.1.suite() == other).map_or("unknown", |row| row.0),
    }
}

/// A group by the name that BoringSSL gives it.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|row| row.1.name() == group).map_or("unknown", |row| row.0)
}

/// A signature algorithm by the name that BoringSSL gives it.
pub fn signature_name(scheme: SignatureScheme) -> &'static str {
    SIGNATURES.iter().find(|row| row.1 == scheme).map_or("unknown", |row| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_list_of_istio_is_usable() {
        let names = cipher_names(&strings(&[
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "AES128-GCM-SHA256",
        ]));
        assert_eq!((names.taken.len(), names.lacking.len(), names.unknown.len()), (4, 2, 0));
        assert_eq!(names.taken[0], "ECDHE-ECDSA-AES256-GCM-SHA384");
    }

    #[test]
    fn groups_of_equal_preference_and_unknown_names() {
        let names = cipher_names(&strings(&[
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:AES128-SHA",
            "BOGUS",
        ]));
        assert_eq!(names.taken, ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]);
        assert_eq!((names.lacking, names.unknown), (strings(&["AES128-SHA"]), strings(&["BOGUS"])));
        let names = group_names(&strings(&["X25519:P-521", "P-256", "nope"]));
        assert_eq!(names.taken, ["X25519", "P-256"]);
        assert_eq!((names.lacking, names.unknown), (strings(&["P-521"]), strings(&["nope"])));
    }

    #[test]
    fn the_post_quantum_group_comes_first_by_default() {
        let both = Versions { tls12: true, tls13: true };
        let standard = Parameters::new(both, &[], &[], &[]);
        assert_eq!(standard.provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        assert_eq!((standard.provider.cipher_suites.len(), standard.versions.len()), (9, 2));
        let narrow = Parameters::new(
            Versions { tls12: true, tls13: false },
            &["ECDHE-RSA-AES256-GCM-SHA384"],
            &["P-256"],
            &["rsa_pss_rsae_sha256"],
        );
        assert_eq!((narrow.provider.cipher_suites.len(), narrow.provider.kx_groups.len()), (1, 1));
        assert_eq!(narrow.signatures.as_deref(), Some(&[SignatureScheme::RSA_PSS_SHA256][..]));
        assert_eq!(cipher_name(narrow.provider.cipher_suites[0].suite()), "ECDHE-RSA-AES256-GCM-SHA384");
    }
}
