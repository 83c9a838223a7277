//! `envoy.config.bootstrap.v3.Bootstrap`, without its static resources -> the settings of the process.

use std::sync::Arc;

use prost::Message as _;
use sampan_api::envoy::config::accesslog::v3::AccessLog;
use sampan_api::envoy::config::accesslog::v3::access_log::ConfigType as LogConfig;
use sampan_api::envoy::config::bootstrap::v3 as pb;
use sampan_api::envoy::config::bootstrap::v3::bootstrap::application_log_config::log_format::LogFormat;
use sampan_api::envoy::config::core::v3::Node as ProtoNode;
use sampan_api::envoy::config::core::v3::address::Address;
use sampan_api::envoy::config::overload::v3::OverloadManager;
use sampan_api::envoy::config::overload::v3::resource_monitor::ConfigType;
use sampan_api::envoy::config::trace::v3::tracing::Http as TracingProvider;
use sampan_api::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use sampan_api::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::NodeFacts;
use sampan_model::cluster::BindAddress;

use super::{Scope, extension, runtime, stats_config, value};
use crate::admin::server::AdminAddress;
use crate::cli::Options;
use crate::logging::{self, Format};
use crate::runtime::Runtime;
use crate::telemetry::stats::StatsConfig;

const YES: Support = Support::Supported;
const OUR_NAME: Support = Support::Ignored("this proxy tells what it is");
const NO_WATCHDOG: Support = Support::Ignored("there is no watchdog");
const INTERNAL_LISTENER: &str = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
const WORKLOADS: &str = "istio.workload.BootstrapExtension";
const FILE_ACCESS_LOG: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const CONNECTIONS: &str =
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.bootstrap.v3.Bootstrap",
        &[
            ("node", YES),
            ("static_resources", YES),
            ("stats_config", YES),
            ("layered_runtime", YES),
            ("admin", YES),
            ("overload_manager", YES),
            ("application_log_config", YES),
            ("default_regex_engine", YES),
            ("dynamic_resources", YES),
            ("node_context_params", Support::Later("resources are not asked for by xdstp names")),
            ("hds_config", Support::Later("health is not reported to a control plane")),
            ("config_sources", Support::Later("resources are not asked for by xdstp names")),
            ("default_config_source", Support::Later("resources are not asked for by xdstp names")),
            ("cluster_manager", YES),
            ("flags_path", Support::Ignored("there is no hot restart")),
            ("stats_flush_interval", Support::Ignored("there are no sinks to flush to")),
            ("stats_flush_on_admin", Support::Ignored("there are no sinks to flush to")),
            ("deferred_stat_options", YES),
            ("watchdog", NO_WATCHDOG),
            ("watchdogs", NO_WATCHDOG),
            ("memory_allocator_manager", Support::Ignored("the allocator returns memory by itself")),
            ("typed_dns_resolver_config", Support::Later("every cluster has its own settings")),
            ("dns_resolution_config", Support::Later("every cluster has its own settings")),
            ("use_tcp_for_dns_lookups", Support::Later("every cluster has its own settings")),
            ("stats_sinks", Support::Later("stats are read from the admin server")),
            ("tracing", YES),
            ("bootstrap_extensions", YES),
        ],
    ),
    (
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
        &[("listeners", YES), ("clusters", YES), ("secrets", YES)],
    ),
    (
        "envoy.config.bootstrap.v3.ClusterManager",
        &[
            ("upstream_bind_config", YES),
            ("local_cluster_name", YES),
            ("outlier_detection", YES),
            ("load_stats_config", Support::Later("load is not reported")),
            (
                "enable_deferred_cluster_creation",
                Support::Ignored("a cluster is always made when it is first used"),
            ),
        ],
    ),
    (
        "envoy.config.bootstrap.v3.Admin",
        &[
            ("address", YES),
            // Only loggers that write to /dev/null do what they say; others are reported.
            ("access_log", YES),
            ("access_log_path", Support::Later("admin requests are not logged")),
            // Nothing is profiled, so nothing is written there.
            ("profile_path", YES),
            ("ignore_global_conn_limit", Support::Ignored("the admin server never counts towards the limit")),
        ],
    ),
    (
        "envoy.config.bootstrap.v3.Bootstrap.DynamicResources",
        &[
            ("ads_config", YES),
            ("cds_config", YES),
            ("lds_config", YES),
            ("cds_resources_locator", Support::Later("resources are not asked for by xdstp names")),
            ("lds_resources_locator", Support::Later("resources are not asked for by xdstp names")),
        ],
    ),
    (
        "envoy.config.bootstrap.v3.ClusterManager.OutlierDetection",
        &[("event_log_path", YES), ("event_service", Support::Later("events go to files only"))],
    ),
    ("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig", &[("log_format", YES)]),
    (
        "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat",
        &[("json_format", YES), ("text_format", YES)],
    ),
    (
        "envoy.config.overload.v3.OverloadManager",
        &[
            ("resource_monitors", YES),
            ("refresh_interval", Support::Ignored("nothing is polled")),
            ("actions", Support::Later("there are no overload actions")),
            ("loadshed_points", Support::Later("there are no overload actions")),
        ],
    ),
    ("envoy.config.overload.v3.ResourceMonitor", &[("name", YES), ("typed_config", YES)]),
    (CONNECTIONS, &[("max_active_downstream_connections", YES)]),
    (
        "envoy.config.core.v3.Node",
        &[
            ("id", YES),
            ("cluster", YES),
            ("locality", YES),
            ("metadata", YES),
            ("dynamic_parameters", YES),
            ("client_features", YES),
            ("user_agent_name", OUR_NAME),
            ("user_agent_version", OUR_NAME),
            ("user_agent_build_version", OUR_NAME),
            ("extensions", YES),
            ("listening_addresses", YES),
        ],
    ),
    ("envoy.config.core.v3.BuildVersion", &[("*", YES)]),
    // Stats are made when they are first written to, whatever it says.
    ("envoy.config.bootstrap.v3.Bootstrap.DeferredStatOptions", &[("*", YES)]),
    // There are no internal listeners to need a buffer; a listener that is one is refused.
    ("envoy.extensions.bootstrap.internal_listener.v3.InternalListener", &[("*", YES)]),
    (
        WORKLOADS,
        &[("config_source", Support::Later("peers are known by what they tell, not by the control plane"))],
    ),
    ("envoy.type.v3.SemanticVersion", &[("*", YES)]),
    ("envoy.extensions.regex_engines.v3.GoogleRE2", &[("*", YES)]),
];

/// The process's own settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who this proxy is.
    pub node: Node,
    /// Where the admin server listens; `None` without one.
    pub admin: Option<AdminAddress>,
    /// The runtime layers.
    pub runtime: Arc<Runtime>,
    /// How stats are kept.
    pub stats: StatsConfig,
    /// The most downstream connections at a time.
    pub max_downstream_connections: Option<u64>,
    /// `cluster_manager.upstream_bind_config`: where upstream connections come from, where a cluster does not say.
    pub upstream_bind: Option<Arc<BindAddress>>,
    /// `cluster_manager.outlier_detection.event_log_path`
    pub outlier_log: Option<Box<str>>,
    /// The shape of the process log, if the bootstrap sets one.
    pub log_format: Option<String>,
}

/// `node`, with the flags laid over it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `id`, or `--service-node`.
    pub id: Arc<str>,
    /// `cluster`, or `--service-cluster`.
    pub cluster: Arc<str>,
    /// `locality.zone`, or `--service-zone`.
    pub zone: Arc<str>,
    /// Whether it is a sidecar, as its id says in Istio's way (`sidecar~...`).
    pub sidecar: bool,
}

/// The tracing provider of connection managers that name none.
#[expect(deprecated, reason = "1.40 accepts it")]
pub fn tracing_provider(proto: &pb::Bootstrap) -> Option<Arc<TracingProvider>> {
    proto.tracing.as_ref().and_then(|tracing| tracing.http.clone()).map(Arc::new)
}

/// Compiles the settings. Goes on after an error.
pub fn compile(proto: &pb::Bootstrap, options: &Options, at: &Scope<'_>) -> Settings {
    if let Some(engine) = &proto.default_regex_engine {
        let re2 = engine
            .typed_config
            .as_ref()
            .is_some_and(|any| extension::is(any, "envoy.extensions.regex_engines.v3.GoogleRE2"));
        if !re2 {
            let at = at.field("default_regex_engine");
            at.reject_value::<()>(
                extension::shown(engine),
                "there is no such regex engine",
                "GoogleRE2 is accepted",
            );
        }
    }
    extensions(proto, at);
    let admin = proto.admin.as_ref().and_then(|admin| admin.address.as_ref());
    Settings {
        node: node(proto.node.as_ref(), options),
        admin: admin.and_then(|address| {
            let at = at.field("admin");
            admin_address(address.address.as_ref(), &at.field("address"))
        }),
        runtime: Arc::new(runtime::compile(proto.layered_runtime.as_ref(), &at.field("layered_runtime"))),
        stats: stats_config::compile(
            proto.stats_config.as_ref(),
            &options.stats_tags,
            &at.field("stats_config"),
        ),
        max_downstream_connections: proto
            .overload_manager
            .as_ref()
            .and_then(|manager| max_connections(manager, &at.field("overload_manager"))),
        outlier_log: proto
            .cluster_manager
            .as_ref()
            .and_then(|manager| manager.outlier_detection.as_ref())
            .map(|detection| detection.event_log_path.as_str())
            .filter(|path| !path.is_empty())
            .map(Box::from),
        upstream_bind: proto
            .cluster_manager
            .as_ref()
            .and_then(|manager| manager.upstream_bind_config.as_ref())
            .and_then(|bind| {
                let at = at.field("cluster_manager");
                super::cluster::bind_address(bind, &at.field("upstream_bind_config"))
            })
            .map(Arc::new),
        log_format: log_format(proto, options, &at.field("application_log_config")),
    }
}

/// Refuses extensions that there are none of.
fn extensions(proto: &pb::Bootstrap, at: &Scope<'_>) {
    let at = at.field("bootstrap_extensions");
    for (index, extension) in proto.bootstrap_extensions.iter().enumerate() {
        let known = |any: &Any| [INTERNAL_LISTENER, WORKLOADS].iter().any(|name| extension::is(any, name));
        if !extension.typed_config.as_ref().is_some_and(known) {
            at.index(index).reject_value::<()>(
                extension::shown(extension),
                "there is no such bootstrap extension",
                "envoy.bootstrap.internal_listener is accepted",
            );
        }
    }
}

/// The access logs of the admin server that are not written, if there are such. One to `/dev/null` need not be.
pub fn unlogged(proto: &pb::Bootstrap) -> Option<&'static str> {
    let logs = &proto.admin.as_ref()?.access_log;
    let to_nowhere = |log: &AccessLog| {
        let Some(LogConfig::TypedConfig(any)) = &log.config_type else { return false };
        extension::is(any, FILE_ACCESS_LOG)
            && FileAccessLog::decode(&*any.value).is_ok_and(|log| log.path == "/dev/null")
    };
    (!logs.iter().all(to_nowhere)).then_some("admin.access_log")
}

/// The node, as filters know it.
pub fn node_facts(proto: Option<&ProtoNode>) -> NodeFacts {
    let Some(proto) = proto else { return NodeFacts::default() };
    let locality = proto.locality.as_ref();
    NodeFacts {
        id: proto.id.as_str().into(),
        cluster: proto.cluster.as_str().into(),
        metadata: value::structure(&proto.metadata.clone().unwrap_or_default()),
        region: locality.map_or("", |locality| &locality.region).into(),
        zone: locality.map_or("", |locality| &locality.zone).into(),
        sub_zone: locality.map_or("", |locality| &locality.sub_zone).into(),
    }
}

/// The node as a control plane and the admin server are to see it.
pub fn identify(proto: &mut ProtoNode, options: &Options) {
    use sampan_api::envoy::config::core::v3::node::UserAgentVersionType;
    for (flag, field) in
        [(&options.service_node, &mut proto.id), (&options.service_cluster, &mut proto.cluster)]
    {
        if !flag.is_empty() {
            field.clone_from(flag);
        }
    }
    if !options.service_zone.is_empty() {
        proto.locality.get_or_insert_default().zone.clone_from(&options.service_zone);
    }
    "envoy".clone_into(&mut proto.user_agent_name);
    proto.user_agent_version_type =
        Some(UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned()));
}

fn node(proto: Option<&ProtoNode>, options: &Options) -> Node {
    let either = |flag: &str, field: Option<&str>| {
        if flag.is_empty() { field.unwrap_or_default().into() } else { flag.into() }
    };
    let id: Arc<str> = either(&options.service_node, proto.map(|node| node.id.as_str()));
    let zone = proto.and_then(|node| node.locality.as_ref()).map(|locality| locality.zone.as_str());
    Node {
        sidecar: id.starts_with("sidecar~"),
        id,
        cluster: either(&options.service_cluster, proto.map(|node| node.cluster.as_str())),
        zone: either(&options.service_zone, zone),
    }
}

fn admin_address(proto: Option<&Address>, at: &Scope<'_>) -> Option<AdminAddress> {
    match proto {
        Some(Address::SocketAddress(address)) => {
            value::socket_address(address, &at.field("socket_address")).map(AdminAddress::Tcp)
        }
        Some(Address::Pipe(pipe)) => Some(AdminAddress::Unix { path: pipe.path.clone(), mode: pipe.mode }),
        Some(Address::EnvoyInternalAddress(_)) => {
            at.field("envoy_internal_address").reject("the admin server needs a real address")
        }
        None => at.reject("the address is missing"),
    }
}

fn max_connections(proto: &OverloadManager, at: &Scope<'_>) -> Option<u64> {
    let at = at.field("resource_monitors");
    let mut limit = None;
    for (index, monitor) in proto.resource_monitors.iter().enumerate() {
        let Some(ConfigType::TypedConfig(any)) = &monitor.config_type else { continue };
        if extension::is(any, CONNECTIONS) {
            let at = at.index(index);
            let at = at.field("typed_config");
            let config = value::payload::<DownstreamConnectionsConfig>(any, &at)?;
            limit = u64::try_from(config.max_active_downstream_connections).ok();
        }
    }
    limit
}

fn log_format(proto: &pb::Bootstrap, options: &Options, at: &Scope<'_>) -> Option<String> {
    let format = proto.application_log_config.as_ref()?.log_format.as_ref()?.log_format.as_ref()?;
    let at = at.field("log_format");
    if options.log_format_set {
        return at.reject(
            "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.",
        );
    }
    match format {
        LogFormat::TextFormat(text) => Some(text.clone()),
        LogFormat::JsonFormat(fields) => match logging::json_pattern(&plain(fields)) {
            Ok(pattern) => Some(pattern),
            Err(error) => at.field("json_format").reject(error.to_string()),
        },
    }
}

/// A struct as JSON.
fn plain(fields: &sampan_api::google::protobuf::Struct) -> serde_json::Value {
    use sampan_api::google::protobuf::value::Kind;
    use serde_json::Value as Json;
    fn one(value: &sampan_api::google::protobuf::Value) -> Json {
        match &value.kind {
            None | Some(Kind::NullValue(_)) => Json::Null,
            Some(Kind::BoolValue(on)) => Json::from(*on),
            Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Json::from(*number as i64)
            }
            Some(Kind::NumberValue(number)) => Json::from(*number),
            Some(Kind::StringValue(text)) => Json::from(text.as_str()),
            Some(Kind::ListValue(list)) => list.values.iter().map(one).collect(),
            Some(Kind::StructValue(inner)) => plain(inner),
        }
    }
    let mut sorted: Vec<_> = fields.fields.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    Json::Object(sorted.into_iter().map(|(name, value)| (name.clone(), one(value))).collect())
}

impl Settings {
    /// Sets the log's shape, if the bootstrap gives one.
    pub fn apply_log_format(&self, log: &logging::Logging, options: &Options) {
        if let Some(pattern) = &self.log_format {
            log.set_format(Format::new(pattern, options.log_format_escaped));
        }
    }
}
