//! What must be intercepted is, and what must not is not: the interpreter as the judge of the plan.

use super::*;
use crate::args;
use crate::config::Config;
use crate::environment::Environment;
use crate::plan::Protocol;

const DEFAULT: &str = "-i * -b * -d 15090,15021,15020";

struct Pod {
    config: Config,
    plan: Plan,
}

fn pod_in(line: &str, variables: &[(&str, &str)]) -> Pod {
    let arguments: Vec<String> =
        std::iter::once("sampan-init").chain(line.split_whitespace()).map(str::to_owned).collect();
    let environment = Environment {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        resolv_conf: Ok("nameserver 10.96.0.10\nnameserver 127.0.0.53\n".to_owned()),
        ..Environment::default()
    };
    let options = args::parse(&arguments, &environment).unwrap().options;
    let config = Config::check(&options, &environment).unwrap().config;
    Pod { plan: Plan::new(&config), config }
}

fn pod(line: &str) -> Pod {
    pod_in(line, &[])
}

impl Pod {
    fn out(&self, destination: &str) -> Packet {
        Packet::outbound(&self.config, destination.parse().unwrap())
    }

    fn outcome(&self, packet: &Packet) -> Outcome {
        explain(&self.plan, packet).outcome
    }

    fn sends(&self, destination: &str) -> Outcome {
        self.outcome(&self.out(destination))
    }

    fn receives(&self, destination: &str) -> Outcome {
        self.outcome(&Packet::inbound(destination.parse().unwrap()))
    }
}

fn by_user(mut packet: Packet, uid: u32) -> Packet {
    packet.uid = Some(uid);
    packet
}

fn by_group(mut packet: Packet, gid: u32) -> Packet {
    packet.gid = Some(gid);
    packet
}

#[test]
fn default_outbound() {
    let pod = pod(&format!("{DEFAULT} --dual-stack"));
    for destination in ["10.9.9.9:80", "1.1.1.1:443", "[fd00::9]:80"] {
        assert_eq!(pod.sends(destination), Outcome::Redirected(15001), "{destination}");
        // The proxy's own traffic, told by user or by group.
        assert_eq!(pod.outcome(&by_user(pod.out(destination), 1337)), Outcome::Untouched);
        assert_eq!(pod.outcome(&by_group(pod.out(destination), 1337)), Outcome::Untouched);
    }
    // UDP is not TCP's business.
    let mut udp = pod.out("10.9.9.9:80");
    udp.protocol = Protocol::Udp;
    assert_eq!(pod.outcome(&udp), Outcome::Untouched);
}

#[test]
fn default_loopback() {
    let pod = pod(&format!("{DEFAULT} --dual-stack"));
    for (loopback, own) in [("127.0.0.1:80", "10.0.0.5:80"), ("[::1]:80", "[fd00::5]:80")] {
        for uid in [None, Some(1337)] {
            let mut packet = pod.out(loopback);
            (packet.uid, packet.gid) = (uid, uid);
            assert_eq!(pod.outcome(&packet), Outcome::Untouched, "{loopback} {uid:?}");
        }
        // The application to the pod's own address: direct. The proxy there, for a call to the own service: inbound.
        assert_eq!(pod.sends(own), Outcome::Untouched, "{own}");
        let proxy = by_group(by_user(pod.out(own), 1337), 1337);
        assert_eq!(pod.outcome(&proxy), Outcome::Redirected(15006), "{own}");
        // Its inbound side to the application: direct.
        let mut inbound_side = proxy;
        inbound_side.source = Some(Family::of(inbound_side.destination.ip()).inbound_source());
        assert_eq!(pod.outcome(&inbound_side), Outcome::Untouched, "{own}");
    }
    // The tunnel is not taken for a call to the own service.
    assert_eq!(pod.outcome(&by_user(pod.out("10.0.0.5:15008"), 1337)), Outcome::Untouched);
}

#[test]
fn default_inbound() {
    let pod = pod(DEFAULT);
    assert_eq!(pod.receives("10.0.0.5:8080"), Outcome::Redirected(15006));
    for port in [15020, 15021, 15090, 15008] {
        assert_eq!(pod.receives(&format!("10.0.0.5:{port}")), Outcome::Untouched, "{port}");
    }
    // No IPv6 rules without dual stack.
    assert_eq!(pod.receives("[fd00::5]:8080"), Outcome::NoRules);
    let mut later = Packet::inbound("10.0.0.5:8080".parse().unwrap());
    later.state = ConnectionState::Established;
    assert_eq!(pod.outcome(&later), Outcome::AsConnection);
}

#[test]
fn bare_defaults_intercept_nothing() {
    let pod = pod("");
    assert_eq!(pod.sends("10.9.9.9:80"), Outcome::Untouched);
    assert_eq!(pod.receives("10.0.0.5:80"), Outcome::Untouched);
}

#[test]
fn included_and_excluded_ranges_and_ports() {
    let pod = pod("-i 10.0.0.0/8 -x 10.1.0.0/16 -q 9000 -o 25,6000:6010 -b 80");
    assert_eq!(pod.sends("10.2.0.1:80"), Outcome::Redirected(15001));
    assert_eq!(pod.sends("10.1.0.1:80"), Outcome::Untouched);
    assert_eq!(pod.sends("11.0.0.1:80"), Outcome::Untouched);
    assert_eq!(pod.sends("11.0.0.1:9000"), Outcome::Redirected(15001));
    assert_eq!(pod.sends("10.1.0.1:9000"), Outcome::Untouched);
    assert_eq!(pod.sends("10.2.0.1:25"), Outcome::Untouched);
    assert_eq!(pod.sends("10.2.0.1:6010"), Outcome::Untouched);
    assert_eq!(pod.sends("10.2.0.1:6011"), Outcome::Redirected(15001));
    assert_eq!(pod.receives("10.0.0.5:80"), Outcome::Redirected(15006));
    assert_eq!(pod.receives("10.0.0.5:81"), Outcome::Untouched);
}

#[test]
fn interfaces() {
    let pod = pod(&format!("{DEFAULT} -c net1 -k vm+"));
    let mut packet = pod.out("10.9.9.9:80");
    packet.interface = "net1".to_owned();
    assert_eq!(pod.outcome(&packet), Outcome::Untouched);
    let mut packet = Packet::inbound("10.9.9.9:80".parse().unwrap());
    packet.interface = "net1".to_owned();
    assert_eq!(pod.outcome(&packet), Outcome::Untouched);
    packet.interface = "vm3".to_owned();
    assert_eq!(pod.outcome(&packet), Outcome::Redirected(15001));
}

#[test]
fn owner_groups() {
    let only = pod_in("-i *", &[("ISTIO_OUTBOUND_OWNER_GROUPS", "77,78")]);
    assert_eq!(only.outcome(&by_group(only.out("10.9.9.9:80"), 78)), Outcome::Redirected(15001));
    assert_eq!(only.outcome(&by_group(only.out("10.9.9.9:80"), 79)), Outcome::Untouched);
    let except = pod_in("-i *", &[("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "77")]);
    assert_eq!(except.outcome(&by_group(except.out("10.9.9.9:80"), 77)), Outcome::Untouched);
    assert_eq!(except.outcome(&by_group(except.out("10.9.9.9:80"), 79)), Outcome::Redirected(15001));
}

#[test]
fn dns_goes_to_the_agent_but_not_from_it() {
    let pod = pod("-i * --redirect-dns");
    for (protocol, elsewhere) in
        [(Protocol::Udp, Outcome::Untouched), (Protocol::Tcp, Outcome::Redirected(15001))]
    {
        for server in ["10.96.0.10:53", "127.0.0.53:53"] {
            let mut query = pod.out(server);
            query.protocol = protocol;
            assert_eq!(pod.outcome(&query), Outcome::Redirected(15053), "{protocol} {server}");
            let agent = by_group(by_user(query, 1337), 1337);
            assert_ne!(pod.outcome(&agent), Outcome::Redirected(15053), "{protocol} {server}");
        }
        let mut query = pod.out("8.8.8.8:53");
        query.protocol = protocol;
        assert_eq!(pod.outcome(&query), elsewhere, "{protocol}");
    }
}

#[test]
fn dns_is_tracked_in_two_zones() {
    let pod = pod("--redirect-dns --capture-all-dns");
    let mut query = pod.out("8.8.8.8:53");
    query.protocol = Protocol::Udp;
    assert_eq!(explain(&pod.plan, &query).zone, Some(2));
    assert_eq!(explain(&pod.plan, &by_user(query, 1337)).zone, Some(1));
    let mut answer = Packet::inbound("10.0.0.5:40000".parse().unwrap());
    (answer.protocol, answer.source_port) = (Protocol::Udp, Some(53));
    assert_eq!(explain(&pod.plan, &answer).zone, Some(1));
}

#[test]
fn invalid_packets_are_dropped_if_asked() {
    for (line, expected) in [(DEFAULT, Outcome::Untouched), ("-b * --drop-invalid", Outcome::Dropped)] {
        let mut packet = Packet::inbound("10.0.0.5:80".parse().unwrap());
        packet.state = ConnectionState::Invalid;
        assert_eq!(pod(line).outcome(&packet), expected, "{line}");
    }
}

#[test]
fn tproxy_inbound() {
    let pod = pod(&format!("{DEFAULT} -m TPROXY --dual-stack"));
    for destination in ["10.0.0.5:80", "[fd00::5]:80"] {
        let new = Packet::inbound(destination.parse().unwrap());
        let found = explain(&pod.plan, &new);
        assert_eq!((found.outcome, found.mark), (Outcome::Intercepted(15006), Some(1337)));
        let known = Packet { state: ConnectionState::Established, ..new.clone() };
        let found = explain(&pod.plan, &known);
        assert_eq!((found.outcome, found.mark), (Outcome::Diverted, Some(1337)));
        // Through the loopback interface only what the proxy's outbound side has marked.
        let looped = Packet { interface: "lo".to_owned(), ..new };
        assert_eq!(pod.outcome(&looped), Outcome::Untouched);
        let marked = Packet { mark: Some(1338), ..looped };
        assert_eq!(pod.outcome(&marked), Outcome::Intercepted(15006));
    }
    for port in [15020, 15021, 15090] {
        assert_eq!(pod.receives(&format!("10.0.0.5:{port}")), Outcome::Untouched, "{port}");
    }
}

#[test]
fn tproxy_outbound_marks() {
    let pod = pod(&format!("{DEFAULT} -m TPROXY"));
    let to_itself = by_user(pod.out("10.0.0.5:80"), 1337);
    assert_eq!(explain(&pod.plan, &to_itself).mark, Some(1338));
    let mut answer = pod.out("10.9.9.9:40000");
    (answer.state, answer.connection_mark) = (ConnectionState::Established, Some(1337));
    assert_eq!(explain(&pod.plan, &answer).mark, Some(1337));
}

#[test]
fn options_of_explain_are_checked_together() {
    let read = |line: &str| {
        let arguments: Vec<String> = ["sampan-init", "explain"]
            .into_iter()
            .chain(line.split_whitespace())
            .map(str::to_owned)
            .collect();
        let question = args::parse(&arguments, &Environment::default()).unwrap().action;
        let args::Action::Explain(question) = question else { panic!("not explain") };
        Packet::from_options(&question, &pod(DEFAULT).config)
    };
    let packet = read("--direction inbound --dst 10.0.0.5:80 --src 10.0.0.9:53 --protocol udp --in-interface vm0 --mark 0x1").unwrap();
    assert_eq!((packet.source_port, packet.mark, packet.interface.as_str()), (Some(53), Some(1), "vm0"));
    assert_eq!(read("").unwrap_err().0.len(), 2);
    assert_eq!(read("--direction out --dst 10.0.0.5").unwrap_err().0.len(), 2);
    let wrong =
        "--direction inbound --dst 10.0.0.5:80 --uid 5 --src ::1 --protocol icmp --state odd --mark 0";
    assert_eq!(read(wrong).unwrap_err().0.len(), 5);
}

#[test]
fn the_deciding_rule_is_named() {
    let pod = pod(DEFAULT);
    let packet = pod.out("10.9.9.9:80");
    let found = explain(&pod.plan, &packet);
    let deciding = found.deciding.unwrap();
    assert_eq!((deciding.table, deciding.chain, deciding.number), (Table::Nat, Chain::Redirect, 1));
    let text = format!("{packet}\n{}", found.to_text(Dialect::Iptables));
    assert!(text.starts_with(
        "outbound tcp to 10.9.9.9:80, leaving by eth0, from 10.0.0.5\n  nat OUTPUT rule 1: -j ISTIO_OUTPUT\n"
    ));
    assert!(text.ends_with("outcome: redirected to port 15001 of the pod\n"), "{text}");
}
