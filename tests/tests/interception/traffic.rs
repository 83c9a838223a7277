//! Traffic: what must be redirected is, what must not is not; after one run, after two, and not at all after cleanup.
//! Each line is also put to `sampan-init explain`, which must say the same.

use sampan_tests::harness::netns::{Identity, Namespace, can_make_namespaces, join};

use crate::back_end::{ALL, BackEnd};
use crate::pod::{APPLICATION, PROXY, Pod, init, serve};

const OPTIONS: &str =
    "-p 15001 -z 15006 -u 1337 -i * -b * -d 15090,15021,15020 -x 10.78.0.0/16,fd78::/16 -o 9999";
const PROXY_GROUP: Identity = Identity { uid: 5000, gid: 1337 };

/// A connection and where it must come to.
struct Line {
    from: From,
    to: &'static str,
    /// `proxy PORT` if it is intercepted, else who answers.
    with: &'static str,
    /// Who answers when there are no rules.
    without: &'static str,
}

#[derive(Clone, Copy)]
enum From {
    Pod(Identity),
    /// The proxy's inbound side, by its address.
    InboundSide(&'static str),
    Peer,
}

impl Line {
    /// The tunnel's port is the proxy's own; the contract has that exception in the nat table only.
    fn with_rules(&self, tproxy: bool) -> &'static str {
        if tproxy && self.to.ends_with(":15008") { "proxy 15006" } else { self.with }
    }
}

const fn line(from: From, to: &'static str, with: &'static str, without: &'static str) -> Line {
    Line { from, to, with, without }
}

const APP: From = From::Pod(APPLICATION);
const BY_PROXY: From = From::Pod(PROXY);

const LINES: &[Line] = &[
    // Out of the pod.
    line(APP, "10.77.0.1:8080", "proxy 15001", "peer 8080"),
    line(APP, "[fd77::1]:8080", "proxy 15001", "peer 8080"),
    line(APP, "10.77.0.1:15020", "proxy 15001", "peer 15020"),
    line(BY_PROXY, "10.77.0.1:8080", "peer 8080", "peer 8080"),
    line(BY_PROXY, "[fd77::1]:8080", "peer 8080", "peer 8080"),
    line(From::Pod(PROXY_GROUP), "10.77.0.1:8080", "peer 8080", "peer 8080"),
    line(From::Pod(PROXY_GROUP), "[fd77::1]:8080", "peer 8080", "peer 8080"),
    line(APP, "10.78.0.1:8080", "peer 8080", "peer 8080"),
    line(APP, "[fd78::1]:8080", "peer 8080", "peer 8080"),
    line(APP, "10.77.0.1:9999", "peer 9999", "peer 9999"),
    line(APP, "[fd77::1]:9999", "peer 9999", "peer 9999"),
    // Within the pod.
    line(APP, "127.0.0.1:8080", "pod 8080", "pod 8080"),
    line(APP, "[::1]:8080", "pod 8080", "pod 8080"),
    line(BY_PROXY, "127.0.0.1:8080", "pod 8080", "pod 8080"),
    line(BY_PROXY, "[::1]:8080", "pod 8080", "pod 8080"),
    line(APP, "10.77.0.2:8080", "pod 8080", "pod 8080"),
    line(APP, "[fd77::2]:8080", "pod 8080", "pod 8080"),
    line(BY_PROXY, "10.77.0.2:8080", "proxy 15006", "pod 8080"),
    line(BY_PROXY, "[fd77::2]:8080", "proxy 15006", "pod 8080"),
    line(BY_PROXY, "10.77.0.2:15008", "pod 15008", "pod 15008"),
    line(From::InboundSide("127.0.0.6"), "10.77.0.2:8080", "pod 8080", "pod 8080"),
    // Into the pod.
    line(From::Peer, "10.77.0.2:8080", "proxy 15006", "pod 8080"),
    line(From::Peer, "[fd77::2]:8080", "proxy 15006", "pod 8080"),
    line(From::Peer, "10.77.0.2:15020", "pod 15020", "pod 15020"),
    line(From::Peer, "10.77.0.2:15021", "pod 15021", "pod 15021"),
    line(From::Peer, "10.77.0.2:15090", "pod 15090", "pod 15090"),
    line(From::Peer, "10.77.0.2:15008", "pod 15008", "pod 15008"),
    line(From::Peer, "[fd77::2]:15020", "pod 15020", "pod 15020"),
    line(From::Peer, "[fd77::2]:15021", "pod 15021", "pod 15021"),
    line(From::Peer, "[fd77::2]:15090", "pod 15090", "pod 15090"),
];

/// The proxy's inbound side on IPv6: its address is there only while the rules are.
const INBOUND_SIDE_IPV6: Line = line(From::InboundSide("::6"), "[fd77::2]:8080", "pod 8080", "");

#[test]
fn redirect_by_iptables_nft() {
    once_twice_and_away(BackEnd::Nft, "-m REDIRECT --dual-stack");
}

#[test]
fn redirect_by_iptables_legacy() {
    once_twice_and_away(BackEnd::Legacy, "-m REDIRECT --dual-stack");
}

#[test]
fn redirect_by_native_nftables() {
    once_twice_and_away(BackEnd::Native, "-m REDIRECT --dual-stack");
}

#[test]
fn tproxy_by_iptables_nft() {
    once_twice_and_away(BackEnd::Nft, "-m TPROXY --dual-stack --drop-invalid");
}

#[test]
fn tproxy_by_iptables_legacy() {
    once_twice_and_away(BackEnd::Legacy, "-m TPROXY --dual-stack --drop-invalid");
}

#[test]
fn tproxy_by_native_nftables() {
    once_twice_and_away(BackEnd::Native, "-m TPROXY --dual-stack --drop-invalid");
}

/// Without dual stack, a pod with both families has rules for IPv4 alone, native tables of the family `inet` too.
#[test]
fn ipv6_is_left_alone_unless_asked_for() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in ALL.into_iter().filter(|back_end| back_end.works(OPTIONS)) {
        let pod = Pod::new();
        init(&pod.pod, &format!("{} {OPTIONS}", back_end.options())).succeeded();
        for line in LINES {
            let expected = if line.to.starts_with('[') { line.without } else { line.with };
            pod.expect(line, expected, back_end);
        }
    }
}

/// While nothing listens where TPROXY leads, a packet is dropped: it does not get to the application past the proxy.
#[test]
fn tproxy_without_a_proxy_lets_nothing_in() {
    if !can_make_namespaces() {
        return;
    }
    const OPTIONS: &str = "-m TPROXY -b * -d 8081 --dual-stack";
    std::thread::scope(|scope| {
        for back_end in ALL.into_iter().filter(|back_end| back_end.works(OPTIONS)) {
            scope.spawn(move || {
                let (pod, peer) = (Namespace::new(), Namespace::new());
                let (here, there) = (["10.77.0.2/24", "fd77::2/64"], ["10.77.0.1/24", "fd77::1/64"]);
                join((&pod, "eth0", &here), (&peer, "cable", &there));
                for address in ["0.0.0.0:8080", "[::]:8080", "0.0.0.0:8081", "[::]:8081"] {
                    serve(&pod, address.parse().unwrap(), |_, port| format!("pod {port}"));
                }
                init(&pod, &format!("{} {OPTIONS}", back_end.options())).succeeded();
                for ip in ["10.77.0.2", "[fd77::2]"] {
                    let ask = |port| peer.ask(APPLICATION, None, format!("{ip}:{port}").parse().unwrap());
                    assert_eq!(ask(8081).unwrap(), "pod 8081", "{back_end:?}: the way is open");
                    let answer = ask(8080).unwrap_err();
                    assert_eq!(answer.kind(), std::io::ErrorKind::TimedOut, "{back_end:?} {ip}");
                }
            });
        }
    });
}

fn once_twice_and_away(back_end: BackEnd, mode: &str) {
    if !can_make_namespaces() {
        return;
    }
    let options = format!("{} {OPTIONS} {mode}", back_end.options());
    if !back_end.works(&options) {
        return;
    }
    let pod = Pod::new();
    pod.expect_all(|line| line.without, back_end);

    let once = init(&pod.pod, &options).succeeded();
    assert!(once.out.starts_with(&format!("rules were applied ({})", back_end.name())), "{once:?}");
    let tproxy = mode.contains("TPROXY");
    pod.expect_all(|line| line.with_rules(tproxy), back_end);
    pod.expect(&INBOUND_SIDE_IPV6, INBOUND_SIDE_IPV6.with, back_end);
    let applied = back_end.rules(&pod.pod);
    for line in LINES.iter().filter(|line| line.with_rules(tproxy) == line.with) {
        pod.is_explained(line, &options);
    }

    let twice = init(&pod.pod, &options).succeeded();
    assert!(twice.out.contains("in place already") && twice.err.is_empty(), "{twice:?}");
    assert_eq!(back_end.rules(&pod.pod), applied);
    pod.expect_all(|line| line.with_rules(tproxy), back_end);
    assert_eq!(init(&pod.pod, &format!("check {options}")).code, 0);

    init(&pod.pod, &format!("{options} --cleanup-only")).succeeded();
    assert!(!back_end.has_ours(&pod.pod), "{}", back_end.rules(&pod.pod));
    assert!(!pod.pod.ip("rule").contains("fwmark") && !pod.pod.ip("-6 rule").contains("fwmark"));
    assert!(!pod.pod.ip("-6 addr show dev lo").contains("::6/128"));
    pod.expect_all(|line| line.without, back_end);
    assert_eq!(init(&pod.pod, &format!("check {options} --cleanup-only")).code, 0);
}

impl Pod {
    fn expect_all(&self, expected: impl Fn(&Line) -> &'static str, back_end: BackEnd) {
        for line in LINES {
            self.expect(line, expected(line), back_end);
        }
    }

    #[track_caller]
    fn expect(&self, line: &Line, expected: &str, back_end: BackEnd) {
        let said = match line.from {
            From::Pod(who) => self.sends(who, line.to),
            From::InboundSide(source) => self.sends_from(PROXY, Some(source), line.to),
            From::Peer => self.receives(line.to),
        };
        // The proxy also learns where the connection was going.
        let expected = if expected.starts_with("proxy") {
            format!("{expected} for {}", line.to)
        } else {
            expected.to_owned()
        };
        assert_eq!(said, expected, "{back_end:?}: {} to {}", line.from.name(), line.to);
    }

    /// `explain` says what has just been seen.
    fn is_explained(&self, line: &Line, options: &str) {
        let question = match line.from {
            From::Pod(who) => format!("--direction outbound --uid {} --gid {}", who.uid, who.gid),
            From::InboundSide(source) => format!("--direction outbound --uid 1337 --gid 1337 --src {source}"),
            From::Peer => "--direction inbound --src 10.77.0.1".to_owned(),
        };
        let question =
            if line.to.starts_with('[') { question.replace("10.77.0.1", "fd77::1") } else { question };
        let run = init(&self.pod, &format!("explain {options} {question} --dst {}", line.to)).succeeded();
        let outcome = run.out.lines().last().unwrap();
        // What the proxy sends to the pod itself is marked and then intercepted on its way in, which TPROXY mode asks of
        // two packets; REDIRECT rewrites it on its way out, and both modes have that rule.
        match line.with.strip_prefix("proxy ") {
            Some(port) => assert!(outcome.contains(&format!("port {port}")), "{}: {run:?}", line.to),
            None => assert!(outcome.contains("not intercepted"), "{}: {run:?}", line.to),
        }
    }
}

impl From {
    fn name(self) -> String {
        match self {
            Self::Pod(who) => format!("user {} of group {}", who.uid, who.gid),
            Self::InboundSide(source) => format!("the proxy from {source}"),
            Self::Peer => "the peer".to_owned(),
        }
    }
}
