//! Public keys and signatures that scripts have checked (`importPublicKey()`, `verifySignature()`), computed by aws-lc.
//!
//! Nothing is kept between the two: what a script holds of a key is the key itself.

use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};

/// A key: a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) in DER.
pub(super) struct PublicKey {
    kind: Kind,
    der: Vec<u8>,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    /// Which makes signatures of no hash.
    Ed25519,
}

/// The algorithms by their object identifiers, and those of elliptic curves by the curve's.
const KINDS: &[(&[u8], Kind)] = &[
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", Kind::Rsa),
    (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", Kind::P256),
    (b"\x2b\x81\x04\x00\x22", Kind::P384),
    (b"\x2b\x81\x04\x00\x23", Kind::P521),
    (b"\x2b\x65\x70", Kind::Ed25519),
];
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;

impl PublicKey {
    /// The key that the bytes begin with; what comes behind it does not matter.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (info, rest) = element(bytes, SEQUENCE)?;
        let (algorithm, _) = element(info, SEQUENCE)?;
        let (mut object, parameters) = element(algorithm, OBJECT)?;
        if object == EC {
            (object, _) = element(parameters, OBJECT)?;
        }
        let (_, kind) = *KINDS.iter().find(|(known, _)| *known == object)?;
        let der = bytes[..bytes.len() - rest.len()].to_vec();
        let some: &'static dyn VerificationAlgorithm = match kind {
            Kind::Ed25519 => &lc::ED25519,
            kind => algorithm_of(kind, "sha512")?,
        };
        ParsedPublicKey::new(some, &der).ok()?;
        Some(Self { kind, der })
    }

    /// Whether the key made a signature of the text. If not, the reason is what Envoy says.
    pub fn verify(&self, hash: &str, signature: &[u8], text: &[u8]) -> Result<(), String> {
        let name = hash.to_ascii_lowercase();
        if !["sha1", "sha256", "sha384", "sha512"].contains(&&*name) {
            return Err(format!("{hash} is not supported."));
        }
        if self.kind == Kind::Ed25519 {
            return Err("Failed to initialize digest verify.".to_owned());
        }
        let algorithm = algorithm_of(self.kind, &name).ok_or_else(|| format!("{hash} is not supported."))?;
        let key = ParsedPublicKey::new(algorithm, &self.der);
        match key.map(|key| key.verify_sig(text, signature)) {
            Ok(Ok(())) => Ok(()),
            _ => Err("Failed to verify digest. Error code: 0".to_owned()),
        }
    }
}

/// RSA keys have 2048 bits or more, as those of JSON Web Tokens.
fn algorithm_of(kind: Kind, hash: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (kind, hash) {
        (Kind::Rsa, "sha1") => &lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (Kind::Rsa, "sha256") => &lc::RSA_PKCS1_2048_8192_SHA256,
        (Kind::Rsa, "sha384") => &lc::RSA_PKCS1_2048_8192_SHA384,
        (Kind::Rsa, "sha512") => &lc::RSA_PKCS1_2048_8192_SHA512,
        (Kind::P256, "sha1") => &lc::ECDSA_P256_SHA1_ASN1,
        (Kind::P256, "sha256") => &lc::ECDSA_P256_SHA256_ASN1,
        (Kind::P256, "sha384") => &lc::ECDSA_P256_SHA384_ASN1,
        (Kind::P256, "sha512") => &lc::ECDSA_P256_SHA512_ASN1,
        (Kind::P384, "sha256") => &lc::ECDSA_P384_SHA256_ASN1,
        (Kind::P384, "sha384") => &lc::ECDSA_P384_SHA384_ASN1,
        (Kind::P384, "sha512") => &lc::ECDSA_P384_SHA512_ASN1,
        (Kind::P521, "sha1") => &lc::ECDSA_P521_SHA1_ASN1,
        (Kind::P521, "sha256") => &lc::ECDSA_P521_SHA256_ASN1,
        (Kind::P521, "sha384") => &lc::ECDSA_P521_SHA384_ASN1,
        (Kind::P521, "sha512") => &lc::ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}

/// The content of the DER element of this tag that the bytes begin with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = bytes else { return None };
    let (length, rest) = match (*first, rest) {
        (0..=0x7f, rest) => (usize::from(*first), rest),
        (0x81, [length, rest @ ..]) => (usize::from(*length), rest),
        (0x82, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    (*found == tag && length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };

    use super::*;

    const TEXT: &[u8] = b"hello\0world";

    /// The key, as a part of a longer text.
    fn parsed(key: &impl AsDer<PublicKeyX509Der<'static>>) -> PublicKey {
        let der = key.as_der().unwrap();
        let der = der.as_ref();
        assert!(PublicKey::parse(&der[..der.len() - 1]).is_none());
        PublicKey::parse(&[der, b"more"].concat()).unwrap()
    }

    #[test]
    fn rsa() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut made = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), TEXT, &mut made).unwrap();
        let key = parsed(pair.public_key());
        let failed = Err("Failed to verify digest. Error code: 0".to_owned());
        assert_eq!(key.verify("SHA256", &made, TEXT), Ok(()));
        assert_eq!(key.verify("sha256", &made, b"hello"), failed);
        assert_eq!(key.verify("sha512", &made, TEXT), failed);
        assert_eq!(key.verify("sha256", b"", TEXT), failed);
        assert_eq!(key.verify("md5", &made, TEXT), Err("md5 is not supported.".to_owned()));
    }

    #[test]
    fn curves() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let made = pair.sign(&SystemRandom::new(), TEXT).unwrap();
        let key = parsed(pair.public_key());
        assert_eq!(key.verify("sha384", made.as_ref(), TEXT), Ok(()));
        assert!(key.verify("sha384", made.as_ref(), b"").is_err());
        assert_eq!(key.verify("sha1", made.as_ref(), TEXT), Err("sha1 is not supported.".to_owned()));
        let pair = Ed25519KeyPair::generate().unwrap();
        let made = pair.sign(TEXT);
        let initialize = Err("Failed to initialize digest verify.".to_owned());
        assert_eq!(parsed(pair.public_key()).verify("sha512", made.as_ref(), TEXT), initialize);
    }

    #[test]
    fn no_keys() {
        for bytes in [
            &b""[..],
            b"garbage",
            b"\x30",
            b"\x30\x80",
            b"\x30\x83\x00\x00\x00",
            b"\x30\x02\x30\x00",
            b"\x30\x82\xff\xff\x30",
            b"\x30\x0d\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        ] {
            assert!(PublicKey::parse(bytes).is_none(), "{bytes:x?}");
        }
    }
}
