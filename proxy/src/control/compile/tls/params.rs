//! `TlsParameters` -> versions, suites, groups.

use sampan_api::MessageSupport;
use sampan_api::envoy::extensions::transport_sockets::tls::v3 as pb;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;

use super::super::Scope;
use super::{REFUSED, YES};
use crate::logging::target;
use crate::tls::params::{Names, Parameters, Versions, cipher_names, group_names, signature_names};

pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
    &[
        ("tls_minimum_protocol_version", YES),
        ("tls_maximum_protocol_version", YES),
        ("cipher_suites", YES),
        ("ecdh_curves", YES),
        ("signature_algorithms", YES),
        ("compliance_policies", REFUSED),
    ],
)];

/// The parameters of a context; all defaults if there are none.
pub(super) fn compile(proto: Option<&pb::TlsParameters>, at: &Scope<'_>) -> Option<Parameters> {
    let Some(proto) = proto else {
        return Some(Parameters::new(Versions { tls12: true, tls13: true }, &[], &[], &[]));
    };
    let versions = versions(proto, at);
    let ciphers = taken(cipher_names(&proto.cipher_suites), &at.field("cipher_suites"), "cipher suite");
    let groups = taken(group_names(&proto.ecdh_curves), &at.field("ecdh_curves"), "group");
    let signatures = taken(
        signature_names(&proto.signature_algorithms),
        &at.field("signature_algorithms"),
        "signature algorithm",
    );
    if !proto.compliance_policies.is_empty() {
        at.field("compliance_policies").reject::<()>("compliance policies are not supported");
    }
    Some(Parameters::new(versions?, &ciphers?, &groups?, &signatures?))
}

fn versions(proto: &pb::TlsParameters, at: &Scope<'_>) -> Option<Versions> {
    let (least, most) = (proto.tls_minimum_protocol_version(), proto.tls_maximum_protocol_version());
    if matches!(most, TlsProtocol::TlSv10 | TlsProtocol::TlSv11) {
        return at.field("tls_maximum_protocol_version").reject_value(
            most.as_str_name(),
            "TLS below 1.2 is not spoken",
            "use TLSv1_2 or TLSv1_3",
        );
    }
    if matches!(least, TlsProtocol::TlSv10 | TlsProtocol::TlSv11) {
        let at = at.field("tls_minimum_protocol_version");
        tracing::warn!(target: target::CONFIG, "{}: {}: TLS below 1.2 is not spoken; 1.2 is the minimum", at.resource(), at.path());
    }
    let tls12 = least != TlsProtocol::TlSv13;
    let tls13 = most != TlsProtocol::TlSv12;
    if !tls12 && !tls13 {
        return at
            .field("tls_maximum_protocol_version")
            .reject("the maximum version is below the minimum version");
    }
    Some(Versions { tls12, tls13 })
}

/// The names that can be used. Unknown ones are refused; of the known ones some must be left.
fn taken(names: Names, at: &Scope<'_>, what: &str) -> Option<Vec<&'static str>> {
    for name in &names.unknown {
        at.reject_value::<()>(name, format!("there is no such {what}"), "see docs/tls.md for the names");
    }
    if !names.unknown.is_empty() {
        return None;
    }
    if names.taken.is_empty() && !names.lacking.is_empty() {
        return at.reject_value(
            names.lacking.join(":"),
            format!("none of these can be used: every {what} in the list is obsolete or not supported"),
            "see docs/tls.md for the names",
        );
    }
    if !names.lacking.is_empty() {
        tracing::debug!(target: target::CONFIG, "{}: {}: left out, not supported: {}", at.resource(), at.path(), names.lacking.join(":"));
    }
    Some(names.taken)
}
