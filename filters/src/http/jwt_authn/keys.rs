//! JSON Web Key Sets (RFC 7517) and the check of a signature, computed by aws-lc.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self as lc, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::token::{Status, Token};

/// The public keys of an issuer. There are some.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

/// One key.
struct Key {
    /// `kid`; empty if there is none.
    kid: Box<str>,
    /// `alg`; empty if there is none.
    algorithm: Box<str>,
    material: Material,
}

/// What a key consists of.
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Curve and point, uncompressed.
    Ec(Curve, Vec<u8>),
    Secret(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A curve of RFC 7518 §6.2.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

/// Keys are not shown.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm)
    }
}

/// Keys of a set beyond this are not looked at.
const MOST: usize = 1024;

impl Keys {
    /// The keys of a set that can be used; none if there is no such key, or no set.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(text).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().filter_map(Value::as_object);
        let keys: Vec<Key> = keys.take(MOST).filter_map(key).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Whether one of the keys made the signature of a token.
    pub fn verify(&self, token: &Token) -> Status {
        let fits = |key: &&Key| {
            (token.kid.is_empty() || key.kid.is_empty() || key.kid == token.kid)
                && (key.algorithm.is_empty() || key.algorithm == token.algorithm)
        };
        let mut failed = Status::KidAlgMismatch;
        for key in self.0.iter().filter(fits) {
            failed = Status::VerificationFail;
            if matches!(key.material, Material::Ed25519(_)) && token.signature.len() != 64 {
                return Status::Ed25519WrongLength;
            }
            if key.material.made(token) {
                return Status::Ok;
            }
        }
        failed
    }
}

impl Material {
    fn made(&self, token: &Token) -> bool {
        let (message, signature) = (token.signed.as_bytes(), &*token.signature);
        match self {
            Self::Rsa { n, e } => {
                // RFC 7518 §3.3: keys have 2048 bits or more.
                let parameters: &RsaParameters = match &*token.algorithm {
                    "RS256" => &lc::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &lc::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &lc::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &lc::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &lc::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &lc::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            Self::Ec(curve, point) => {
                let algorithm: &EcdsaVerificationAlgorithm = match (&*token.algorithm, curve) {
                    ("ES256", Curve::P256) => &lc::ECDSA_P256_SHA256_FIXED,
                    ("ES384", Curve::P384) => &lc::ECDSA_P384_SHA384_FIXED,
                    ("ES512", Curve::P521) => &lc::ECDSA_P521_SHA512_FIXED,
                    _ => return false,
                };
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
            }
            Self::Secret(secret) => {
                let algorithm = match &*token.algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => return false,
                };
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
            }
            Self::Ed25519(point) => {
                &*token.algorithm == "EdDSA"
                    && ParsedPublicKey::new(&lc::ED25519, point)
                        .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
            }
        }
    }
}

fn key(fields: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let algorithm = text("alg").unwrap_or_default();
    let starts = |prefixes: &[&str]| {
        algorithm.is_empty() || prefixes.iter().any(|prefix| algorithm.starts_with(prefix))
    };
    let material = match text("kty")? {
        "RSA" if starts(&["RS", "PS"]) => Material::Rsa { n: number(text("n")?)?, e: number(text("e")?)? },
        "EC" if starts(&["ES"]) => {
            let (curve, length) = match (text("crv"), algorithm) {
                (Some("P-256"), _) | (None, "" | "ES256") => (Curve::P256, 32),
                (Some("P-384"), _) | (None, "ES384") => (Curve::P384, 48),
                (Some("P-521"), _) | (None, "ES512") => (Curve::P521, 66),
                _ => return None,
            };
            let fits = matches!(
                (curve, algorithm),
                (_, "") | (Curve::P256, "ES256") | (Curve::P384, "ES384") | (Curve::P521, "ES512")
            );
            if !fits {
                return None;
            }
            Material::Ec(curve, point(&number(text("x")?)?, &number(text("y")?)?, length)?)
        }
        "oct" if starts(&["HS"]) => Material::Secret(decode(text("k")?)?),
        "OKP" if starts(&["EdDSA"]) && text("crv")? == "Ed25519" => {
            Material::Ed25519(decode(text("x")?)?).of_length(32)?
        }
        _ => return None,
    };
    let kid = text("kid").unwrap_or_default();
    Some(Key { kid: kid.into(), algorithm: algorithm.into(), material })
}

impl Material {
    fn of_length(self, length: usize) -> Option<Self> {
        match &self {
            Self::Ed25519(bytes) if bytes.len() != length => None,
            _ => Some(self),
        }
    }
}

/// base64url, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// A number without the zeros in front.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = decode(text)?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[start..].to_vec())
}

/// SEC 1 §2.3.3, uncompressed.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let zeros = length.checked_sub(coordinate.len())?;
        point.resize(point.len() + zeros, 0);
        point.extend_from_slice(coordinate);
    }
    Some(point)
}
