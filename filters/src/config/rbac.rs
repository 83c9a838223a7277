//! The configuration that the RBAC filters share: rules, policies, conditions.

#![expect(deprecated, reason = "1.40 accepts the older spellings of addresses and metadata")]

use std::sync::{Arc, OnceLock};

use prost::Message;
use sampan_api::envoy::config::core::v3::TypedExtensionConfig;
use sampan_api::envoy::config::rbac::v3 as pb;
use sampan_api::envoy::config::rbac::v3::permission::Rule;
use sampan_api::envoy::config::rbac::v3::principal::Identifier;
use sampan_api::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use sampan_api::envoy::r#type::matcher::v3::filter_state_matcher::Matcher;
use sampan_api::envoy::r#type::matcher::v3::path_matcher;
use sampan_api::envoy::r#type::matcher::v3::{FilterStateMatcher, PathMatcher};
use sampan_api::google::protobuf::Any;
use sampan_api::xds::r#type::matcher::v3::Matcher as Matcher3;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::cel::Expression;
use sampan_model::route::{StringMatch, UriTemplate};

use super::matcher::{self, under};
use super::{ConfigError, FilterContext, cel};
use crate::rbac::{Action, AddressOf, Condition, Engine, Leaf, Policy, Rules};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.rbac.v3.RBAC",
        &[
            ("action", YES),
            ("policies", YES),
            ("audit_logging_options", Support::Ignored("Envoy does not implement it")),
        ],
    ),
    (
        "envoy.config.rbac.v3.Policy",
        &[
            ("permissions", YES),
            ("principals", YES),
            ("condition", YES),
            ("checked_condition", YES),
            ("cel_config", Support::Ignored("the functions that it allows are always there")),
        ],
    ),
    (ACTION, &[("name", YES), ("action", YES)]),
    ("envoy.config.rbac.v3.Permission", &[("*", YES), ("matcher", REFUSED)]),
    ("envoy.config.rbac.v3.Permission.Set", &[("*", YES)]),
    ("envoy.config.rbac.v3.Principal", &[("*", YES), ("custom", REFUSED)]),
    ("envoy.config.rbac.v3.Principal.Set", &[("*", YES)]),
    ("envoy.config.rbac.v3.Principal.Authenticated", &[("principal_name", YES)]),
    (
        "envoy.config.rbac.v3.SourcedMetadata",
        &[("metadata_matcher", YES), ("metadata_source", Support::Later("only DYNAMIC is known"))],
    ),
    ("envoy.type.matcher.v3.PathMatcher", &[("path", YES)]),
    (
        "envoy.type.matcher.v3.FilterStateMatcher",
        &[("key", YES), ("string_match", YES), ("address_match", REFUSED)],
    ),
    ("envoy.type.v3.Int32Range", &[("*", YES)]),
];

/// Full name of the action at the ends of a `matcher`.
const ACTION: &str = "envoy.config.rbac.v3.Action";

/// The names of a policy's own counters; see [`Tracking`].
pub const POLICY_COUNTERS: &[&str] = &[".allowed", ".denied", ".shadow_allowed", ".shadow_denied"];

/// Where policies count for themselves: the prefix, if `track_per_rule_stats` asks for it.
pub type Tracking<'t> = Option<(&'t FilterContext<'t>, &'t str)>;

/// Conditions nested deeper are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 64;

/// Compiles the rules at `path`, all that is wrong told to `errors`.
pub fn rules(proto: &pb::Rbac, tracking: Tracking<'_>, path: &str, errors: &mut Vec<ConfigError>) -> Rules {
    let action = match proto.action() {
        pb::rbac::Action::Allow => Action::Allow,
        pb::rbac::Action::Deny => Action::Deny,
        pb::rbac::Action::Log => Action::Log,
    };
    let mut named: Vec<_> = proto.policies.iter().collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    let policies = named
        .into_iter()
        .map(|(name, proto)| policy(name, proto, tracking, &format!("{path}.policies[{name:?}]"), errors))
        .collect();
    Rules { action, policies }
}

fn policy(
    name: &str,
    proto: &pb::Policy,
    tracking: Tracking<'_>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Policy {
    for (empty, field) in
        [(proto.permissions.is_empty(), "permissions"), (proto.principals.is_empty(), "principals")]
    {
        if empty {
            errors.push(ConfigError::new(under(path, field), "at least one is required"));
        }
    }
    let mut told = |compiled: Result<Condition, ConfigError>| match compiled {
        Ok(condition) => Some(condition),
        Err(error) => {
            errors.push(error);
            None
        }
    };
    let permissions = proto.permissions.iter().enumerate();
    let permissions = permissions
        .filter_map(|(i, proto)| told(permission(proto, &format!("{path}.permissions[{i}]"), 0)))
        .collect();
    let principals = proto.principals.iter().enumerate();
    let principals = principals
        .filter_map(|(i, proto)| told(principal(proto, &format!("{path}.principals[{i}]"), 0)))
        .collect();
    let expression = match expression(proto, path) {
        Ok(expression) => expression,
        Err(error) => {
            errors.push(error);
            None
        }
    };
    let counters = tracking
        .map(|(context, prefix)| context.counters.counters(&format!("{prefix}{name}"), POLICY_COUNTERS));
    Policy { name: Arc::from(name), permissions, principals, expression, counters, told: OnceLock::new() }
}

/// `condition`, or `checked_condition`, of which Envoy takes one.
fn expression(proto: &pb::Policy, path: &str) -> Result<Option<Expression>, ConfigError> {
    let checked = proto.checked_condition.as_ref().and_then(|checked| checked.expr.as_ref());
    match (&proto.condition, checked) {
        (Some(_), Some(_)) => {
            Err(ConfigError::new(under(path, "checked_condition"), "condition is given as well"))
        }
        (Some(tree), None) => cel::tree(tree, &under(path, "condition")).map(Some),
        (None, Some(tree)) => cel::tree(tree, &under(path, "checked_condition.expr")).map(Some),
        (None, None) => Ok(None),
    }
}

/// Compiles a `matcher`; `None` after `errors` was told why not.
pub fn tree(proto: &Matcher3, path: &str, errors: &mut Vec<ConfigError>) -> Option<Engine> {
    let mut leaf = |any: &Any, path: &str| {
        if type_url::full_name(&any.type_url) != ACTION {
            let error = ConfigError::new(path, "this action neither allows nor denies").value(&any.type_url);
            return Err(error.hint("use an envoy.config.rbac.v3.Action"));
        }
        let proto: pb::Action = super::tree::decoded(any, path)?;
        let action = match proto.action() {
            pb::rbac::Action::Allow => Action::Allow,
            pb::rbac::Action::Deny => Action::Deny,
            pb::rbac::Action::Log => Action::Log,
        };
        let policy = Policy {
            name: Arc::from(proto.name.as_str()),
            permissions: Vec::new(),
            principals: Vec::new(),
            expression: None,
            counters: None,
            told: OnceLock::new(),
        };
        Ok(Leaf { action, policy })
    };
    match super::tree::compile(proto, path, super::tree::Asked::Before, &mut leaf) {
        Ok(tree) => {
            let mut logs = false;
            tree.actions(&mut |leaf: &Leaf| logs |= leaf.action == Action::Log);
            Some(Engine::Tree { tree, logs })
        }
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

fn permission(proto: &pb::Permission, path: &str, depth: usize) -> Result<Condition, ConfigError> {
    shallow(path, depth)?;
    let at = |field: &str| under(path, field);
    let set = |set: &pb::permission::Set, field: &str| {
        let each = set.rules.iter().enumerate();
        each.map(|(i, rule)| permission(rule, &format!("{path}.{field}.rules[{i}]"), depth + 1))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match proto.rule.as_ref().ok_or_else(|| ConfigError::new(path, "no rule is given"))? {
        Rule::AndRules(rules) => Condition::all(set(rules, "and_rules")?),
        Rule::OrRules(rules) => Condition::any(set(rules, "or_rules")?),
        Rule::NotRule(rule) => Condition::Not(Box::new(permission(rule, &at("not_rule"), depth + 1)?)),
        Rule::Any(any) => always(*any, &at("any"))?,
        Rule::Header(header) => Condition::header(matcher::header(header, &at("header"))?),
        Rule::UrlPath(rule) => Condition::Path(url_path(rule, &at("url_path"))?),
        Rule::DestinationIp(range) => {
            Condition::Address(AddressOf::Local, matcher::cidr(range, &at("destination_ip"))?)
        }
        Rule::DestinationPort(port) => Condition::Port(*port, port.saturating_add(1)),
        Rule::DestinationPortRange(range) => match (u32::try_from(range.start), u32::try_from(range.end)) {
            (Ok(start), Ok(end)) if start < end && end <= 65_536 => Condition::Port(start, end),
            _ => {
                let error = ConfigError::new(at("destination_port_range"), "not a range of ports");
                return Err(error.value(format!("{}..{}", range.start, range.end)));
            }
        },
        Rule::Metadata(rule) => Condition::Metadata(matcher::metadata(rule, false, &at("metadata"))?),
        Rule::SourcedMetadata(rule) => sourced(rule, &at("sourced_metadata"))?,
        Rule::RequestedServerName(rule) => {
            Condition::ServerName(matcher::string(rule, &at("requested_server_name"))?)
        }
        Rule::UriTemplate(extension) => Condition::Template(template(extension, &at("uri_template"))?),
        Rule::Matcher(extension) => {
            let error = ConfigError::new(at("matcher"), "permission extensions are not supported yet");
            return Err(error.value(&extension.name));
        }
    })
}

fn principal(proto: &pb::Principal, path: &str, depth: usize) -> Result<Condition, ConfigError> {
    shallow(path, depth)?;
    let at = |field: &str| under(path, field);
    let set = |set: &pb::principal::Set, field: &str| {
        let each = set.ids.iter().enumerate();
        each.map(|(i, id)| principal(id, &format!("{path}.{field}.ids[{i}]"), depth + 1))
            .collect::<Result<Vec<_>, _>>()
    };
    let range = |which, range, field| {
        Ok::<_, ConfigError>(Condition::Address(which, matcher::cidr(range, &at(field))?))
    };
    Ok(match proto.identifier.as_ref().ok_or_else(|| ConfigError::new(path, "no identifier is given"))? {
        Identifier::AndIds(ids) => Condition::all(set(ids, "and_ids")?),
        Identifier::OrIds(ids) => Condition::any(set(ids, "or_ids")?),
        Identifier::NotId(id) => Condition::Not(Box::new(principal(id, &at("not_id"), depth + 1)?)),
        Identifier::Any(any) => always(*any, &at("any"))?,
        Identifier::Authenticated(who) => {
            let name = who.principal_name.as_ref();
            let name = name.map(|name| matcher::string(name, &at("authenticated.principal_name")));
            Condition::Authenticated(name.transpose()?)
        }
        Identifier::SourceIp(ip) => range(AddressOf::Connection, ip, "source_ip")?,
        Identifier::DirectRemoteIp(ip) => range(AddressOf::DirectRemote, ip, "direct_remote_ip")?,
        Identifier::RemoteIp(ip) => range(AddressOf::Remote, ip, "remote_ip")?,
        Identifier::Header(header) => Condition::header(matcher::header(header, &at("header"))?),
        Identifier::UrlPath(rule) => Condition::Path(url_path(rule, &at("url_path"))?),
        Identifier::Metadata(rule) => Condition::Metadata(matcher::metadata(rule, false, &at("metadata"))?),
        Identifier::SourcedMetadata(rule) => sourced(rule, &at("sourced_metadata"))?,
        Identifier::FilterState(rule) => filter_state(rule, &at("filter_state"))?,
        Identifier::Custom(extension) => {
            let error = ConfigError::new(at("custom"), "principal extensions are not supported yet");
            return Err(error.value(&extension.name));
        }
    })
}

fn shallow(path: &str, depth: usize) -> Result<(), ConfigError> {
    if depth > DEEPEST {
        return Err(ConfigError::new(path, format!("nested more than {DEEPEST} deep")));
    }
    Ok(())
}

/// The API allows no other value than true.
fn always(any: bool, path: &str) -> Result<Condition, ConfigError> {
    if any { Ok(Condition::Always) } else { Err(ConfigError::new(path, "must be true")) }
}

fn url_path(proto: &PathMatcher, path: &str) -> Result<StringMatch, ConfigError> {
    match &proto.rule {
        Some(path_matcher::Rule::Path(rule)) => matcher::string(rule, &under(path, "path")),
        None => Err(ConfigError::new(path, "no path is given")),
    }
}

fn sourced(proto: &pb::SourcedMetadata, path: &str) -> Result<Condition, ConfigError> {
    if proto.metadata_source() == pb::MetadataSource::Route {
        let reason = "the metadata of routes are not supported yet";
        return Err(ConfigError::new(under(path, "metadata_source"), reason).value("ROUTE"));
    }
    let at = under(path, "metadata_matcher");
    match &proto.metadata_matcher {
        Some(rule) => matcher::metadata(rule, false, &at).map(Condition::Metadata),
        None => Err(ConfigError::new(at, "is required")),
    }
}

fn filter_state(proto: &FilterStateMatcher, path: &str) -> Result<Condition, ConfigError> {
    match &proto.matcher {
        Some(Matcher::StringMatch(rule)) => {
            let rule = matcher::string(rule, &under(path, "string_match"))?;
            Ok(Condition::FilterState(proto.key.as_str().into(), rule))
        }
        Some(Matcher::AddressMatch(_)) => {
            Err(ConfigError::new(under(path, "address_match"), "is not supported yet"))
        }
        None => Err(ConfigError::new(path, "neither string_match nor address_match is given")),
    }
}

fn template(extension: &TypedExtensionConfig, path: &str) -> Result<UriTemplate, ConfigError> {
    const TYPE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let at = under(path, "typed_config");
    let any = extension.typed_config.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
    if type_url::full_name(&any.type_url) != TYPE {
        let error = ConfigError::new(at, "there is no path matcher of this type").value(&any.type_url);
        return Err(error.hint("use envoy.path.match.uri_template"));
    }
    let config = UriTemplateMatchConfig::decode(&*any.value)
        .map_err(|error| ConfigError::new(&*at, format!("the payload is malformed: {error}")))?;
    UriTemplate::new(&config.path_template).map_err(|error| {
        ConfigError::new(under(&at, "path_template"), error.reason).value(&config.path_template)
    })
}
