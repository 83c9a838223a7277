//! `/config_dump`, `/init_dump` and `/certs`.
//!
//! The parts of the dump arrive as protobuf-JSON. `resource=` picks one repeated field and shows its elements,
//! `mask=` keeps the named fields, `name_regex=` the resources with matching names.

use http::StatusCode;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::{Admin, Reply, Request};

/// The repeated fields of the dumps, and the message that their elements are.
const REPEATED: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
    ("ecds_filters", "EcdsConfigDump.EcdsFilterConfig"),
];

/// The other fields of the dumps.
const SINGULAR: &[&str] = &["bootstrap", "last_updated", "version_info"];

/// The fields of the elements.
const OF_ELEMENTS: &[&str] = &[
    "cluster",
    "listener",
    "route_config",
    "secret",
    "endpoint_config",
    "ecds_filter",
    "scoped_route_configs",
    "name",
    "version_info",
    "last_updated",
    "active_state",
    "warming_state",
    "draining_state",
    "error_state",
    "client_status",
];

const TYPE: &str = "@type";

pub(super) fn dump(admin: &Admin, request: &Request) -> Reply {
    let query = match Query::read(request) {
        Ok(query) => query,
        Err(reply) => return reply,
    };
    let configs = admin.config.configs(request.has("include_eds"));
    match query.apply(configs) {
        Ok(configs) if configs.is_empty() => Reply::json(&json!({})),
        Ok(configs) => Reply::json(&json!({"configs": configs})),
        Err(reply) => reply,
    }
}

pub(super) fn certs(admin: &Admin, _: &Request) -> Reply {
    Reply::json(&json!({"certificates": admin.config.certificates()}))
}

/// `admin.v3.UnreadyTargetsDumps`. The mask names a component, which is how a target's name begins.
pub(super) fn init_dump(admin: &Admin, request: &Request) -> Reply {
    let mask = request.parameter("mask").unwrap_or_default();
    let unready: Vec<Value> = admin
        .config
        .unready()
        .iter()
        .filter(|u| u.name.starts_with(mask))
        .map(|u| json!({"name": u.name, "target_names": u.targets}))
        .collect();
    if unready.is_empty() {
        Reply::json(&json!({}))
    } else {
        Reply::json(&json!({"unready_targets_dumps": unready}))
    }
}

struct Query<'a> {
    resource: Option<&'a str>,
    mask: Option<Vec<&'a str>>,
    mask_text: &'a str,
    name: Option<Regex>,
}

impl<'a> Query<'a> {
    fn read(request: &'a Request) -> Result<Self, Reply> {
        // An empty value is what the home page sends for a field that was left alone.
        let given = |name| request.parameter(name).filter(|v| !v.is_empty());
        let name = match given("name_regex") {
            None => None,
            Some(text) => Some(Regex::new(text).map_err(|error| {
                bad(format!("INVALID_ARGUMENT: Error while parsing name_regex from {text}: {error}"))
            })?),
        };
        let mask = given("mask").map(|text| text.split(',').filter(|p| !p.is_empty()).collect());
        Ok(Self { resource: given("resource"), mask, mask_text: given("mask").unwrap_or_default(), name })
    }

    fn apply(&self, mut configs: Vec<Value>) -> Result<Vec<Value>, Reply> {
        if let Some(name) = &self.name {
            for config in &mut configs {
                keep_named(config, name);
            }
        }
        match self.resource {
            Some(resource) => self.elements(resource, configs),
            None => self.masked(configs),
        }
    }

    fn elements(&self, resource: &str, configs: Vec<Value>) -> Result<Vec<Value>, Reply> {
        if SINGULAR.contains(&resource) {
            let text =
                format!("{resource} is not a repeated field. Use ?mask={resource} to get only this field");
            return Err(bad(text));
        }
        let message = REPEATED.iter().find(|(field, _)| *field == resource).map(|(_, message)| *message);
        let holder = |c: &&Value| message.is_some_and(|m| is_part(c, m));
        let (Some(message), Some(config)) = (message, configs.iter().find(holder)) else {
            return Err(Reply {
                content_type: "text/plain",
                ..Reply::status(StatusCode::NOT_FOUND, format!("{resource} not found in config dump"))
            });
        };
        let elements = config.get(resource).and_then(Value::as_array).cloned().unwrap_or_default();
        elements.into_iter().map(|element| self.element(message, element)).collect()
    }

    fn element(&self, message: &str, element: Value) -> Result<Value, Reply> {
        let element = match &self.mask {
            None => element,
            Some(paths) if paths.iter().all(|p| OF_ELEMENTS.contains(&head(p))) => trimmed(&element, paths),
            Some(_) => {
                return Err(bad(format!("FieldMask {} could not be successfully used.", self.mask_text)));
            }
        };
        let mut out = Map::new();
        out.insert(TYPE.to_owned(), format!("type.googleapis.com/envoy.admin.v3.{message}").into());
        if let Value::Object(fields) = element {
            out.extend(fields);
        }
        Ok(Value::Object(out))
    }

    fn masked(&self, configs: Vec<Value>) -> Result<Vec<Value>, Reply> {
        let Some(paths) = &self.mask else { return Ok(configs) };
        let kept: Vec<Value> = configs
            .iter()
            .filter(|c| paths.iter().all(|p| applies(c, p)))
            .map(|c| trimmed(c, paths))
            .collect();
        if kept.is_empty() {
            return Err(bad(format!(
                "FieldMask {} could not be successfully applied to any configs.",
                self.mask_text
            )));
        }
        Ok(kept)
    }
}

fn bad(text: String) -> Reply {
    Reply { content_type: "text/plain", ..Reply::status(StatusCode::BAD_REQUEST, text) }
}

fn head(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// Whether `config` is the dump that `ClustersConfigDump.StaticCluster` belongs to.
fn is_part(config: &Value, message: &str) -> bool {
    let part = head(message);
    config.get(TYPE).and_then(Value::as_str).is_some_and(|t| t.rsplit('.').next() == Some(part))
}

/// Whether a mask's path can be applied to a dump: its first field exists there, and it does not go into the
/// elements of a repeated field.
fn applies(config: &Value, path: &str) -> bool {
    let field = head(path);
    if let Some((_, message)) = REPEATED.iter().find(|(name, _)| *name == field) {
        return is_part(config, message) && path == field;
    }
    match field {
        "bootstrap" => is_part(config, "BootstrapConfigDump"),
        "last_updated" => is_part(config, "BootstrapConfigDump"),
        "version_info" => is_part(config, "ClustersConfigDump") || is_part(config, "ListenersConfigDump"),
        _ => false,
    }
}

/// The value with only what the paths name, and the `@type` of each message on the way.
fn trimmed(value: &Value, paths: &[&str]) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let mut out = Map::new();
    for (name, field) in fields {
        if name == TYPE {
            out.insert(name.clone(), field.clone());
            continue;
        }
        let below: Vec<Option<&str>> = paths
            .iter()
            .filter(|p| head(p) == name)
            .map(|p| p.split_once('.').map(|(_, rest)| rest))
            .collect();
        if below.is_empty() {
            continue;
        }
        let rest: Option<Vec<&str>> = below.into_iter().collect();
        let kept = rest.map_or_else(|| field.clone(), |rest| trimmed(field, &rest));
        out.insert(name.clone(), kept);
    }
    Value::Object(out)
}

/// Drops the elements of the repeated fields whose resource has another name. The bootstrap stays.
fn keep_named(config: &mut Value, name: &Regex) {
    let Value::Object(fields) = config else { return };
    fields.retain(|field, value| {
        let Some(elements) = value.as_array_mut().filter(|_| REPEATED.iter().any(|(f, _)| f == field)) else {
            return true;
        };
        elements.retain(|element| name_of(element).is_some_and(|n| name.is_match(n)));
        !elements.is_empty()
    });
}

fn name_of(element: &Value) -> Option<&str> {
    let inside = OF_ELEMENTS.iter().filter_map(|field| element.get(field)).find(|v| v.is_object());
    let named = |value: &'_ Value, field: &str| value.get(field).and_then(Value::as_str).is_some();
    let holder = if named(element, "name") { element } else { inside? };
    let field = if named(holder, "cluster_name") { "cluster_name" } else { "name" };
    holder.get(field).and_then(Value::as_str)
}
