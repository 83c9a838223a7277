//! Matcher trees as YAML in, refusals out; what a good one chooses is in `tests/tests/listeners`.

use std::sync::Arc;

use sampan_filters_api::{Address, ConnectionInfo};

use super::super::super::testing::compiled;
use super::*;

fn compile_tree(yaml: &str) -> Result<Matcher, Vec<String>> {
    compiled::<pb::Matcher, _>(yaml, |proto, _, at| compile(proto, &Names(&["one", "two"]), at, 0))
}

const PORT: &str = "{name: i, typed_config: {'@type': type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput}}";

fn to(chain: &str) -> String {
    format!(
        "{{action: {{name: a, typed_config: {{'@type': type.googleapis.com/google.protobuf.StringValue, value: {chain}}}}}}}"
    )
}

#[test]
fn names_become_indices() {
    let tree = format!(
        "{{matcher_tree: {{input: {PORT}, exact_match_map: {{map: {{'80': {}, '81': {}}}}}}}, on_no_match: {}}}",
        to("two"),
        to("three"),
        to("one")
    );
    let matcher = compile_tree(&tree).unwrap();
    for (local, index) in [("10.0.0.1:80", 1), ("10.0.0.1:81", 2), ("10.0.0.1:82", 0)] {
        let [local, remote] = [local, "10.9.9.9:5"].map(|text| Address::Socket(text.parse().unwrap()));
        assert_eq!(matcher.find(&ConnectionInfo::new(0, local, remote, Arc::default())), Some(index));
    }
}

#[test]
fn refusals_tell_where() {
    let keep = to("one").replacen('{', "{keep_matching: true, ", 1);
    let state = PORT.replace("DestinationPortInput", "FilterStateInput, key: k");
    let ip = "custom_match: {name: ip, typed_config: {'@type': type.googleapis.com/xds.type.matcher.v3.IPMatcher, range_matchers: [{}]}}";
    let list = |input: &str, matching: &str| {
        format!(
            "{{matcher_list: {{matchers: [{{predicate: {{single_predicate: {{input: {input}, {matching}}}}}, on_match: {}}}]}}}}",
            to("one")
        )
    };
    for (tree, wanted) in [
        (
            format!("{{on_no_match: {keep}}}"),
            "on_no_match.keep_matching: a connection goes to one filter chain, so nothing can follow the first that matches",
        ),
        (
            list(&state, "value_match: {exact: x}"),
            "matcher_list.matchers[0].predicate.single_predicate.input: filter chains cannot be chosen by this input",
        ),
        (
            list(PORT, "value_match: {safe_regex: {regex: '('}}"),
            "matcher_list.matchers[0].predicate.single_predicate.value_match.safe_regex.regex: ",
        ),
        (
            list(
                PORT,
                "custom_match: {name: c, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue, value: x}}",
            ),
            "matcher_list.matchers[0].predicate.single_predicate.custom_match: there is no such input matcher",
        ),
        (
            format!("{{matcher_tree: {{input: {PORT}, {ip}}}}}"),
            "matcher_tree.custom_match.typed_config: ranges hold addresses only",
        ),
        (
            format!("{{matcher_tree: {{input: {}, {ip}}}}}", PORT.replace("DestinationPort", "SourceIP")),
            "matcher_tree.custom_match.typed_config.range_matchers[0].ranges: at least one range is needed",
        ),
        (
            "{on_no_match: {action: {name: a}}}".to_owned(),
            "on_no_match.action: this action chooses no filter chain",
        ),
    ] {
        let told = compile_tree(&tree).map(|_| ()).unwrap_err();
        assert!(told[0].starts_with(wanted), "{tree}: {told:?}");
    }
    let deep = (0..40).fold("{}".to_owned(), |tree, _| format!("{{on_no_match: {{matcher: {tree}}}}}"));
    assert!(compile_tree(&deep).map(|_| ()).unwrap_err()[0].ends_with("nested more than 32 deep"));
}
