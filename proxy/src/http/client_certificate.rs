//! `x-forwarded-client-cert`: what is passed on of the client's certificate.
//!
//! `forward_client_cert_details` says what becomes of the field that a client sends, `set_current_client_cert_details` what is said of
//! the client itself. Called by [`super::forwarding`].

use std::fmt::Write as _;

use sampan_filters_api::info::TlsInfo;
use sampan_filters_api::{ConnectionInfo, Headers, Known};

use super::config::{ClientCertDetails, ClientCertForwarding, HttpConfig};
use super::forwarding::join;

/// Passes the field on, removes it, or says who the client is.
pub(super) fn forward(config: &HttpConfig, connection: &ConnectionInfo, headers: &mut Headers) {
    const FIELD: Known = Known::XForwardedClientCert;
    if config.client_cert == ClientCertForwarding::AlwaysForwardOnly {
        return;
    }
    // Only a client that showed who it is may pass on what others showed it.
    let presented = connection.tls.as_deref().filter(|tls| !tls.peer.is_empty());
    match (config.client_cert, presented) {
        (ClientCertForwarding::Sanitize, _) | (_, None) => {
            headers.remove_known(FIELD);
        }
        (ClientCertForwarding::ForwardOnly | ClientCertForwarding::AlwaysForwardOnly, Some(_)) => {}
        (ClientCertForwarding::SanitizeSet, Some(tls)) => {
            headers.set_known(FIELD, element(tls, config.client_cert_details).as_bytes());
        }
        (ClientCertForwarding::AppendForward, Some(tls)) => {
            join(headers, FIELD, b",", element(tls, config.client_cert_details).as_bytes());
        }
    }
}

/// The element for this connection. A connection has one connection manager, so it is made once.
fn element(tls: &TlsInfo, details: ClientCertDetails) -> &str {
    tls.forwarded.get_or_init(|| describe(tls, details).into())
}

fn describe(tls: &TlsInfo, details: ClientCertDetails) -> String {
    let mut out = String::new();
    for uri in tls.local.iter().flat_map(|local| &local.uri_sans) {
        pair(&mut out, "By", uri);
    }
    let Some(peer) = tls.peer() else { return out };
    pair(&mut out, "Hash", &peer.sha256);
    if details.cert {
        quoted(&mut out, "Cert", &peer.url_encoded_pem());
    }
    if details.chain {
        let chain: String = tls.peer.iter().map(|certificate| certificate.url_encoded_pem()).collect();
        quoted(&mut out, "Chain", &chain);
    }
    if details.subject {
        quoted(&mut out, "Subject", &peer.subject);
    }
    if details.uri {
        if peer.uri_sans.is_empty() {
            pair(&mut out, "URI", "");
        }
        peer.uri_sans.iter().for_each(|uri| pair(&mut out, "URI", uri));
    }
    if details.dns {
        peer.dns_sans.iter().for_each(|name| pair(&mut out, "DNS", name));
    }
    out
}

/// Adds a pair; what would end it, or begin another, is percent-encoded.
fn pair(out: &mut String, key: &str, value: &str) {
    begin(out, key);
    for c in value.chars() {
        match c {
            ',' | ';' | '"' | '\\' => _ = write!(out, "%{:02X}", c as u32),
            c => out.push(c),
        }
    }
}

/// Adds a pair in quotes; its value has no quote that is not escaped.
fn quoted(out: &mut String, key: &str, value: &str) {
    begin(out, key);
    out.extend(["\"", value, "\""]);
}

fn begin(out: &mut String, key: &str) {
    if !out.is_empty() {
        out.push(';');
    }
    out.extend([key, "="]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use sampan_filters_api::info::CertificateInfo;

    use super::*;

    fn certificate(subject: &str, uris: &[&str], dns: &[&str]) -> Arc<CertificateInfo> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Arc::new(CertificateInfo {
            der: [1, 2].into(),
            subject: subject.into(),
            issuer: String::new(),
            serial: String::new(),
            sha1: String::new(),
            sha256: "ab".into(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            uri_sans: owned(uris),
            dns_sans: owned(dns),
            ip_sans: Vec::new(),
            email_sans: Vec::new(),
            other_sans: Vec::new(),
        })
    }

    #[test]
    fn details_come_in_envoys_order() {
        let tls = TlsInfo {
            peer: vec![certificate("CN=x", &["spiffe://a/b", "spiffe://c,d;URI=e"], &["x.y"])],
            local: Some(certificate("", &["spiffe://me"], &[])),
            ..TlsInfo::default()
        };
        let all = ClientCertDetails { subject: true, cert: false, chain: false, dns: true, uri: true };
        assert_eq!(
            describe(&tls, all),
            "By=spiffe://me;Hash=ab;Subject=\"CN=x\";URI=spiffe://a/b;URI=spiffe://c%2Cd%3BURI=e;DNS=x.y"
        );
        let nameless = TlsInfo { peer: vec![certificate("", &[], &[])], ..TlsInfo::default() };
        assert_eq!(describe(&nameless, all), "Hash=ab;Subject=\"\";URI=");
        assert_eq!(describe(&nameless, ClientCertDetails::default()), "Hash=ab");
    }
}
