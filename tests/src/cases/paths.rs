//! Path normalisation: what a request's path becomes with Envoy's defaults and with the settings for the edge.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Path normalisation.
pub fn group() -> Group {
    let mut cases = defaults();
    cases.extend(edge());
    cases.extend(options());
    Group { name: "paths", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let routes = "- {name: admin, match: {path_separated_prefix: /admin}, route: {cluster: b}}\n- {name: rest, match: {prefix: /}, route: {cluster: a}}";
    let slashes = |action: &str| {
        format!("normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: {action}")
    };
    Bootstrap::new()
        .http("default", "", routes)
        .http("edge", &slashes("REJECT_REQUEST"), routes)
        .http("unescape", &slashes("UNESCAPE_AND_FORWARD"), routes)
        .http("redirect", &slashes("UNESCAPE_AND_REDIRECT"), routes)
        .http("merge-only", "merge_slashes: true", routes)
        .http("normalize-only", "normalize_path: true", routes)
}

/// The path that reached the upstream, and which route took it.
fn becomes(name: &'static str, listener: &'static str, path: &str, to: &str) -> Case {
    let admin = to == "/admin" || to.starts_with("/admin/") || to.starts_with("/admin?");
    let (route, upstream) = if admin { ("admin", "b") } else { ("rest", "a") };
    case(name, listener)
        .get(path)
        .via(upstream)
        .want("up:line", format!("GET {to} HTTP/1.1"))
        .want("log.route", route)
        .want("log.path", to)
}

fn defaults() -> Vec<Case> {
    let unchanged = |name, path: &str| becomes(name, "default", path, path);
    vec![
        unchanged("default-dots", "/a/../admin"),
        unchanged("default-encoded-dots", "/a/%2e%2e/admin"),
        unchanged("default-backslash", "/a\\..\\admin"),
        unchanged("default-dots-semicolon", "/a/..;/admin"),
        unchanged("default-slashes", "//a///b"),
        unchanged("default-encoded-slash", "/a/..%2fadmin"),
        unchanged("default-nul", "/a%00b"),
        unchanged("default-semicolon", "/admin;x=1"),
    ]
}

fn edge() -> Vec<Case> {
    let edge = |name, path: &str, to: &str| becomes(name, "edge", path, to);
    let rejected = |name, path: &str| {
        case(name, "edge").get(path).refused(400, "-", "path_normalization_failed").want("body", "")
    };
    vec![
        edge("edge-plain", "/a/b?c=/../d", "/a/b?c=/../d"),
        edge("edge-dots", "/a/../admin", "/admin"),
        edge("edge-dots-above-root", "/../../admin", "/admin"),
        edge("edge-single-dots", "/./a/./b/.", "/a/b/"),
        edge("edge-encoded-dots", "/a/%2e%2e/admin", "/admin"),
        edge("edge-encoded-dots-upper", "/a/%2E%2E/admin", "/admin"),
        edge("edge-backslash", "/a\\..\\admin", "/admin"),
        edge("edge-dots-semicolon", "/a/..;/admin", "/admin"),
        edge("edge-slashes", "//a///b", "/a/b"),
        edge("edge-slashes-then-admin", "//admin", "/admin"),
        edge("edge-semicolon", "/admin;x=1", "/admin;x=1"),
        edge("edge-unreserved-decoded", "/%61dmin", "/admin"),
        edge("edge-query-untouched", "/a?x=%2e%2e/%2f", "/a?x=%2e%2e/%2f"),
        edge("edge-dots-in-segment", "/a..b/...", "/a..b/..."),
        rejected("edge-encoded-slash", "/a%2fb"),
        rejected("edge-encoded-slash-upper", "/a%2Fb"),
        rejected("edge-encoded-backslash", "/a%5cb"),
        rejected("edge-encoded-slash-dots", "/a/..%2fadmin"),
        rejected("edge-nul", "/a%00b"),
    ]
}

fn options() -> Vec<Case> {
    let redirect = |name, path: &str, to: &str| {
        case(name, "redirect")
            .get(path)
            .status(307)
            .want("h:location", to)
            .details("path_normalization_failed")
            .absent("up")
    };
    vec![
        becomes("unescape-slash", "unescape", "/x%2fy", "/x/y"),
        becomes("unescape-then-normalize", "unescape", "/a/..%2fadmin", "/admin"),
        becomes("unescape-backslash", "unescape", "/x%5cy", "/x/y"),
        redirect("redirect-slash", "/x%2fy?q", "/x/y?q"),
        becomes("merge-only", "merge-only", "//a//../b", "/a/../b"),
        becomes("normalize-only", "normalize-only", "//a/../b", "//b"),
    ]
}
