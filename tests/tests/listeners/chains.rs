//! Which filter chain a connection gets: by each criterion of `filter_chain_match`, and by matcher trees.

use sampan_tests::harness::bootstrap::Bootstrap;

use crate::hello::{alpn, hello, sni};
use crate::player::{Counted, Row, chain, filter, play, row};

fn listener(chains: &[String], more: &str) -> String {
    format!("filter_chains: [{}]\n{more}", chains.join(", "))
}

fn with_tls(chains: &[String], more: &str) -> String {
    let inspector = filter("tls_inspector.v3.TlsInspector", "");
    listener(chains, &format!("listener_filters: [{inspector}]\n{more}"))
}

const TLS: &[&str] = &["tls_inspector.tls_found", "tls_inspector.sni_found", "tls_inspector.alpn_not_found"];
const NO_CHAIN: &str = "listener.$L.no_filter_chain_match";

#[test]
fn server_names() {
    let names = [
        chain("exact", "server_names: [A.Example.test, b.test]"),
        chain("wide", "server_names: [\"*.example.test\"]"),
        chain("wider", "server_names: [\"*.test\"]"),
    ];
    let bootstrap = Bootstrap::default()
        .counted("names", &with_tls(&names, &format!("default_filter_chain: {}", chain("default", ""))))
        .counted("only-names", &with_tls(&names, ""));
    let named = |listener, name: &'static str, says: &'static str| {
        row(listener, name, hello(16_384, &[sni(name)])).says(says).counts(TLS)
    };
    let rows = [
        named("names", "a.example.test", "exact"),
        named("names", "A.EXAMPLE.TEST", "exact"),
        named("names", "b.test", "exact"),
        named("names", "b.example.test", "wide"),
        named("names", "c.b.example.test", "wide"),
        named("names", "example.test", "wider"),
        named("names", "test", "default"),
        named("names", ".test", "default").says("wider"),
        named("names", "x", "default"),
        row("names", "no name", hello(16_384, &[])).says("default").counts(&[
            "tls_inspector.tls_found",
            "tls_inspector.sni_not_found",
            "tls_inspector.alpn_not_found",
        ]),
        row("names", "no TLS", "hello world").says("default").counts(&["tls_inspector.tls_not_found"]),
        row("only-names", "a name of no chain", hello(16_384, &[sni("x")])).counts(&[
            "tls_inspector.tls_found",
            "tls_inspector.sni_found",
            "tls_inspector.alpn_not_found",
            NO_CHAIN,
        ]),
        row("only-names", "no TLS", "hello world").counts(&["tls_inspector.tls_not_found", NO_CHAIN]),
    ];
    play(&bootstrap, &rows);
}

#[test]
fn addresses_and_ports() {
    let far = "{address_prefix: 10.0.0.0, prefix_len: 8}";
    let near = "{address_prefix: 127.0.0.0, prefix_len: 8}";
    let here = "{address_prefix: 127.0.0.1, prefix_len: 32}";
    let any = "{address_prefix: 0.0.0.0, prefix_len: 0}";
    let bootstrap = Bootstrap::default()
        .counted(
            "destination",
            &listener(
                &[
                    chain("far", &format!("prefix_ranges: [{far}]")),
                    chain(
                        "near",
                        &format!("prefix_ranges: [{near}, {far}]").replace(&format!(", {far}"), ""),
                    ),
                    chain("here", &format!("prefix_ranges: [{here}]")),
                    chain("any", &format!("prefix_ranges: [{any}]")),
                ],
                "",
            ),
        )
        .counted("port", &listener(&[chain("port", "destination_port: 1"), chain("rest", "")], ""))
        .counted(
            "direct",
            &listener(
                &[
                    chain("near", &format!("direct_source_prefix_ranges: [{near}]")),
                    chain("any", &format!("direct_source_prefix_ranges: [{any}]")),
                ],
                "",
            ),
        )
        .counted(
            "type",
            &listener(
                &[
                    chain("local", "source_type: SAME_IP_OR_LOOPBACK"),
                    chain("outside", "source_type: EXTERNAL"),
                ],
                "",
            ),
        )
        .counted("outside-only", &listener(&[chain("outside", "source_type: EXTERNAL")], ""))
        .counted(
            "no-going-back",
            &listener(
                &[
                    chain("here", &format!("prefix_ranges: [{here}], source_ports: [1]")),
                    chain("near", &format!("prefix_ranges: [{near}]")),
                ],
                "",
            ),
        );
    let says = |listener, text| row(listener, "", "").says(text);
    let rows: [Row; 6] = [
        says("destination", "here"),
        says("port", "rest"),
        says("direct", "near"),
        says("type", "local"),
        row("outside-only", "", "").counts(&[NO_CHAIN]),
        row("no-going-back", "", "").counts(&[NO_CHAIN]),
    ];
    play(&bootstrap, &rows);
}

fn input(name: &str) -> String {
    format!(
        "{{name: i, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.{name}}}}}"
    )
}

fn to(chain: &str) -> String {
    format!(
        "{{action: {{name: a, typed_config: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: {chain}}}}}}}"
    )
}

/// A matcher tree with one of the maps.
fn tree(by: &str, map: &str, entries: &[(&str, String)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(key, next)| format!("\"{key}\": {next}")).collect();
    format!("{{matcher_tree: {{input: {}, {map}: {{map: {{{}}}}}}}}}", input(by), entries.join(", "))
}

fn exact(by: &str, entries: &[(&str, String)]) -> String {
    tree(by, "exact_match_map", entries)
}

fn nested(matcher: &str) -> String {
    format!("{{matcher: {matcher}}}")
}

/// An `IPMatcher` over the peer's address; each branch with its range, whether it is exclusive, and what follows.
fn ranges(branches: &[(&str, bool, String)]) -> String {
    let branch = |(range, exclusive, next): &(&str, bool, String)| {
        let (ip, length) = range.split_once('/').unwrap();
        format!(
            "{{ranges: [{{address_prefix: {ip}, prefix_len: {length}}}], exclusive: {exclusive}, on_match: {next}}}"
        )
    };
    let branches: Vec<_> = branches.iter().map(branch).collect();
    format!(
        "{{matcher_tree: {{input: {}, custom_match: {{name: ip, typed_config: {{\"@type\": type.googleapis.com/xds.type.matcher.v3.IPMatcher, range_matchers: [{}]}}}}}}}}",
        input("SourceIPInput"),
        branches.join(", ")
    )
}

/// One condition of a list on text.
fn text(by: &str, matching: &str) -> String {
    format!("{{single_predicate: {{input: {}, value_match: {{{matching}}}}}}}", input(by))
}

fn list(branches: &[(String, String)]) -> String {
    let branches: Vec<_> = branches
        .iter()
        .map(|(predicate, next)| format!("{{predicate: {predicate}, on_match: {next}}}"))
        .collect();
    format!("{{matcher_list: {{matchers: [{}]}}}}", branches.join(", "))
}

#[test]
fn matcher_trees() {
    let matched = |matcher: &str| {
        with_tls(
            &[chain("one", "destination_port: 1"), chain("two", "")],
            &format!(
                "filter_chain_matcher: {matcher}\ndefault_filter_chain: {}\nlistener_filters_timeout: 0.3s",
                chain("default", "")
            ),
        )
    };
    let never = || nested(&exact("DestinationPortInput", &[("1", to("one"))]));
    let ip = "{single_predicate: {input: $I, custom_match: {name: ip, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: x, cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}}";
    let ip = ip.replace("$I", &input("DestinationIPInput"));
    let tls = text("TransportProtocolInput", "exact: tls");
    let bootstrap = Bootstrap::default()
        .counted("empty", &matched("{}"))
        .counted(
            "transport",
            &matched(&exact("TransportProtocolInput", &[("tls", to("one")), ("raw_buffer", to("two"))])),
        )
        .counted("unknown-chain", &matched(&exact("TransportProtocolInput", &[("raw_buffer", to("three"))])))
        .counted("source-type", &matched(&exact("SourceTypeInput", &[("local", to("one"))])))
        .counted("name", &matched(&exact("ServerNameInput", &[("a.test", to("one"))])))
        .counted("alpn", &matched(&exact("ApplicationProtocolInput", &[("'h2','x'", to("one"))])))
        .counted("direct-source", &matched(&exact("DirectSourceIPInput", &[("127.0.0.1", to("one"))])))
        .counted(
            "prefix",
            &matched(&tree("SourceIPInput", "prefix_match_map", &[("127.", never()), ("1", to("two"))])),
        )
        .counted(
            "no-match",
            &matched(&exact("SourcePortInput", &[("1", to("one"))]).replacen(
                '{',
                &format!("{{on_no_match: {}, ", to("two")),
                1,
            )),
        )
        .counted(
            "ranges",
            &matched(&ranges(&[("0.0.0.0/0", false, to("two")), ("127.0.0.0/8", false, to("one"))])),
        )
        .counted(
            "ranges-fall-back",
            &matched(&ranges(&[("0.0.0.0/0", false, to("two")), ("127.0.0.0/8", false, never())])),
        )
        .counted(
            "ranges-exclusive",
            &matched(&ranges(&[("0.0.0.0/0", true, to("two")), ("127.0.0.0/8", false, never())])),
        )
        .counted(
            "list",
            &matched(&list(&[
                (text("ServerNameInput", "prefix: a."), to("one")),
                (text("ServerNameInput", "safe_regex: {google_re2: {}, regex: \"b.*\"}"), to("two")),
            ])),
        )
        .counted("list-falls-back", &matched(&list(&[(ip.clone(), never()), (ip.clone(), to("two"))])))
        .counted(
            "and",
            &matched(&list(&[(format!("{{and_matcher: {{predicate: [{ip}, {tls}]}}}}"), to("one"))])),
        )
        .counted(
            "or",
            &matched(&list(&[(format!("{{or_matcher: {{predicate: [{ip}, {tls}]}}}}"), to("one"))])),
        )
        .counted("not", &matched(&list(&[(format!("{{not_matcher: {tls}}}"), to("one"))])));
    const RAW: &[&str] = &["tls_inspector.tls_not_found"];
    let raw = |listener, says| row(listener, "no TLS", "hello world").says(says).counts(RAW);
    let named = |listener, name: &'static str, says| {
        row(listener, name, hello(16_384, &[sni(name)])).says(says).counts(TLS)
    };
    let offers = |names: &[&str], says| {
        row("alpn", "protocols", hello(16_384, &[alpn(names)])).says(says).counts(&[
            "tls_inspector.tls_found",
            "tls_inspector.sni_not_found",
            "tls_inspector.alpn_found",
        ])
    };
    let rows = [
        raw("empty", "default"),
        raw("transport", "two"),
        named("transport", "a.test", "one"),
        row("unknown-chain", "no TLS", "hello world").counts(&["tls_inspector.tls_not_found", NO_CHAIN]),
        raw("source-type", "one"),
        named("name", "A.test", "one"),
        named("name", "b.test", "default"),
        raw("name", "default"),
        offers(&["h2", "x"], "one"),
        offers(&["h2"], "default"),
        raw("direct-source", "one"),
        raw("prefix", "two"),
        raw("no-match", "two"),
        raw("ranges", "one"),
        raw("ranges-fall-back", "two"),
        raw("ranges-exclusive", "default"),
        named("list", "a.test", "one"),
        named("list", "b.test", "two"),
        named("list", "c.test", "default"),
        raw("list-falls-back", "two"),
        raw("and", "default"),
        named("and", "a.test", "one"),
        raw("or", "one"),
        raw("not", "one"),
        named("not", "a.test", "default"),
    ];
    play(&bootstrap, &rows);
}
