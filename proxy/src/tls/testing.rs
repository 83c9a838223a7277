//! A small certificate authority for tests.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize,
    SanType, SerialNumber, date_time_ymd,
};

use super::material::{Authorities, Identity};

/// An authority.
pub(crate) struct Mint {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

impl Mint {
    /// A root.
    pub(crate) fn new(name: &str) -> Self {
        Self::made(name, |_| {}, None)
    }

    /// A root that has expired.
    pub(crate) fn expired(name: &str) -> Self {
        Self::made(
            name,
            |params| {
                params.not_before = date_time_ymd(2000, 1, 1);
                params.not_after = date_time_ymd(2001, 1, 1);
            },
            None,
        )
    }

    /// An intermediate below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self::made(name, |_| {}, Some(self))
    }

    fn made(name: &str, edit: impl FnOnce(&mut CertificateParams), above: Option<&Self>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = match above {
            None => params.self_signed(&key).unwrap(),
            Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        };
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    pub(crate) fn authorities(&self) -> Arc<Authorities> {
        Arc::new(Authorities::new(self.pem.as_bytes(), "", "<inline>").unwrap())
    }

    /// A revocation list with these serial numbers.
    pub(crate) fn revoking(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A certificate to be signed.
pub(crate) struct Leaf {
    params: CertificateParams,
    rsa: bool,
}

/// A signed certificate with its key.
pub(crate) struct Signed {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Leaf {
    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        Self { params, rsa: false }
    }

    fn san(mut self, name: SanType) -> Self {
        self.params.subject_alt_names.push(name);
        self
    }

    pub(crate) fn dns(self, name: &str) -> Self {
        self.san(SanType::DnsName(Ia5String::try_from(name).unwrap()))
    }

    pub(crate) fn uri(self, name: &str) -> Self {
        self.san(SanType::URI(Ia5String::try_from(name).unwrap()))
    }

    pub(crate) fn email(self, name: &str) -> Self {
        self.san(SanType::Rfc822Name(Ia5String::try_from(name).unwrap()))
    }

    pub(crate) fn ip(self, octets: [u8; 4]) -> Self {
        self.san(SanType::IpAddress(octets.into()))
    }

    pub(crate) fn rsa(mut self) -> Self {
        self.rsa = true;
        self
    }

    pub(crate) fn serial(mut self, serial: u64) -> Self {
        self.params.serial_number = Some(SerialNumber::from(serial));
        self
    }

    pub(crate) fn purpose(mut self, purpose: ExtendedKeyUsagePurpose) -> Self {
        self.params.extended_key_usages = vec![purpose];
        self
    }

    pub(crate) fn valid(mut self, from: i32, to: i32) -> Self {
        self.params.not_before = date_time_ymd(from, 1, 1);
        self.params.not_after = date_time_ymd(to, 1, 1);
        self
    }

    pub(crate) fn sign(self, mint: &Mint) -> Signed {
        let key = if self.rsa {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
        } else {
            KeyPair::generate().unwrap()
        };
        let certificate = self.params.signed_by(&key, &mint.issuer).unwrap();
        Signed { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }
}

impl Signed {
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.pem.as_bytes(), self.key.as_bytes(), None, "", "<inline>").unwrap()
    }
}
