//! Clusters whose hosts are where requests and connections were going, and the source addresses of upstream connections.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;

/// Original destinations, named by headers, and source addresses.
pub fn group() -> Group {
    Group { name: "original-dst", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    let names = [
        "header",
        "own-header",
        "port-as-named",
        "not-asked",
        "bound",
        "bound-to-nothing",
        "bound-to-ipv4",
        "extension",
    ];
    let route =
        |name: &&str| format!("- {{name: {name}, match: {{path: /{name}}}, route: {{cluster: {name}}}}}\n");
    let routes: String = names.iter().map(route).collect();
    let cluster = |name: &str, rest: &str| {
        format!(
            "- {{name: {name}, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, {rest}}}"
        )
    };
    let to_a = "original_dst_lb_config: {use_http_header: true, upstream_port_override: $PORT(a)}";
    let provided =
        "type.googleapis.com/envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";
    Bootstrap::new()
        .http("original", "", &routes)
        .http("rewriting", "", "- {match: {prefix: /}, route: {cluster: header, auto_host_rewrite: true}}")
        .tcp("original-tcp", "cluster: not-asked")
        .clusters(&cluster("header", to_a))
        .clusters(&cluster(
            "own-header",
            "original_dst_lb_config: {use_http_header: true, http_header_name: X-Destination, upstream_port_override: $PORT(a)}",
        ))
        .clusters(&cluster("port-as-named", "original_dst_lb_config: {use_http_header: true}"))
        .clusters(&cluster("not-asked", "cleanup_interval: 1s"))
        .clusters(&cluster("bound", &format!("{to_a}, upstream_bind_config: {{source_address: {{address: 127.0.0.6, port_value: 0}}}}")))
        .clusters(&cluster(
            "bound-to-nothing",
            &format!("{to_a}, upstream_bind_config: {{source_address: {{address: 192.0.2.6, port_value: 0}}}}"),
        ))
        .clusters(&cluster(
            "bound-to-ipv4",
            &format!("{to_a}, upstream_bind_config: {{source_address: {{address: 127.0.0.6, port_value: 0}}}}"),
        ))
        .clusters(&format!(
            "- {{name: extension, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, {to_a}, load_balancing_policy: \
             {{policies: [{{typed_extension_config: {{name: provided, typed_config: {{\"@type\": {provided}}}}}}}]}}}}"
        ))
}

fn to(name: &'static str, path: &str, destination: &str) -> Case {
    case(name, "original")
        .get_with(path, &format!("host: test\r\nx-envoy-original-dst-host: {destination}\r\n"))
}

fn cases() -> Vec<Case> {
    // Ports of other addresses than 127.0.0.1 are not made the same for both programs: `log.host` is ignored there.
    let no_host =
        |case: Case| case.refused(503, "UH", "no_healthy_upstream").want("body", "no healthy upstream");
    let bind_fails = |case: Case, why: &str| {
        let details = format!("upstream_reset_before_response_started{{local_connection_failure|{why}}}");
        case.refused(503, "UF", &details)
    };
    vec![
        to("named-by-header", "/header", "127.0.0.1:1").via("a").want("log.host", "127.0.0.1:<a>"),
        case("named-by-a-header-of-ones-own", "original")
            .get_with("/own-header", "host: test\r\nx-destination: 127.0.0.1:1\r\n")
            .via("a"),
        case("named-twice", "original")
            .get_with(
                "/header",
                "host: test\r\nx-envoy-original-dst-host: 127.0.0.1:1\r\nx-envoy-original-dst-host: 192.0.2.1:1\r\n",
            )
            .via("a"),
        to("named-with-its-port", "/port-as-named", "127.0.0.1:1").status(503).flags("UF").absent("up"),
        to("unspecified-address", "/header", "0.0.0.0:1").via("a").ignore("log.host"),
        to("ipv4-mapped", "/header", "[::ffff:127.0.0.1]:1").via("a").ignore("log.host"),
        no_host(to("not-an-address", "/header", "localhost:1")),
        no_host(to("without-a-port", "/header", "127.0.0.1")),
        no_host(to("a-list", "/header", "127.0.0.1:1,127.0.0.1:2")),
        no_host(to("empty", "/header", "")),
        no_host(case("not-named", "original").get("/header")),
        no_host(to("header-not-asked-for", "/not-asked", "127.0.0.1:1")),
        case("host-of-a-destination", "rewriting")
            .get_with("/", "host: test\r\nx-envoy-original-dst-host: 127.0.0.1:1\r\n")
            .via("a")
            .want_in("up:h:host", "header127.0.0.1:"),
        to("by-extension", "/extension", "127.0.0.1:1").via("a"),
        case("tcp-not-redirected", "original-tcp").talk([crate::harness::client::raw::Talk::AwaitClose]).flags("UH").logs(1),
        to("from-a-source-address", "/bound", "127.0.0.1:1").via("a"),
        bind_fails(
            to("from-an-address-that-is-not-ours", "/bound-to-nothing", "127.0.0.1:1"),
            "failed_to_bind_to_192.0.2.6:0:_Cannot_assign_requested_address",
        ),
        bind_fails(
            to("from-an-address-of-the-other-family", "/bound-to-ipv4", "[::1]:1"),
            "failed_to_bind_to_127.0.0.6:0:_Invalid_argument",
        )
        .ignore("log.host"),
    ]
}
