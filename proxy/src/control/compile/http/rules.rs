//! What the connection manager does with the head of a request: who is believed, what is normalised, what is added.

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::scheme_header_transformation::Transformation;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, ServerHeaderTransformation, StripPortMode,
};
use sampan_api::envoy::extensions::http::original_ip_detection::xff::v3::XffConfig;
use sampan_api::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::super::{Scope, extension, listener, value};
use crate::http::config::{
    ClientCertDetails, ClientCertForwarding, EscapedSlashes, Forwarding, Normalize, RequestIdRules,
    ServerHeader, StripPort,
};

const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
const XFF: &str = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig";

/// `server_name`
pub fn server_name(proto: &pb::HttpConnectionManager) -> Arc<str> {
    if proto.server_name.is_empty() { "envoy".into() } else { proto.server_name.as_str().into() }
}

/// `server_header_transformation`
pub fn server_header(proto: &pb::HttpConnectionManager) -> ServerHeader {
    match proto.server_header_transformation() {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    }
}

/// `scheme_header_transformation.scheme_to_overwrite`
pub fn overwrite_scheme(proto: &pb::HttpConnectionManager) -> Option<Box<str>> {
    let transformation = proto.scheme_header_transformation.as_ref()?.transformation.as_ref()?;
    let Transformation::SchemeToOverwrite(scheme) = transformation;
    Some(scheme.as_str().into())
}

/// Which client and proxies are believed.
pub fn forwarding(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> Forwarding {
    let internal = proto.internal_address_config.as_ref();
    let internal_at = at.field("internal_address_config");
    let mut rules = Forwarding {
        use_remote_address: value::switch(proto.use_remote_address.as_ref()).unwrap_or(false),
        trusted_hops: proto.xff_num_trusted_hops,
        skip_append: proto.skip_xff_append,
        append_port: proto.append_x_forwarded_port,
        internal_ranges: internal
            .map(|internal| listener::cidrs(&internal.cidr_ranges, &internal_at.field("cidr_ranges")))
            .unwrap_or_default(),
        internal_unix: internal.is_some_and(|internal| internal.unix_sockets),
        ipv4_mapped: proto.represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
    };
    detection(proto, &mut rules, at);
    rules
}

/// `original_ip_detection_extensions`: the one that reads `x-forwarded-for`, which the connection manager does anyway.
fn detection(proto: &pb::HttpConnectionManager, rules: &mut Forwarding, at: &Scope<'_>) {
    let list = at.field("original_ip_detection_extensions");
    if proto.original_ip_detection_extensions.is_empty() {
        return;
    }
    if rules.use_remote_address {
        list.reject::<()>("original IP detection extensions and use_remote_address may not be mixed");
    }
    if rules.trusted_hops > 0 {
        list.reject::<()>("original IP detection extensions and xff_num_trusted_hops may not be mixed");
    }
    for (index, extension) in proto.original_ip_detection_extensions.iter().enumerate() {
        let at = list.index(index);
        let any = extension.typed_config.as_ref().filter(|any| extension::is(any, XFF));
        let Some(any) = any.filter(|_| index == 0) else {
            at.reject_value::<()>(
                extension::shown(extension),
                "only one detection extension, of x-forwarded-for, is supported",
                "remove it",
            );
            continue;
        };
        let at = at.field("typed_config");
        let Some(xff) = value::payload::<XffConfig>(any, &at) else { continue };
        if xff.xff_trusted_cidrs.is_some() {
            at.field("xff_trusted_cidrs").reject::<()>("trusting proxies by address is not supported yet");
        }
        rules.trusted_hops = xff.xff_num_trusted_hops;
        rules.skip_append = value::switch(xff.skip_xff_append.as_ref()).unwrap_or(true);
    }
}

/// `x-request-id` rules.
pub fn request_id(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> RequestIdRules {
    let mut rules = RequestIdRules {
        generate: value::switch(proto.generate_request_id.as_ref()).unwrap_or(true),
        preserve_external: proto.preserve_external_request_id,
        in_response: proto.always_set_request_id_in_response,
        pack_trace_reason: true,
        for_sampling: true,
    };
    let at = at.field("request_id_extension");
    let at = at.field("typed_config");
    match proto.request_id_extension.as_ref().and_then(|extension| extension.typed_config.as_ref()) {
        None => {}
        Some(any) if extension::is(any, UUID) => {
            if let Some(config) = value::payload::<UuidRequestIdConfig>(any, &at) {
                rules.pack_trace_reason = value::switch(config.pack_trace_reason.as_ref()).unwrap_or(true);
                rules.for_sampling =
                    value::switch(config.use_request_id_for_trace_sampling.as_ref()).unwrap_or(true);
            }
        }
        Some(any) => {
            at.reject_value::<()>(&any.type_url, "there is no such request ID extension", "use uuid");
        }
    }
    rules
}

/// Normalisation of path and host.
pub fn normalize(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> Normalize {
    let any_port = match &proto.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(any)) => *any,
        None => false,
    };
    if any_port && proto.strip_matching_host_port {
        at.field("strip_any_host_port")
            .reject::<()>("only one of strip_matching_host_port and strip_any_host_port can be set");
    }
    Normalize {
        path: value::switch(proto.normalize_path.as_ref()).unwrap_or(false),
        merge_slashes: proto.merge_slashes,
        escaped_slashes: match proto.path_with_escaped_slashes_action() {
            PathWithEscapedSlashesAction::ImplementationSpecificDefault
            | PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
            PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
            PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::Redirect,
            PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::Forward,
        },
        port: match (any_port, proto.strip_matching_host_port) {
            (true, _) => StripPort::Any,
            (false, true) => StripPort::Matching,
            (false, false) => StripPort::Keep,
        },
        trailing_dot: proto.strip_trailing_host_dot,
    }
}

/// `upgrade_configs`: types in lower case, and whether they are on.
pub fn upgrades(proto: &pb::HttpConnectionManager, at: &Scope<'_>) -> Vec<(Box<str>, bool)> {
    let list = at.field("upgrade_configs");
    let mut found: Vec<(Box<str>, bool)> = Vec::new();
    for (index, upgrade) in proto.upgrade_configs.iter().enumerate() {
        let at = list.index(index);
        if !upgrade.filters.is_empty() {
            at.field("filters").reject::<()>("filters of their own for upgrades are not supported yet");
        }
        let name: Box<str> = upgrade.upgrade_type.to_ascii_lowercase().into();
        if found.iter().any(|(known, _)| *known == name) {
            at.field("upgrade_type").reject_value::<()>(
                &name,
                "multiple upgrade configs with the same name",
                "",
            );
            continue;
        }
        found.push((name, value::switch(upgrade.enabled.as_ref()).unwrap_or(true)));
    }
    found
}

/// `forward_client_cert_details`
pub fn client_cert(proto: &pb::HttpConnectionManager) -> ClientCertForwarding {
    match proto.forward_client_cert_details() {
        ForwardClientCertDetails::Sanitize => ClientCertForwarding::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ClientCertForwarding::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ClientCertForwarding::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ClientCertForwarding::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ClientCertForwarding::AlwaysForwardOnly,
    }
}

/// `set_current_client_cert_details`
pub fn client_cert_details(proto: &pb::HttpConnectionManager) -> ClientCertDetails {
    let Some(details) = &proto.set_current_client_cert_details else { return ClientCertDetails::default() };
    ClientCertDetails {
        subject: value::switch(details.subject.as_ref()).unwrap_or(false),
        cert: details.cert,
        chain: details.chain,
        dns: details.dns,
        uri: details.uri,
    }
}

/// What would change the meaning of the connection manager if it were left out.
pub fn refuse_unsupported(proto: &pb::HttpConnectionManager, at: &Scope<'_>) {
    let extensions = [
        ("early_header_mutation_extensions", &proto.early_header_mutation_extensions[..]),
        ("typed_header_validation_config", proto.typed_header_validation_config.as_slice()),
    ];
    for (field, list) in extensions {
        for extension in list {
            at.field(field).reject_value::<()>(
                extension::shown(extension),
                "this extension is not supported yet",
                "remove it",
            );
        }
    }
    if proto.path_normalization_options.is_some() {
        at.field("path_normalization_options")
            .reject::<()>("Envoy does not implement it; use normalize_path and merge_slashes");
    }
}
