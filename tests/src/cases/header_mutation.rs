//! The header mutation filter: parameters of the query.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// The header mutation filter.
pub fn group() -> Group {
    Group { name: "header_mutation", bootstrap: bootstrap(), cases: cases() }
}

const FILTERS: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3";

fn append(key: &str, value: &str, action: &str) -> String {
    format!("{{append: {{record: {{key: '{key}', value: '{value}'}}, action: {action}}}}}")
}

fn bootstrap() -> Bootstrap {
    const APPEND: &str = "APPEND_IF_EXISTS_OR_ADD";
    let own = |mutations: &[String]| {
        format!(
            "typed_per_filter_config: {{mutation: {{{FILTERS}.HeaderMutationPerRoute, mutations: {{query_parameter_mutations: [{}]}}}}}}",
            mutations.join(", ")
        )
    };
    let filter = |last: bool, mutations: &str| {
        format!(
            "- {{name: mutation, typed_config: {{{FILTERS}.HeaderMutation, most_specific_header_mutations_wins: {last}, mutations: {{{mutations}}}}}}}"
        )
    };
    let routes = format!(
        "- {{match: {{prefix: /nothing}}, route: {{cluster: a}}}}\n- {{match: {{path: /, query_parameters: [{{name: to, string_match: {{exact: b}}}}]}}, route: {{cluster: b}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}, {}}}\n",
        own(&[
            append("p", "route", APPEND),
            append("add", "new", "ADD_IF_ABSENT"),
            append("over", "%REQ(x-value)%", "OVERWRITE_IF_EXISTS"),
            append("set", "%REQ(x-value)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
            "{remove: gone}".to_owned(),
        ])
    );
    let config = |own: &str, last: bool| {
        format!(
            "virtual_hosts:\n- name: all\n  domains: ['*']\n  {own}\n  routes:\n{}",
            crate::harness::bootstrap::indent(&routes, 2)
        )
        .replace("LAST", &last.to_string())
    };
    let host = own(&[append("p", "host", APPEND)]);
    let request = format!(
        "request_mutations: [{{append: {{header: {{key: x-value, value: 'of the filter'}}, append_action: ADD_IF_ABSENT}}}}], query_parameter_mutations: [{}]",
        append("p", "%REQ(:path)%", APPEND)
    );
    let hcm = |filter: &str| {
        format!(
            "http_filters:\n  {filter}\n  - {{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}"
        )
    };
    let moved = filter(false, &format!("query_parameter_mutations: [{}]", append("to", "b", APPEND)));
    let single = filter(
        false,
        &format!(
            "query_parameter_mutations: [{}, {}, {{remove: 'r m'}}]",
            append("a b&", "%REQ(x-value)%", APPEND),
            append("o k", "%REQ(:path)%", "OVERWRITE_IF_EXISTS"),
        ),
    );
    let plain = filter(false, "query_parameter_mutations: [{remove: none}]");
    Bootstrap::new()
        .http_config("levels", &hcm(&filter(false, &request)), &config(&host, false))
        .http_config("last", &hcm(&filter(true, "")), &config(&host, true))
        .http_filters("moved", &moved, &routes)
        .http_filters("single", &single, "- {match: {prefix: /}, route: {cluster: a}}")
        .http_filters("plain", &plain, "- {match: {prefix: /}, route: {cluster: a}}")
}

fn cases() -> Vec<Case> {
    let at = |name: &'static str, listener: &'static str, path: &str| {
        case(name, listener).get_with(path, "host: test\r\nx-value: v\r\n")
    };
    const ASCII: &str = "!\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~";
    vec![
        case("every-sign", "single").get_with("/x", &format!("host: test\r\nx-value: {ASCII}\r\n")),
        case("spelling", "single")
            .get_with("/x?a%20b%26=0&r%20m=1&o%20k=/:&r+m=2", "host: test\r\nx-value: v\r\n"),
        case("whole-path", "single").get_with("/x/%2e?ok=1&o%20k=2&ok=3", "host: test\r\nx-value: %41\r\n"),
        at("none", "levels", "/x"),
        at("all", "levels", "/x?over=1&over=2&set=1&set=2&gone=1&kept=1&gone=2&add=old&p=0"),
        at("absent", "last", "/x?z=1&a=2&z=3"),
        at("levels", "last", "/x?p=0"),
        case("empty-value", "last").get_with("/x?over=1", "host: test\r\n"),
        case("unsafe-value", "last").get_with("/x?a=1", "host: test\r\nx-value: a b&c=1#d%2e?e\"<\r\n"),
        case("unsafe-bytes", "last").get_with("/x?a=1", "host: test\r\nx-value: \u{e9}\tb\r\n"),
        at("of-the-host", "last", "/nothing?p=1"),
        at("matched-before", "moved", "/?a=1"),
        at("untouched", "plain", "/x?b=2&a=1"),
        at("no-query", "plain", "/x"),
        at("empty-query", "plain", "/x?"),
        at("no-value", "plain", "/x?a&b=&&c"),
        at("encoded", "plain", "/x?a=1%26b=2&c%3d=%20%2b+%00%0a&d=%zz"),
        at("order", "plain", "/x?z=1&a=2&z=3"),
        at("equals", "plain", "/x?a=1=2&=3&a"),
        at("two-marks", "plain", "/x?a=1?b=2"),
        at("slash", "plain", "/x?a=/../b"),
    ]
}
