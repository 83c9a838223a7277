//! What is known of a TLS session and of the certificates on either side of it.
//!
//! The proxy's TLS layer fills it in once per handshake; access logs, `x-forwarded-client-cert` and filters read it.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A certificate, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The certificate itself (X.509, DER).
    pub der: Box<[u8]>,
    /// RFC 2253 form of the subject.
    pub subject: String,
    /// RFC 2253 form of the issuer.
    pub issuer: String,
    /// The serial number in lower-case hex.
    pub serial: String,
    /// SHA-1 of the certificate in lower-case hex.
    pub sha1: String,
    /// SHA-256 of the certificate in lower-case hex.
    pub sha256: String,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
    /// URI SANs.
    pub uri_sans: Vec<String>,
    /// DNS SANs.
    pub dns_sans: Vec<String>,
    /// IP address SANs.
    pub ip_sans: Vec<String>,
    /// Email SANs.
    pub email_sans: Vec<String>,
    /// SANs of other kinds: the OID in dotted form, and the value where it is a string.
    pub other_sans: Vec<(String, String)>,
}

/// What is known of a TLS session.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// The suite's OpenSSL name.
    pub cipher: &'static str,
    /// The key exchange group.
    pub group: &'static str,
    /// Negotiated ALPN protocol.
    pub alpn: Option<Box<[u8]>>,
    /// The server name that was sent upstream.
    pub sni: Option<Arc<str>>,
    /// What the peer presented, its own certificate first.
    pub peer: Vec<Arc<CertificateInfo>>,
    /// The own certificate, where one was presented.
    pub local: Option<Arc<CertificateInfo>>,
    /// The peer's certificate was checked and found good.
    pub validated: bool,
    /// The session was resumed.
    pub resumed: bool,
    /// The element of `x-forwarded-client-cert` for this connection; made once, by the first request.
    pub forwarded: OnceLock<Box<str>>,
}

impl TlsInfo {
    /// The peer's own certificate.
    pub fn peer(&self) -> Option<&CertificateInfo> {
        self.peer.first().map(|certificate| &**certificate)
    }
}

impl CertificateInfo {
    /// PEM (RFC 7468), percent-encoded.
    pub fn url_encoded_pem(&self) -> String {
        percent_encode(&self.pem())
    }

    /// PEM (RFC 7468).
    pub fn pem(&self) -> String {
        let body = STANDARD.encode(&self.der);
        let mut pem = String::with_capacity(body.len() + body.len() / 64 + 60);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = next;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

/// Encodes what PEM has beside letters, digits, `-`, `.`, `_` and `~` (RFC 3986 §2.1).
fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() * 5 / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_wrapped_and_encoded() {
        let certificate = CertificateInfo {
            der: vec![0xff; 49].into(),
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            sha1: String::new(),
            sha256: String::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            uri_sans: Vec::new(),
            dns_sans: Vec::new(),
            ip_sans: Vec::new(),
            email_sans: Vec::new(),
            other_sans: Vec::new(),
        };
        let pem = certificate.pem();
        let lines: Vec<_> = pem.lines().collect();
        assert_eq!((lines.len(), lines[1].len(), lines[2]), (4, 64, "/w=="));
        let encoded = certificate.url_encoded_pem();
        assert!(encoded.starts_with("-----BEGIN%20CERTIFICATE-----%0A%2F%2F"), "{encoded}");
        assert!(encoded.ends_with("%2Fw%3D%3D%0A-----END%20CERTIFICATE-----%0A"), "{encoded}");
    }
}
