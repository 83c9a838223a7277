//! The table of endpoints, sorted by path as `/help` prints them, and the way from a request to its handler.

use http::{Method, StatusCode};

use super::{
    Admin, Reply, Request, clusters, config, control, generations, help, listeners, loggers, profiling,
    runtime, server_info, statistics, support,
};

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// Whether it changes something, in which case only POST is allowed.
    pub mutates: bool,
    /// The line in `/help`.
    pub help: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// What answers.
    pub handler: fn(&Admin, &Request) -> Reply,
}

/// A parameter of an endpoint.
#[derive(Debug)]
pub struct Parameter {
    /// The name.
    pub name: &'static str,
    /// The line in `/help`.
    pub help: &'static str,
    /// What it takes.
    pub kind: ParameterKind,
}

/// What a parameter takes.
#[derive(Debug)]
pub enum ParameterKind {
    /// Present or not.
    Flag,
    /// Any text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
}

const fn read(path: &'static str, help: &'static str, handler: fn(&Admin, &Request) -> Reply) -> Endpoint {
    Endpoint { path, mutates: false, help, parameters: &[], handler }
}

const fn change(path: &'static str, help: &'static str, handler: fn(&Admin, &Request) -> Reply) -> Endpoint {
    Endpoint { path, mutates: true, help, parameters: &[], handler }
}

impl Endpoint {
    const fn taking(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }
}

const fn flag(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, help, kind: ParameterKind::Flag }
}

const fn text(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, help, kind: ParameterKind::Text }
}

const fn one_of(name: &'static str, help: &'static str, values: &'static [&'static str]) -> Parameter {
    Parameter { name, help, kind: ParameterKind::OneOf(values) }
}

const USED_ONLY: Parameter =
    flag("usedonly", "Only include stats that have been written by system since restart");
const STATS_FILTER: Parameter = text("filter", "Regular expression (Google re2) for filtering stats");
const INVERT: Parameter = flag("invert_filter", "Invert the filter regex");

/// Every endpoint.
pub const ENDPOINTS: &[Endpoint] = &[
    read("/", "Admin home page", help::home),
    change("/allocprofiler", "enable/disable the allocation profiler (if supported)", profiling::unsupported)
        .taking(&[one_of("enable", "enable/disable the allocation profiler", &["y", "n"])]),
    read("/certs", "print certs on machine", config::certs),
    read("/clusters", "upstream cluster status", clusters::clusters)
        .taking(&[text("filter", "Regular expression (Google re2) for filtering clusters by name")]),
    read("/config_dump", "dump current Envoy configs", config::dump).taking(&[
        text("resource", "The resource to dump"),
        text(
            "mask",
            "The mask to apply. When both resource and mask are specified, the mask is applied to every element in \
             the desired repeated field so that only a subset of fields are returned. The mask is parsed as a \
             Protobuf::FieldMask",
        ),
        text(
            "name_regex",
            "Dump only the currently loaded configurations whose names match the specified regex. Can be used with \
             both resource and mask query parameters.",
        ),
        flag(
            "include_eds",
            "Dump currently loaded configuration including EDS. See the response definition for more information",
        ),
    ]),
    read("/contention", "dump current Envoy mutex contention stats (if enabled)", profiling::contention),
    change("/cpuprofiler", "enable/disable the CPU profiler", profiling::unsupported)
        .taking(&[one_of("enable", "enables the CPU profiler", &["y", "n"])]),
    change("/drain_listeners", "drain listeners", control::drain_listeners).taking(&[
        flag(
            "graceful",
            "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and \
             duration is configurable via server options or CLI",
        ),
        flag(
            "skip_exit",
            "When draining listeners, drain the connections but never stop the listeners. The graceful parameter \
             has no effect when this is set, since the drain period only delays stopping the listeners",
        ),
        flag(
            "inboundonly",
            "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener \
             is used to determine whether a listener is inbound or outbound.",
        ),
    ]),
    read(
        "/generations",
        "print the last generations of the configuration (not an Envoy endpoint)",
        generations::list,
    ),
    read(
        "/generations/diff",
        "print what changed between two generations, field by field (not an Envoy endpoint)",
        generations::diff,
    )
    .taking(&[
        text("from", "The generation to start from; the one before `to` if it is left out"),
        text("to", "The generation to compare it with; the newest if it is left out"),
    ]),
    change("/healthcheck/fail", "cause the server to fail health checks", control::fail_health),
    change("/healthcheck/ok", "cause the server to pass health checks", control::pass_health),
    read("/heap_dump", "dump current Envoy heap (if supported)", profiling::unsupported),
    change("/heapprofiler", "enable/disable the heap profiler", profiling::unsupported)
        .taking(&[one_of("enable", "enable/disable the heap profiler", &["y", "n"])]),
    read("/help", "print out list of admin commands", help::help),
    read("/hot_restart_version", "print the hot restart compatibility version", server_info::hot_restart_version),
    read("/init_dump", "dump current Envoy init manager information (experimental)", config::init_dump).taking(&[
        text(
            "mask",
            "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For \
             example, get the unready targets of all listeners with /init_dump?mask=listener`",
        ),
    ]),
    read("/listeners", "print listener info", listeners::listeners)
        .taking(&[one_of("format", "File format to use", &["text", "json"])]),
    change("/logging", "query/change logging levels", loggers::logging).taking(&[
        text(
            "paths",
            "Change multiple logging levels by setting to \
             <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is enabled, use \
             __FILE__ or a glob experision as the logger name. For example, source/common*:warning",
        ),
        text(
            "group",
            "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. \
             logger_group_name must be a logger name.",
        ),
        one_of(
            "level",
            "desired logging level, this will change all loggers's level",
            &["", "trace", "debug", "info", "warning", "error", "critical", "off"],
        ),
    ]),
    read("/memory", "print current allocation/heap usage", profiling::memory),
    read("/memory/tcmalloc", "print TCMalloc stats", profiling::unsupported),
    read("/peak_heap_dump", "dump peak Envoy heap (if supported)", profiling::unsupported),
    change("/quitquitquit", "exit the server", control::quit),
    read("/ready", "print server state, return 200 if LIVE, otherwise return 503", server_info::ready),
    change("/reopen_logs", "reopen access logs", control::reopen_logs),
    change("/reset_counters", "reset all counters to zero", statistics::reset_counters),
    read("/runtime", "print runtime values", runtime::runtime),
    change(
        "/runtime_modify",
        "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an \
         empty string as the value. Note that deletion only applies to overrides added via this endpoint; values \
         loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...",
        runtime::modify,
    ),
    read("/server_info", "print server version/status information", server_info::server_info),
    read("/stats", "print server stats", statistics::stats).taking(&[
        USED_ONLY,
        STATS_FILTER,
        INVERT,
        one_of("format", "Format to use", &["html", "active-html", "text", "json"]),
        one_of(
            "type",
            "Stat types to include.",
            &["All", "Counters", "Histograms", "Gauges", "TextReadouts"],
        ),
        one_of(
            "histogram_buckets",
            "Histogram bucket display mode",
            &["cumulative", "disjoint", "detailed", "summary"],
        ),
    ]),
    read("/stats/prometheus", "print server stats in prometheus format", statistics::prometheus).taking(&[
        USED_ONLY,
        flag(
            "text_readouts",
            "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)",
        ),
        STATS_FILTER,
        INVERT,
        one_of("histogram_buckets", "Histogram bucket display mode", &["cumulative", "summary"]),
    ]),
    read("/stats/recentlookups", "Show recent stat-name lookups", statistics::recent_lookups),
    change(
        "/stats/recentlookups/clear",
        "clear list of stat-name lookups and counter",
        statistics::no_recent_lookups,
    ),
    change(
        "/stats/recentlookups/disable",
        "disable recording of reset stat-name lookup names",
        statistics::no_recent_lookups,
    ),
    change(
        "/stats/recentlookups/enable",
        "enable recording of reset stat-name lookup names",
        statistics::no_recent_lookups,
    ),
    read("/support", "print what is accepted and not supported (not an Envoy endpoint)", support::support),
];

/// Answers a request: finds its row, checks the method, calls the handler.
pub fn answer(admin: &Admin, request: &Request) -> Reply {
    let Some(endpoint) = ENDPOINTS.iter().find(|e| e.path == request.path) else {
        return Reply::status(StatusCode::NOT_FOUND, format!("invalid path. {}", help::commands()));
    };
    if endpoint.mutates && request.method != Method::POST {
        tracing::error!(
            target: crate::logging::target::ADMIN,
            "admin path \"{}\" mutates state, method={} rather than POST",
            endpoint.path,
            request.method
        );
        let text = format!("Method {} not allowed, POST required.", request.method);
        return Reply::status(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    (endpoint.handler)(admin, request)
}
