//! Envoy's default tags: which part of which name each one is.
//!
//! Most are token patterns: `*` stands for one token, `$` for the token that is the value, and a final `**` for one or
//! more tokens. What no such pattern can say (a code inside a token, an address with dots) is a small function.

use memchr::memmem;

/// One default tag.
pub(super) struct Default {
    pub(super) tag: &'static str,
    /// The first token of the names that it is tried on; `None` for any name.
    pub(super) token: Option<&'static str>,
    /// What a name must contain for the rule to be worth trying. Equal ones stand together, to be looked for once.
    pub(super) hint: &'static str,
    pub(super) how: How,
}

pub(super) enum How {
    Tokens(&'static str),
    Find(Find),
}

/// Finds the range to cut and the range of the value.
pub(super) type Find = fn(&str) -> Option<super::Cut>;

const fn tokens(tag: &'static str, token: &'static str, pattern: &'static str) -> Default {
    Default { tag, token: Some(token), hint: "", how: How::Tokens(pattern) }
}

const fn find(tag: &'static str, token: Option<&'static str>, hint: &'static str, find: Find) -> Default {
    Default { tag, token, hint, how: How::Find(find) }
}

/// All of them, in the order in which they are tried and printed.
pub(super) const ALL: &[Default] = &[
    find("envoy.response_code", None, "_rq_", response_code),
    find("envoy.response_code_class", None, "_rq_", response_code_class),
    tokens("envoy.mongo_callsite", "mongo", "mongo.*.collection.*.callsite.$.query.**"),
    tokens("envoy.mongo_collection", "mongo", "mongo.*.collection.$.query.**"),
    tokens("envoy.mongo_cmd", "mongo", "mongo.*.cmd.$.**"),
    tokens("envoy.grpc_bridge_method", "cluster", "cluster.*.grpc.*.$.**"),
    tokens("envoy.http_user_agent", "http", "http.*.user_agent.$.**"),
    tokens("envoy.virtual_cluster", "vhost", "vhost.*.vcluster.$.**"),
    tokens("envoy.fault_downstream_cluster", "http", "http.*.fault.$.**"),
    find("envoy.ssl_cipher", Some("listener"), ".ssl.", |name| last_of(name, ".ssl.ciphers.")),
    find("envoy.ssl_curve", Some("listener"), ".ssl.", |name| last_of(name, ".ssl.curves.")),
    find("envoy.ssl_sigalg", Some("listener"), ".ssl.", |name| last_of(name, ".ssl.sigalgs.")),
    find("envoy.ssl_version", Some("listener"), ".ssl.", |name| last_of(name, ".ssl.versions.")),
    find("envoy.tls_certificate", Some("listener"), ".ssl.", |name| token_after(name, ".ssl.certificate.")),
    find("cipher_suite", Some("cluster"), ".ssl.", |name| last_of(name, ".ssl.ciphers.")),
    find("envoy.ssl_curve", Some("cluster"), ".ssl.", |name| last_of(name, ".ssl.curves.")),
    find("envoy.ssl_sigalg", Some("cluster"), ".ssl.", |name| last_of(name, ".ssl.sigalgs.")),
    find("envoy.ssl_version", Some("cluster"), ".ssl.", |name| last_of(name, ".ssl.versions.")),
    find("envoy.tls_certificate", Some("cluster"), ".ssl.", |name| token_after(name, ".ssl.certificate.")),
    tokens("envoy.grpc_bridge_service", "cluster", "cluster.*.grpc.$.**"),
    tokens("envoy.tcp_prefix", "tcp", "tcp.$.**"),
    tokens("envoy.udp_prefix", "udp", "udp.$.**"),
    tokens("envoy.clientssl_prefix", "auth", "auth.clientssl.$.**"),
    tokens("envoy.ratelimit_prefix", "ratelimit", "ratelimit.$.**"),
    tokens("envoy.ext_authz_prefix", "cluster", "cluster.*.ext_authz.$.**"),
    tokens("envoy.ext_authz_prefix", "http", "http.*.ext_authz.$.**"),
    tokens("envoy.rbac_policy_name", "http", "http.*.rbac.*.policy.$.**"),
    tokens("envoy.rbac_http_prefix", "http", "http.*.rbac.$.**"),
    tokens("envoy.cluster_name", "cluster", "cluster.$.**"),
    find("envoy.http_conn_manager_prefix", Some("listener"), ".http.", |name| token_after(name, ".http.")),
    tokens("envoy.http_conn_manager_prefix", "http", "http.$.**"),
    find("envoy.listener_address", Some("listener"), "", listener_address),
    tokens("envoy.virtual_host", "vhost", "vhost.$.**"),
    tokens("envoy.mongo_prefix", "mongo", "mongo.$.**"),
    find("envoy.rds_route_config", Some("http"), ".rds.", |name| token_after(name, ".rds.")),
    find("envoy.scoped_rds_config", Some("http"), ".scoped_rds.", |name| token_after(name, ".scoped_rds.")),
    tokens("envoy.route", "vhost", "vhost.*.route.$.**"),
    find("envoy.worker_id", None, ".worker_", worker_id),
    tokens("envoy.thrift_prefix", "thrift", "thrift.$.**"),
    tokens("envoy.redis_prefix", "redis", "redis.$.**"),
    find("envoy.local_http_ratelimit_prefix", None, ".http_local_rate_limit.", local_rate_limit),
    tokens("envoy.local_network_ratelimit_prefix", "local_rate_limit", "local_rate_limit.$.**"),
    tokens(
        "envoy.local_listener_ratelimit_prefix",
        "listener_local_ratelimit",
        "listener_local_ratelimit.$.**",
    ),
    tokens("envoy.dns_filter_prefix", "dns_filter", "dns_filter.$.**"),
    tokens("envoy.connection_limit_prefix", "connection_limit", "connection_limit.$.**"),
    find("envoy.rbac_prefix", None, ".rbac.", network_rbac),
    tokens("envoy.google_grpc_client_prefix", "grpc", "grpc.$.**"),
];

/// Matches a token pattern; the cut is the value and the dot behind it.
pub(super) fn find_tokens(pattern: &str, name: &str) -> Option<super::Cut> {
    let mut rest = Some(name);
    let mut at = 0;
    let mut value = None;
    for wanted in pattern.split('.') {
        let text = rest?;
        if wanted == "**" {
            break;
        }
        let (token, after) = match text.split_once('.') {
            Some((token, after)) => (token, Some(after)),
            None => (text, None),
        };
        match wanted {
            "$" => value = Some((at, at + token.len())),
            "*" => {}
            literal if literal == token => {}
            _ => return None,
        }
        at += token.len() + 1;
        rest = after;
    }
    let (start, end) = value?;
    Some(((start, (end + 1).min(name.len())), (start, end)))
}

/// `…_rq_(200)` at the end, cut with its underscore.
fn response_code(name: &str) -> Option<super::Cut> {
    let start = name.len().checked_sub(3)?;
    let digits = name.get(start..)?.bytes().all(|byte| byte.is_ascii_digit());
    (digits && name.get(..start)?.ends_with("_rq_")).then_some(((start - 1, name.len()), (start, name.len())))
}

/// `…_rq_(2)xx` at the end.
fn response_code_class(name: &str) -> Option<super::Cut> {
    let before = name.strip_suffix("xx")?;
    let start = before.len().checked_sub(1)?;
    let digit = before.as_bytes().get(start)?.is_ascii_digit();
    (digit && before.get(..start)?.ends_with("_rq_")).then_some(((start, start + 1), (start, start + 1)))
}

/// The one token behind a marker, cut with its dot. There must be more behind it.
fn token_after(name: &str, marker: &str) -> Option<super::Cut> {
    let start = memmem::find(name.as_bytes(), marker.as_bytes())? + marker.len();
    let end = start + name.get(start..)?.find('.')?;
    Some(((start, end + 1), (start, end)))
}

/// All that follows a marker, cut with the dot before it.
fn last_of(name: &str, marker: &str) -> Option<super::Cut> {
    let start = memmem::find(name.as_bytes(), marker.as_bytes())? + marker.len();
    (start < name.len()).then_some(((start - 1, name.len()), (start, name.len())))
}

/// `listener.(0.0.0.0_80).…` or `listener.([__1]_80).…`: digits, dots and underscores, or brackets and hex digits.
fn listener_address(name: &str) -> Option<super::Cut> {
    let start = "listener.".len();
    let rest = name.get(start..)?;
    let run = |allowed: fn(char) -> bool| rest.find(|c| !allowed(c)).unwrap_or(rest.len());
    let dotted = rest.get(..run(|c| c.is_ascii_digit() || c == '.' || c == '_'))?.rfind('.');
    let bracketed = run(|c| c.is_ascii_hexdigit() || matches!(c, '[' | ']' | '_'));
    let end = dotted.or_else(|| rest.get(bracketed..)?.starts_with('.').then_some(bracketed))?;
    (end > 0).then_some(((start, start + end + 1), (start, start + end)))
}

/// `….worker(_<n>).…`
fn worker_id(name: &str) -> Option<super::Cut> {
    let marker = ".worker_";
    let start = memmem::find(name.as_bytes(), marker.as_bytes())? + marker.len();
    let digits = name.get(start..)?.find(|c: char| !c.is_ascii_digit())?;
    let follows = name.get(start + digits..)?.starts_with('.');
    (digits > 0 && follows).then_some(((start - 1, start + digits), (start, start + digits)))
}

/// `(<prefix>.)http_local_rate_limit.…`
fn local_rate_limit(name: &str) -> Option<super::Cut> {
    let end = memmem::find(name.as_bytes(), b".http_local_rate_limit.")?;
    Some(((0, end + 1), (0, end)))
}

/// `(<prefix>.)rbac.…` of the network filter, whose prefix is one token.
fn network_rbac(name: &str) -> Option<super::Cut> {
    let end = name.find('.')?;
    name.get(end..)?.starts_with(".rbac.").then_some(((0, end + 1), (0, end)))
}
