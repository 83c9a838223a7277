//! The loggers: Envoy's names, which istioctl and people's scripts know, used as `tracing` targets.
//!
//! Every module names its component with one of the constants. [`of`] files what has no such target by the
//! module path it comes from, so that nothing is out of the reach of `--component-log-level`.

macro_rules! named_loggers {
    ($($constant:ident = $name:literal),* $(,)?) => {
        $(#[doc = concat!("The logger `", $name, "`.")] pub const $constant: &str = $name;)*
    };
}

named_loggers! {
    ADMIN = "admin",
    CLIENT = "client",
    CONFIG = "config",
    CONN_HANDLER = "conn_handler",
    CONNECTION = "connection",
    DNS = "dns",
    EXT_AUTHZ = "ext_authz",
    EXT_PROC = "ext_proc",
    FILE = "file",
    FILTER = "filter",
    GRPC = "grpc",
    HEALTH_CHECKER = "health_checker",
    HTTP = "http",
    HTTP2 = "http2",
    INIT = "init",
    IO = "io",
    JWT = "jwt",
    LUA = "lua",
    MAIN = "main",
    MATCHER = "matcher",
    MISC = "misc",
    OAUTH2 = "oauth2",
    POOL = "pool",
    QUIC = "quic",
    RATE_LIMIT = "local_rate_limit",
    RBAC = "rbac",
    RDS = "rds",
    ROUTER = "router",
    RUNTIME = "runtime",
    SECRET = "secret",
    STATS = "stats",
    TAP = "tap",
    TRACING = "tracing",
    UDP = "udp",
    UPSTREAM = "upstream",
    WASM = "wasm",
}

/// Every logger of Envoy 1.40, in the order in which its `/logging` lists them.
pub const ALL: [&str; 73] = [
    "a2a",
    "admin",
    "ai_protocol_manager",
    "alternate_protocols_cache",
    "aws",
    "assert",
    "backtrace",
    "basic_auth",
    "cache_filter",
    "client",
    "config",
    "connection",
    "conn_handler",
    "compression",
    "credential_injector",
    "decompression",
    "dns",
    "dubbo",
    "envoy_bug",
    "ext_authz",
    "ext_proc",
    "rocketmq",
    "file",
    "filter",
    "forward_proxy",
    "geolocation",
    "grpc",
    "happy_eyeballs",
    "hc",
    "health_checker",
    "http",
    "http2",
    "hystrix",
    "init",
    "io",
    "jwt",
    "json_rpc",
    "kafka",
    "key_value_store",
    "lua",
    "local_rate_limit",
    "main",
    "matcher",
    "mcp",
    "misc",
    "mongo",
    "multi_connection",
    "notification",
    "oauth2",
    "quic",
    "quic_stream",
    "pool",
    "rate_limit_quota",
    "rbac",
    "rds",
    "redis",
    "router",
    "runtime",
    "stats",
    "secret",
    "sse",
    "tap",
    "testing",
    "thrift",
    "tracing",
    "upstream",
    "udp",
    "wasm",
    "websocket",
    "golang",
    "stats_sinks",
    "dynamic_modules",
    "ip_tagging",
];

/// Which logger a module path belongs to. The first prefix that matches wins.
const BY_MODULE: &[(&str, &str)] = &[
    ("sampan_proxy::admin", ADMIN),
    ("sampan_proxy::control", CONFIG),
    ("sampan_proxy::http::h2", HTTP2),
    ("sampan_proxy::http::retry", ROUTER),
    ("sampan_proxy::http", HTTP),
    ("sampan_proxy::listener", FILTER),
    ("sampan_proxy::process", MAIN),
    ("sampan_proxy::tcp", FILTER),
    ("sampan_proxy::telemetry::access_log", FILE),
    ("sampan_proxy::telemetry::trace", TRACING),
    ("sampan_proxy::telemetry", STATS),
    ("sampan_proxy::tls", CONNECTION),
    ("sampan_proxy::control::dns", DNS),
    ("sampan_proxy::upstream::health", HEALTH_CHECKER),
    ("sampan_proxy::upstream::pool", POOL),
    ("sampan_proxy::upstream", UPSTREAM),
    ("sampan_proxy::worker", CONN_HANDLER),
    ("sampan_proxy", MAIN),
    ("sampan_xds", CONFIG),
    ("sampan_api", CONFIG),
    ("sampan_filters", FILTER),
    ("h2", HTTP2),
    ("hyper", CLIENT),
    ("hickory", DNS),
    ("rustls", CONNECTION),
    ("tokio_rustls", CONNECTION),
    ("tonic", GRPC),
];

/// The logger that `target` names or, if it is a module path, belongs to.
pub fn of(target: &str) -> usize {
    let named = index(target).or_else(|| {
        let (_, name) = BY_MODULE.iter().find(|(prefix, _)| target.starts_with(prefix))?;
        index(name)
    });
    named.or_else(|| index(MISC)).unwrap_or(0)
}

/// The place of a logger in [`ALL`].
pub fn index(name: &str) -> Option<usize> {
    ALL.iter().position(|n| *n == name)
}

/// The logger of that name.
pub fn named(name: &str) -> Option<&'static str> {
    index(name).map(|i| ALL[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths_find_their_logger() {
        for (path, name) in [
            ("router", "router"),
            ("sampan_proxy::upstream::pool::h1", "pool"),
            ("sampan_proxy::upstream::connect", "upstream"),
            ("sampan_proxy::http::h2::server", "http2"),
            ("h2::proto::connection", "http2"),
            ("mio::poll", "misc"),
        ] {
            assert_eq!(ALL[of(path)], name, "{path}");
        }
        assert!(BY_MODULE.iter().all(|(_, name)| index(name).is_some()));
    }

    #[test]
    fn the_loggers_that_istioctl_names_exist() {
        for name in [
            ADMIN,
            CLIENT,
            CONFIG,
            CONN_HANDLER,
            CONNECTION,
            DNS,
            EXT_AUTHZ,
            EXT_PROC,
            FILE,
            FILTER,
            GRPC,
            HEALTH_CHECKER,
            HTTP,
            HTTP2,
            INIT,
            IO,
            JWT,
            LUA,
            MAIN,
            MATCHER,
            MISC,
            OAUTH2,
            POOL,
            QUIC,
            RATE_LIMIT,
            RBAC,
            RDS,
            ROUTER,
            RUNTIME,
            SECRET,
            STATS,
            TAP,
            TRACING,
            UDP,
            UPSTREAM,
            WASM,
        ] {
            assert_eq!(named(name), Some(name));
        }
    }
}
