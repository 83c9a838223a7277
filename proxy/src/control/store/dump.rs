//! The parts of `/config_dump`: `envoy.admin.v3.*ConfigDump` as protobuf-JSON, secrets redacted.

use chrono::SecondsFormat;
use sampan_api::{Descriptors, Message, Value, message_to_json, type_url};
use serde_json::{Map, Value as Json, json};

use super::{Origin, Store, Stored};

const API: Descriptors = Descriptors::load();
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTE: &str = "envoy.config.route.v3.RouteConfiguration";
const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

impl Store {
    /// All parts but the endpoints, in Envoy's order.
    pub(super) fn configs(&self) -> Vec<Json> {
        vec![
            self.bootstrap(),
            self.clusters(),
            self.listeners(),
            part("ScopedRoutesConfigDump"),
            self.routes(),
            self.secrets(),
        ]
    }

    fn bootstrap(&self) -> Json {
        let mut shown = Map::new();
        let mut rest = match plain(BOOTSTRAP, &self.bootstrap.wire) {
            Json::Object(fields) => fields,
            _ => Map::new(),
        };
        if let Some(node) = rest.remove("node") {
            shown.insert("node".to_owned(), node);
        }
        rest.remove("static_resources");
        let mut resources = Map::new();
        for (field, name, kept) in [
            ("listeners", LISTENER, &self.listeners),
            ("clusters", CLUSTER, &self.clusters),
            ("secrets", SECRET, &self.secrets),
        ] {
            let kept: Vec<Json> =
                kept.iter().filter(|r| r.origin == Origin::Static).map(|r| plain(name, &r.wire)).collect();
            if !kept.is_empty() {
                resources.insert(field.to_owned(), kept.into());
            }
        }
        if !resources.is_empty() {
            shown.insert("static_resources".to_owned(), resources.into());
        }
        shown.extend(rest);
        let mut part = part("BootstrapConfigDump");
        part["bootstrap"] = shown.into();
        part["last_updated"] = updated(&self.bootstrap);
        part
    }

    fn clusters(&self) -> Json {
        let mut part = part("ClustersConfigDump");
        list(&mut part, &self.clusters, CLUSTER, "cluster", ["static_clusters", "dynamic_active_clusters"]);
        part
    }

    fn listeners(&self) -> Json {
        let mut part = part("ListenersConfigDump");
        let fixed = self.listeners.iter().filter(|r| r.origin == Origin::Static);
        let fixed = fixed.map(|r| json!({"listener": typed(LISTENER, &r.wire), "last_updated": updated(r)}));
        add(&mut part, "static_listeners", fixed.collect());
        let dynamic = self.listeners.iter().filter_map(|r| {
            let Origin::Dynamic { version } = &r.origin else { return None };
            let state = json!({
                "version_info": &**version,
                "listener": typed(LISTENER, &r.wire),
                "last_updated": updated(r),
            });
            Some(json!({"name": &*r.name, "active_state": state}))
        });
        add(&mut part, "dynamic_listeners", dynamic.collect());
        part
    }

    /// Route configurations stand inside the listeners that use them.
    fn routes(&self) -> Json {
        let mut part = part("RoutesConfigDump");
        let mut found = Vec::new();
        for kept in &self.listeners {
            if let Some(message) = message(LISTENER, &kept.wire) {
                inline_routes(&message, &mut |route| {
                    let mut shown = Map::new();
                    shown.insert("@type".to_owned(), type_url::of(ROUTE).into());
                    merge(&mut shown, message_to_json(route, true));
                    found.push(json!({"route_config": shown, "last_updated": updated(kept)}));
                });
            }
        }
        add(&mut part, "static_route_configs", found);
        part
    }

    fn secrets(&self) -> Json {
        let mut part = part("SecretsConfigDump");
        let fixed = self
            .secrets
            .iter()
            .map(|r| json!({"name": &*r.name, "last_updated": updated(r), "secret": typed(SECRET, &r.wire)}));
        add(&mut part, "static_secrets", fixed.collect());
        part
    }
}

/// Adds static and dynamic resources of one kind.
fn list(part: &mut Json, kept: &[Stored], name: &str, field: &str, [fixed, dynamic]: [&str; 2]) {
    let (mut of_bootstrap, mut of_api) = (Vec::new(), Vec::new());
    for resource in kept {
        let (resource_json, time) = (typed(name, &resource.wire), updated(resource));
        match &resource.origin {
            Origin::Static => of_bootstrap.push(json!({field: resource_json, "last_updated": time})),
            Origin::Dynamic { version } => {
                of_api.push(json!({"version_info": &**version, field: resource_json, "last_updated": time}));
            }
        }
    }
    add(part, fixed, of_bootstrap);
    add(part, dynamic, of_api);
}

fn part(name: &str) -> Json {
    json!({"@type": type_url::of(&format!("envoy.admin.v3.{name}"))})
}

fn add(part: &mut Json, field: &str, items: Vec<Json>) {
    if !items.is_empty() {
        part[field] = items.into();
    }
}

fn updated(kept: &Stored) -> Json {
    kept.updated.to_rfc3339_opts(SecondsFormat::Millis, true).into()
}

fn message(name: &str, wire: &[u8]) -> Option<Message> {
    Some(Message::from_wire(API.message(name)?, wire).ok()?.message)
}

/// A message as JSON.
fn plain(name: &str, wire: &[u8]) -> Json {
    message(name, wire).map_or(Json::Null, |message| message_to_json(&message, true))
}

/// A message as JSON with its `@type`.
fn typed(name: &str, wire: &[u8]) -> Json {
    let mut shown = Map::new();
    shown.insert("@type".to_owned(), type_url::of(name).into());
    merge(&mut shown, plain(name, wire));
    shown.into()
}

fn merge(shown: &mut Map<String, Json>, json: Json) {
    if let Json::Object(fields) = json {
        shown.extend(fields);
    }
}

/// Finds the `route_config` of every HTTP connection manager inside.
fn inline_routes(message: &Message, found: &mut impl FnMut(&Message)) {
    if message.message_type().full_name() == MANAGER
        && let Some(Value::Message(route)) = message.named("route_config")
    {
        found(route);
    }
    for (_, value) in message.fields() {
        within(value, found);
    }
}

fn within(value: &Value, found: &mut impl FnMut(&Message)) {
    match value {
        Value::Message(message) => inline_routes(message, found),
        Value::List(items) => items.iter().for_each(|item| within(item, found)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| within(value, found)),
        _ => {}
    }
}
