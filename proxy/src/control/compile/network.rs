//! The filters of a filter chain: the connection manager and `tcp_proxy` here, the others by the registry of filters.
//!
//! Called by the listener's compile step. A chain ends in exactly one terminal filter.

mod tcp_proxy;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_api::envoy::config::listener::v3::Filter;
use sampan_api::envoy::config::listener::v3::filter::ConfigType;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters::config::ConfigError;
use sampan_filters::registry;
use sampan_filters_api::network::NetworkFilterFactory;

use super::{Context, Scope, extension, http, value};
use crate::http::config::FilterSource;
use crate::listener::config::Terminal;

const YES: Support = Support::Supported;

/// What is read here; the parts have rows of their own.
pub const SUPPORT: &[&[MessageSupport]] = &[FILTER, tcp_proxy::SUPPORT];

const FILTER: &[MessageSupport] = &[(
    "envoy.config.listener.v3.Filter",
    &[("name", YES), ("typed_config", YES), ("config_discovery", YES)],
)];

const HTTP: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// One filter of a chain.
enum Compiled {
    Terminal(Terminal),
    Filter(FilterSource<dyn NetworkFilterFactory>),
}

/// The filters of a chain: those before the last one, and the last one.
pub fn filters(
    protos: &[Filter],
    context: &Context,
    at: &Scope<'_>,
) -> Option<(Vec<FilterSource<dyn NetworkFilterFactory>>, Terminal)> {
    let found_before = at.rejects().len();
    let mut before = Vec::new();
    let mut terminal = None;
    for (index, proto) in protos.iter().enumerate() {
        let at = at.index(index);
        let is_last = index + 1 == protos.len();
        match filter(proto, context, &at) {
            Some(Compiled::Terminal(_)) if !is_last => {
                at.reject_value::<()>(
                    &proto.name,
                    "this terminal filter must be the last filter in a network filter chain",
                    "",
                );
            }
            Some(Compiled::Filter(_)) if is_last => {
                at.reject_value::<()>(
                    &proto.name,
                    "this non-terminal filter is the last filter in a network filter chain",
                    "end the chain with http_connection_manager, tcp_proxy, echo or direct_response",
                );
            }
            Some(Compiled::Terminal(last)) => terminal = Some(last),
            Some(Compiled::Filter(factory)) => before.push(factory),
            None => {}
        }
    }
    (at.rejects().len() == found_before).then_some((before, terminal.unwrap_or(Terminal::None)))
}

fn filter(proto: &Filter, context: &Context, at: &Scope<'_>) -> Option<Compiled> {
    let any = match &proto.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(source)) => {
            let at = at.field("config_discovery");
            let compile = |any: &Any, at: &Scope<'_>| {
                let Some(entry) = registry::network(type_url::full_name(&any.type_url)) else {
                    return at.reject_value(&any.type_url, "there is no network filter of this type", "");
                };
                tell((entry.compile)(&any.value, &context.for_filter(&proto.name, "")), at)
            };
            return extension::discovered(&proto.name, source, context, &at, compile).map(Compiled::Filter);
        }
        None => return at.reject_value(&proto.name, "the filter has no typed_config", ""),
    };
    let at = at.field("typed_config");
    match type_url::full_name(&any.type_url) {
        HTTP => {
            let config = http::compile(&value::payload(any, &at)?, context, &at)?;
            Some(Compiled::Terminal(Terminal::Http(Arc::new(config))))
        }
        TCP => {
            let config = tcp_proxy::compile(&value::payload(any, &at)?, context, &at)?;
            Some(Compiled::Terminal(Terminal::Tcp(Arc::new(config))))
        }
        message => built_in(message, proto, any, context, &at),
    }
}

fn built_in(message: &str, proto: &Filter, any: &Any, context: &Context, at: &Scope<'_>) -> Option<Compiled> {
    let Some(entry) = registry::network(message) else {
        return at.reject_value(
            &any.type_url,
            format!("there is no network filter {:?} of this type", proto.name),
            "docs/configuration.md lists the filters",
        );
    };
    let factory = tell((entry.compile)(&any.value, &context.for_filter(&proto.name, "")), at)?;
    Some(if factory.is_terminal() {
        Compiled::Terminal(Terminal::Filter(factory))
    } else {
        Compiled::Filter(FilterSource::Fixed(factory))
    })
}

/// What a filter made of its configuration, its problems told with their whole path.
pub(in crate::control) fn tell<T>(result: Result<T, Vec<ConfigError>>, at: &Scope<'_>) -> Option<T> {
    let errors = match result {
        Ok(value) => return Some(value),
        Err(errors) => errors,
    };
    for error in errors {
        if error.path.is_empty() {
            at.reject_value::<()>(&error.value, error.reason, error.hint);
        } else {
            at.field(&error.path).reject_value::<()>(&error.value, error.reason, error.hint);
        }
    }
    None
}
