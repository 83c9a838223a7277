//! The configuration of the header mutation filter, its own and that of routes.

use std::sync::Arc;

use sampan_api::envoy::config::common::mutation_rules::v3::HeaderMutation as ProtoMutation;
use sampan_api::envoy::config::common::mutation_rules::v3::header_mutation::Action as ProtoAction;
use sampan_api::envoy::config::core::v3::HeaderValueOption;
use sampan_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use sampan_api::envoy::extensions::filters::http::header_mutation::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::format::Template;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{Action, HeaderMutation, Mutation, Mutations};
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
            ("query_parameter_mutations", REFUSED),
            ("request_trailers_mutations", YES),
            ("response_trailers_mutations", YES),
        ],
    ),
    ("envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch", &[("key_matcher", YES)]),
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
    let all = Arc::new(mutations(proto.mutations.as_ref())?);
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
    if !proto.query_parameter_mutations.is_empty() {
        errors.push(ConfigError::new("mutations.query_parameter_mutations", "is not supported yet"));
    }
    let mut list = |protos: &[ProtoMutation], field: &str, request: bool| {
        list(protos, &format!("mutations.{field}"), request, &mut errors)
    };
    let found = Mutations {
        request: list(&proto.request_mutations, "request_mutations", true),
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
            Ok(Mutation::Remove(name.to_ascii_lowercase().into()))
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
    let value = Template::parse_header_value(text).map_err(|error| {
        ConfigError::new(format!("{path}.header.value"), error.reason).value(error.operator).hint(error.hint)
    })?;
    let action = match option.append_action() {
        HeaderAppendAction::AppendIfExistsOrAdd => Action::Append,
        HeaderAppendAction::AddIfAbsent => Action::IfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => Action::Overwrite,
        HeaderAppendAction::OverwriteIfExists => Action::OverwriteIfThere,
    };
    Ok(Mutation::Set { name: name.into(), value, action, keep_empty: option.keep_empty_value })
}

fn is_pseudo(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
