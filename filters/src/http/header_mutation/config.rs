//! The configuration of the header mutation filter, its own and that of routes.

use std::sync::Arc;

use sampan_api::envoy::config::common::mutation_rules::v3::HeaderMutation as ProtoMutation;
use sampan_api::envoy::config::common::mutation_rules::v3::header_mutation::Action as ProtoAction;
use sampan_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use sampan_api::envoy::config::core::v3::key_value_append::KeyValueAppendAction;
use sampan_api::envoy::config::core::v3::{HeaderValueOption, KeyValueMutation};
use sampan_api::envoy::extensions::filters::http::header_mutation::v3 as pb;
use sampan_api::google::protobuf::value::Kind;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::FieldName;
use sampan_filters_api::format::Template;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Action, HeaderMutation, Mutation, Mutations, QueryMutation};
use crate::config::{Compiled, ConfigError, FilterContext, matcher, payload};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        &[("mutations", YES), ("most_specific_header_mutations_wins", YES)],
    ),
    ("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", &[("mutations", YES)]),
    (
        "envoy.extensions.filters.http.header_mutation.v3.Mutations",
        &[
            ("request_mutations", YES),
            ("response_mutations", YES),
            ("query_parameter_mutations", YES),
            ("request_trailers_mutations", YES),
            ("response_trailers_mutations", YES),
        ],
    ),
    ("envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch", &[("key_matcher", YES)]),
    ("envoy.config.core.v3.KeyValueMutation", &[("append", YES), ("remove", YES)]),
    ("envoy.config.core.v3.KeyValueAppend", &[("record", YES), ("entry", REFUSED), ("action", YES)]),
    ("envoy.config.core.v3.KeyValuePair", &[("key", YES), ("value", YES)]),
    (
        "envoy.config.common.mutation_rules.v3.HeaderMutation",
        &[("remove", YES), ("append", YES), ("remove_on_match", YES)],
    ),
];

/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

/// Makes the factory.
pub fn compile(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::HeaderMutation = payload(bytes)?;
    let all = mutations(proto.mutations.as_ref())?;
    Ok(Arc::new(HeaderMutation { all, most_specific_last: proto.most_specific_header_mutations_wins }))
}

/// Compiles the changes of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::HeaderMutationPerRoute = payload(bytes)?;
    Ok(Arc::new(mutations(proto.mutations.as_ref())?))
}

fn mutations(proto: Option<&pb::Mutations>) -> Compiled<Mutations> {
    let Some(proto) = proto else { return Ok(Mutations::default()) };
    let mut errors = Vec::new();
    let mut query = Vec::with_capacity(proto.query_parameter_mutations.len());
    for (index, proto) in proto.query_parameter_mutations.iter().enumerate() {
        match parameter(proto, &format!("mutations.query_parameter_mutations[{index}]")) {
            Ok(mutation) => query.push(mutation),
            Err(error) => errors.push(error),
        }
    }
    let mut list = |protos: &[ProtoMutation], field: &str, request: bool| {
        list(protos, &format!("mutations.{field}"), request, &mut errors)
    };
    let found = Mutations {
        request: list(&proto.request_mutations, "request_mutations", true),
        query,
        response: list(&proto.response_mutations, "response_mutations", false),
        request_trailers: list(&proto.request_trailers_mutations, "request_trailers_mutations", false),
        response_trailers: list(&proto.response_trailers_mutations, "response_trailers_mutations", false),
    };
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn list(protos: &[ProtoMutation], path: &str, request: bool, errors: &mut Vec<ConfigError>) -> Vec<Mutation> {
    let mut found = Vec::with_capacity(protos.len());
    for (index, proto) in protos.iter().enumerate() {
        match mutation(proto, &format!("{path}[{index}]"), request) {
            Ok(mutation) => found.push(mutation),
            Err(error) => errors.push(error),
        }
    }
    found
}

fn mutation(proto: &ProtoMutation, path: &str, request: bool) -> Result<Mutation, ConfigError> {
    match &proto.action {
        Some(ProtoAction::Remove(name)) => {
            if is_pseudo(name) {
                let reason = "this part of a message cannot be removed";
                return Err(ConfigError::new(format!("{path}.remove"), reason).value(name));
            }
            Ok(Mutation::Remove(FieldName::new(name)))
        }
        Some(ProtoAction::Append(option)) => append(option, &format!("{path}.append"), request),
        Some(ProtoAction::RemoveOnMatch(on_match)) => {
            let at = format!("{path}.remove_on_match.key_matcher");
            let rule = on_match.key_matcher.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
            matcher::string(rule, &at).map(Mutation::RemoveMatching)
        }
        None => Err(ConfigError::new(path, "no action is given")),
    }
}

/// A change of the query, at `path`.
#[expect(deprecated, reason = "what is refused must be seen")]
fn parameter(proto: &KeyValueMutation, path: &str) -> Result<QueryMutation, ConfigError> {
    let Some(append) = &proto.append else {
        if proto.remove.is_empty() {
            return Err(ConfigError::new(path, "no mutation is given"));
        }
        return Ok(QueryMutation::Remove(name(&proto.remove, &format!("{path}.remove"))?));
    };
    if !proto.remove.is_empty() {
        let reason = "cannot be set beside append";
        return Err(ConfigError::new(format!("{path}.remove"), reason).value(&proto.remove));
    }
    if append.entry.is_some() {
        let error = ConfigError::new(format!("{path}.append.entry"), "is not supported");
        return Err(error.hint("use record"));
    }
    let at = format!("{path}.append.record");
    let record = append.record.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
    let name = name(&record.key, &format!("{at}.key"))?;
    let Some(Kind::StringValue(text)) = record.value.as_ref().and_then(|value| value.kind.as_ref()) else {
        return Err(ConfigError::new(format!("{at}.value"), "only a string is allowed"));
    };
    let value = template(text, &format!("{at}.value"))?;
    let action = match append.action() {
        KeyValueAppendAction::AppendIfExistsOrAdd => Action::Append,
        KeyValueAppendAction::AddIfAbsent => Action::IfAbsent,
        KeyValueAppendAction::OverwriteIfExistsOrAdd => Action::Overwrite,
        KeyValueAppendAction::OverwriteIfExists => Action::OverwriteIfThere,
    };
    Ok(QueryMutation::Set { name, value, action })
}

/// A parameter's name; the limits are the proto's.
fn name(text: &str, path: &str) -> Result<Box<str>, ConfigError> {
    const LONGEST: usize = 16384;
    if text.is_empty() || text.len() > LONGEST {
        return Err(ConfigError::new(path, format!("must have 1 to {LONGEST} bytes")));
    }
    Ok(text.into())
}

fn template(text: &str, path: &str) -> Result<Template, ConfigError> {
    Template::parse_header_value(text)
        .map_err(|error| ConfigError::new(path, error.reason).value(error.operator).hint(error.hint))
}

/// A header to add, at `path`; `request` where parts of the request line may be set.
pub fn append(option: &HeaderValueOption, path: &str, request: bool) -> Result<Mutation, ConfigError> {
    let Some(header) = &option.header else {
        return Err(ConfigError::new(format!("{path}.header"), "is required"));
    };
    let name = header.key.to_ascii_lowercase();
    let settable = request && matches!(&*name, ":path" | ":method" | ":scheme" | ":authority" | "host");
    if name.is_empty() || (is_pseudo(&name) && !settable) {
        let reason = "this part of a message cannot be changed";
        return Err(ConfigError::new(format!("{path}.header.key"), reason).value(name));
    }
    let text =
        if header.value.is_empty() { std::str::from_utf8(&header.raw_value) } else { Ok(&*header.value) };
    let text =
        text.map_err(|_| ConfigError::new(format!("{path}.header.raw_value"), "only UTF-8 is supported"))?;
    let value = template(text, &format!("{path}.header.value"))?;
    let action = match option.append_action() {
        HeaderAppendAction::AppendIfExistsOrAdd => Action::Append,
        HeaderAppendAction::AddIfAbsent => Action::IfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => Action::Overwrite,
        HeaderAppendAction::OverwriteIfExists => Action::OverwriteIfThere,
    };
    Ok(Mutation::Set { name: FieldName::new(&name), value, action, keep_empty: option.keep_empty_value })
}

fn is_pseudo(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
