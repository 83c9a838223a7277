//! A JSON Web Token (RFC 7519) in its compact form, taken apart but not believed; and what can be wrong with one.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde_json::{Map, Value};

macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// What became of a check; codes and texts are those of Envoy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Status {
            $(#[doc = $text] $name = $code,)*
        }

        impl Status {
            /// As bodies, details and metadata say it.
            pub const fn text(self) -> &'static str {
                match self { $(Status::$name => $text,)* }
            }

            /// Its number, for metadata.
            pub const fn code(self) -> u8 {
                self as u8
            }
        }
    };
}

statuses! {
    Ok = 0, "OK";
    Missing = 1, "Jwt is missing";
    NotYetValid = 2, "Jwt not yet valid";
    Expired = 3, "Jwt is expired";
    BadFormat = 4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    HeaderBadBase64 = 5, "Jwt header is an invalid Base64url encoded";
    HeaderBadJson = 6, "Jwt header is an invalid JSON";
    HeaderBadAlg = 7, "Jwt header [alg] field is required and must be a string";
    HeaderUnknownAlg = 8, "Jwt header [alg] is not supported";
    HeaderBadKid = 9, "Jwt header [kid] field is not a string";
    PayloadBadBase64 = 10, "Jwt payload is an invalid Base64url encoded";
    PayloadBadJson = 11, "Jwt payload is an invalid JSON";
    IssNotString = 12, "Jwt payload [iss] field is not a string";
    SubNotString = 13, "Jwt payload [sub] field is not a string";
    IatNotInteger = 14, "Jwt payload [iat] field is not an integer";
    IatOutOfRange = 15, "Jwt payload [iat] field is not a positive 64 bit integer";
    NbfNotInteger = 16, "Jwt payload [nbf] field is not an integer";
    NbfOutOfRange = 17, "Jwt payload [nbf] field is not a positive 64 bit integer";
    ExpNotInteger = 18, "Jwt payload [exp] field is not an integer";
    ExpOutOfRange = 19, "Jwt payload [exp] field is not a positive 64 bit integer";
    JtiNotString = 20, "Jwt payload [jti] field is not a string";
    AudNotString = 21, "Jwt payload [aud] field is not a string or string list";
    SignatureBadBase64 = 22, "Jwt signature is an invalid Base64url encoded";
    Ed25519WrongLength = 23, "Jwt ED25519 signature is wrong length";
    UnknownIssuer = 24, "Jwt issuer is not configured";
    AudienceNotAllowed = 25, "Audiences in Jwt are not allowed";
    VerificationFail = 26, "Jwt verification fails";
    KidAlgMismatch = 32, "Jwks doesn't have key to match kid or alg from Jwt";
    FetchFail = 40, "Jwks remote fetch is failed";
}

/// The algorithms that are known (RFC 7518 §3.1, RFC 8037 §3.1).
const ALGORITHMS: &[&str] = &[
    "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
    "PS512", "EdDSA",
];

/// Of the last character, bits that mean nothing may be anything, as in Envoy.
const BASE64URL: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// A longer token is not looked at.
const LONGEST: usize = 64 * 1024;

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub payload: Map<String, Value>,
    /// The claims as they came.
    pub encoded_payload: Box<str>,
    /// What the signature is of.
    pub signed: Box<str>,
    /// The signature.
    pub signature: Vec<u8>,
    /// `alg`
    pub algorithm: Box<str>,
    /// `kid`; empty if there is none.
    pub kid: Box<str>,
    /// `iss`; empty if there is none.
    pub issuer: Box<str>,
    /// `sub`; empty if there is none.
    pub subject: Box<str>,
    /// `aud`
    pub audiences: Vec<Box<str>>,
    /// `nbf` in seconds, 0 if there is none.
    pub not_before: u64,
    /// `exp` in seconds, 0 if there is none.
    pub expires: u64,
}

impl Token {
    /// Takes a token apart.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut sections = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (sections.next(), sections.next(), sections.next(), sections.next())
        else {
            return Err(Status::BadFormat);
        };
        if text.len() > LONGEST || [header, payload, signature].contains(&"") {
            return Err(Status::BadFormat);
        }
        let head = object(header, Status::HeaderBadBase64, Status::HeaderBadJson)?;
        let algorithm = match head.get("alg") {
            Some(Value::String(name)) => name.as_str(),
            _ => return Err(Status::HeaderBadAlg),
        };
        if !ALGORITHMS.contains(&algorithm) {
            return Err(Status::HeaderUnknownAlg);
        }
        let kid = string(&head, "kid", Status::HeaderBadKid)?;
        let claims = object(payload, Status::PayloadBadBase64, Status::PayloadBadJson)?;
        let issuer = string(&claims, "iss", Status::IssNotString)?;
        let subject = string(&claims, "sub", Status::SubNotString)?;
        seconds(&claims, "iat", Status::IatNotInteger, Status::IatOutOfRange)?;
        let not_before = seconds(&claims, "nbf", Status::NbfNotInteger, Status::NbfOutOfRange)?;
        let expires = seconds(&claims, "exp", Status::ExpNotInteger, Status::ExpOutOfRange)?;
        string(&claims, "jti", Status::JtiNotString)?;
        let audiences = audiences(&claims)?;
        let signed = &text[..header.len() + 1 + payload.len()];
        let signature = BASE64URL.decode(signature).map_err(|_| Status::SignatureBadBase64)?;
        Ok(Self {
            algorithm: algorithm.into(),
            encoded_payload: payload.into(),
            signed: signed.into(),
            header: head,
            payload: claims,
            signature,
            kid,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
        })
    }

    /// Whether the times of the token hold at `now` (seconds of Unix time).
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), Status> {
        if self.not_before > now.saturating_add(skew) {
            return Err(Status::NotYetValid);
        }
        if self.expires > 0 && now > self.expires.saturating_add(skew) {
            return Err(Status::Expired);
        }
        Ok(())
    }
}

fn object(encoded: &str, bad_base64: Status, bad_json: Status) -> Result<Map<String, Value>, Status> {
    let bytes = BASE64URL.decode(encoded).map_err(|_| bad_base64)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(bad_json),
    }
}

fn string(fields: &Map<String, Value>, name: &str, wrong: Status) -> Result<Box<str>, Status> {
    match fields.get(name) {
        None => Ok("".into()),
        Some(Value::String(text)) => Ok(text.as_str().into()),
        Some(_) => Err(wrong),
    }
}

/// A time: a number that is not negative. A part of a second is cut off.
fn seconds(fields: &Map<String, Value>, name: &str, wrong: Status, beyond: Status) -> Result<u64, Status> {
    let Some(value) = fields.get(name) else { return Ok(0) };
    match (value.as_u64(), value.as_f64()) {
        (Some(number), _) if i64::try_from(number).is_ok() => Ok(number),
        (_, Some(number)) if (0.0..9e18).contains(&number) => Ok(number as u64),
        (_, Some(_)) => Err(beyond),
        (_, None) => Err(wrong),
    }
}

fn audiences(fields: &Map<String, Value>) -> Result<Vec<Box<str>>, Status> {
    let text = |value: &Value| value.as_str().map(Box::from).ok_or(Status::AudNotString);
    match fields.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(one) => text(one).map(|one| vec![one]),
    }
}
