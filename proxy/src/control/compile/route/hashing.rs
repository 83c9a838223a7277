//! `RouteAction.hash_policy`: what of a request is hashed.

use sampan_api::envoy::config::route::v3::route_action::HashPolicy as Proto;
use sampan_api::envoy::config::route::v3::route_action::hash_policy::{Cookie, Header, PolicySpecifier};
use sampan_model::route::{HashCookie, HashPolicy, HashSource, HeaderName};

use super::super::{Scope, headers, value};

/// The policies, in their order. Goes on after an error.
pub(super) fn compile(protos: &[Proto], at: &Scope<'_>) -> Vec<HashPolicy> {
    protos.iter().enumerate().filter_map(|(index, proto)| policy(proto, &at.index(index))).collect()
}

fn policy(proto: &Proto, at: &Scope<'_>) -> Option<HashPolicy> {
    let source = match &proto.policy_specifier {
        Some(PolicySpecifier::Header(header)) => self::header(header, &at.field("header"))?,
        Some(PolicySpecifier::Cookie(cookie)) => self::cookie(cookie, &at.field("cookie"))?,
        // Without `source_ip` it hashes nothing.
        Some(PolicySpecifier::ConnectionProperties(connection)) if !connection.source_ip => return None,
        Some(PolicySpecifier::ConnectionProperties(_)) => HashSource::SourceIp,
        Some(PolicySpecifier::QueryParameter(query)) => HashSource::Query(query.name.as_str().into()),
        Some(PolicySpecifier::FilterState(state)) => HashSource::State(state.key.as_str().into()),
        None => return at.reject("says not what to hash"),
    };
    Some(HashPolicy { source, terminal: proto.terminal })
}

fn header(proto: &Header, at: &Scope<'_>) -> Option<HashSource> {
    let rewrite = match &proto.regex_rewrite {
        Some(rewrite) => Some(headers::regex_rewrite(rewrite, &at.field("regex_rewrite"))?),
        None => None,
    };
    Some(HashSource::Header(HeaderName::new(&proto.header_name), rewrite))
}

fn cookie(proto: &Cookie, at: &Scope<'_>) -> Option<HashSource> {
    // It becomes part of a response header.
    let clean = |field: &str, text: &str| match text
        .bytes()
        .find(|byte| byte.is_ascii_control() || *byte == b';')
    {
        Some(_) => {
            at.field(field).reject_value(format!("{text:?}"), "has a character that no cookie can have", "")
        }
        None => Some(text.into()),
    };
    let list = at.field("attributes");
    let attributes = proto.attributes.iter().enumerate().map(|(index, attribute)| {
        let at = list.index(index);
        let both = [&attribute.name, &attribute.value];
        if both.iter().any(|text| text.bytes().any(|byte| byte.is_ascii_control() || byte == b';')) {
            return at.reject("has a character that no cookie can have");
        }
        Some((attribute.name.as_str().into(), attribute.value.as_str().into()))
    });
    let attributes: Option<Vec<_>> = attributes.collect();
    Some(HashSource::Cookie(HashCookie {
        name: clean("name", &proto.name)?,
        ttl: value::duration(proto.ttl.as_ref(), &at.field("ttl")),
        path: clean("path", &proto.path)?,
        attributes: attributes?,
    }))
}
