//! Defaults, collected errors and warnings of [`Config::check`].

use super::*;
use crate::args;

fn environment() -> Environment {
    Environment { addresses: vec!["10.0.0.5".parse().unwrap()], ..Environment::default() }
}

fn check_in(line: &str, environment: &Environment) -> Result<Checked, ArgumentErrors> {
    let arguments: Vec<String> = std::iter::once("sampan-init")
        .chain(line.split(' ').filter(|w| !w.is_empty()))
        .map(str::to_owned)
        .collect();
    let options = args::parse(&arguments, environment).unwrap().options;
    Config::check(&options, environment)
}

fn check(line: &str) -> Result<Checked, ArgumentErrors> {
    check_in(line, &environment())
}

#[test]
fn defaults_are_istio_s() {
    let Checked { config, warnings } = check("").unwrap();
    assert_eq!(
        (config.proxy_port, config.inbound_capture_port, config.inbound_tunnel_port),
        (15001, 15006, 15008)
    );
    assert_eq!(
        (config.proxy_uids, config.proxy_gids),
        (vec![Owner::number(1337)], vec![Owner::number(1337)])
    );
    assert_eq!((config.mode, config.tproxy_mark, config.tproxy_route_table), (Mode::Redirect, 1337, 133));
    assert_eq!(config.inbound_ports, Selection::Only(vec![]));
    assert_eq!(config.outbound_ranges, Selection::Only(vec![]));
    assert_eq!(config.owner_groups, OwnerGroups::AllExcept(vec![]));
    assert_eq!(config.ipv4_loopback.to_string(), "127.0.0.1/32");
    assert_eq!((config.dns, config.drop_invalid, config.ipv6), (DnsCapture::Off, false, false));
    assert_eq!((config.conduct.probe_port, config.conduct.probe_timeout), (15002, Duration::from_secs(5)));
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn all_mistakes_are_reported_together() {
    let line = "-p 0 -z x -u root2 -g -1 -m redirect -b 80,* -d 1:0 -i 10.0.0.1 -x * -q 70000 -o a -c a/b -k toolongforaninterface \
                -t x -r 254 --dry-run=maybe --iptables-probe-port 0 --probe-timeout 5 --force-iptables-binary sh --pod-ip me";
    let errors = check(&line.replace("-g -1", "-g=-1")).unwrap_err().0;
    assert_eq!(errors.len(), 20, "{errors:#?}");
    let first = &errors.iter().find(|error| error.option == "--envoy-port").unwrap();
    assert_eq!((first.value.as_str(), first.reason.as_str()), ("0", "\"0\" is not a port"));
    assert_eq!(first.hint, "write a decimal number from 1 to 65535");
}

#[test]
fn errors_name_the_variable_they_came_from() {
    let mut environment = environment();
    for (name, value) in [
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "10.0.0.0/8"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS", "nosuchgroup"),
        ("PROXY_UID", "x"),
    ] {
        environment.variables.insert(name.to_owned(), value.to_owned());
    }
    let options: Vec<String> =
        check_in("", &environment).unwrap_err().0.into_iter().map(|error| error.option).collect();
    assert_eq!(
        options,
        [
            "PROXY_UID (environment)",
            "ISTIO_OUTBOUND_OWNER_GROUPS (environment)",
            "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR (environment)"
        ]
    );
}

#[test]
fn at_most_64_owner_groups() {
    for (count, accepted) in [(64, true), (65, false)] {
        let groups: Vec<String> = (0..count).map(|n: u32| n.to_string()).collect();
        let mut environment = environment();
        environment.variables.insert("ISTIO_OUTBOUND_OWNER_GROUPS".into(), groups.join(","));
        assert_eq!(check_in("", &environment).is_ok(), accepted, "{count}");
    }
}

#[test]
fn the_proxy_s_user_is_looked_up() {
    let mut environment = environment();
    environment.passwd = "istio-proxy:x:1500:1:::\nme:x:7:7:::\n".into();
    assert_eq!(check_in("", &environment).unwrap().config.proxy_gids, [Owner::number(1500)]);
    environment.variables.insert("ENVOY_USER".into(), "me".into());
    assert_eq!(check_in("", &environment).unwrap().config.proxy_uids, [Owner::number(7)]);
    assert_eq!(check_in("-u me", &environment).unwrap().config.proxy_uids[0].id(), 7);
}

#[test]
fn ipv6_follows_the_pod_s_addresses() {
    for (addresses, flag, expected) in [
        ("10.0.0.5", "", false),
        ("10.0.0.5,fd00::5", "", false),
        ("10.0.0.5,fd00::5", "--dual-stack", true),
        ("fd00::5", "", true),
        ("10.0.0.5", "--dual-stack", false),
        ("10.0.0.5,fe80::5,::1", "--dual-stack", false),
    ] {
        let checked = check(&format!("--pod-ip {addresses} {flag}")).unwrap();
        assert_eq!(checked.config.ipv6, expected, "{addresses} {flag}");
    }
}

#[test]
fn dns_servers_come_from_resolv_conf() {
    let mut environment = environment();
    environment.resolv_conf = Ok("nameserver 10.96.0.10\nnameserver fe80::1%2\n".into());
    let checked = check_in("--redirect-dns", &environment).unwrap();
    assert_eq!(checked.config.dns, DnsCapture::Servers(vec!["10.96.0.10".parse().unwrap()]));
    assert_eq!(checked.warnings.len(), 1);
    assert_eq!(
        check_in("--redirect-dns --capture-all-dns", &environment).unwrap().config.dns,
        DnsCapture::All
    );
    environment.resolv_conf = Err("no such file".into());
    assert_eq!(check_in("--redirect-dns", &environment).unwrap_err().0.len(), 1);
    assert!(check_in("", &environment).is_ok());
    environment.resolv_conf = Ok(String::new());
    assert_eq!(check_in("--redirect-dns", &environment).unwrap().config.dns, DnsCapture::Off);
}

#[test]
fn options_without_effect_are_named() {
    for line in [
        "-b 80 -d 81",
        "-t 5",
        "-z 15001",
        "--capture-all-dns",
        "--dry-run --run-validation",
        "--native-nftables --force-iptables-binary iptables-nft",
        "--cni-mode",
        "--cleanup-only --run-validation",
        "--log_output_level=default:info",
        "-x fd00::/8",
    ] {
        assert_eq!(check(line).unwrap().warnings.len(), 1, "{line}");
    }
}
