//! `TLSProperties`: what is known of the downstream TLS session.

use sampan_filters_api::info::{CertificateInfo, TlsInfo};

use crate::telemetry::access_log::wire::Fields;

pub(super) fn write(session: &TlsInfo, server_name: Option<&str>, fields: &mut Fields<'_>) {
    fields.number(1, version(session.version));
    if let Some(suite) = suite(session.cipher) {
        fields.message(2, |wrapper| wrapper.number(1, suite.into()));
    }
    fields.text(3, server_name.unwrap_or_default().as_bytes());
    fields.message(4, |certificate| {
        if let Some(info) = session.local.as_deref() {
            properties(info, certificate);
        }
    });
    fields.message(5, |certificate| {
        if let Some(info) = session.peer() {
            properties(info, certificate);
            certificate.text(3, info.issuer.as_bytes());
        }
    });
}

/// `CertificateProperties`: of the names, Envoy's entries have the URIs.
fn properties(info: &CertificateInfo, certificate: &mut Fields<'_>) {
    for uri in &info.uri_sans {
        certificate.message(1, |name| name.some_text(1, uri.as_bytes()));
    }
    certificate.text(2, info.subject.as_bytes());
}

/// `TLSProperties.TLSVersion`
fn version(name: &str) -> u64 {
    match name {
        "TLSv1" => 1,
        "TLSv1.1" => 2,
        "TLSv1.2" => 3,
        "TLSv1.3" => 4,
        _ => 0,
    }
}

/// The number of a cipher suite (IANA, "TLS Cipher Suites") by its OpenSSL name: those that rustls has.
fn suite(name: &str) -> Option<u16> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => 0x1301,
        "TLS_AES_256_GCM_SHA384" => 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256" => 0x1303,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => 0xc02b,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => 0xc02c,
        "ECDHE-RSA-AES128-GCM-SHA256" => 0xc02f,
        "ECDHE-RSA-AES256-GCM-SHA384" => 0xc030,
        "ECDHE-RSA-CHACHA20-POLY1305" => 0xcca8,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => 0xcca9,
        _ => return None,
    })
}
