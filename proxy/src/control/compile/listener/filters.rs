//! `listener_filters`: which there are, whom they leave alone, how long they may take.

use std::time::Duration;

use sampan_api::envoy::config::core::v3::proxy_protocol_config::Version as Wire;
use sampan_api::envoy::config::listener::v3 as pb;
use sampan_api::envoy::config::listener::v3::listener_filter::ConfigType;
use sampan_api::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use sampan_api::envoy::extensions::filters::listener::original_src::v3::OriginalSrc as OriginalSrcProto;
use sampan_api::envoy::extensions::filters::listener::proxy_protocol::v3 as pb_proxy;
use sampan_api::envoy::extensions::filters::listener::proxy_protocol::v3::proxy_protocol::TlvLocation;
use sampan_api::envoy::extensions::filters::listener::proxy_protocol::v3::proxy_protocol::key_value_pair::ValueStringEncoding;
use sampan_api::envoy::extensions::filters::listener::tls_inspector::v3 as pb_tls;
use sampan_api::{MessageSupport, Support, type_url};

use super::super::{Scope, value};
use crate::listener::filters::original_src::OriginalSrc;
use crate::listener::filters::predicate::Predicate;
use crate::listener::filters::proxy_header::Version;
use crate::listener::filters::proxy_protocol::{ProxyProtocol, TlvRule};
use crate::listener::filters::tls_inspector::TlsInspector;
use crate::listener::filters::{FilterEntry, ListenerFilter, ListenerFilters};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a listener that sets it is refused");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.listener.v3.ListenerFilter",
        &[("name", YES), ("typed_config", YES), ("filter_disabled", YES), ("config_discovery", REFUSED)],
    ),
    ("envoy.config.listener.v3.ListenerFilterChainMatchPredicate", &[("*", YES)]),
    ("envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet", &[("*", YES)]),
    ("envoy.type.v3.Int32Range", &[("*", YES)]),
    (ORIGINAL_DST, &[]),
    (
        TLS_INSPECTOR,
        &[
            // There is no buffer: first bytes are looked at where they are.
            ("initial_read_buffer_size", YES),
            ("max_client_hello_size", YES),
            ("close_connection_on_client_hello_parsing_errors", YES),
            ("enable_ja3_fingerprinting", REFUSED),
            ("enable_ja4_fingerprinting", REFUSED),
        ],
    ),
    (HTTP_INSPECTOR, &[]),
    (ORIGINAL_SRC, &[("bind_port", YES), ("mark", YES)]),
    (
        PROXY_PROTOCOL,
        &[
            ("rules", YES),
            ("allow_requests_without_proxy_protocol", YES),
            ("disallowed_versions", YES),
            ("stat_prefix", YES),
            (
                "pass_through_tlvs",
                Support::Ignored(
                    "no upstream connection speaks the PROXY protocol, so nothing could pass them on",
                ),
            ),
            ("tlv_location", Support::Later("fields become dynamic metadata; FILTER_STATE is refused")),
        ],
    ),
    ("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule", &[("*", YES)]),
    ("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.KeyValuePair", &[("*", YES)]),
];

const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ORIGINAL_SRC: &str = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc";
const PROXY_PROTOCOL: &str = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

/// How long the filters may take where nothing is configured. Envoy would wait for 15 seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The filters of a listener; none where it has none and hands nothing over.
pub fn compile(proto: &pb::Listener, at: &Scope<'_>) -> Option<Box<ListenerFilters>> {
    let hand_off = value::switch(proto.use_original_dst.as_ref()).unwrap_or(false);
    let timeout_at = at.field("listener_filters_timeout");
    let timeout = value::timeout(proto.listener_filters_timeout.as_ref(), Some(TIMEOUT), &timeout_at);
    let mut filters = Vec::new();
    if hand_off {
        filters.push(FilterEntry { filter: ListenerFilter::OriginalDst, disabled: None });
    }
    let list = at.field("listener_filters");
    for (index, filter) in proto.listener_filters.iter().enumerate() {
        filters.extend(entry(filter, &list.index(index)));
    }
    (!filters.is_empty()).then(|| {
        Box::new(ListenerFilters {
            filters,
            timeout,
            continue_on_timeout: proto.continue_on_listener_filters_timeout,
            hand_off,
        })
    })
}

fn entry(proto: &pb::ListenerFilter, at: &Scope<'_>) -> Option<FilterEntry> {
    let disabled = match &proto.filter_disabled {
        Some(predicate) => Some(self::predicate(predicate, &at.field("filter_disabled"), 0)?),
        None => None,
    };
    let any = match &proto.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => {
            return at.field("config_discovery").reject_value(
                &proto.name,
                "listener filters cannot be discovered",
                "give typed_config",
            );
        }
        None => return at.reject_value(&proto.name, "the filter has no typed_config", ""),
    };
    let at = at.field("typed_config");
    let filter = match type_url::full_name(&any.type_url) {
        ORIGINAL_DST => ListenerFilter::OriginalDst,
        TLS_INSPECTOR => ListenerFilter::TlsInspector(tls_inspector(&value::payload(any, &at)?, &at)?),
        HTTP_INSPECTOR => ListenerFilter::HttpInspector,
        ORIGINAL_SRC => {
            let proto: OriginalSrcProto = value::payload(any, &at)?;
            ListenerFilter::OriginalSrc(OriginalSrc { bind_port: proto.bind_port, mark: proto.mark })
        }
        PROXY_PROTOCOL => {
            ListenerFilter::ProxyProtocol(Box::new(proxy_protocol(&value::payload(any, &at)?, &at)?))
        }
        _ => {
            return at.reject_value(
                &any.type_url,
                format!("there is no listener filter {:?} of this type", proto.name),
                "docs/configuration.md lists the filters",
            );
        }
    };
    Some(FilterEntry { filter, disabled })
}

/// The longest ClientHello, and the longest that may be configured.
const LONGEST_HELLO: u32 = 16 * 1024;

fn tls_inspector(proto: &pb_tls::TlsInspector, at: &Scope<'_>) -> Option<TlsInspector> {
    let prints = [
        ("enable_ja3_fingerprinting", &proto.enable_ja3_fingerprinting),
        ("enable_ja4_fingerprinting", &proto.enable_ja4_fingerprinting),
    ];
    for (field, wanted) in prints {
        if value::switch(wanted.as_ref()).unwrap_or(false) {
            return at.field(field).reject_value(
                "true",
                "fingerprints of clients are not taken",
                "leave it out",
            );
        }
    }
    Some(TlsInspector {
        longest: value::number_or(proto.max_client_hello_size.as_ref(), LONGEST_HELLO) as usize,
        close_on_error: proto.close_connection_on_client_hello_parsing_errors,
    })
}

/// `metadata_namespace` where nothing is configured.
const TLV_NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";

fn proxy_protocol(proto: &pb_proxy::ProxyProtocol, at: &Scope<'_>) -> Option<ProxyProtocol> {
    if proto.tlv_location() != TlvLocation::DynamicMetadata {
        return at.field("tlv_location").reject_value(
            "FILTER_STATE",
            "fields cannot become filter state",
            "leave it out: they become dynamic metadata",
        );
    }
    let list = at.field("rules");
    let rule = |(index, rule): (usize, &pb_proxy::proxy_protocol::Rule)| {
        let unnamed = pb_proxy::proxy_protocol::KeyValuePair::default();
        let present = rule.on_tlv_present.as_ref().unwrap_or(&unnamed);
        let Ok(kind) = u8::try_from(rule.tlv_type) else {
            return list.index(index).field("tlv_type").reject_value(rule.tlv_type, "is at most 255", "");
        };
        let namespace = present.metadata_namespace.as_str();
        Some(TlvRule {
            kind,
            namespace: if namespace.is_empty() { TLV_NAMESPACE } else { namespace }.into(),
            key: present.key.as_str().into(),
            base64: present.value_string_encoding() == ValueStringEncoding::Base64,
        })
    };
    let version = |version: Wire| match version {
        Wire::V1 => Version::V1,
        Wire::V2 => Version::V2,
    };
    Some(ProxyProtocol {
        optional: proto.allow_requests_without_proxy_protocol,
        disallowed: proto.disallowed_versions().map(version).collect(),
        rules: proto.rules.iter().enumerate().filter_map(rule).collect(),
        stat_prefix: proto.stat_prefix.as_str().into(),
    })
}

/// Deeper predicates are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

fn predicate(
    proto: &pb::ListenerFilterChainMatchPredicate,
    at: &Scope<'_>,
    depth: usize,
) -> Option<Predicate> {
    if depth > DEEPEST {
        return at.reject(format!("nested more than {DEEPEST} deep"));
    }
    let set = |set: &MatchSet, at: &Scope<'_>| {
        let at = at.field("rules");
        let each = set.rules.iter().enumerate();
        let rules: Vec<_> = each.filter_map(|(i, rule)| predicate(rule, &at.index(i), depth + 1)).collect();
        (rules.len() == set.rules.len()).then_some(rules)
    };
    match &proto.rule {
        Some(Rule::OrMatch(rules)) => set(rules, &at.field("or_match")).map(Predicate::Or),
        Some(Rule::AndMatch(rules)) => set(rules, &at.field("and_match")).map(Predicate::And),
        Some(Rule::NotMatch(rule)) => {
            predicate(rule, &at.field("not_match"), depth + 1).map(|rule| Predicate::Not(Box::new(rule)))
        }
        Some(Rule::AnyMatch(true)) => Some(Predicate::Any),
        Some(Rule::AnyMatch(false)) => at.field("any_match").reject("can only be true"),
        Some(Rule::DestinationPortRange(range)) => Some(Predicate::DestinationPort(range.start..range.end)),
        None => at.reject("no rule is given"),
    }
}

#[cfg(test)]
mod tests;
