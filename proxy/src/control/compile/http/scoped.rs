//! `scoped_routes` -> [`ScopedRoutes`], and a scope of routes wherever it comes from.

use std::sync::Arc;

use sampan_api::envoy::config::route::v3::ScopedRouteConfiguration;
use sampan_api::envoy::config::route::v3::scoped_route_configuration::key::fragment::Type as FragmentType;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::ConfigSpecifier;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::FragmentBuilder;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::fragment_builder::Type;
use sampan_api::envoy::extensions::filters::network::http_connection_manager::v3::scoped_routes::scope_key_builder::fragment_builder::header_value_extractor::ExtractType;
use sampan_api::{MessageSupport, Support};
use sampan_model::route::{Extract, HeaderField, HeaderValueExtractor, ScopeKey, ScopeKeyBuilder};

use super::super::{Context, Scope, route, source};
use crate::http::config::{ScopeSource, ScopedRoutes};
use crate::http::route::{ScopedConfig, Scopes};

const YES: Support = Support::Supported;

/// What is read here.
pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes",
        &[
            ("name", YES),
            ("scope_key_builder", YES),
            ("rds_config_source", YES),
            ("scoped_route_configurations_list", YES),
            ("scoped_rds", YES),
        ],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder",
        &[("fragments", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder",
        &[("header_value_extractor", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor",
        &[("name", YES), ("element_separator", YES), ("index", YES), ("element", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement",
        &[("separator", YES), ("key", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRouteConfigurationsList",
        &[("scoped_route_configurations", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRds",
        &[
            ("scoped_rds_config_source", YES),
            ("srds_resources_locator", Support::Later("resources are not asked for by xdstp names")),
        ],
    ),
    (
        "envoy.config.route.v3.ScopedRouteConfiguration",
        &[
            ("name", YES),
            ("route_configuration_name", YES),
            ("route_configuration", YES),
            ("key", YES),
            ("on_demand", Support::Ignored("every scope is fetched at once, so no request waits for one")),
        ],
    ),
    ("envoy.config.route.v3.ScopedRouteConfiguration.Key", &[("fragments", YES)]),
    ("envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment", &[("string_key", YES)]),
];

/// Compiles `scoped_routes`.
pub(super) fn compile(proto: &pb::ScopedRoutes, context: &Context, at: &Scope<'_>) -> Option<ScopedRoutes> {
    let builder = proto.scope_key_builder.as_ref();
    let fragments = at.field("scope_key_builder");
    let fragments = fragments.field("fragments");
    let list = builder.map(|builder| builder.fragments.as_slice()).unwrap_or_default();
    let each = list.iter().enumerate().map(|(index, fragment)| extractor(fragment, &fragments.index(index)));
    let builder = ScopeKeyBuilder { fragments: each.collect::<Option<Vec<_>>>()? };
    let routes = match &proto.rds_config_source {
        // Scopes may all hold their routes.
        None => source::own(),
        some => source::compile(some.as_ref(), &at.field("rds_config_source"))?,
    };
    let mut named = Vec::new();
    let scopes = match &proto.config_specifier {
        Some(ConfigSpecifier::ScopedRds(scoped)) => {
            let at = at.field("scoped_rds");
            let scopes = scoped.scoped_rds_config_source.as_ref();
            let scopes = source::compile(scopes, &at.field("scoped_rds_config_source"))?;
            ScopeSource::Discovered(context.scopes.reference(scopes, &routes.key.0))
        }
        Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) => {
            let at = at.field("scoped_route_configurations_list");
            let at = at.field("scoped_route_configurations");
            let mut scopes = Scopes::default();
            for (index, proto) in list.scoped_route_configurations.iter().enumerate() {
                let at = at.index(index);
                let scope = scope(proto, context, &at)?;
                let config = match scope.routes {
                    ScopeRoutes::Inline(config) => ScopedConfig::Inline(config),
                    ScopeRoutes::Named(name) => {
                        let reference = context.routes.reference(routes.clone(), &name);
                        let slot = reference.slot;
                        named.push(reference);
                        ScopedConfig::Discovered(slot)
                    }
                };
                if scopes.0.insert(scope.key, config).is_some() {
                    return at.field("key").reject("another scope has the same key");
                }
            }
            ScopeSource::Inline(Arc::new(scopes))
        }
        None => return at.reject("neither scoped_rds nor scoped_route_configurations_list is given"),
    };
    Some(ScopedRoutes { name: proto.name.as_str().into(), builder, scopes, routes, named })
}

fn extractor(proto: &FragmentBuilder, at: &Scope<'_>) -> Option<HeaderValueExtractor> {
    let Some(Type::HeaderValueExtractor(proto)) = &proto.r#type else { return at.reject("no type is given") };
    let at = at.field("header_value_extractor");
    let extract = match &proto.extract_type {
        Some(ExtractType::Index(index)) if proto.element_separator.is_empty() && *index > 0 => {
            return at.field("index").reject_value(
                index,
                "Index > 0 for empty string element separator.",
                "",
            );
        }
        Some(ExtractType::Index(index)) => Extract::Index(*index as usize),
        Some(ExtractType::Element(element)) => Extract::Element {
            separator: element.separator.as_str().into(),
            key: element.key.as_str().into(),
        },
        None => return at.reject("neither index nor element is given"),
    };
    let separator = proto.element_separator.as_str().into();
    Some(HeaderValueExtractor { name: HeaderField::new(&proto.name), separator, extract })
}

/// A scope of routes.
pub struct CompiledScope {
    /// Which requests belong to it.
    pub key: ScopeKey,
    /// Its routes.
    pub routes: ScopeRoutes,
}

/// The routes of a scope.
pub enum ScopeRoutes {
    /// `route_configuration_name`
    Named(Arc<str>),
    /// `route_configuration`
    Inline(Arc<crate::http::route::RouteConfig>),
}

/// Compiles a scope.
pub fn scope(proto: &ScopedRouteConfiguration, context: &Context, at: &Scope<'_>) -> Option<CompiledScope> {
    let fragments = proto.key.as_ref().map(|key| key.fragments.as_slice()).unwrap_or_default();
    let fragments = fragments.iter().map(|fragment| match &fragment.r#type {
        Some(FragmentType::StringKey(text)) => text.as_str(),
        None => "",
    });
    let key = ScopeKey::new(fragments);
    let routes = match &proto.route_configuration {
        Some(config) => {
            let config = route::compile(config, false, context, &at.field("route_configuration"))?;
            ScopeRoutes::Inline(Arc::new(config))
        }
        None if proto.route_configuration_name.is_empty() => {
            return at.field("route_configuration_name").reject("a scope needs routes");
        }
        None => ScopeRoutes::Named(proto.route_configuration_name.as_str().into()),
    };
    Some(CompiledScope { key, routes })
}
