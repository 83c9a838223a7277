//! The table cannot drift: rows exist in the API, supported fields are read, the documentation is current.

use std::path::{Path, PathBuf};

use super::*;

/// Set to write `docs/configuration.md` instead of comparing it.
const BLESS: &str = "SAMPAN_BLESS";

/// Fields that the API wants to be set and that have no other use, that go to a control plane as they are, or that are read where
/// resources arrive.
const READ_ELSEWHERE: &[(&str, &str)] = &[
    ("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name"),
    ("envoy.config.core.v3.Node", "dynamic_parameters"),
    ("envoy.config.core.v3.Node", "client_features"),
    ("envoy.config.core.v3.Node", "listening_addresses"),
    ("envoy.service.runtime.v3.Runtime", "layer"),
    // Nothing is asked of the proxy that it does not do anyway: docs/differences.md.
    ("envoy.config.bootstrap.v3.Bootstrap", "deferred_stat_options"),
    ("envoy.config.bootstrap.v3.Admin", "profile_path"),
    ("envoy.config.listener.v3.Listener", "bypass_overload_manager"),
    ("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "initial_read_buffer_size"),
    ("envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", "udp_max_queries"),
    ("envoy.config.core.v3.ConfigSource", "self"),
    // Version 3 is spoken whatever these say, as in Envoy.
    ("envoy.config.core.v3.ConfigSource", "resource_api_version"),
    ("envoy.config.core.v3.SelfConfigSource", "transport_api_version"),
    ("envoy.config.core.v3.ApiConfigSource", "transport_api_version"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn rows_name_what_the_api_has() {
    assert_eq!(table().check(sampan_api::Descriptors::load()), Vec::<String>::new());
}

#[test]
fn the_documentation_is_current() {
    let path = root().join("docs/configuration.md");
    let text = document();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} is stale: run the tests once with {BLESS}=1", path.display());
}

/// Every field that a row calls supported occurs as an identifier in the sources of the compile step.
#[test]
fn supported_fields_are_read() {
    let mut sources = String::new();
    for folder in
        ["proxy/src/control/compile", "proxy/src/bootstrap.rs", "proxy/src/bootstrap", "filters/src"]
    {
        read_all(&root().join(folder), &mut sources);
    }
    let mut unread = Vec::new();
    for (message, fields) in ROWS.iter().copied().flatten().copied().flatten() {
        for (field, support) in *fields {
            let exempt = *field == "*" || READ_ELSEWHERE.contains(&(message, field));
            if *support == Support::Supported && !exempt && !is_read(field, &sources) {
                unread.push(format!("{message}.{field}"));
            }
        }
    }
    assert_eq!(unread, Vec::<String>::new(), "supported by a row, read nowhere");
}

/// A field is read as `.field`, `field:` in a pattern, `field()` for an enum, or `Variant(` for a member of a oneof.
fn is_read(field: &str, sources: &str) -> bool {
    let variant: String = field.split('_').map(capitalised).collect();
    let raw = format!("r#{field}");
    [field, raw.as_str()].iter().any(|name| follows(sources, &format!(".{name}"), |c| !is_word(c)))
        || follows(sources, &format!("::{variant}"), |c| c == '(')
        || follows(sources, &format!("(\"{field}\""), |c| c == ')')
}

/// Whether `text` occurs with a character after it that is accepted.
fn follows(sources: &str, text: &str, accepted: impl Fn(char) -> bool) -> bool {
    sources
        .match_indices(text)
        .any(|(at, _)| sources[at + text.len()..].chars().next().is_some_and(&accepted))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Appends the code of every source below, without tests and without the rows themselves.
fn read_all(path: &Path, sources: &mut String) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_none_or(|name| name != "tests.rs") {
                read_all(&path, sources);
            }
        }
    } else if let Ok(text) = std::fs::read_to_string(path) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        sources.push_str(code);
    }
}
