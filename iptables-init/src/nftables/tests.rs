//! The nftables text of plans, and what a listing differs in.

use super::*;
use crate::plan::tests::{plan, plan_in};

const DEFAULT: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020";

const DEFAULT_TEXT: &str = r#"table inet istio-proxy-nat {
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		meta nfproto ipv4 meta l4proto tcp counter jump istio-inbound
	}
	chain output {
		type nat hook output priority -100; policy accept;
		meta nfproto ipv4 counter jump istio-output
	}
	chain istio-inbound {
		tcp dport 15008 counter return
		tcp dport 15090 counter return
		tcp dport 15021 counter return
		tcp dport 15020 counter return
		meta l4proto tcp counter jump istio-in-redirect
	}
	chain istio-redirect {
		meta l4proto tcp counter redirect to :15001
	}
	chain istio-in-redirect {
		meta l4proto tcp counter redirect to :15006
	}
	chain istio-output {
		oifname "lo" ip saddr 127.0.0.6 counter return
		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
		oifname "lo" meta skuid != 1337 counter return
		meta skuid 1337 counter return
		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
		oifname "lo" meta skgid != 1337 counter return
		meta skgid 1337 counter return
		ip daddr 127.0.0.1 counter return
		counter jump istio-redirect
	}
}
"#;

#[test]
fn the_injector_s_default() {
    assert_eq!(plan(DEFAULT).to_nftables_text(), DEFAULT_TEXT);
}

#[test]
fn both_families_share_what_is_the_same() {
    let text = plan(&format!("{DEFAULT} --dual-stack")).to_nftables_text();
    for line in [
        "\t\tmeta l4proto tcp counter jump istio-inbound\n",
        "\t\tcounter jump istio-output\n",
        "\t\toifname \"lo\" ip saddr 127.0.0.6 counter return\n\t\toifname \"lo\" ip daddr != 127.0.0.1 tcp dport != 15008",
        "\t\toifname \"lo\" ip6 saddr ::6 counter return\n",
        "\t\tip6 daddr ::1 counter return\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("nfproto"), "{text}");
    assert_eq!(text.matches("meta skuid != 1337").count(), 1);
}

#[test]
fn rules_of_one_family_say_so() {
    let text = plan_in("--redirect-dns --dual-stack", &[], "nameserver 10.96.0.10\n").to_nftables_text();
    assert!(text.contains("\t\tmeta nfproto ipv4 counter jump istio-output-dns\n"), "{text}");
    assert!(text.contains("\t\ttcp dport 53 ip daddr 10.96.0.10 counter redirect to :15053\n"), "{text}");
    assert!(text.contains("\t\tudp sport 53 ip saddr 10.96.0.10 counter ct zone set 1\n"), "{text}");
    assert!(
        text.contains("tcp dport != { 53, 15008 } meta skuid 1337 counter jump istio-in-redirect"),
        "{text}"
    );
}

#[test]
fn tproxy_never_lets_a_packet_past_the_proxy() {
    let text = plan("-b * -m TPROXY --dual-stack --drop-invalid").to_nftables_text();
    for line in [
        "type route hook output priority -150; policy accept;",
        "ip daddr != 127.0.0.1 meta l4proto tcp counter tproxy ip to :15006 meta mark set 0x00000539 accept\n\
         \t\tip daddr != 127.0.0.1 meta l4proto tcp counter drop\n",
        "ip6 daddr != ::1 meta l4proto tcp counter tproxy ip6 to :15006 meta mark set 0x00000539 accept\n",
        "meta l4proto tcp ct state established,related counter jump istio-divert\n",
        "ct state invalid counter jump istio-drop\n",
        "meta l4proto tcp meta mark 0x00000539 counter ct mark set meta mark\n",
        "meta l4proto tcp ct mark 0x00000539 counter meta mark set ct mark\n",
        "oifname \"lo\" meta skgid 1337 counter meta mark set 0x0000053a\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn every_option_has_its_words() {
    for (line, expected) in [
        ("-c eth+", "meta nfproto ipv4 iifname \"eth*\" counter return"),
        ("-c eth*", "meta nfproto ipv4 iifname \"eth\\*\" counter return"),
        ("-b 8000:9000", "tcp dport 8000-9000 counter jump istio-in-redirect"),
        ("-o 25", "udp dport 25 counter return"),
        ("-x 10.1.2.3/8", "ip daddr 10.0.0.0/8 counter return"),
        ("-i 0.0.0.0/0", "meta nfproto ipv4 counter jump istio-redirect"),
        ("-k vm0 -i 10.0.0.0/8", "iifname \"vm0\" ip daddr 10.0.0.0/8 counter jump istio-redirect"),
        ("-q 9000", "tcp dport 9000 counter jump istio-redirect"),
    ] {
        let text = plan(line).to_nftables_text();
        assert!(text.contains(&format!("\t\t{expected}\n")), "{expected}\n{text}");
    }
    let groups = plan_in("", &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java,202")], "").to_nftables_text();
    assert!(groups.contains("\t\tmeta skgid != 77 meta skgid != 202 counter return\n"), "{groups}");
}

#[test]
fn a_listing_is_compared_line_by_line() {
    let plan = plan(DEFAULT);
    let listing = |text: &str| Listing(vec![(Table::Nat, parse(text))]);
    let text = plan.to_nftables_text();
    assert_eq!(listing(&text).compare(Some(&plan)), []);
    let said = |text: &str| {
        let found = listing(text).compare(Some(&plan));
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        said(&text.replace("\t\ttcp dport 15020 counter return\n", "")),
        ["missing: inet istio-proxy-nat istio-inbound rule 4: tcp dport 15020 counter return"]
    );
    assert_eq!(
        said(
            &text.replace("15090 counter return\n", "15090 counter return\n\t\ttcp dport 1 counter return\n")
        ),
        ["not planned: inet istio-proxy-nat istio-inbound has the rule: tcp dport 1 counter return"]
    );
    assert_eq!(
        said(
            &text
                .replace("dport 15090", "dport X")
                .replace("dport 15021", "dport 15090")
                .replace("dport X", "dport 15021")
        ),
        ["in another order: the rules of inet istio-proxy-nat istio-inbound"]
    );
    let gone = listing(&text).compare(None);
    assert!(
        gone.len() == 6 && gone.iter().all(|one| matches!(one, Difference::ExtraChain { .. })),
        "{gone:?}"
    );
}

#[test]
fn a_transaction_replaces_whole_tables() {
    let plan = plan(DEFAULT);
    let old = Listing(vec![(Table::Raw, vec![("output".to_owned(), vec![])])]);
    let text = old.transaction(Some(&plan));
    assert!(
        text.starts_with("add table inet istio-proxy-nat\ndelete table inet istio-proxy-nat\ntable inet"),
        "{text}"
    );
    assert!(
        text.ends_with("}\nadd table inet istio-proxy-raw\ndelete table inet istio-proxy-raw\n"),
        "{text}"
    );
    assert_eq!(Listing::default().transaction(None), "");
    let back = old.transaction_back(&Listing(vec![(Table::Nat, chains(&plan, Table::Nat))]));
    assert!(back.contains("delete table inet istio-proxy-nat\nadd table inet istio-proxy-raw"), "{back}");
    assert!(back.ends_with("table inet istio-proxy-raw {\n\tchain output {\n\t}\n}\n"), "{back}");
}

#[test]
fn a_machine_without_names_of_protocols_has_the_same_rules() {
    let numbers = DEFAULT_TEXT.replace("l4proto tcp ", "l4proto 6 ");
    assert_ne!(numbers, DEFAULT_TEXT);
    assert_eq!(super::parse(&numbers), super::parse(DEFAULT_TEXT));
}
