//! `UpstreamTlsContext` -> [`ClientContext`], and the choice among the transport sockets of a cluster.

use std::sync::Arc;

use prost::Message;
use sampan_api::envoy::config::cluster::v3 as cluster_pb;
use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::extensions::transport_sockets::tls::v3 as pb;
use sampan_api::{MessageSupport, Support, type_url};

use super::super::{Scope, extension, value};
use super::source::Inputs;
use super::{YES, params, server, validation};
use crate::logging::target;
use crate::tls::certificate::sha256;
use crate::tls::context::{ClientContext, ClientSpec, RulesSource, is_server_name};
use crate::upstream::transport::{Transport, Transports};

const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const STARTTLS: &str = "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig";
/// `sni` may have so many bytes.
const LONGEST_SNI: usize = 255;

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        UPSTREAM,
        &[
            ("common_tls_context", YES),
            ("sni", YES),
            ("auto_host_sni", YES),
            ("auto_sni_san_validation", YES),
            ("max_session_keys", YES),
            ("allow_renegotiation", Support::Ignored("TLS renegotiation is never allowed")),
            ("enforce_rsa_key_usage", Support::Ignored("RSA keys are used for signatures only")),
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.TransportSocketMatch",
        &[("name", YES), ("match", YES), ("transport_socket", YES)],
    ),
];

/// What a cluster's HTTP options say about TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `auto_sni`
    pub auto_sni: bool,
    /// `auto_san_validation`
    pub auto_san_validation: bool,
}

/// The transport sockets of a cluster.
pub fn transports(
    proto: &cluster_pb::Cluster,
    options: Options,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<Transports> {
    let scope = match proto.alt_stat_name.as_str() {
        "" => format!("cluster.{}", proto.name),
        name => format!("cluster.{name}"),
    };
    let mut digest = proto.transport_socket.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    let default = match &proto.transport_socket {
        None => Transport::Plain,
        Some(socket) => transport_socket(socket, &scope, options, inputs, &at.field("transport_socket"))?,
    };
    let list = at.field("transport_socket_matches");
    let mut matches = Vec::with_capacity(proto.transport_socket_matches.len());
    for (index, row) in proto.transport_socket_matches.iter().enumerate() {
        let at = list.index(index);
        digest.extend(row.encode_to_vec());
        let Some(socket) = &row.transport_socket else {
            return at.field("transport_socket").reject("is required");
        };
        let transport = transport_socket(socket, &scope, options, inputs, &at.field("transport_socket"))?;
        let mut labels: Vec<_> = row
            .r#match
            .iter()
            .flat_map(|labels| &labels.fields)
            .map(|(name, wanted)| (name.as_str().into(), value::json(wanted)))
            .collect();
        labels.sort_by(|a: &(Box<str>, _), b| a.0.cmp(&b.0));
        matches.push((labels, transport));
    }
    if proto.transport_socket_matcher.is_some() {
        return at
            .field("transport_socket_matcher")
            .reject("matcher trees for transport sockets are not supported");
    }
    digest.extend([u8::from(options.auto_sni), u8::from(options.auto_san_validation)]);
    Some(Transports::new(matches, default, options.auto_sni, options.auto_san_validation, sha256(&digest)))
}

fn transport_socket(
    proto: &core::TransportSocket,
    scope: &str,
    options: Options,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<Transport> {
    let Some(any) = extension::transport_socket(proto) else {
        if proto.name == "envoy.transport_sockets.raw_buffer" {
            return Some(Transport::Plain);
        }
        return at.field("typed_config").reject_value(
            &proto.name,
            "the transport socket has no typed_config",
            "",
        );
    };
    let at = at.field("typed_config");
    match type_url::full_name(&any.type_url) {
        RAW_BUFFER => Some(Transport::Plain),
        UPSTREAM => {
            let proto: pb::UpstreamTlsContext = value::payload(any, &at)?;
            context(&proto, scope, options, inputs, &at).map(Transport::Tls)
        }
        STARTTLS => at.reject_value(
            &any.type_url,
            "STARTTLS is not supported: a connection is encrypted from its first byte or not at all",
            "use envoy.transport_sockets.tls",
        ),
        _ => at.reject_value(
            &any.type_url,
            "this transport socket is not supported",
            "envoy.transport_sockets.tls and raw_buffer are",
        ),
    }
}

fn context(
    proto: &pb::UpstreamTlsContext,
    scope: &str,
    options: Options,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<Arc<ClientContext>> {
    let before = at.rejects().len();
    let standard = pb::CommonTlsContext::default();
    let common = proto.common_tls_context.as_ref().unwrap_or(&standard);
    let common_at = at.field("common_tls_context");
    refuse_common(common, &common_at);
    let (identities, by_sds) = server::identities(common, inputs, &common_at)?;
    if identities.len() > 1 {
        return common_at.reject("Multiple TLS certificates are not supported for client contexts");
    }
    let (rules, rules_by_sds) =
        validation::compile(common.validation_context_type.as_ref(), inputs, &common_at)?;
    let parameters = params::compile(common.tls_params.as_ref(), &common_at.field("tls_params"));
    let sni_at = at.field("sni");
    if proto.sni.len() > LONGEST_SNI || proto.sni.contains('\0') {
        return sni_at.reject_value(
            &proto.sni,
            "SNI names containing NULL-byte or longer than 255 are not allowed",
            "",
        );
    }
    if !proto.sni.is_empty() && !is_server_name(&proto.sni) {
        return sni_at.reject_value(&proto.sni, "this is not a DNS name", "");
    }
    if proto.auto_sni_san_validation && proto.sni.is_empty() && !proto.auto_host_sni && !options.auto_sni {
        return at
            .field("auto_sni_san_validation")
            .reject("auto_sni_san_validation was configured without configuring sni or auto_host_sni");
    }
    warn_if_unverified(&rules, proto, options, &common_at);
    let spec = ClientSpec {
        scope: scope.into(),
        parameters: parameters?,
        alpn: server::alpn(&common.alpn_protocols, &common_at.field("alpn_protocols"))?,
        identity: identities.into_iter().next(),
        rules,
        sni: (!proto.sni.is_empty()).then(|| proto.sni.as_str().into()),
        host_sni: proto.auto_host_sni,
        sni_must_match: proto.auto_sni_san_validation,
        sessions: value::number_or(proto.max_session_keys.as_ref(), 1) as usize,
        dynamic: by_sds || rules_by_sds,
    };
    if at.rejects().len() > before {
        return None;
    }
    match ClientContext::new(spec, &inputs.secrets) {
        Ok(context) => Some(context),
        Err(error) => at.reject(error.to_string()),
    }
}

/// Encryption without knowing with whom protects from nobody who can redirect the connection.
fn warn_if_unverified(rules: &RulesSource, proto: &pb::UpstreamTlsContext, options: Options, at: &Scope<'_>) {
    if rules.dynamic.is_some() {
        return;
    }
    match &rules.fixed {
        Some(rules) if !rules.verify_nothing() && !rules.accept_untrusted => {
            let named =
                !rules.names.is_empty() || proto.auto_sni_san_validation || options.auto_san_validation;
            if !named
                && rules.spiffe.is_none()
                && rules.certificate_pins.is_empty()
                && rules.key_pins.is_empty()
            {
                tracing::warn!(target: target::CONFIG, "{}: {}: any server with a certificate of the trusted CA is taken for the right one; say which by match_typed_subject_alt_names or auto_san_validation", at.resource(), at.path());
            }
        }
        _ => {
            tracing::warn!(target: target::CONFIG, "{}: {}: SERVERS ARE NOT VERIFIED: there is no trusted_ca, so anybody in between can read and change the traffic; set validation_context.trusted_ca", at.resource(), at.path());
        }
    }
}

/// Parts of `CommonTlsContext` that neither side takes.
pub(super) fn refuse_common(proto: &pb::CommonTlsContext, at: &Scope<'_>) {
    #[allow(deprecated)] // a context that sets them must not pass for one that does not
    let refused = [
        (proto.tls_certificate_provider_instance.is_some(), "tls_certificate_provider_instance"),
        (proto.tls_certificate_certificate_provider.is_some(), "tls_certificate_certificate_provider"),
        (
            proto.tls_certificate_certificate_provider_instance.is_some(),
            "tls_certificate_certificate_provider_instance",
        ),
        (proto.custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
        (proto.custom_handshaker.is_some(), "custom_handshaker"),
        (proto.key_log.is_some(), "key_log"),
    ];
    for (_, field) in refused.iter().filter(|(set, _)| *set) {
        at.field(field).reject::<()>("is not supported");
    }
}
