//! `DownstreamTlsContext` -> [`ServerContext`].

use std::sync::Arc;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::extensions::transport_sockets::tls::v3 as pb;
use sampan_api::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::{
    OcspStaplePolicy, SessionTicketKeysType,
};
use sampan_api::{MessageSupport, Support, type_url};

use super::super::{Scope, extension, value};
use super::source::Inputs;
use super::{REFUSED, YES, params, secret, validation};
use crate::tls::context::{ServerContext, ServerSpec};
use crate::tls::secrets::Slot;

const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const STARTTLS: &str = "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig";

pub(super) const SUPPORT: &[MessageSupport] = &[(
    DOWNSTREAM,
    &[
        ("common_tls_context", YES),
        ("require_client_certificate", YES),
        ("session_ticket_keys", YES),
        ("session_ticket_keys_sds_secret_config", YES),
        ("disable_stateless_session_resumption", YES),
        ("disable_stateful_session_resumption", YES),
        ("session_timeout", YES),
        ("full_scan_certs_on_sni_mismatch", YES),
        ("prefer_client_ciphers", YES),
        (
            "ocsp_staple_policy",
            Support::Later("staples are presented as they are; other policies are refused"),
        ),
        ("require_sni", REFUSED),
    ],
)];

/// The transport socket of a filter chain: `Some(None)` is a plain one.
///
/// `scope` is `listener.<address>`.
pub fn transport_socket(
    proto: &core::TransportSocket,
    scope: &str,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<Option<Arc<ServerContext>>> {
    let Some(any) = extension::transport_socket(proto) else {
        if proto.name == "envoy.transport_sockets.raw_buffer" {
            return Some(None);
        }
        return at.reject_value(&proto.name, "the transport socket has no typed_config", "");
    };
    let at = at.field("typed_config");
    match type_url::full_name(&any.type_url) {
        RAW_BUFFER => Some(None),
        DOWNSTREAM => {
            let proto: pb::DownstreamTlsContext = value::payload(any, &at)?;
            context(&proto, scope, inputs, &at).map(Some)
        }
        STARTTLS => at.reject_value(
            &any.type_url,
            "STARTTLS is not supported: a connection is encrypted from its first byte or not at all",
            "use envoy.transport_sockets.tls, on a port of its own",
        ),
        _ => at.reject_value(
            &any.type_url,
            "this transport socket is not supported",
            "envoy.transport_sockets.tls and raw_buffer are",
        ),
    }
}

fn context(
    proto: &pb::DownstreamTlsContext,
    scope: &str,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<Arc<ServerContext>> {
    let common_at = at.field("common_tls_context");
    let Some(common) = &proto.common_tls_context else { return common_at.reject("is required") };
    let before = at.rejects().len();
    super::client::refuse_common(common, &common_at);
    if value::switch(proto.require_sni.as_ref()) == Some(true) {
        at.field("require_sni").reject::<()>("is not supported; match server_names in filter chains instead");
    }
    if proto.ocsp_staple_policy() != OcspStaplePolicy::LenientStapling {
        at.field("ocsp_staple_policy").reject_value::<()>(
            proto.ocsp_staple_policy().as_str_name(),
            "staples are not checked, so this policy cannot be kept",
            "use LENIENT_STAPLING",
        );
    }
    let (identities, by_sds) = identities(common, inputs, &common_at)?;
    if identities.is_empty() {
        return common_at.reject("No TLS certificates found for server context");
    }
    let (rules, rules_by_sds) =
        validation::compile(common.validation_context_type.as_ref(), inputs, &common_at)?;
    let parameters = params::compile(common.tls_params.as_ref(), &common_at.field("tls_params"));
    let (ticket_keys, stateless_resumption) = resumption(proto, inputs, at)?;
    let spec = ServerSpec {
        scope: scope.into(),
        parameters: parameters?,
        alpn: alpn(&common.alpn_protocols, &common_at.field("alpn_protocols"))?,
        identities,
        rules,
        require_client_certificate: value::switch(proto.require_client_certificate.as_ref()).unwrap_or(false),
        ticket_keys,
        stateless_resumption,
        stateful_resumption: !proto.disable_stateful_session_resumption,
        session_timeout: value::duration(proto.session_timeout.as_ref(), &at.field("session_timeout")),
        full_scan: value::switch(proto.full_scan_certs_on_sni_mismatch.as_ref()).unwrap_or(false),
        prefer_client_ciphers: proto.prefer_client_ciphers,
        dynamic: by_sds || rules_by_sds,
    };
    if at.rejects().len() > before {
        return None;
    }
    match ServerContext::new(spec, &inputs.secrets) {
        Ok(context) => Some(context),
        Err(error) => at.reject(error.to_string()),
    }
}

/// `alpn_protocols`; Envoy takes one entry with commas, too.
pub(super) fn alpn(list: &[String], at: &Scope<'_>) -> Option<Vec<Vec<u8>>> {
    let mut protocols = Vec::new();
    for name in list.iter().flat_map(|entry| entry.split(',')) {
        if name.is_empty() || name.len() > 255 {
            return at.reject_value(name, "a protocol's name has 1 to 255 bytes", "");
        }
        protocols.push(name.as_bytes().to_vec());
    }
    Some(protocols)
}

/// The certificates of a context, and whether SDS brings any.
pub(super) fn identities(
    common: &pb::CommonTlsContext,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<(Vec<Arc<Slot>>, bool)> {
    let mut slots = Vec::new();
    let mut by_sds = false;
    let list = at.field("tls_certificates");
    for (index, certificate) in common.tls_certificates.iter().enumerate() {
        let delivered = secret::tls_certificate(certificate, "", &inputs.files(), false, &list.index(index))?;
        slots.push(inputs.secrets.inline(delivered));
    }
    let list = at.field("tls_certificate_sds_secret_configs");
    for (index, config) in common.tls_certificate_sds_secret_configs.iter().enumerate() {
        let (slot, sds) = secret::reference(config, inputs, &list.index(index))?;
        slots.push(slot);
        by_sds |= sds;
    }
    Some((slots, by_sds))
}

/// The ticket keys, and whether there are tickets at all.
fn resumption(
    proto: &pb::DownstreamTlsContext,
    inputs: &Inputs,
    at: &Scope<'_>,
) -> Option<(Option<Arc<Slot>>, bool)> {
    match &proto.session_ticket_keys_type {
        None | Some(SessionTicketKeysType::DisableStatelessSessionResumption(false)) => Some((None, true)),
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => Some((None, false)),
        Some(SessionTicketKeysType::SessionTicketKeys(keys)) => {
            let delivered = secret::ticket_keys(keys, &inputs.files(), &at.field("session_ticket_keys"))?;
            Some((Some(inputs.secrets.inline(delivered)), true))
        }
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(config)) => {
            let at = at.field("session_ticket_keys_sds_secret_config");
            Some((Some(secret::reference(config, inputs, &at)?.0), true))
        }
    }
}
