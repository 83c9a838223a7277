//! Who may import whom (ARCHITECTURE.md): read from the sources, so that a seam cannot rot unseen.
//!
//! A path is recognised by its first segment, `use` groups included; comments, strings and what follows a file's `#[cfg(test)]`
//! are not looked at.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One seam: what may be named only in some places, or not in some places.
struct Rule {
    /// First segments of paths (`h2`, or `crate::worker`), without generics or aliases.
    names: &'static [&'static str],
    /// Where the rule holds: prefixes of file paths from the repository's root.
    within: &'static [&'static str],
    /// Where it does not: the exceptions inside `within`.
    except: &'static [&'static str],
    /// Said to whoever breaks it.
    why: &'static str,
}

const OURS: &[&str] =
    &["sampan_api", "sampan_xds", "sampan_filters", "sampan_proxy", "sampan_model", "sampan_filters_api"];

const RULES: &[Rule] = &[
    Rule {
        names: &["sampan_api", "sampan_xds", "sampan_filters", "sampan_proxy", "sampan_filters_api"],
        within: &["proxy/model/"],
        except: &[],
        why: "the model is pure: it imports nothing of ours",
    },
    Rule {
        names: &["sampan_api", "sampan_xds", "sampan_filters", "sampan_proxy", "sampan_model"],
        within: &["filters/api/"],
        except: &[],
        why: "the filter API imports nothing of ours",
    },
    Rule {
        names: &["tokio", "rustls", "h2", "hyper", "httparse", "prost", "envoy_types", "socket2", "rustix"],
        within: &["proxy/model/", "filters/api/"],
        except: &[],
        why: "no I/O, TLS, codec or proto in the model and the filter API",
    },
    Rule {
        names: &["envoy_types", "sampan_api"],
        within: &["proxy/", "filters/", "iptables-init/"],
        except: &[
            "proxy/src/control/",
            "proxy/src/bootstrap",
            "proxy/src/admin",
            "filters/src/config",
            "filters/src/registry.rs",
            "filters/src/network/",
            "filters/src/http/",
        ],
        why: "proto types end at the compile step: after it there are only domain types",
    },
    Rule {
        // Everything a connection needs hangs on the worker's context (`worker::Worker`), so the layers may name that.
        names: &["crate::control", "crate::worker::accept", "crate::worker::runtime"],
        within: &["proxy/src/http/", "proxy/src/tcp/", "proxy/src/listener/"],
        except: &[],
        why: "the protocol layers know neither the control thread nor how workers are run",
    },
    Rule {
        names: &["envoy_types", "sampan_api"],
        within: &["filters/src/network/*/mod.rs", "filters/src/http/*/mod.rs"],
        except: &[],
        why: "a filter's proto types end in its config.rs",
    },
    Rule {
        // What configuration compiles to lives beside the code that reads it, so their `config` modules are not meant here.
        names: &["crate::worker"],
        within: &["proxy/src/control/", "proxy/src/control.rs"],
        except: &[],
        why: "control meets the workers only through the snapshot, the drain token and the stats blocks",
    },
    Rule {
        names: &["crate::control", "crate::admin"],
        within: &["proxy/src/worker/", "proxy/src/upstream/", "proxy/src/telemetry/", "proxy/src/snapshot"],
        except: &[],
        why: "workers see what control publishes, never control itself",
    },
    Rule {
        names: &["hyper", "hyper_util"],
        within: &["proxy/", "filters/", "xds-client/"],
        except: &["proxy/src/admin", "proxy/src/control/health/probe.rs", "xds-client/src/transport/"],
        why: "hyper serves the admin API and is the client of control planes and health checks; it is not on the data path",
    },
    Rule {
        names: &["tonic", "tonic_prost"],
        within: &["proxy/", "filters/", "xds-client/", "iptables-init/"],
        except: &["xds-client/src/transport/channel.rs", "xds-client/src/transport/serve.rs"],
        why: "gRPC calls go through sampan_xds::Channel",
    },
    Rule {
        names: &["rustls", "tokio_rustls", "webpki", "x509_cert", "aws_lc_rs"],
        within: &["proxy/", "filters/", "xds-client/"],
        // The one type of a connection has a variant that holds tokio-rustls' stream.
        // Keys of tokens are checked where they are.
        except: &[
            "proxy/src/tls",
            "proxy/src/net/io.rs",
            "proxy/src/net/io/tls.rs",
            "filters/src/http/jwt_authn/keys.rs",
            "filters/src/http/jwt_authn/tests.rs",
            "filters/src/http/lua/signature.rs",
        ],
        why: "TLS and certificates are seen by proxy/src/tls alone",
    },
    Rule {
        names: &["h2"],
        within: &["proxy/", "filters/", "xds-client/"],
        // Bodies, the way back and the upstream's answer are one type each for both codecs, with a variant that holds h2's.
        except: &[
            "proxy/src/http/h2",
            "proxy/src/upstream/pool/h2",
            "proxy/src/http/body.rs",
            "proxy/src/http/exchange.rs",
            "proxy/src/http/upstream.rs",
        ],
        why: "the h2 crate is seen by the two codecs only",
    },
];

#[test]
fn imports_keep_to_the_architecture() {
    let root = root();
    let mut report = String::new();
    let mut files = 0;
    for file in sources(&root) {
        let place = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&file).unwrap();
        let code = code_of(&text);
        files += 1;
        for rule in RULES {
            if !rule.within.iter().any(|at| fits(&place, at)) || rule.except.iter().any(|at| fits(&place, at))
            {
                continue;
            }
            for name in rule.names.iter().filter(|name| names(&code, name)) {
                writeln!(report, "{place}: imports `{name}`: {}", rule.why).unwrap();
            }
        }
    }
    assert!(files > 5, "the sources were not found below {}", root.display());
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn pure_crates_depend_on_nothing_of_ours() {
    for manifest in ["proxy/model/Cargo.toml", "filters/api/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        let (_, dependencies) = text.split_once("[dependencies]").unwrap_or((&text, ""));
        let ours: Vec<&str> = dependencies.lines().filter(|line| line.starts_with("sampan-")).collect();
        assert!(ours.is_empty(), "{manifest} must not depend on {ours:?}");
    }
}

#[test]
fn the_reader_of_paths_sees_what_it_should() {
    let named = |code: &str, name| names(&code_of(code), name);
    assert!(named("use h2::client;", "h2"));
    assert!(named("fn f(e: h2::Error) {}", "h2"));
    assert!(named("use crate::{snapshot, worker::View};", "crate::worker"));
    assert!(named("use crate::{\n    a::{b, c},\n    worker,\n};", "crate::worker"));
    assert!(named("use super::super::worker::View;", "crate::worker"));
    assert!(named("use h2;", "h2"));
    assert!(named("use super::h2;\nfn f(e: ::h2::Error) {}", "h2"));
    assert!(!named("use crate::http::h2::Codec;", "h2"));
    assert!(!named("pub mod h2;\nfn f(p: h2::Pool) {}", "h2"));
    assert!(!named("use super::{h1, h2};\nfn f(p: h2::Pool) {}", "h2"));
    assert!(!named("// use h2::client;", "h2"));
    assert!(!named("let s = \"h2::x\";", "h2"));
    assert!(!named("use crate::{a::{worker}, b};", "crate::worker"));
    assert!(!named("fn f() {}\n#[cfg(test)]\nmod tests { use h2::client; }", "h2"));
    assert!(OURS.iter().all(|name| named(&format!("use {name}::x;"), name)));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The `.rs` files of the crates, without tests and benches.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let crates = ["proxy", "filters", "xds-client", "iptables-init"];
    let mut open: Vec<PathBuf> = crates.iter().map(|name| root.join(name)).collect();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "tests" | "benches") {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && name != "tests.rs" {
                found.push(path);
            }
        }
    }
    found
}

/// Whether a file lies at a place: a prefix, in which `*` stands for one path segment.
fn fits(file: &str, place: &str) -> bool {
    let Some((before, after)) = place.split_once('*') else { return file.starts_with(place) };
    let inner = file.strip_prefix(before).and_then(|rest| rest.split_once('/'));
    inner.is_some_and(|(_, rest)| rest.starts_with(after.trim_start_matches('/')))
}

/// The text without comments, string literals and test modules.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut previous = ' ';
        let line = line.split("//").next().unwrap_or_default();
        for c in line.chars() {
            if c == '"' && previous != '\\' && previous != '\'' {
                in_string = !in_string;
            } else if !in_string {
                code.push(c);
            }
            previous = c;
        }
        code.push('\n');
    }
    code
}

/// Whether the code names a path that starts with `name`: `crate_name` or `crate::module`.
fn names(code: &str, name: &str) -> bool {
    match name.strip_prefix("crate::") {
        Some(module) => top_modules(code).iter().any(|found| found == module),
        None => is_rooted(code, name) || !is_local(code, name) && names_bare(code, name),
    }
}

/// Whether a module of ours shadows the crate's name in this file: declared here, or imported from a neighbour.
fn is_local(code: &str, name: &str) -> bool {
    let declared = [format!("mod {name};"), format!("mod {name} {{")].iter().any(|text| code.contains(text));
    declared
        || code.contains(&format!(" as {name};"))
        || imports_of_ours(code).iter().any(|found| found == name)
}

/// The last names of `use crate::…` and `use super::…` without deeper groups.
fn imports_of_ours(code: &str) -> Vec<String> {
    let uses =
        code.split("use ").skip(1).filter(|text| text.starts_with("crate::") || text.starts_with("super::"));
    let paths = uses.map(|text| text.split(';').next().unwrap_or_default());
    paths
        .flat_map(|path| {
            let group = path
                .rsplit_once('{')
                .map_or(path.rsplit("::").next().unwrap_or_default(), |(_, group)| group);
            group.split(',').map(first_segment).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether the code names `::word::…`, with nothing before it.
fn is_rooted(code: &str, word: &str) -> bool {
    let rooted = format!("::{word}::");
    let is_end = |c: char| c.is_alphanumeric() || matches!(c, '_' | '>');
    code.match_indices(&rooted).any(|(at, _)| !code[..at].ends_with(is_end))
}

/// Whether the word stands alone somewhere and begins a path; without a path behind it, it counts only in a `use`.
fn names_bare(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let (before, rest) = (&code[..at], &code[at + word.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        begins && ends && (rest.starts_with("::") || before.ends_with("use "))
    })
}

/// The modules at the crate's top that the code reaches by `crate::` or a chain of `super::`.
fn top_modules(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "super::super::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group)),
                None => found.push(first_segment(rest)),
            }
        }
    }
    found
}

/// The first segments of the items of a `use` group, whose opening brace is already past.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut heads) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(first_segment(&std::mem::take(&mut item))),
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    heads.push(first_segment(&item));
    heads
}

fn first_segment(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
