//! The configuration of the Lua filter, and what routes change of it.

#![expect(deprecated, reason = "1.40 accepts `inline_code`")]

use std::collections::HashMap;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::DataSource;
use sampan_api::envoy::extensions::filters::http::lua::v3 as pb;
use sampan_api::envoy::extensions::filters::http::lua::v3::lua_per_route::Override;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::{COUNTERS, Choice, Lua, PerRoute, Script};
use crate::config::{Compiled, ConfigError, FilterContext, data_source, payload, value};

const YES: Support = Support::Supported;
const PACKAGES: Support = Support::Later("scripts cannot load modules; a filter that sets it is refused");

/// Full name of the filter's message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.lua.v3.Lua";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.lua.v3.LuaPerRoute";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        MESSAGE,
        &[
            ("inline_code", YES),
            ("source_codes", YES),
            ("default_source_code", YES),
            ("stat_prefix", YES),
            ("clear_route_cache", YES),
            ("filter_context", YES),
            ("package_paths", PACKAGES),
            ("package_cpaths", PACKAGES),
        ],
    ),
    (
        PER_ROUTE,
        &[
            ("disabled", YES),
            ("name", YES),
            ("source_code", YES),
            ("filter_context", YES),
            ("package_paths", PACKAGES),
            ("package_cpaths", PACKAGES),
        ],
    ),
];

/// The longest script.
const LONGEST: usize = 1024 * 1024;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::Lua = payload(bytes)?;
    let mut errors = packages(&proto.package_paths, &proto.package_cpaths);
    let mut kept = |found: Result<Arc<Script>, ConfigError>| found.map_err(|error| errors.push(error)).ok();
    let script = match (&*proto.inline_code, &proto.default_source_code) {
        ("", None) => None,
        ("", Some(source)) => kept(sourced(source, "default_source_code")),
        (code, None) => kept(compiled(code.as_bytes().to_vec(), "inline_code")),
        (_, Some(_)) => {
            let reason = "only one of inline_code and default_source_code can be set";
            kept(Err(ConfigError::new("inline_code", reason)))
        }
    };
    let mut named = HashMap::new();
    for (name, source) in &proto.source_codes {
        if let Some(script) = kept(sourced(source, &format!("source_codes[{name:?}]"))) {
            named.insert(Box::from(&**name), script);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let prefix = match &*proto.stat_prefix {
        "" => format!("{}lua.", context.prefix),
        own => format!("{}lua.{own}.", context.prefix),
    };
    Ok(Arc::new(Lua {
        script,
        named,
        clears_route: proto.clear_route_cache.is_none_or(|wrapper| wrapper.value),
        context: proto.filter_context.as_ref().map(value::structure).map(Arc::new),
        counters: context.counters.counters(&prefix, COUNTERS),
    }))
}

/// Compiles what a route or virtual host changes.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::LuaPerRoute = payload(bytes)?;
    let mut errors = packages(&proto.package_paths, &proto.package_cpaths);
    let choice = match &proto.r#override {
        None => Choice::Default,
        Some(Override::Disabled(true)) => Choice::Disabled,
        Some(Override::Disabled(false)) => {
            errors.push(ConfigError::new("disabled", "must be true"));
            Choice::Disabled
        }
        Some(Override::Name(name)) if name.is_empty() => {
            errors.push(ConfigError::new("name", "is required"));
            Choice::Disabled
        }
        Some(Override::Name(name)) => Choice::Named(name.as_str().into()),
        Some(Override::SourceCode(source)) => match sourced(source, "source_code") {
            Ok(script) => Choice::Own(script),
            Err(error) => {
                errors.push(error);
                Choice::Disabled
            }
        },
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let context = proto.filter_context.as_ref().map(value::structure).map(Arc::new);
    Ok(Arc::new(PerRoute { choice, context }))
}

fn packages(paths: &[String], cpaths: &[String]) -> Vec<ConfigError> {
    let set = [("package_paths", paths), ("package_cpaths", cpaths)];
    let set = set.into_iter().filter(|(_, list)| !list.is_empty());
    set.map(|(field, _)| ConfigError::new(field, "scripts cannot load modules")).collect()
}

fn sourced(source: &DataSource, path: &str) -> Result<Arc<Script>, ConfigError> {
    compiled(data_source(source, LONGEST, path)?, path)
}

fn compiled(code: Vec<u8>, path: &str) -> Result<Arc<Script>, ConfigError> {
    let script = Script::new(code);
    script.map(Arc::new).map_err(|error| ConfigError::new(path, format!("the script does not run: {error}")))
}
