//! The rule text for each option, against the layout of the contract (`istio-iptables` golden files agree with it).

use super::*;
use crate::args;
use crate::environment::Environment;

/// The plan for a command line, in a pod with the given variables and name servers.
pub(crate) fn plan_in(line: &str, variables: &[(&str, &str)], resolv_conf: &str) -> Plan {
    Plan::new(&config_in(line, variables, resolv_conf))
}

fn config_in(line: &str, variables: &[(&str, &str)], resolv_conf: &str) -> Config {
    let arguments: Vec<String> =
        std::iter::once("sampan-init").chain(line.split_whitespace()).map(str::to_owned).collect();
    let environment = Environment {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        resolv_conf: Ok(resolv_conf.to_owned()),
        group: "java:x:77:\nftp:x:88:\n".to_owned(),
        ..Environment::default()
    };
    let options = args::parse(&arguments, &environment).unwrap().options;
    Config::check(&options, &environment).unwrap().config
}

/// The configuration for a command line.
pub(crate) fn config(line: &str) -> Config {
    config_in(line, &[], "")
}

/// The plan for a command line, in a pod that has both families.
pub(crate) fn plan(line: &str) -> Plan {
    plan_in(line, &[], "")
}

/// The lines that are not there with bare defaults, in order, without table headers.
fn added(rules: &RuleSet) -> Vec<String> {
    let bare = plan("").ipv4.to_restore_text();
    let bare: Vec<&str> = bare.lines().collect();
    let text = rules.to_restore_text();
    text.lines().filter(|line| !bare.contains(line)).map(str::to_owned).collect()
}

const INJECTOR_DEFAULT: &str = "\
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
";

const INJECTOR_LINE: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020";

#[test]
fn the_injector_s_default_in_both_families() {
    let plan = plan(&format!("{INJECTOR_LINE} --dual-stack"));
    assert_eq!(plan.ipv4.to_restore_text(), INJECTOR_DEFAULT);
    let ipv6 = INJECTOR_DEFAULT.replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128");
    assert_eq!(plan.ipv6.unwrap().to_restore_text(), ipv6);
    assert_eq!(plan.host_steps.len(), 1);
    assert_eq!(plan.host_steps[0].to_string(), "ip -6 addr add ::6/128 dev lo");
}

#[test]
fn bare_defaults_redirect_nothing() {
    let expected: Vec<&str> = INJECTOR_DEFAULT
        .lines()
        .filter(|line| {
            !["PREROUTING", "15090", "15021", "15020", "-j ISTIO_REDIRECT"]
                .iter()
                .any(|part| line.contains(part))
                && *line != "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"
        })
        .collect();
    let plan = plan("");
    assert_eq!(plan.ipv4.to_restore_text().lines().collect::<Vec<_>>(), expected);
    assert_eq!((plan.ipv6, plan.host_steps), (None, vec![]));
}

#[test]
fn ports_of_the_proxy() {
    assert_eq!(
        added(&plan("-p 1 -z 2 -e 3").ipv4),
        [
            "-A ISTIO_INBOUND -p tcp --dport 3 -j RETURN",
            "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 1",
            "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 2",
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 3 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 3 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT",
        ]
    );
}

#[test]
fn users_and_groups_of_the_proxy() {
    let lines = added(&plan("-u 3,4 -g 1").ipv4);
    let three = |flag: &str, id: u32| {
        [
            format!(
                "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --{flag} {id} -j ISTIO_IN_REDIRECT"
            ),
            format!("-A ISTIO_OUTPUT -o lo -m owner ! --{flag} {id} -j RETURN"),
            format!("-A ISTIO_OUTPUT -m owner --{flag} {id} -j RETURN"),
        ]
    };
    let expected = [three("uid-owner", 3), three("uid-owner", 4), three("gid-owner", 1)].concat();
    assert_eq!(lines, expected);
}

#[test]
fn inbound_ports_one_by_one() {
    assert_eq!(
        added(&plan("-b 80,8000:9000, -d 81").ipv4),
        [
            "-A PREROUTING -p tcp -j ISTIO_INBOUND",
            "-A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT",
            "-A ISTIO_INBOUND -p tcp --dport 8000:9000 -j ISTIO_IN_REDIRECT",
        ]
    );
}

#[test]
fn outbound_ranges_and_ports() {
    let plan = plan("-i 10.0.0.0/8,fd00::/8 -x 1.1.0.0/16,fd01::/16 -q 32000 -o 25 --dual-stack");
    assert_eq!(
        added(&plan.ipv4),
        [
            "-A ISTIO_OUTPUT -p tcp --dport 25 -j RETURN",
            "-A ISTIO_OUTPUT -p udp --dport 25 -j RETURN",
            "-A ISTIO_OUTPUT -d 1.1.0.0/16 -j RETURN",
            "-A ISTIO_OUTPUT -p tcp --dport 32000 -j ISTIO_REDIRECT",
            "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT",
        ]
    );
    let ipv6 = plan.ipv6.unwrap().to_restore_text();
    assert!(
        ipv6.contains("-d fd01::/16 -j RETURN\n-A ISTIO_OUTPUT -p tcp --dport 32000 -j ISTIO_REDIRECT\n")
    );
    assert!(
        ipv6.contains("-d fd00::/8 -j ISTIO_REDIRECT\n")
            && !ipv6.contains("10.0.0.0")
            && !ipv6.contains("1.1.")
    );
}

#[test]
fn a_loopback_range_lifts_its_protection() {
    let text = plan("-i 127.1.2.3/32").ipv4.to_restore_text();
    assert!(!text.contains("! --uid-owner") && !text.contains("! --gid-owner"));
    let mapped =
        plan_in("-i *", &[("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/8")], "").ipv4.to_restore_text();
    assert!(mapped.contains("-A ISTIO_OUTPUT -d 127.0.0.1/8 -j RETURN") && !mapped.contains("127.0.0.1/32"));
}

#[test]
fn excluded_interfaces_come_first() {
    let expected = ["-A PREROUTING -i net1 -j RETURN", "-A OUTPUT -o net1 -j RETURN"];
    assert_eq!(added(&plan("-c net1").ipv4), expected);
    let tproxy = plan("-c net1 -m TPROXY -b *").ipv4;
    for table in [Table::Nat, Table::Mangle] {
        assert_eq!(tproxy.rules(table, Chain::Prerouting)[0].to_string(), "-i net1 -j RETURN");
        assert_eq!(tproxy.rules(table, Chain::Output)[0].to_string(), "-o net1 -j RETURN");
    }
}

#[test]
fn virtual_machines_interfaces_are_inserted() {
    assert_eq!(
        added(&plan("-k eth1,eth2 -i 10.0.0.0/8").ipv4),
        [
            "-I PREROUTING 1 -i eth1 -j RETURN",
            "-I PREROUTING 1 -i eth2 -j RETURN",
            "-I PREROUTING 1 -i eth1 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-I PREROUTING 1 -i eth2 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT",
        ]
    );
    let rules = plan("-k eth1 -i * -b *").ipv4;
    let order: Vec<String> =
        rules.rules(Table::Nat, Chain::Prerouting).iter().map(ToString::to_string).collect();
    assert_eq!(order, ["-i eth1 -j ISTIO_REDIRECT", "-i eth1 -j RETURN", "-p tcp -j ISTIO_INBOUND"]);
}

#[test]
fn invalid_packets_are_dropped_in_mangle() {
    assert_eq!(
        added(&plan("--drop-invalid").ipv4),
        [
            "* mangle",
            "-N ISTIO_DROP",
            "-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP",
            "-A ISTIO_DROP -j DROP",
        ]
    );
}

#[test]
fn owner_groups_are_excluded_or_included() {
    let exclude = plan_in("", &[("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "888,ftp")], "");
    let expected = [
        "-A ISTIO_OUTPUT -m owner --gid-owner 888 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --gid-owner ftp -j RETURN",
    ];
    assert_eq!(added(&exclude.ipv4), expected);
    let include = plan_in("", &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java,202")], "");
    let expected = ["-A ISTIO_OUTPUT -m owner ! --gid-owner java -m owner ! --gid-owner 202 -j RETURN"];
    assert_eq!(added(&include.ipv4), expected);
}

#[test]
fn tproxy_in_mangle() {
    let plan = plan("-m TPROXY -b * -d 15021 --dual-stack");
    let text = plan.ipv4.to_restore_text();
    let expected = "\
* mangle
-N ISTIO_DIVERT
-N ISTIO_TPROXY
-N ISTIO_INBOUND
-A ISTIO_DIVERT -j MARK --set-mark 1337
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN
-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN
-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN
COMMIT
* nat
";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        !text.contains("-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT")
    );
    let steps: Vec<String> = plan.host_steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        [
            "ip -6 addr add ::6/128 dev lo",
            "ip -4 rule add fwmark 1337 lookup 133",
            "ip -4 route add local default dev lo table 133",
            "ip -6 rule add fwmark 1337 lookup 133",
            "ip -6 route add local default dev lo table 133",
        ]
    );
}

#[test]
fn tproxy_port_by_port_with_other_marks() {
    let plan = plan("-m TPROXY -b 80 -t 7 -r 9");
    let text = plan.ipv4.to_restore_text();
    assert!(text.contains(
        "-A ISTIO_INBOUND -p tcp --dport 80 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT\n\
         -A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_TPROXY\n"
    ));
    assert!(
        text.contains("--tproxy-mark 7/0xffffffff")
            && text.contains("--set-mark 7\n")
            && !text.contains("mark 1337")
    );
    assert_eq!(plan.host_steps[0].to_string(), "ip -4 rule add fwmark 7 lookup 9");
}

#[test]
fn dns_capture_of_any_server() {
    assert_eq!(
        added(&plan("--redirect-dns --capture-all-dns").ipv4),
        [
            "-N ISTIO_OUTPUT_DNS",
            "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            "-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN",
            "-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN",
            "-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS",
            "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053",
            "* raw",
            "-N ISTIO_OUTPUT_DNS",
            "-A OUTPUT -j ISTIO_OUTPUT_DNS",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1",
            "-A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
            "-A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
            "-A PREROUTING -j ISTIO_INBOUND",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2",
            "-A ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1",
        ]
    );
}

#[test]
fn dns_capture_of_known_servers_by_family() {
    let plan = plan_in("--redirect-dns --dual-stack", &[], "nameserver 10.96.0.10\n");
    let text = plan.ipv4.to_restore_text();
    for line in [
        "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053",
        "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053",
        "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j CT --zone 2",
        "-A ISTIO_INBOUND -p udp --sport 53 -s 10.96.0.10/32 -j CT --zone 1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}");
    }
    let ipv6 = plan.ipv6.unwrap().to_restore_text();
    assert!(
        !ipv6.contains("15053 -j") && !ipv6.contains("REDIRECT --to-ports 15053") && !ipv6.contains("10.96")
    );
    assert!(
        ipv6.contains("-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1\n")
    );
}

#[test]
fn cleanup_undoes_every_step() {
    let plan = plan("-m TPROXY -b * -c net1 --drop-invalid --redirect-dns --capture-all-dns");
    let cleanup = plan.ipv4.to_cleanup_text();
    for table in plan.ipv4.tables() {
        for chain in plan.ipv4.chains(table) {
            assert!(cleanup.contains(&format!("-F {chain}\n")) && cleanup.contains(&format!("-X {chain}\n")));
        }
    }
    let built_in = plan.ipv4.steps.iter().filter(|step| step.chain.is_built_in()).count();
    assert_eq!(cleanup.lines().filter(|line| line.starts_with("-D ")).count(), built_in);
    assert!(plan.to_cleanup_text().starts_with("# ip -4 route del local default dev lo table 133\n"));
}
