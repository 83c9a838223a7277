//! Keys and signed tokens for JWT cases; made once for each process.

use std::sync::OnceLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A time that is far away, in seconds.
pub const FAR: u64 = 9_000_000_000;

/// Signing keys, by `kid` of the set.
struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p521: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

/// What the secret keys consist of.
const SECRET: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn signers() -> &'static Signers {
    static SIGNERS: OnceLock<Signers> = OnceLock::new();
    SIGNERS.get_or_init(|| Signers {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        p256: EcdsaKeyPair::generate(&lc::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        p384: EcdsaKeyPair::generate(&lc::ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
        p521: EcdsaKeyPair::generate(&lc::ECDSA_P521_SHA512_FIXED_SIGNING).expect("a key"),
        ed25519: Ed25519KeyPair::generate().expect("a key"),
    })
}

/// base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The set of the public keys (and of the secret ones, which are what they are).
pub fn jwks() -> String {
    let signers = signers();
    // RSAPublicKey (RFC 8017 §A.1.1) of 2048 bits: the modulus follows nine bytes, the exponent is the last three.
    let rsa = signers.rsa.public_key().as_ref();
    let (n, e) = (&rsa[9..265], &rsa[rsa.len() - 3..]);
    let ec = |kid: &str, curve: &str, pair: &EcdsaKeyPair| {
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        format!(r#"{{"kty":"EC","kid":"{kid}","crv":"{curve}","x":"{}","y":"{}"}}"#, encode(x), encode(y))
    };
    let secret = |kid: &str, algorithm: &str| {
        format!(r#"{{"kty":"oct","kid":"{kid}","alg":"{algorithm}","k":"{}"}}"#, encode(SECRET))
    };
    let keys = [
        secret("h", "HS256"),
        secret("h384", "HS384"),
        secret("h512", "HS512"),
        format!(r#"{{"kty":"RSA","kid":"r","n":"{}","e":"{}"}}"#, encode(n), encode(e)),
        ec("e256", "P-256", &signers.p256),
        ec("e384", "P-384", &signers.p384),
        ec("e521", "P-521", &signers.p521),
        format!(
            r#"{{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"{}"}}"#,
            encode(signers.ed25519.public_key().as_ref())
        ),
    ];
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// A signed token; without `kid` if that is empty.
pub fn token(algorithm: &str, kid: &str, claims: &str) -> String {
    let kid = if kid.is_empty() { String::new() } else { format!(r#","kid":"{kid}""#) };
    let signed = format!("{}.{}", encode(format!(r#"{{"alg":"{algorithm}"{kid}}}"#)), encode(claims));
    let signature = sign(algorithm, signed.as_bytes());
    format!("{signed}.{}", encode(signature))
}

fn sign(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let (signers, random) = (signers(), SystemRandom::new());
    let rsa = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; signers.rsa.public_modulus_len()];
        signers.rsa.sign(encoding, &random, message, &mut signature).expect("a signature");
        signature
    };
    let ec = |pair: &EcdsaKeyPair| pair.sign(&random, message).expect("a signature").as_ref().to_vec();
    let secret = |algorithm| hmac::sign(&hmac::Key::new(algorithm, SECRET), message).as_ref().to_vec();
    match algorithm {
        "HS256" => secret(hmac::HMAC_SHA256),
        "HS384" => secret(hmac::HMAC_SHA384),
        "HS512" => secret(hmac::HMAC_SHA512),
        "RS256" => rsa(&lc::RSA_PKCS1_SHA256),
        "RS384" => rsa(&lc::RSA_PKCS1_SHA384),
        "RS512" => rsa(&lc::RSA_PKCS1_SHA512),
        "PS256" => rsa(&lc::RSA_PSS_SHA256),
        "PS384" => rsa(&lc::RSA_PSS_SHA384),
        "PS512" => rsa(&lc::RSA_PSS_SHA512),
        "ES256" => ec(&signers.p256),
        "ES384" => ec(&signers.p384),
        "ES512" => ec(&signers.p521),
        "EdDSA" => signers.ed25519.sign(message).as_ref().to_vec(),
        other => panic!("no algorithm {other}"),
    }
}
