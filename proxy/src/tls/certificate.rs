//! Takes a certificate apart: names, validity, fingerprints.
//!
//! For what is shown and matched, never for trust: chains are verified by webpki ([`super::verify`]). A SAN extension that
//! does not parse counts as none, and a name with control characters in it is left out, so that nothing odd can match.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use sampan_filters_api::info::CertificateInfo;
use x509_cert::Certificate;
use x509_cert::der::asn1::{
    Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use x509_cert::der::{Any, Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// A certificate that is not X.509 in DER.
#[derive(Debug, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct Malformed(#[from] x509_cert::der::Error);

/// Takes a certificate apart.
///
/// # Errors
/// It is not X.509 in DER.
pub fn parse(der: &[u8]) -> Result<Arc<CertificateInfo>, Malformed> {
    let certificate = Certificate::from_der(der)?;
    let tbs = &certificate.tbs_certificate;
    let mut info = CertificateInfo {
        der: der.into(),
        subject: distinguished_name(&tbs.subject),
        issuer: distinguished_name(&tbs.issuer),
        serial: hex(trim_zeros(tbs.serial_number.as_bytes())),
        sha1: hex(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
        sha256: hex(digest::digest(&SHA256, der).as_ref()),
        not_before: tbs.validity.not_before.to_system_time(),
        not_after: tbs.validity.not_after.to_system_time(),
        uri_sans: Vec::new(),
        dns_sans: Vec::new(),
        ip_sans: Vec::new(),
        email_sans: Vec::new(),
        other_sans: Vec::new(),
    };
    if let Ok(Some((_, names))) = tbs.get::<SubjectAltName>() {
        for name in names.0 {
            sort(name, &mut info);
        }
    }
    Ok(Arc::new(info))
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
///
/// # Errors
/// It is not X.509 in DER.
pub fn spki_sha256(der: &[u8]) -> Result<[u8; 32], Malformed> {
    let certificate = Certificate::from_der(der)?;
    let spki = certificate.tbs_certificate.subject_public_key_info.to_der()?;
    Ok(sha256(&spki))
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&SHA256, data).as_ref());
    out
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// A serial number is an integer: zeros in front say nothing.
fn trim_zeros(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    &bytes[first..]
}

fn sort(name: GeneralName, info: &mut CertificateInfo) {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => info.uri_sans.extend(clean(uri.as_str())),
        GeneralName::DnsName(name) => info.dns_sans.extend(clean(name.as_str())),
        GeneralName::Rfc822Name(address) => info.email_sans.extend(clean(address.as_str())),
        GeneralName::IpAddress(address) => info.ip_sans.extend(ip(address.as_bytes())),
        GeneralName::OtherName(other) => {
            // The value is wrapped in an explicit tag; what is no string inside can be matched by nothing.
            if let Some(text) = text(&other.value).and_then(|text| clean(&text)) {
                info.other_sans.push((other.type_id.to_string(), text));
            }
        }
        GeneralName::DirectoryName(_) | GeneralName::EdiPartyName(_) | GeneralName::RegisteredId(_) => {}
    }
}

fn clean(name: &str) -> Option<String> {
    (!name.chars().any(char::is_control)).then(|| name.to_owned())
}

fn ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
        _ => None,
    }
}

/// The name as OpenSSL prints it by RFC 2253: the last part first, values escaped.
fn distinguished_name(name: &Name) -> String {
    let mut out = String::new();
    for relative in name.0.iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        for (index, part) in relative.0.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            match short_name(part.oid) {
                Some(short) => out.push_str(short),
                None => out.push_str(&part.oid.to_string()),
            }
            out.push('=');
            if let Some(value) = text(&part.value) {
                escape(&value, &mut out);
            } else {
                out.push('#');
                out.push_str(&hex(&part.value.to_der().unwrap_or_default()).to_ascii_uppercase());
            }
        }
    }
    out
}

fn short_name(oid: ObjectIdentifier) -> Option<&'static str> {
    Some(match oid.to_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// The text of a string value of any kind, also below an explicit tag.
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => Some(value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned()),
        Tag::PrintableString => Some(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned()),
        Tag::Ia5String => Some(value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str().to_owned()),
        Tag::TeletexString => Some(value.decode_as::<TeletexStringRef<'_>>().ok()?.as_str().to_owned()),
        Tag::ContextSpecific { .. } => text(&Any::from_der(value.value()).ok()?),
        _ => None,
    }
}

/// RFC 2253 §2.4, with control characters as hex.
fn escape(value: &str, out: &mut String) {
    for (index, c) in value.char_indices() {
        let at_edge = index == 0 || index + c.len_utf8() == value.len();
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if at_edge => out.push_str("\\ "),
            c if c.is_control() || !c.is_ascii() => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    out.push('\\');
                    out.push_str(&hex(&[byte]).to_ascii_uppercase());
                }
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Leaf, Mint};

    #[test]
    fn names_and_fingerprints_are_read() {
        let mint = Mint::new("root");
        let leaf = Leaf::named("leaf, with \"quotes\"")
            .dns("a.example")
            .uri("spiffe://td/ns/x")
            .ip([10, 0, 0, 1])
            .email("me@example")
            .sign(&mint);
        let info = parse(&leaf.der).unwrap();
        assert_eq!(info.subject, "CN=leaf\\, with \\\"quotes\\\"");
        assert_eq!(info.issuer, "CN=root");
        assert_eq!(
            (info.dns_sans.as_slice(), info.uri_sans.as_slice()),
            (&["a.example".to_owned()][..], &["spiffe://td/ns/x".to_owned()][..])
        );
        assert_eq!(
            (info.ip_sans.as_slice(), info.email_sans.as_slice()),
            (&["10.0.0.1".to_owned()][..], &["me@example".to_owned()][..])
        );
        assert_eq!((info.sha256.len(), info.sha1.len()), (64, 40));
        assert!(info.not_before < info.not_after);
        assert_eq!(
            parse(&leaf.der[..20]).unwrap_err().to_string().split(':').next(),
            Some("not an X.509 certificate")
        );
    }

    #[test]
    fn names_with_control_characters_are_left_out() {
        let mint = Mint::new("root");
        let leaf = Leaf::named("x")
            .dns("good.example\0.evil")
            .uri("spiffe://td/ns/x\0")
            .dns("ok.example")
            .sign(&mint);
        let info = parse(&leaf.der).unwrap();
        assert_eq!((info.dns_sans.as_slice(), info.uri_sans.len()), (&["ok.example".to_owned()][..], 0));
    }

    #[test]
    fn public_keys_have_fingerprints() {
        let mint = Mint::new("root");
        let one = Leaf::named("one").sign(&mint);
        assert_ne!(spki_sha256(&one.der).unwrap(), sha256(&one.der));
        assert_eq!(hex(&[0x0f, 0xa0]), "0fa0");
    }
}
