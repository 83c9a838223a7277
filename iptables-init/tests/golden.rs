//! The rule text of every option, as files a person can read: `tests/golden/NAME.txt` holds what the command line gives
//! for iptables and for nftables. `UPDATE_GOLDEN=1 cargo test -p sampan-init --test golden` writes them anew; what changed
//! is then for the reviewer to judge. `default.txt` is the contract's own text and is checked against a copy of it here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use sampan_init::environment::Environment;
use sampan_init::run;
use sampan_init::system::Machine;

/// A command line, and the variables and name servers it is read with.
struct Case {
    name: &'static str,
    line: &'static str,
    variables: &'static [(&'static str, &'static str)],
    resolv_conf: &'static str,
}

const INJECTOR: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020";

const fn case(name: &'static str, line: &'static str) -> Case {
    Case { name, line, variables: &[], resolv_conf: "" }
}

const fn with(
    name: &'static str,
    line: &'static str,
    variables: &'static [(&'static str, &'static str)],
) -> Case {
    Case { name, line, variables, resolv_conf: "" }
}

const CASES: &[Case] = &[
    case("default", INJECTOR),
    case("bare", ""),
    case("dual-stack", "-b * -i * -d 15090,15021,15020 --dual-stack"),
    case("envoy-port", "-i * -p 1"),
    case("inbound-capture-port", "-b * -z 2"),
    case("inbound-tunnel-port", "-b * -e 3"),
    case("proxy-uid", "-i * -u 3,4"),
    case("proxy-gid", "-i * -u 3 -g 1,2"),
    case("interception-mode-tproxy", "-m TPROXY -b * -i * -d 15090,15021,15020"),
    case("interception-mode-tproxy-ports", "-m TPROXY -b 80,8000:9000"),
    case("interception-mode-tproxy-no-ports", "-m TPROXY"),
    case("interception-mode-tproxy-dual-stack", "-m TPROXY -b * -i * --dual-stack"),
    case("inbound-ports", "-b 80,8000:9000"),
    case("local-exclude-ports", "-b * -d 22,6000:6010"),
    case("service-cidr", "-i 10.0.0.0/8,192.168.0.0/16,fd00::/8 --dual-stack"),
    case("service-cidr-loopback", "-i 127.1.2.3/32"),
    case("service-exclude-cidr", "-i * -x 10.1.0.0/16,fd01::/16 --dual-stack"),
    case("outbound-ports", "-q 32000,8000:9000"),
    case("local-outbound-ports-exclude", "-i * -o 25,6000:6010"),
    case("exclude-interfaces", "-b * -i * -c net1,net2"),
    case("exclude-interfaces-tproxy", "-b * -i * -c net1 -m TPROXY"),
    case("kube-virt-interfaces", "-b * -i * -k vm0,vm+"),
    case("kube-virt-interfaces-ranges", "-b * -i 10.0.0.0/8,172.16.0.0/12 -k vm0"),
    case("tproxy-mark", "-m TPROXY -b * -t 0x7"),
    case("tproxy-route-table", "-m TPROXY -b * -r 9"),
    case("drop-invalid", "-b * --drop-invalid"),
    case("redirect-dns-all", "-i * --redirect-dns --capture-all-dns"),
    Case {
        name: "redirect-dns-servers",
        line: "-i * --redirect-dns --dual-stack",
        variables: &[],
        resolv_conf: "nameserver 10.96.0.10\nnameserver fd00::a\n",
    },
    Case {
        name: "redirect-dns-servers-one-family",
        line: "-i * --redirect-dns --dual-stack",
        variables: &[],
        resolv_conf: "nameserver 10.96.0.10\n",
    },
    with("owner-groups", "-i *", &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java,202")]),
    with("owner-groups-exclude", "-i *", &[("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "888,ftp")]),
    with("loopback-cidr", "-i *", &[("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/8")]),
    with("variables", "", &[("ENVOY_PORT", "1"), ("ISTIO_SERVICE_CIDR", "*"), ("ISTIO_INBOUND_PORTS", "80")]),
    case(
        "everything",
        "-b * -i * -d 15020 -x 10.1.0.0/16 -o 25 -q 99 -c net1 -k vm0 -m TPROXY --redirect-dns --capture-all-dns --drop-invalid --dual-stack",
    ),
    case("cleanup-only", "-b * -i * -m TPROXY --dual-stack --redirect-dns --capture-all-dns --cleanup-only"),
];

/// The contract's text for the injector's options.
const CONTRACT: &str = "\
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

#[test]
fn every_option_gives_the_rules_on_file() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in CASES {
        let text = case.text();
        let file = directory().join(format!("{}.txt", case.name));
        if update {
            std::fs::write(&file, &text).unwrap();
        } else if std::fs::read_to_string(&file).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", case.name));
        }
    }
    assert!(wrong.is_empty(), "differ from tests/golden (UPDATE_GOLDEN=1 accepts):\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_left_over() {
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(CASES.iter().any(|case| name == format!("{}.txt", case.name)), "{name} belongs to no case");
    }
}

#[test]
fn the_default_is_the_contract_s_text() {
    let text = std::fs::read_to_string(directory().join("default.txt")).unwrap();
    assert!(text.contains(&format!("--noflush\n{CONTRACT}# IPv6: no rules")), "{text}");
}

/// Every option of the program that shapes rules has a case.
#[test]
fn no_option_is_without_a_file() {
    for flag in sampan_init::args::FLAGS.iter().filter(|flag| flag.help.len() > 5) {
        let (long, short) = (format!("--{}", flag.name), flag.short.map(|short| format!("-{short} ")));
        let about_conduct = [
            "dry-run",
            "iptables-probe-port",
            "probe-timeout",
            "skip-rule-apply",
            "run-validation",
            "network-namespace",
            "cni-mode",
            "reconcile",
            "force-apply",
            "native-nftables",
            "force-iptables-binary",
            "pod-ip",
            "log_output_level",
            "log_as_json",
        ];
        let has = |case: &Case| {
            case.line.contains(&long) || short.as_ref().is_some_and(|short| case.line.contains(short))
        };
        assert!(about_conduct.contains(&flag.name) || CASES.iter().any(has), "{long}");
    }
}

impl Case {
    fn text(&self) -> String {
        let variables: Vec<String> =
            self.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let iptables = self.dry_run("--dry-run");
        let nftables = self.dry_run("--dry-run --native-nftables");
        format!(
            "# {}sampan-init {}\n\n## iptables\n{iptables}\n## nftables\n{nftables}",
            variables.concat(),
            self.line
        )
    }

    fn dry_run(&self, how: &str) -> String {
        // A single blank parts arguments, so that two make an empty one, as the injector passes it.
        let words = self.line.split(' ').skip_while(|word| word.is_empty());
        let arguments: Vec<String> =
            std::iter::once("sampan-init").chain(how.split(' ')).chain(words).map(str::to_owned).collect();
        let environment = Environment {
            variables: self.variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            resolv_conf: Ok(self.resolv_conf.to_owned()),
            group: "java:x:77:\nftp:x:88:\n".to_owned(),
            ..Environment::default()
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &environment, &Machine, &mut out, &mut err);
        assert_eq!(code, 0, "{}: {}", self.name, String::from_utf8_lossy(&err));
        String::from_utf8(out).unwrap()
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
