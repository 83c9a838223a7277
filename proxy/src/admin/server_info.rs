//! `/ready`, `/server_info` and `/hot_restart_version`: who this server is and how it is doing.

use http::StatusCode;
use serde_json::{Value, json};

use super::source::Extension;
use super::{Admin, Reply, Request};
use crate::cli::{DrainStrategy, IpVersion, Mode, Options, version};
use crate::process::{ServerState, concurrency};

pub(super) fn ready(admin: &Admin, _: &Request) -> Reply {
    let state = admin.lifecycle.state();
    let status = if state == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::status(status, format!("{}\n", state.name()))
}

pub(super) fn hot_restart_version(_: &Admin, _: &Request) -> Reply {
    Reply::text(version::HOT_RESTART)
}

pub(super) fn server_info(admin: &Admin, _: &Request) -> Reply {
    let uptime = format!("{}s", admin.lifecycle.started().elapsed().as_secs());
    let mut info = json!({
        "version": version::five_part(),
        "state": admin.lifecycle.state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": version::HOT_RESTART,
        "command_line_options": command_line(&admin.options, admin.config.workers()),
        "node": node(admin),
        "hot_restart_initializing": false,
    });
    // Not a field of Envoy's, so only for those who asked for it by a flag of ours.
    if let Some(origin) = admin.config.origin() {
        info["configuration_source"] = origin;
    }
    Reply::json(&info)
}

/// `admin.v3.CommandLineOptions`, every field, as Envoy prints them.
fn command_line(o: &Options, workers: Option<u32>) -> Value {
    let inert = &o.inert;
    let flush = o.file_flush_interval.as_secs_f64();
    json!({
        "base_id": inert.base_id.to_string(),
        "concurrency": workers.unwrap_or_else(|| concurrency::workers(o, false)),
        "config_path": o.config_path.as_deref().unwrap_or_default(),
        "config_yaml": o.config_yaml.as_deref().unwrap_or_default(),
        "allow_unknown_static_fields": o.allow_unknown_static_fields,
        "admin_address_path": o.admin_address_path.as_deref().unwrap_or_default(),
        "local_address_ip_version": if o.local_address_ip_version == IpVersion::V4 { "v4" } else { "v6" },
        "log_level": o.log_level.name(),
        "component_log_level": o.component_log_level_text,
        "log_format": o.log_format,
        "log_path": o.log_path.as_deref().unwrap_or_default(),
        "service_cluster": o.service_cluster,
        "service_node": o.service_node,
        "service_zone": o.service_zone,
        "file_flush_interval": format!("{flush}s"),
        "drain_time": format!("{}s", o.drain_time.as_secs()),
        "parent_shutdown_time": format!("{}s", inert.parent_shutdown_time_s),
        "mode": match o.mode { Mode::Serve => "Serve", Mode::Validate => "Validate", Mode::InitOnly => "InitOnly" },
        "disable_hot_restart": inert.disable_hot_restart,
        "enable_mutex_tracing": inert.enable_mutex_tracing,
        "restart_epoch": inert.restart_epoch,
        "cpuset_threads": o.cpuset_threads,
        "reject_unknown_dynamic_fields": o.reject_unknown_dynamic_fields,
        "log_format_escaped": o.log_format_escaped,
        "disabled_extensions": o.disabled_extensions,
        "ignore_unknown_dynamic_fields": o.ignore_unknown_dynamic_fields,
        "use_dynamic_base_id": inert.use_dynamic_base_id,
        "base_id_path": inert.base_id_path,
        "drain_strategy": match o.drain_strategy {
            DrainStrategy::Gradual => "Gradual",
            DrainStrategy::Immediate => "Immediate",
        },
        "enable_fine_grain_logging": inert.enable_fine_grain_logging,
        "socket_path": inert.socket_path,
        "socket_mode": inert.socket_mode,
        "enable_core_dump": o.enable_core_dump,
        "stats_tag": o.stats_tags.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>(),
        "skip_hot_restart_on_no_parent": inert.skip_hot_restart_on_no_parent,
        "skip_hot_restart_parent_stats": inert.skip_hot_restart_parent_stats,
        "skip_deprecated_logs": o.skip_deprecated_logs,
        "file_flush_min_size": o.file_flush_min_size_kb,
        "log_stacktrace_single_entry": inert.log_stacktrace_single_entry,
    })
}

/// The node of the configuration, completed with what this build says of itself.
fn node(admin: &Admin) -> Value {
    let (major, minor, patch) = version::ENVOY_API;
    let extensions: Vec<Value> =
        admin.config.extensions().iter().map(|e| extension(&admin.options, e)).collect();
    let mut node = match admin.config.node() {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    let build = json!({
        "version": {"major_number": major, "minor_number": minor, "patch": patch},
        "metadata": {
            "build.type": version::BUILD_TYPE,
            "revision.sha": version::REVISION,
            "revision.status": version::TREE,
            "ssl.version": version::TLS_LIBRARY,
            "sampan.version": version::SAMPAN,
        },
    });
    for (name, value) in [
        ("user_agent_name", json!("envoy")),
        ("user_agent_build_version", build),
        ("extensions", Value::Array(extensions)),
        ("client_features", json!([])),
        ("listening_addresses", json!([])),
        ("dynamic_parameters", json!({})),
    ] {
        node.entry(name).or_insert(value);
    }
    Value::Object(node)
}

fn extension(options: &Options, extension: &Extension) -> Value {
    let full = format!("{}/{}", extension.category, extension.name);
    json!({
        "name": extension.name,
        "category": extension.category,
        "type_descriptor": "",
        "disabled": options.disabled_extensions.iter().any(|d| *d == extension.name || *d == full),
        "type_urls": extension.type_urls,
    })
}
