//! Each permission and principal, what a match means, and configurations that are refused.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prost::Message as _;
use sampan_api::envoy::config::rbac::v3 as pb;
use sampan_filters_api::info::{CertificateInfo, StateObject};
use sampan_filters_api::{Address, ConnectionInfo, StreamInfo};

use super::*;
use crate::config::rbac::rules;
use crate::testing::{bytes, connection, info, request};

fn compiled(yaml: &str) -> (Rules, Vec<String>) {
    let mut errors = Vec::new();
    let proto = pb::Rbac::decode(&*bytes::<pb::Rbac>(yaml)).unwrap();
    let rules = rules(&proto, None, "rules", &mut errors);
    (rules, errors.into_iter().map(|error| format!("{}: {}", error.path, error.reason)).collect())
}

fn holds(permission: &str, principal: &str, fields: &[(&str, &str)], info: &StreamInfo) -> bool {
    let yaml = format!("policies: {{p: {{permissions: [{permission}], principals: [{principal}]}}}}");
    let (rules, errors) = compiled(&yaml);
    assert!(errors.is_empty(), "{errors:?}");
    rules.decide(&Subject { request: Some(&request(fields)), response: None, info }).allowed
}

fn asks(permission: &str, fields: &[(&str, &str)]) -> bool {
    holds(permission, "{any: true}", fields, &info())
}

fn is_one(principal: &str, info: &StreamInfo) -> bool {
    holds("{any: true}", principal, &[], info)
}

fn on(connection: ConnectionInfo) -> StreamInfo {
    StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
}

#[test]
fn permissions_about_the_request() {
    assert!(asks("{url_path: {path: {prefix: /a}}}", &[(":path", "/a/b?x=/c")]));
    assert!(asks("{url_path: {path: {exact: /a}}}", &[(":path", "/a?q")]));
    assert!(!asks("{url_path: {path: {suffix: q}}}", &[(":path", "/a?q")]));
    assert!(asks("{header: {name: ':method', string_match: {exact: GET}}}", &[]));
    // Each value of a repeated header counts on its own.
    let repeated = [("x", "v"), ("x", "w")];
    assert!(asks("{header: {name: x, string_match: {exact: w}}}", &repeated));
    assert!(!asks("{header: {name: x, string_match: {exact: 'v,w'}}}", &repeated));
    assert!(!asks("{header: {name: x, string_match: {exact: w}, invert_match: true}}", &repeated));
    let template = "{uri_template: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/a/{*}/**'}}}";
    let template = template.replace("{*}", "*");
    assert!(asks(&template, &[(":path", "/a/b/c/d?q")]) && !asks(&template, &[(":path", "/b/b/c")]));
}

#[test]
fn permissions_are_combined() {
    let path = |path: &str| format!("{{url_path: {{path: {{exact: {path}}}}}}}");
    let or = format!("{{or_rules: {{rules: [{}, {}]}}}}", path("/a"), path("/b"));
    let not = format!("{{not_rule: {}}}", path("/a"));
    let both = format!("{{and_rules: {{rules: [{or}, {not}]}}}}");
    for (asked, expected) in
        [("/a", [true, false, false]), ("/b", [true, true, true]), ("/c", [false, true, false])]
    {
        let found = [&or, &not, &both].map(|permission| asks(permission, &[(":path", asked)]));
        assert_eq!(found, expected, "{asked}");
    }
}

#[test]
fn methods_of_a_list_are_those_of_single_rules() {
    let method = |rule: &str| format!("{{header: {{name: ':method', {rule}}}}}");
    let [get, post] = ["GET", "POST"].map(|name| method(&format!("string_match: {{exact: {name}}}")));
    let lower = method("string_match: {exact: post, ignore_case: true}");
    let not = method("string_match: {exact: GET}, invert_match: true");
    let any = |rules: &[&str]| format!("{{or_rules: {{rules: [{}]}}}}", rules.join(", "));
    for (asked, expected) in [
        ("GET", [true, false, true, true, false, true]),
        ("POST", [true, true, false, true, true, true]),
        ("PUT", [false, false, false, false, true, true]),
        ("get", [false, false, false, false, true, true]),
    ] {
        let rules = [
            any(&[&get, &post]),
            any(&[&post]),
            any(&[&get]),
            any(&[&get, &lower]),
            not.clone(),
            any(&[&get, &not]),
        ];
        let found = rules.map(|rule| asks(&rule, &[(":method", asked)]));
        assert_eq!(found, expected, "{asked}");
    }
    // Nor does a method hold where there is no request.
    let (rules, _) =
        compiled(&format!("policies: {{p: {{permissions: [{get}], principals: [{{any: true}}]}}}}"));
    assert!(!rules.decide(&Subject { request: None, response: None, info: &info() }).allowed);
}

#[test]
fn permissions_about_the_connection() {
    assert!(asks("{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 24}}", &[]));
    assert!(!asks("{destination_ip: {address_prefix: 10.0.0.1, prefix_len: 32}}", &[]));
    assert!(asks("{destination_port: 80}", &[]) && !asks("{destination_port: 81}", &[]));
    assert!(asks("{destination_port_range: {start: 80, end: 81}}", &[]));
    assert!(!asks("{destination_port_range: {start: 70, end: 80}}", &[]));
    let named = on(ConnectionInfo { requested_server_name: Some("a.com".into()), ..connection() });
    let sni = "{requested_server_name: {suffix: .com}}";
    assert!(holds(sni, "{any: true}", &[], &named) && !asks(sni, &[]));
}

#[test]
fn principals_by_address() {
    let mut seen = info();
    seen.remote = Some(Address::Socket(([1, 1, 1, 1], 1).into()));
    let range = |name: &str, ip: &str| {
        is_one(&format!("{{{name}: {{address_prefix: {ip}, prefix_len: 32}}}}"), &seen)
    };
    assert!(range("remote_ip", "1.1.1.1") && !range("remote_ip", "10.0.0.1"));
    assert!(range("direct_remote_ip", "10.0.0.1") && range("source_ip", "10.0.0.1"));
    assert!(!range("direct_remote_ip", "1.1.1.1"));
}

#[test]
fn principals_by_certificate() {
    let certificate = CertificateInfo {
        der: Box::default(),
        subject: "CN=me".into(),
        issuer: String::new(),
        serial: String::new(),
        sha1: String::new(),
        sha256: String::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH,
        uri_sans: vec!["spiffe://a/b".into()],
        dns_sans: vec!["b.com".into()],
        ip_sans: Vec::new(),
        email_sans: Vec::new(),
        other_sans: Vec::new(),
    };
    let with = |peer: Vec<_>| {
        on(ConnectionInfo { tls: Some(Arc::new(TlsInfo { peer, ..TlsInfo::default() })), ..connection() })
    };
    let (known, nameless) = (with(vec![Arc::new(certificate)]), with(Vec::new()));
    let named = |name: &str| format!("{{authenticated: {{principal_name: {{exact: '{name}'}}}}}}");
    for name in ["spiffe://a/b", "b.com", "CN=me"] {
        assert!(is_one(&named(name), &known) && !is_one(&named(name), &nameless), "{name}");
    }
    assert!(!is_one(&named("other"), &known));
    assert!(is_one("{authenticated: {}}", &known) && !is_one("{authenticated: {}}", &info()));
}

struct Text(&'static str);

impl StateObject for Text {
    fn plain(&self) -> String {
        self.0.to_owned()
    }
}

#[test]
fn principals_by_metadata_and_state() {
    let mut seen = info();
    seen.metadata.set("ns", "role", MetadataValue::String("admin".into()));
    seen.filter_state.set("who", Rc::new(Text("me")));
    let role = |fields: &str| format!("{{metadata: {{filter: ns, path: [{{key: role}}], {fields}}}}}");
    assert!(is_one(&role("value: {string_match: {exact: admin}}"), &seen));
    assert!(!is_one(&role("value: {string_match: {exact: admin}}, invert: true"), &seen));
    assert!(!is_one(&role("value: {string_match: {exact: admin}}"), &info()));
    assert!(is_one(&role("value: {string_match: {exact: admin}}, invert: true"), &info()));
    let sourced = "{sourced_metadata: {metadata_matcher: {filter: ns, path: [{key: role}], value: {present_match: true}}}}";
    assert!(is_one(sourced, &seen));
    let state = "{filter_state: {key: who, string_match: {exact: me}}}";
    assert!(is_one(state, &seen) && !is_one(state, &info()));
}

#[test]
fn what_a_match_means() {
    let policies = "policies: {b: {permissions: [{any: true}], principals: [{any: true}]}, 'a c': {permissions: [{any: true}], principals: [{url_path: {path: {exact: /a}}}]}}";
    let decided = |action: &str, path: &str| {
        let (rules, _) = compiled(&format!("{{action: {action}, {policies}}}"));
        let decision = rules
            .decide(&Subject { request: Some(&request(&[(":path", path)])), response: None, info: &info() })
            .details();
        let allowed = rules
            .decide(&Subject { request: Some(&request(&[(":path", path)])), response: None, info: &info() })
            .allowed;
        (allowed, decision)
    };
    let matched = |name: &str| format!("rbac_access_denied_matched_policy[{name}]");
    assert_eq!(decided("ALLOW", "/a"), (true, matched("a_c")));
    assert_eq!(decided("DENY", "/b"), (false, matched("b")));
    assert_eq!(decided("LOG", "/b"), (true, matched("b")));
    let (nothing, _) = compiled("{}");
    let decision = nothing.decide(&Subject { request: None, response: None, info: &info() });
    assert_eq!((decision.allowed, decision.details()), (false, matched("none")));
}

#[test]
fn refusals_tell_where() {
    let (_, errors) = compiled(
        "{policies: {p: {principals: [{any: false}, {custom: {name: c}}], \
         permissions: [{not_rule: {and_rules: {rules: [{matcher: {name: m}}]}}}, {destination_port_range: {start: 9, end: 9}}], condition: {}}, q: {}}}",
    );
    assert_eq!(
        errors,
        [
            "rules.policies[\"p\"].permissions[0].not_rule.and_rules.rules[0].matcher: permission extensions are not supported yet",
            "rules.policies[\"p\"].permissions[1].destination_port_range: not a range of ports",
            "rules.policies[\"p\"].principals[0].any: must be true",
            "rules.policies[\"p\"].principals[1].custom: principal extensions are not supported yet",
            "rules.policies[\"p\"].condition: a part of the expression is empty",
            "rules.policies[\"q\"].permissions: at least one is required",
            "rules.policies[\"q\"].principals: at least one is required",
        ]
    );
    let deep = format!("{}{{any: true}}{}", "{not_id: ".repeat(70), "}".repeat(70));
    let (_, errors) =
        compiled(&format!("policies: {{p: {{permissions: [{{any: true}}], principals: [{deep}]}}}}"));
    assert!(errors[0].ends_with("nested more than 64 deep"), "{errors:?}");
}

const PATH_IS_A: &str = "{call_expr: {function: '_==_', args: [{select_expr: {operand: {ident_expr: {name: request}}, field: path}}, \
    {const_expr: {string_value: /a}}]}}";

#[test]
fn conditions_in_cel_must_hold_besides() {
    let yaml = format!(
        "policies: {{p: {{permissions: [{{any: true}}], principals: [{{any: true}}], condition: {PATH_IS_A}}}}}"
    );
    let (rules, errors) = compiled(&yaml);
    assert!(errors.is_empty(), "{errors:?}");
    let info = info();
    let allowed = |path| {
        rules
            .decide(&Subject { request: Some(&request(&[(":path", path)])), response: None, info: &info })
            .allowed
    };
    assert!(allowed("/a") && !allowed("/b"));
    assert!(
        !rules.decide(&Subject { request: None, response: None, info: &info }).allowed,
        "no request has a path"
    );
    let checked = yaml.replace("condition: {", "checked_condition: {expr: {").replace("}}]}}}}", "}}]}}}}}");
    assert!(compiled(&checked).1.is_empty());
}

#[test]
fn trees_that_cannot_be_evaluated_are_refused() {
    let refused = |condition: &str| {
        let yaml = format!(
            "policies: {{p: {{permissions: [{{any: true}}], principals: [{{any: true}}], condition: {condition}}}}}"
        );
        compiled(&yaml).1.join("\n")
    };
    assert!(refused("{}").contains("condition: a part of the expression is empty"));
    assert!(refused("{struct_expr: {message_name: a.B}}").contains("messages cannot be built"));
    assert!(refused("{comprehension_expr: {iter_var: x}}").contains("comprehensions"));
    use sampan_api::google::api::expr::v1alpha1::{Expr, expr};
    let deep = (0..80).fold(Expr::default(), |inner, _| {
        let call = expr::Call { function: "!_".into(), args: vec![inner], ..expr::Call::default() };
        Expr { expr_kind: Some(expr::ExprKind::CallExpr(Box::new(call))), ..Expr::default() }
    });
    let told = crate::config::cel::tree(&deep, "condition").err().unwrap();
    assert!(told.reason.contains("nested too deeply"), "{told}");
}

fn action(name: &str, action: &str) -> String {
    format!(
        "{{name: a, typed_config: {{'@type': type.googleapis.com/envoy.config.rbac.v3.Action, name: {name}, action: {action}}}}}"
    )
}

fn engine(yaml: &str) -> Result<Engine, String> {
    use sampan_api::xds::r#type::matcher::v3::Matcher;
    let mut errors = Vec::new();
    let proto = Matcher::decode(&*bytes::<Matcher>(yaml)).unwrap();
    let engine = crate::config::rbac::tree(&proto, "matcher", &mut errors);
    engine.ok_or_else(|| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

const HEADER: &str = "{name: i, typed_config: {'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x}}";

#[test]
fn a_matcher_tree_ends_in_actions() {
    let list = format!(
        "matcher_list: {{matchers: [\
         {{predicate: {{single_predicate: {{input: {HEADER}, value_match: {{exact: 'a,b'}}}}}}, on_match: {{action: {}}}}}, \
         {{predicate: {{not_matcher: {{single_predicate: {{input: {HEADER}, value_match: {{prefix: x}}}}}}}}, on_match: {{action: {}}}}}, \
         {{predicate: {{single_predicate: {{input: {{name: c, typed_config: {{'@type': type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput}}}}, \
           custom_match: {{name: m, typed_config: {{'@type': type.googleapis.com/xds.type.matcher.v3.CelMatcher, expr_match: {{cel_expr_string: \"request.path == '/cel'\"}}}}}}}}}}, \
           on_match: {{action: {}}}}}]}}",
        action("both", "ALLOW"),
        action("none", "DENY"),
        action("cel", "LOG"),
    );
    let engine = engine(&list).unwrap();
    let info = info();
    let decided = |fields: &[(&str, &str)]| {
        let request = request(fields);
        let decision = engine.decide(Subject { request: Some(&request), response: None, info: &info });
        let name = decision.policy.map(|policy| policy.name.to_string());
        (decision.allowed, name.unwrap_or_default(), decision.hint)
    };
    assert_eq!(decided(&[("x", "a"), ("x", "b")]), (true, "both".to_owned(), Some(false)));
    assert_eq!(decided(&[]), (false, "none".to_owned(), Some(false)));
    assert_eq!(decided(&[("x", "xy"), (":path", "/cel")]), (true, "cel".to_owned(), Some(true)));
    assert_eq!(decided(&[("x", "xy")]), (false, String::new(), None), "nobody passes where nothing matches");
}

#[test]
fn maps_of_a_tree() {
    let of = |kind: &str| {
        let entry = |name: &str| format!("{{action: {}}}", action(name, "ALLOW"));
        let yaml = format!(
            "matcher_tree: {{input: {HEADER}, {kind}: {{map: {{a: {}, ab: {}}}}}}}\non_no_match: {{action: {}}}",
            entry("short"),
            entry("long"),
            action("else", "DENY"),
        );
        engine(&yaml).unwrap()
    };
    let info = info();
    let name = |engine: &Engine, value: &str| {
        let request = request(&[("x", value)]);
        let decision = engine.decide(Subject { request: Some(&request), response: None, info: &info });
        decision.policy.map(|policy| policy.name.to_string()).unwrap_or_default()
    };
    let exact = of("exact_match_map");
    assert_eq!([name(&exact, "a"), name(&exact, "ab"), name(&exact, "abc")], ["short", "long", "else"]);
    let prefix = of("prefix_match_map");
    assert_eq!([name(&prefix, "ac"), name(&prefix, "abc"), name(&prefix, "c")], ["short", "long", "else"]);
}

#[test]
fn trees_that_say_something_else_are_refused() {
    let single = |input: &str, matcher: &str| {
        let yaml = format!(
            "matcher_list: {{matchers: [{{predicate: {{single_predicate: {{input: {input}, {matcher}}}}}, on_match: {{action: {}}}}}]}}",
            action("p", "ALLOW")
        );
        engine(&yaml).err().unwrap_or_default()
    };
    let odd = "{name: i, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}";
    assert!(single(odd, "value_match: {exact: a}").contains("nothing can be decided by this input"));
    let range = "custom_match: {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: s, \
        cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}";
    assert!(single(HEADER, range).contains("no such matcher for this input"));
    let empty = engine(
        "on_no_match: {action: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}}",
    );
    assert!(empty.err().unwrap().contains("neither allows nor denies"));
}
