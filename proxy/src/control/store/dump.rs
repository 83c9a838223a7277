//! The parts of `/config_dump`: `envoy.admin.v3.*ConfigDump` as protobuf-JSON, secrets redacted.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::SecondsFormat;
use sampan_api::{Descriptors, Message, Value, message_to_json, type_url};
use serde_json::{Map, Value as Json, json};

use super::{Kind, Origin, Refused, Resources, Store, Stored};

const API: Descriptors = Descriptors::load();
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTE: &str = "envoy.config.route.v3.RouteConfiguration";
const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const SCOPE: &str = "envoy.config.route.v3.ScopedRouteConfiguration";
const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

impl Store {
    /// All parts but the endpoints, in Envoy's order.
    pub(super) fn configs(&self) -> Vec<Json> {
        let mut configs = vec![
            self.bootstrap(),
            self.clusters(),
            self.listeners(),
            self.scopes(),
            self.routes(),
            self.secrets(),
        ];
        configs.extend(self.extensions());
        configs
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
        for (field, name, kind) in [
            ("listeners", LISTENER, Kind::Listener),
            ("clusters", CLUSTER, Kind::Cluster),
            ("secrets", SECRET, Kind::Secret),
        ] {
            let kept: Vec<Json> = self.kind(kind).fixed.iter().map(|r| plain(name, &r.wire)).collect();
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
        let clusters = self.kind(Kind::Cluster);
        version(&mut part, clusters);
        let fixed = clusters
            .fixed
            .iter()
            .map(|r| json!({"cluster": typed(CLUSTER, &r.wire), "last_updated": updated(r)}));
        add(&mut part, "static_clusters", fixed.collect());
        let shown = |r: &Arc<Stored>| state("cluster", CLUSTER, r);
        add(&mut part, "dynamic_active_clusters", clusters.active.values().map(shown).collect());
        let mut waiting: Vec<Json> = clusters.warming.values().map(shown).collect();
        // Envoy keeps what was refused beside what waits.
        waiting.extend(
            clusters
                .refused
                .values()
                .map(|refused| json!({"error_state": error(CLUSTER, refused), "client_status": "NACKED"})),
        );
        add(&mut part, "dynamic_warming_clusters", waiting);
        part
    }

    fn listeners(&self) -> Json {
        let mut part = part("ListenersConfigDump");
        let listeners = self.kind(Kind::Listener);
        version(&mut part, listeners);
        let fixed = listeners.fixed.iter();
        let fixed = fixed.map(|r| json!({"listener": typed(LISTENER, &r.wire), "last_updated": updated(r)}));
        add(&mut part, "static_listeners", fixed.collect());
        let mut dynamic: BTreeMap<&str, Map<String, Json>> = BTreeMap::new();
        for (field, kept) in [
            ("active_state", &listeners.active),
            ("warming_state", &listeners.warming),
            ("draining_state", &listeners.draining),
        ] {
            for stored in kept.values() {
                let shown = state("listener", LISTENER, stored);
                dynamic.entry(&stored.name).or_default().insert(field.to_owned(), shown);
            }
        }
        for refused in listeners.refused.values() {
            let shown = dynamic.entry(&refused.resource.name).or_default();
            shown.insert("error_state".to_owned(), error(LISTENER, refused));
            shown.insert("client_status".to_owned(), "NACKED".into());
        }
        let dynamic = dynamic.into_iter().map(|(name, fields)| {
            let mut shown = Map::new();
            shown.insert("name".to_owned(), name.into());
            shown.extend(fields);
            Json::from(shown)
        });
        add(&mut part, "dynamic_listeners", dynamic.collect());
        part
    }

    /// Inline route configurations stand inside the listeners that use them.
    fn routes(&self) -> Json {
        let mut part = part("RoutesConfigDump");
        let mut found = Vec::new();
        let listeners = self.kind(Kind::Listener);
        for kept in listeners.fixed.iter().chain(listeners.active.values().map(|stored| &**stored)) {
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
        self.add_dynamic(&mut part, Kind::Route, "dynamic_route_configs", "route_config", ROUTE);
        part
    }

    fn scopes(&self) -> Json {
        let mut part = part("ScopedRoutesConfigDump");
        let scopes = self.kind(Kind::Scope).active.values();
        let scopes: Vec<Json> = scopes.map(|r| typed(SCOPE, &r.wire)).collect();
        if !scopes.is_empty() {
            let shown = json!({"scoped_route_configs": scopes});
            add(&mut part, "dynamic_scoped_route_configs", vec![shown]);
        }
        part
    }

    fn secrets(&self) -> Json {
        let mut part = part("SecretsConfigDump");
        let fixed = self.kind(Kind::Secret).fixed.iter();
        let fixed = fixed
            .map(|r| json!({"name": &*r.name, "last_updated": updated(r), "secret": typed(SECRET, &r.wire)}));
        add(&mut part, "static_secrets", fixed.collect());
        let dynamic = self.kind(Kind::Secret).active.values().map(|r| {
            let mut shown = state("secret", SECRET, r);
            shown["name"] = (&*r.name).into();
            shown
        });
        add(&mut part, "dynamic_active_secrets", dynamic.collect());
        part
    }

    /// The configuration of filters that was discovered; no part at all where there is none.
    fn extensions(&self) -> Option<Json> {
        if self.kind(Kind::Extension).active.is_empty() {
            return None;
        }
        let mut part = part("EcdsConfigDump");
        self.add_dynamic(&mut part, Kind::Extension, "ecds_filters", "ecds_filter", EXTENSION);
        Some(part)
    }

    fn add_dynamic(&self, part: &mut Json, kind: Kind, list: &str, field: &str, name: &str) {
        let resources = self.kind(kind);
        let mut shown: Vec<Json> = resources.active.values().map(|r| state(field, name, r)).collect();
        let refused = resources.refused.values();
        shown.extend(
            refused.map(|refused| json!({"error_state": error(name, refused), "client_status": "NACKED"})),
        );
        add(part, list, shown);
    }

    /// The assignments that came over EDS, as they were sent.
    pub(super) fn assignments(&self) -> Vec<Json> {
        let shown = |r: &Arc<Stored>| state("endpoint_config", ASSIGNMENT, r);
        self.kind(Kind::Endpoints).active.values().map(shown).collect()
    }
}

/// `version_info` of a kind that is discovered.
fn version(part: &mut Json, resources: &Resources) {
    if !resources.version.is_empty() {
        part["version_info"] = (&*resources.version).into();
    }
}

/// A dynamic resource with its version.
fn state(field: &str, name: &str, kept: &Stored) -> Json {
    let mut shown = Map::new();
    if let Origin::Dynamic { version } = &kept.origin
        && !version.is_empty()
    {
        shown.insert("version_info".to_owned(), (&**version).into());
    }
    shown.insert(field.to_owned(), typed(name, &kept.wire));
    shown.insert("last_updated".to_owned(), updated(kept));
    shown.into()
}

/// `UpdateFailureState`
fn error(name: &str, refused: &Refused) -> Json {
    let version = match &refused.resource.origin {
        Origin::Dynamic { version } => &**version,
        Origin::Static => "",
    };
    json!({
        "failed_configuration": typed(name, &refused.resource.wire),
        "last_update_attempt": updated(&refused.resource),
        "details": refused.details,
        "version_info": version,
    })
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
