//! Route configurations as YAML in, domain values or refusals out.

use std::time::Duration;

use sampan_model::retry::{Condition, HostPredicate};
use sampan_model::route::{
    ClusterSpecifier, HostRewrite, PathMatch, PathRewrite, Priority, Redirect, RedirectPath, WeightedTarget,
};

use super::super::scope::Rejects;
use super::super::testing::{self, compiled};
use super::*;
use crate::http::config::AppendAction;
use crate::http::route::{FilterOverride, Forward, InternalRedirects, MirrorCluster, RedirectPredicate};

const FAULT: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const FILTER: &str = "'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig";

fn config(fields: &str) -> Result<RouteConfig, Vec<String>> {
    compiled::<pb::RouteConfiguration, _>(&format!("name: rc\n{fields}"), |proto, context, at| {
        compile(proto, true, context, at)
    })
}

/// A configuration with one route, which matches every path.
fn one(action: &str) -> Result<RouteConfig, Vec<String>> {
    with_match("{prefix: /}", action)
}

fn with_match(matcher: &str, action: &str) -> Result<RouteConfig, Vec<String>> {
    config(&format!("virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {matcher}, {action}}}]}}]"))
}

fn first(config: &RouteConfig) -> &Route<RoutePayload> {
    &config.table.hosts().next().unwrap().routes()[0]
}

fn forward(config: &RouteConfig) -> &Forward {
    let Action::Forward(forward) = &first(config).payload.action else { panic!("not forwarded") };
    forward
}

#[track_caller]
fn refused(result: Result<RouteConfig, Vec<String>>, wanted: &[&str]) {
    let wanted: Vec<_> =
        wanted.iter().map(|line| line.replace("R.", "virtual_hosts[0].routes[0].")).collect();
    assert_eq!(result.map(|_| ()).unwrap_err(), wanted);
}

#[test]
fn virtual_hosts_and_levels_of_headers() {
    let found = config(
        "
request_headers_to_add: [{header: {key: X-A, value: '%REQ(:path)%'}, append: false}]
internal_only_headers: [X-Int]
most_specific_header_mutations_wins: true
ignore_port_in_host_matching: true
virtual_hosts:
- name: v
  domains: [one, '*.two']
  require_tls: EXTERNAL_ONLY
  include_request_attempt_count: true
  response_headers_to_add: [{header: {key: x-b, value: b}, append_action: ADD_IF_ABSENT, keep_empty_value: true}]
  response_headers_to_remove: [X-C]
  routes: [{name: r, stat_prefix: s, match: {path: /a}, non_forwarding_action: {}}]",
    )
    .unwrap();
    assert_eq!(found.headers.request_add[0].action, AppendAction::OverwriteIfExistsOrAdd);
    assert_eq!(&*found.headers.request_add[0].name, "x-a");
    assert_eq!(*found.internal_only_headers, ["x-int".into()]);
    let host = found.table.find_host(b"x.two:81").unwrap();
    assert_eq!(host.tls_requirement(), TlsRequirement::ExternalOnly);
    assert!(host.payload().attempt_count && !host.payload().attempt_count_in_response);
    assert_eq!(host.payload().headers.response_add[0].action, AppendAction::AddIfAbsent);
    assert_eq!(*host.payload().headers.response_remove, ["x-c".into()]);
    let route = &host.routes()[0].payload;
    assert_eq!((route.facts.name.as_deref(), route.stat_prefix.as_deref()), (Some("r"), Some("s")));
    assert!(matches!(route.action, Action::NonForwarding));
}

#[test]
fn every_kind_of_match() {
    let to = "route: {cluster: a}";
    let path = |matcher: &str| first(&with_match(matcher, to).unwrap()).matcher.path.clone();
    assert_eq!(path("{prefix: /a}"), PathMatch::Prefix("/a".into()));
    assert_eq!(path("{path: /a}"), PathMatch::Exact("/a".into()));
    assert_eq!(path("{path_separated_prefix: /a}"), PathMatch::SeparatedPrefix("/a".into()));
    assert_eq!(path("{connect_matcher: {}}"), PathMatch::Connect);
    assert!(matches!(path("{safe_regex: {regex: '/a.*'}}"), PathMatch::Regex(_)));
    let template = "{path_match_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/{x}'}}}";
    assert!(matches!(path(template), PathMatch::UriTemplate(_)));
    let found = with_match(
        "{prefix: /, case_sensitive: false, grpc: {}, tls_context: {presented: true}, \
         runtime_fraction: {default_value: {numerator: 5, denominator: MILLION}, runtime_key: k}, \
         headers: [{name: x, range_match: {start: 1, end: 2}}, {name: w, exact_match: z}], \
         query_parameters: [{name: q}], cookies: [{name: c, string_match: {prefix: d}}]}",
        to,
    )
    .unwrap();
    let matcher = &first(&found).matcher;
    assert_eq!((matcher.headers.len(), matcher.query.len(), matcher.cookies.len()), (2, 1, 1));
    assert!(!matcher.case_sensitive && matcher.grpc && matcher.tls_context.is_some());
    assert_eq!(matcher.runtime_fraction.as_ref().map(|f| f.default.denominator.value()), Some(1_000_000));
}

#[test]
fn forwarding() {
    let found = one(
        "route: {cluster_header: X-To, cluster_not_found_response_code: NOT_FOUND, prefix_rewrite: /p, auto_host_rewrite: true, \
         append_x_forwarded_host: true, timeout: 0s, idle_timeout: 1s, priority: HIGH, \
         max_stream_duration: {grpc_timeout_header_max: 2s}, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}",
    )
    .unwrap();
    let forward = forward(&found);
    assert!(matches!(&forward.action.cluster, ClusterSpecifier::Header(name) if name.as_str() == "x-to"));
    assert!(matches!(forward.action.path_rewrite, PathRewrite::Prefix(_)));
    assert!(matches!(forward.action.host_rewrite, HostRewrite::Auto) && forward.auto_host_rewrite);
    assert_eq!(forward.action.timeouts.effective_request(), None);
    assert_eq!(forward.action.timeouts.grpc_timeout_header_max, Some(Duration::from_secs(2)));
    assert_eq!((forward.action.cluster_not_found_status, forward.action.priority), (404, Priority::High));
    assert!(forward.terminate_connect && forward.action.append_x_forwarded_host);
    assert_eq!(forward.upgrades, [("connect".into(), true)]);
}

#[test]
fn weighted_clusters() {
    let found = one(
        "route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: h}, {cluster_header: X, weight: 0}]}, \
         host_rewrite_path_regex: {pattern: {regex: '^/(.+)'}, substitution: '\\1'}}",
    )
    .unwrap();
    let ClusterSpecifier::Weighted(clusters) = &forward(&found).action.cluster else {
        panic!("not weighted")
    };
    assert_eq!(clusters.total(), 1);
    assert_eq!(clusters.entries()[0].payload.host_rewrite.as_deref(), Some("h"));
    assert!(matches!(&clusters.entries()[1].target, WeightedTarget::Header(name) if name.as_str() == "x"));
}

#[test]
fn answers_without_an_upstream() {
    let found =
        one("redirect: {https_redirect: true, path_redirect: /x, response_code: FOUND, port_redirect: 8443}")
            .unwrap();
    let Action::Redirect(Redirect { scheme, port, path, status, .. }) = &first(&found).payload.action else {
        panic!("no redirect")
    };
    assert_eq!((scheme.as_deref(), *port, *status), (Some("https"), Some(8443), 302));
    assert!(matches!(path, RedirectPath::Replace(path) if &**path == "/x"));
    let found = one("direct_response: {status: 418, body: {inline_string: tea}}").unwrap();
    let Action::Direct(direct) = &first(&found).payload.action else { panic!("no direct response") };
    assert_eq!((direct.status, &*direct.body), (418, &b"tea"[..]));
}

#[test]
fn filters_are_overridden_per_level() {
    let found = config(&format!(
        "
typed_per_filter_config: {{f: {{{FILTER}, disabled: true}}, g: {{{FILTER}, disabled: true}}}}
virtual_hosts:
- {{name: v, domains: ['*'], typed_per_filter_config: {{f: {{{FAULT}}}}},
   routes: [{{match: {{prefix: /}}, route: {{cluster: a}}, typed_per_filter_config: {{h: {{{FILTER}, config: {{{FAULT}}}}}}}}}]}}"
    ))
    .unwrap();
    let host = &found.table.hosts().next().unwrap().payload().filters;
    assert!(matches!(host.of("f"), Some(FilterOverride::Enabled(Some(_)))));
    assert!(matches!(host.of("g"), Some(FilterOverride::Disabled)));
    assert!(matches!(first(&found).payload.filters.of("h"), Some(FilterOverride::Enabled(Some(_)))));
}

#[test]
fn refusals_tell_where() {
    refused(one("route: {cluster: nope}"), &["R.route.cluster: unknown cluster"]);
    refused(
        one("route: {weighted_clusters: {clusters: [{name: a}, {name: a, cluster_header: x, weight: 1}]}}"),
        &[
            "R.route.weighted_clusters.clusters[0].weight: is required",
            "R.route.weighted_clusters.clusters[1]: only one of name and cluster_header may be given",
        ],
    );
    refused(
        one("route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}"),
        &[
            "R.route.weighted_clusters.clusters: Sum of weights in the weighted_cluster must be greater than 0.",
        ],
    );
    refused(
        one(
            "route: {cluster: a, prefix_rewrite: /x, regex_rewrite: {pattern: {regex: a}, substitution: b}, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}",
        ),
        &[
            "R.route: only one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite may be given",
            "R.route.upgrade_configs[0].connect_config: only the upgrade type CONNECT may have a connect_config",
        ],
    );
    refused(
        one(
            "route: {cluster: a}, request_headers_to_add: [{header: {key: ':path', value: x}}], response_headers_to_remove: [Host]",
        ),
        &[
            "R.request_headers_to_add[0].header.key: :-prefixed or host headers may not be modified",
            "R.response_headers_to_remove[0]: :-prefixed or host headers may not be removed",
        ],
    );
    refused(
        config(
            "max_direct_response_body_size_bytes: 2\nvirtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
             direct_response: {status: 200, body: {inline_string: abc}}}]}]",
        ),
        &["R.direct_response.body.inline_string: response body size is 3 bytes; maximum is 2"],
    );
    refused(
        one(&format!("route: {{cluster: a}}, typed_per_filter_config: {{f: {{{FILTER}}}}}")),
        &[
            "R.typed_per_filter_config[\"f\"]: empty per-route configuration: neither config nor disabled is given",
        ],
    );
    let told = with_match("{safe_regex: {regex: '(a'}}", "route: {cluster: a}").map(|_| ()).unwrap_err();
    assert!(told[0].starts_with("virtual_hosts[0].routes[0].match.safe_regex.regex: "), "{told:?}");
}

#[test]
fn domains_are_claimed_once() {
    refused(
        config("virtual_hosts: [{name: v, domains: [x, '*']}, {name: w, domains: ['*', X]}]"),
        &[
            "virtual_hosts[1].domains[0]: only a single wildcard domain is permitted",
            "virtual_hosts[1].domains[1]: only unique values for domains are permitted",
        ],
    );
}

#[test]
fn a_large_discovered_table_compiles_its_hosts_when_asked() {
    let host = |at: usize| pb::VirtualHost {
        name: format!("host-{at}"),
        domains: vec![format!("h{at}.test")],
        ..pb::VirtualHost::default()
    };
    let many = pb::RouteConfiguration {
        name: "many".to_owned(),
        virtual_hosts: (0..=MOST_AT_ONCE).map(host).collect(),
        ..pb::RouteConfiguration::default()
    };
    let rejects = Rejects::default();
    let config = compile(&many, false, &testing::context(), &Scope::root("r", &rejects)).unwrap();
    let found = config.table.find_host(b"h200.test").unwrap();
    assert_eq!((found.name(), config.table.find_host(b"h999.test").is_none()), ("host-200", true));
    let mut bad = many;
    bad.virtual_hosts[7].domains.clear();
    bad.virtual_hosts[9].domains = vec!["H8.test".to_owned()];
    assert!(compile(&bad, false, &testing::context(), &Scope::root("r", &rejects)).is_none());
    let told: Vec<String> = rejects.into_vec().into_iter().map(|reject| reject.path).collect();
    assert_eq!(
        told,
        ["virtual_hosts[7].domains", "virtual_hosts[9].domains[0]"],
        "they are validated at once"
    );
}

#[test]
fn retry_policies_of_routes_and_hosts() {
    let previous = "{name: envoy.retry_host_predicates.previous_hosts}";
    let found = one(&format!(
        "route: {{cluster: a, retry_policy: {{retry_on: 'reset,connect-failure', num_retries: 4, per_try_timeout: 2s, \
         retriable_status_codes: [503], retry_back_off: {{base_interval: 0.1s}}, retry_host_predicate: [{previous}], \
         host_selection_retry_max_attempts: 5}}}}, per_request_buffer_limit_bytes: 9"
    ))
    .unwrap();
    let forward = forward(&found);
    let retry = forward.retry.as_ref().unwrap();
    assert!(
        retry.on.has(Condition::Reset)
            && retry.on.has(Condition::StatusCodes)
            && !retry.on.has(Condition::ServerError)
    );
    assert_eq!(
        (retry.retries, retry.per_try_timeout, retry.host_attempts),
        (4, Some(Duration::from_secs(2)), 5)
    );
    assert_eq!(
        (retry.base_interval, retry.max_interval),
        (Duration::from_millis(100), Duration::from_secs(1))
    );
    assert_eq!(
        (retry.predicates.as_slice(), forward.buffer_limit),
        (&[HostPredicate::Previous][..], Some(9))
    );
    refused(
        one("route: {cluster: a, retry_policy: {retry_host_predicate: [{name: mine}]}}"),
        &["R.route.retry_policy.retry_host_predicate[0].name: there is no such retry host predicate"],
    );
}

#[test]
fn mirrors_come_from_the_level_that_is_nearest() {
    let found = config(
        "
validate_clusters: false
request_mirror_policies: [{cluster: whole}]
virtual_hosts:
- name: plain
  domains: ['*']
  routes: [{match: {prefix: /}, route: {cluster: a}}]
- name: own
  domains: [own]
  request_mirror_policies: [{cluster_header: X-To}, {cluster: second}]
  hedge_policy: {hedge_on_per_try_timeout: true}
  routes:
  - {match: {prefix: /own}, route: {cluster: a, hedge_policy: {}, request_mirror_policies: [{cluster: c, host_rewrite_literal: h,
     disable_shadow_host_suffix_append: true, runtime_fraction: {default_value: {numerator: 5}}, request_headers_mutations: [{remove: X-Gone}]}]}}
  - {match: {prefix: /}, route: {cluster: a}}",
    )
    .unwrap();
    let specials: Vec<_> = found
        .table
        .hosts()
        .flat_map(sampan_model::route::VirtualHost::routes)
        .map(|route| {
            let Action::Forward(forward) = &route.payload.action else { panic!("not forwarded") };
            let special = forward.special.as_ref().unwrap();
            let names = special.mirrors.iter().map(|mirror| match &mirror.cluster {
                MirrorCluster::Named(cluster) => cluster.name.to_string(),
                MirrorCluster::Header(name) => format!("by {name}"),
            });
            (names.collect::<Vec<_>>().join(" "), special.hedge)
        })
        .collect();
    let expected = [("whole", false), ("c", false), ("by x-to second", true)];
    assert_eq!(specials, expected.map(|(names, hedge)| (names.to_owned(), hedge)));
    let host = found.table.find_host(b"own").unwrap();
    let Action::Forward(forward) = &host.routes()[0].payload.action else { panic!("not forwarded") };
    let mirror = &forward.special.as_ref().unwrap().mirrors[0];
    assert_eq!((mirror.host.as_deref(), mirror.suffix), (Some("h"), false));
    assert_eq!(mirror.fraction.as_ref().unwrap().default.numerator, 5);
    assert_eq!(*mirror.mutations[0].request_remove, ["x-gone".into()]);
}

#[test]
fn bad_mirrors_are_refused() {
    refused(
        one(
            "route: {cluster: a, request_mirror_policies: [{}, {cluster: a, cluster_header: x}, {cluster: nobody}, \
             {cluster: a, request_headers_mutations: [{remove: ':path'}]}]}",
        ),
        &[
            "R.route.request_mirror_policies[0]: Exactly one of cluster or cluster_header in request mirror policy needs to be specified",
            "R.route.request_mirror_policies[1]: Only one of cluster or cluster_header in request mirror policy can be specified",
            "R.route.request_mirror_policies[2].cluster: unknown cluster",
            "R.route.request_mirror_policies[3].request_headers_mutations[0].remove: :-prefixed or host headers may not be removed",
        ],
    );
}

#[test]
fn internal_redirects() {
    let kind = "'@type': type.googleapis.com/envoy.extensions.internal_redirect";
    let found = one(&format!(
        "route: {{cluster: a, internal_redirect_policy: {{max_internal_redirects: 4, redirect_response_codes: [307, 200], \
         response_headers_to_copy: [X-Copy], allow_cross_scheme_redirect: true, predicates: [\
         {{name: p, typed_config: {{{kind}.previous_routes.v3.PreviousRoutesConfig}}}}, \
         {{name: s, typed_config: {{{kind}.safe_cross_scheme.v3.SafeCrossSchemeConfig}}}}, \
         {{name: l, typed_config: {{{kind}.allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [to]}}}}]}}}}"
    ))
    .unwrap();
    let expected = InternalRedirects {
        most: 4,
        statuses: vec![307],
        predicates: vec![
            RedirectPredicate::PreviousRoutes,
            RedirectPredicate::SafeCrossScheme,
            RedirectPredicate::AllowListed(vec!["to".into()]),
        ],
        cross_scheme: true,
        copied: vec!["x-copy".into()],
    };
    assert_eq!(forward(&found).special.as_ref().unwrap().redirects, Some(expected));
    let older = one(
        "route: {cluster: a, internal_redirect_action: HANDLE_INTERNAL_REDIRECT, max_internal_redirects: 2}",
    );
    let older = older.unwrap();
    let redirects = forward(&older).special.as_ref().unwrap().redirects.clone().unwrap();
    assert_eq!((redirects.most, redirects.statuses), (2, vec![302]));
    assert!(forward(&one("route: {cluster: a}").unwrap()).special.is_none());
    refused(
        one(
            "route: {cluster: a, internal_redirect_policy: {response_headers_to_copy: [':path'], predicates: [{name: p}]}}",
        ),
        &[
            "R.route.internal_redirect_policy.predicates[0].typed_config: there is no such internal redirect predicate",
            "R.route.internal_redirect_policy.response_headers_to_copy[0]: :-prefixed headers or Hosts may not be specified here.",
        ],
    );
}
