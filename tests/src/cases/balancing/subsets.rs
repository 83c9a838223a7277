//! Subsets: hosts whose metadata is what the route asks for, and every way to fall back.

use super::{cluster, label, named_endpoint};
use crate::case::{Case, case};

/// Versions and stages of the hosts of clusters with subsets.
const HOSTS: &[(&str, &str)] = &[
    ("a", "version: '1', stage: prod"),
    ("b", "version: '2', stage: prod"),
    ("b", "version: '2', stage: dev"),
    ("b", "version: '3', stage: dev, number: 7, list: [x, y]"),
];

fn subsets(name: &str, fields: &str) -> String {
    let host = |(at, (upstream, fields)): (usize, &(&str, &str))| {
        named_endpoint(upstream, &format!("host-{at}"), &label(fields))
    };
    let hosts: Vec<_> = HOSTS.iter().enumerate().map(host).collect();
    let config = format!("lb_subset_config: {{{fields}}}");
    cluster(name, &config, &format!("{{lb_endpoints: [{}]}}", hosts.join(", ")))
}

/// Routes of the cluster that `x-cluster` names; each path asks for other metadata.
pub(super) fn asking() -> String {
    let asks = [
        ("one", "version: '1'"),
        ("two", "version: '2'"),
        ("nine", "version: '9'"),
        ("two-dev", "version: '2', stage: dev"),
        ("one-dev", "version: '1', stage: dev"),
        ("stage", "stage: prod"),
        ("number", "number: 7"),
        ("list", "list: x"),
        ("extra", "version: '1', more: x"),
        ("listed", "fallback_list: [{version: '8'}, {version: '1'}]"),
    ];
    let route = |(path, fields): &(&str, &str)| {
        format!(
            "- {{match: {{path: /{path}}}, route: {{cluster_header: x-cluster, metadata_match: {{filter_metadata: {{envoy.lb: {{{fields}}}}}}}}}}}\n"
        )
    };
    let weighted = "- {match: {path: /weighted}, route: {metadata_match: {filter_metadata: {envoy.lb: {version: '9', stage: dev}}}, \
                    weighted_clusters: {clusters: [{name: any-else, weight: 1, metadata_match: {filter_metadata: {envoy.lb: {version: '2'}}}}]}}}\n\
                    - {match: {path: /none}, route: {cluster_header: x-cluster}}\n";
    asks.iter().map(route).collect::<String>() + weighted
}

pub(super) fn clusters() -> String {
    let both = "subset_selectors: [{keys: [version]}, {keys: [stage, version]}]";
    let own = |policy: &str| {
        format!(
            "fallback_policy: ANY_ENDPOINT, default_subset: {{version: '1'}}, subset_selectors: [{{keys: [version, stage], {policy}}}, {{keys: [version]}}]"
        )
    };
    [
        subsets("nothing-else", both),
        subsets("default-else", &format!("fallback_policy: DEFAULT_SUBSET, default_subset: {{version: '1'}}, {both}")),
        subsets("any-else", &format!("fallback_policy: ANY_ENDPOINT, {both}")),
        subsets("panic", &format!("fallback_policy: DEFAULT_SUBSET, default_subset: {{version: none}}, panic_mode_any: true, {both}")),
        subsets("own-none", &own("fallback_policy: NO_FALLBACK")),
        subsets("own-default", &own("fallback_policy: DEFAULT_SUBSET")),
        subsets("own-keys", &own("fallback_policy: KEYS_SUBSET, fallback_keys_subset: [version]")),
        subsets("values", "subset_selectors: [{keys: [number]}, {keys: [list]}]"),
        subsets("lists", "list_as_any: true, subset_selectors: [{keys: [list]}]"),
        subsets("fallback-list", "metadata_fallback_policy: FALLBACK_LIST, subset_selectors: [{keys: [version]}]"),
        subsets("single", "subset_selectors: [{keys: [version], single_host_per_subset: true}]"),
        subsets("no-selector", "fallback_policy: DEFAULT_SUBSET, default_subset: {version: '1'}"),
    ]
    .concat()
}

fn asked(name: &'static str, cluster: &str, path: &str) -> Case {
    let lines = format!("host: test\r\nx-cluster: {cluster}\r\n");
    (0..3).fold(case(name, "subsets"), |case, _| case.get_with(path, &lines))
}

pub(super) fn cases() -> Vec<Case> {
    let none = |case: Case| case.refused(503, "UH", "no_healthy_upstream");
    vec![
        asked("subset", "nothing-else", "/one").via("a"),
        asked("subset-of-two", "nothing-else", "/two").via("b"),
        asked("subset-by-two-keys", "nothing-else", "/two-dev").via("b"),
        none(asked("subset-no-such-value", "nothing-else", "/nine")),
        none(asked("subset-no-such-keys", "nothing-else", "/stage")),
        none(asked("subset-more-keys", "nothing-else", "/extra")),
        none(asked("subset-not-asked-for", "nothing-else", "/none")),
        asked("fallback-default", "default-else", "/nine").via("a"),
        asked("fallback-default-not-asked", "default-else", "/none").via("a"),
        asked("fallback-any", "any-else", "/nine").status(200).only(&["status", "log.code"]),
        asked("fallback-panic", "panic", "/nine").status(200).only(&["status", "log.code"]),
        none(asked("selector-no-fallback", "own-none", "/one-dev")),
        asked("selector-default", "own-default", "/one-dev").via("a"),
        asked("selector-fewer-keys", "own-keys", "/one-dev").via("a"),
        asked("numbers", "values", "/number").via("b"),
        none(asked("a-list-is-one-value", "values", "/list")),
        asked("a-list-is-any-value", "lists", "/list").via("b"),
        asked("fallback-list", "fallback-list", "/listed").via("a"),
        none(asked("no-fallback-list", "nothing-else", "/listed")),
        asked("single-host", "single", "/one").via("a"),
        asked("without-selectors", "no-selector", "/one").status(200).only(&["status", "log.code"]),
        asked("weighted-cluster-over-route", "any-else", "/weighted").via("b"),
    ]
}
