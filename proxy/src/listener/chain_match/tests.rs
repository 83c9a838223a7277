//! Every criterion alone, their order, and rules that overlap.

use std::sync::Arc;

use sampan_filters_api::info::ProtocolList;

use super::*;

fn rule(change: impl FnOnce(&mut ChainMatch)) -> ChainMatch {
    let mut rule = ChainMatch::default();
    change(&mut rule);
    rule
}

fn ranges(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn texts(texts: &[&str]) -> Vec<Box<str>> {
    texts.iter().map(|text| (*text).into()).collect()
}

fn connection(local: &str, remote: &str) -> ConnectionInfo {
    let [local, remote] = [local, remote].map(|text| Address::Socket(text.parse().unwrap()));
    ConnectionInfo::new(0, local, remote, Arc::default())
}

fn tls(name: Option<&str>, protocols: &[u8]) -> ConnectionInfo {
    let mut info = connection("10.0.0.1:443", "10.9.9.9:5");
    info.requested_server_name = name.map(Into::into);
    info.facts_mut().transport_protocol = Some("tls");
    info.facts_mut().application_protocols = ProtocolList::from_wire(protocols).unwrap();
    info
}

#[track_caller]
fn finds(rules: &[ChainMatch], cases: &[(ConnectionInfo, Option<usize>)]) {
    let rules = ChainRules::new(rules).unwrap();
    for (number, (info, wanted)) in cases.iter().enumerate() {
        assert_eq!(rules.find(info), *wanted, "case {number}: {info:?}");
    }
}

#[test]
fn nothing_configured_finds_nothing_and_one_rule_without_criteria_everything() {
    let info = || connection("10.0.0.1:80", "10.9.9.9:5");
    finds(&[], &[(info(), None)]);
    finds(&[ChainMatch::default()], &[(info(), Some(0))]);
}

#[test]
fn the_most_specific_value_wins_and_there_is_no_going_back() {
    let rules = [
        rule(|m| m.destination_ranges = ranges(&["10.0.0.0/8"])),
        rule(|m| m.destination_ranges = ranges(&["10.1.0.0/16"])),
        rule(|m| {
            m.destination_port = Some(81);
            m.source_ranges = ranges(&["1.1.1.1/32"]);
        }),
    ];
    finds(
        &rules,
        &[
            (connection("10.1.2.3:80", "9.9.9.9:1"), Some(1)),
            (connection("10.2.2.3:80", "9.9.9.9:1"), Some(0)),
            (connection("10.2.2.3:81", "1.1.1.1:1"), Some(2)),
            // Port 81 has been chosen by then, although the first rule would hold as well.
            (connection("10.2.2.3:81", "9.9.9.9:1"), None),
            (connection("11.2.2.3:80", "9.9.9.9:1"), None),
        ],
    );
}

#[test]
fn names_are_found_by_the_nearest_domain() {
    let rules = [
        rule(|m| m.server_names = texts(&["a.example.com"])),
        rule(|m| m.server_names = texts(&[".example.com", "b.test"])),
        rule(|m| m.server_names = texts(&[".com"])),
        ChainMatch::default(),
    ];
    let cases = [
        ("a.example.com", 0),
        ("b.example.com", 1),
        ("c.b.example.com", 1),
        ("b.test", 1),
        ("example.com", 2),
        ("x.b.test", 3),
        (".com", 2),
        ("com.", 3),
        (".", 3),
        ("", 3),
    ];
    let cases: Vec<_> = cases.iter().map(|(name, found)| (tls(Some(name), b""), Some(*found))).collect();
    finds(&rules, &cases);
    finds(&rules, &[(tls(None, b""), Some(3))]);
    finds(&rules[..3], &[(tls(None, b""), None)]);
}

#[test]
fn istios_inbound_chains() {
    let istio = texts(&["istio-http/1.1", "istio-h2"]);
    let plain = texts(&["http/1.1", "h2c"]);
    let of = |transport: &str, protocols: &[Box<str>]| {
        rule(|m| {
            m.transport_protocol = Some(transport.into());
            m.application_protocols = protocols.to_vec();
        })
    };
    let mut rules = vec![
        of("tls", &istio),
        of("raw_buffer", &plain),
        of("tls", &texts(&["istio-peer-exchange", "istio"])),
        of("raw_buffer", &[]),
        of("tls", &[]),
    ];
    let mut raw = connection("10.0.0.1:80", "10.9.9.9:5");
    let cases = |first: usize, raw: &ConnectionInfo| {
        let mut http = raw.clone();
        http.facts_mut().application_protocols = ProtocolList::one("http/1.1");
        let at = |n: usize| Some(first + n);
        let mut tls = [&b"\x08istio-h2\x02h2"[..], b"\x05istio", b"\x02h2", b""].map(|list| tls(None, list));
        for info in &mut tls {
            info.local = raw.local.clone();
        }
        let [h2, peer, other, none] = tls;
        vec![(raw.clone(), at(3)), (http, at(1)), (h2, at(0)), (peer, at(2)), (other, at(4)), (none, at(4))]
    };
    finds(&rules, &cases(0, &raw));
    // The same for each of many ports: the port comes first.
    let per_port = rules.clone();
    for port in 1..200 {
        rules.extend(per_port.iter().cloned().map(|mut m| {
            m.destination_port = Some(port);
            m
        }));
    }
    raw.local = Address::Socket("10.0.0.1:77".parse().unwrap());
    finds(&rules, &cases(77 * 5, &raw));
}

#[test]
fn sources_by_type_range_and_port() {
    let rules = [
        rule(|m| m.source_type = Some(SourceType::SameIpOrLoopback)),
        rule(|m| {
            m.source_type = Some(SourceType::External);
            m.source_ports = vec![7, 8];
        }),
        rule(|m| {
            m.source_type = Some(SourceType::External);
            m.source_ranges = ranges(&["10.9.0.0/16"]);
        }),
        rule(|m| m.direct_source_ranges = ranges(&["172.16.0.0/12"])),
    ];
    let mut proxied = connection("10.0.0.1:80", "172.16.0.9:5");
    proxied.remote = Address::Socket("10.9.9.9:7".parse().unwrap());
    let mut unix = connection("10.0.0.1:80", "10.9.9.9:5");
    unix.remote = Address::Pipe("".into());
    finds(
        &rules,
        &[
            (connection("10.0.0.1:80", "127.9.9.9:5"), Some(0)),
            (connection("10.0.0.1:80", "10.0.0.1:5"), Some(0)),
            (connection("[fd00::1]:80", "[::1]:5"), Some(0)),
            (unix, Some(0)),
            (connection("10.0.0.1:80", "1.2.3.4:8"), Some(1)),
            (connection("10.0.0.1:80", "1.2.3.4:9"), None),
            (connection("10.0.0.1:80", "10.9.9.9:9"), Some(2)),
            // The range is asked before the port.
            (connection("10.0.0.1:80", "10.9.9.9:7"), Some(2)),
            // What the PROXY protocol says does not change who the peer is.
            (proxied, Some(3)),
        ],
    );
}

#[test]
fn rules_that_want_the_same_connection_overlap() {
    let names = |names: &[&str]| rule(|m| m.server_names = texts(names));
    let overlap = |rules: &[ChainMatch]| ChainRules::new(rules).err();
    assert_eq!(overlap(&[ChainMatch::default(), ChainMatch::default()]), Some(Overlap(0, 1)));
    assert_eq!(overlap(&[names(&["x"]), names(&["a", "b"]), names(&["b", "c"])]), Some(Overlap(1, 2)));
    assert_eq!(overlap(&[names(&["a", "a"])]), None);
    let with_port = |port| {
        rule(|m| {
            m.server_names = texts(&["a"]);
            m.source_ports = vec![port];
        })
    };
    assert_eq!(overlap(&[with_port(1), with_port(2), names(&["a"])]), None);
    assert_eq!(overlap(&[with_port(1), with_port(2), with_port(1)]), Some(Overlap(0, 2)));
}

#[test]
fn many_values_cost_no_more_than_their_number() {
    // As a product this would be a thousand million leaves.
    let wide = |m: &mut ChainMatch| {
        m.server_names = (0..1000).map(|n| format!("h{n}.test").into()).collect();
        m.application_protocols = (0..1000).map(|n| format!("p{n}").into()).collect();
        m.source_ports = (1..1000).collect();
    };
    finds(&[rule(wide), ChainMatch::default()], &[(connection("10.0.0.1:80", "10.9.9.9:5"), Some(1))]);
}
