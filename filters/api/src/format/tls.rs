//! The operators that tell of TLS sessions and certificates.

use super::context::FormatContext;
use super::facts::{comma, put, put_full};
use super::operator::{Operator, TextOf};
use super::parse::Call;
use super::time::{TimeFormat, Zone};
use crate::info::{CertificateInfo, TlsInfo};

/// A certificate of a session.
pub(crate) type CertificateOf = for<'a> fn(&'a FormatContext<'_>) -> Option<&'a CertificateInfo>;

/// The session with the client.
pub(crate) fn downstream<'a>(context: &'a FormatContext<'_>) -> Option<&'a TlsInfo> {
    context.info.connection.tls.as_deref()
}

/// The session with the upstream host.
pub(crate) fn upstream<'a>(context: &'a FormatContext<'_>) -> Option<&'a TlsInfo> {
    context.info.upstream.tls.as_deref()
}

/// The client's certificate.
pub(crate) fn client<'a>(context: &'a FormatContext<'_>) -> Option<&'a CertificateInfo> {
    downstream(context)?.peer()
}

/// The certificate that the client was shown.
pub(crate) fn shown<'a>(context: &'a FormatContext<'_>) -> Option<&'a CertificateInfo> {
    downstream(context)?.local.as_deref()
}

/// The upstream host's certificate.
pub(crate) fn server<'a>(context: &'a FormatContext<'_>) -> Option<&'a CertificateInfo> {
    upstream(context)?.peer()
}

/// The certificate that the upstream host was shown.
pub(crate) fn shown_upstream<'a>(context: &'a FormatContext<'_>) -> Option<&'a CertificateInfo> {
    upstream(context)?.local.as_deref()
}

/// Appends the texts of a list, joined by commas.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for item in items {
        comma(start, out);
        out.extend_from_slice(item.as_bytes());
    }
    out.len() > start
}

/// Appends a field of a certificate that is there.
pub(crate) fn field(
    certificate: Option<&CertificateInfo>,
    text: for<'a> fn(&'a CertificateInfo) -> &'a str,
    out: &mut Vec<u8>,
) -> bool {
    put(certificate.map(text), out)
}

/// Appends a list of a certificate.
pub(crate) fn names(
    certificate: Option<&CertificateInfo>,
    names: for<'a> fn(&'a CertificateInfo) -> &'a [String],
    out: &mut Vec<u8>,
) -> bool {
    list(certificate.map(names).unwrap_or_default().iter().map(String::as_str), out)
}

/// Appends the other names of a certificate.
pub(crate) fn other_names(certificate: Option<&CertificateInfo>, out: &mut Vec<u8>) -> bool {
    let names = certificate.map(|certificate| certificate.other_sans.as_slice()).unwrap_or_default();
    list(names.iter().map(|(_, name)| name.as_str()), out)
}

/// Appends a field of all the client's certificates.
pub(crate) fn chain(
    context: &FormatContext<'_>,
    text: for<'a> fn(&'a CertificateInfo) -> &'a str,
    out: &mut Vec<u8>,
) -> bool {
    let chain = downstream(context).map(|tls| tls.peer.as_slice()).unwrap_or_default();
    list(chain.iter().map(|certificate| text(certificate)), out)
}

/// The client's issuer, where the client presented it.
pub(crate) fn issuer<'a>(context: &'a FormatContext<'_>) -> Option<&'a CertificateInfo> {
    downstream(context)?.peer.get(1).map(|certificate| &**certificate)
}

/// Appends a certificate as percent-encoded PEM.
pub(crate) fn pem(certificate: Option<&CertificateInfo>, out: &mut Vec<u8>) -> bool {
    certificate.is_some_and(|certificate| put_full(&certificate.url_encoded_pem(), out))
}

/// When a certificate becomes valid.
pub(crate) fn starts(of: CertificateOf, call: &Call<'_>) -> Operator {
    Operator::CertificateTime { of, ends: false, format: TimeFormat::parse(call.argument, Zone::Utc) }
}

/// When a certificate expires.
pub(crate) fn ends(of: CertificateOf, call: &Call<'_>) -> Operator {
    Operator::CertificateTime { of, ends: true, format: TimeFormat::parse(call.argument, Zone::Utc) }
}

/// The reason for which the client's handshake failed.
pub(crate) const FAILURE: TextOf =
    |context, out| super::facts::reason(&context.info.connection.transport_failure, out);
