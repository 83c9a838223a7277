//! What a run finds in the kernel and leaves there: other people's rules, rules of earlier runs with other options, by other
//! back-ends, or half gone; and runs from outside the namespace.

use std::sync::atomic::{AtomicBool, Ordering};

use sampan_tests::harness::binaries::sampan_init;
use sampan_tests::harness::netns::{Namespace, can_make_namespaces};

use crate::back_end::{ALL, BackEnd};
use crate::pod::{APPLICATION, Pod, bare_pod, init, run, words};

const DEFAULT: &str = "-i * -b * -d 15090,15021,15020";

fn iptables() -> impl Iterator<Item = BackEnd> {
    [BackEnd::Nft, BackEnd::Legacy].into_iter().filter(|back_end| back_end.works(DEFAULT))
}

#[test]
fn reconcile_replaces_ours_and_leaves_other_people_s() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in iptables() {
        let pod = bare_pod();
        let program = back_end.name();
        for line in [
            "-t nat -N KUBE_THING",
            "-t nat -A OUTPUT -d 203.0.113.1/32 -j KUBE_THING",
            "-t nat -A KUBE_THING -j RETURN",
            "-t mangle -A PREROUTING -p tcp -j MARK --set-xmark 0x1/0x1",
            "-t filter -A INPUT -i net9 -j RETURN",
        ] {
            assert!(pod.run(&format!("{program} {line}")).status.success(), "{line}");
        }
        let foreign = back_end.rules(&pod);
        let old = format!(
            "{} {DEFAULT} -m TPROXY -c old0 --drop-invalid --redirect-dns --capture-all-dns",
            back_end.options()
        );
        init(&pod, &old).succeeded();
        assert!(pod.ip("rule").contains("fwmark 0x539"));

        // On top: a warning, and the leftovers stay.
        let options = format!("{} {DEFAULT}", back_end.options());
        let on_top = init(&pod, &options).succeeded();
        for part in [
            "--reconcile would replace them",
            "not planned: IPv4 nat PREROUTING has the rule: -i old0 -j RETURN",
            "not planned: IPv4 mangle has the chain ISTIO_TPROXY with 1 rule(s)",
            "not planned: ip -4 rule add fwmark 1337 lookup 133",
        ] {
            assert!(on_top.err.contains(part), "{part}: {on_top:?}");
        }
        assert!(back_end.rules(&pod).contains("TPROXY"));

        let compared = init(&pod, &format!("check {options}"));
        assert_eq!(compared.code, 2);
        assert!(
            compared.out.contains("not planned: IPv4 mangle has the chain ISTIO_TPROXY with 1 rule(s)\n"),
            "{compared:?}"
        );
        assert!(
            compared.out.contains("not planned: ip -4 rule add fwmark 1337 lookup 133\n"),
            "{compared:?}"
        );

        let replaced = init(&pod, &format!("{options} --reconcile")).succeeded();
        assert!(replaced.out.starts_with("rules were replaced") && replaced.err.is_empty(), "{replaced:?}");
        assert_eq!(init(&pod, &format!("check {options}")).code, 0);
        let rules = back_end.rules(&pod);
        for gone in ["TPROXY", "old0", "CONNMARK", "ISTIO_DROP", "ISTIO_GUARD", "-j CT "] {
            assert!(!rules.contains(gone), "{gone} in {rules}");
        }
        assert!(!pod.ip("rule").contains("fwmark"));
        init(&pod, &format!("{options} --cleanup-only")).succeeded();
        let left = back_end.rules(&pod);
        for line in foreign.lines().filter(|line| line.starts_with("-A")) {
            assert!(left.lines().any(|other| other == line), "{line} not in {left}");
        }
        assert_eq!(left.matches("-A ").count(), foreign.matches("-A ").count(), "{left}");
    }
}

#[test]
fn what_was_tampered_with_is_shown_and_repaired() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in iptables() {
        let pod = bare_pod();
        let options = format!("{} {DEFAULT}", back_end.options());
        init(&pod, &options).succeeded();
        let program = back_end.name();
        for (change, difference) in [
            (
                "-t nat -D ISTIO_INBOUND -p tcp --dport 15020 -j RETURN",
                "missing: IPv4 nat ISTIO_INBOUND rule 4: -p tcp --dport 15020 -j RETURN",
            ),
            (
                "-t nat -I ISTIO_OUTPUT 1 -d 9.9.9.9/32 -j RETURN",
                "not planned: IPv4 nat ISTIO_OUTPUT has the rule: -d 9.9.9.9/32 -j RETURN",
            ),
            ("-t nat -D PREROUTING 1", "missing: IPv4 nat PREROUTING rule 1: -p tcp -j ISTIO_INBOUND"),
            (
                "-t nat -A OUTPUT -j ISTIO_OUTPUT",
                "not planned: IPv4 nat OUTPUT has the rule: -j ISTIO_OUTPUT",
            ),
            (
                "-t nat -F ISTIO_REDIRECT",
                "missing: IPv4 nat ISTIO_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15001",
            ),
        ] {
            assert!(pod.run(&format!("{program} {change}")).status.success(), "{change}");
            let compared = init(&pod, &format!("check {options}"));
            assert_eq!(compared.out, format!("{difference}\n1 difference(s) ({program})\n"), "{change}");
            assert_eq!(compared.code, 2);
            init(&pod, &format!("{options} --reconcile")).succeeded();
            assert_eq!(init(&pod, &format!("check {options}")).code, 0, "{change}");
        }
    }
}

#[test]
fn native_tables_that_were_tampered_with_are_made_anew() {
    if !can_make_namespaces() || !BackEnd::Native.works(DEFAULT) {
        return;
    }
    let pod = bare_pod();
    let options = format!("{} {DEFAULT}", BackEnd::Native.options());
    init(&pod, &options).succeeded();
    assert!(
        pod.run("nft add rule inet istio-proxy-nat istio-output ip daddr 9.9.9.9 counter return")
            .status
            .success()
    );
    assert!(pod.run("nft add chain inet istio-proxy-nat old").status.success());
    let compared = init(&pod, &format!("check {options}"));
    assert_eq!(
        compared.out,
        "not planned: inet istio-proxy-nat istio-output has the rule: ip daddr 9.9.9.9 counter return\n\
         not planned: inet istio-proxy-nat has the chain old with 0 rule(s)\n2 difference(s) (nft)\n"
    );
    let again = init(&pod, &options).succeeded();
    assert!(again.out.starts_with("rules were replaced (nft)") && again.err.is_empty(), "{again:?}");
    assert_eq!(init(&pod, &format!("check {options}")).code, 0);
}

/// Both sets of rules act, so the one that holds ours is found, and after a change of back-end the other's is not forgotten.
#[test]
fn the_back_end_with_rules_is_found_and_left_for_another() {
    if !can_make_namespaces() || !ALL.into_iter().all(|back_end| back_end.works(DEFAULT)) {
        return;
    }
    let pod = bare_pod();
    assert!(init(&pod, DEFAULT).succeeded().out.contains("(iptables-nft)"));
    init(&pod, &format!("{DEFAULT} --cleanup-only")).succeeded();
    init(&pod, &format!("{} {DEFAULT}", BackEnd::Legacy.options())).succeeded();
    let found = init(&pod, DEFAULT).succeeded();
    assert_eq!(found.out, "rules are in place already (iptables-legacy), nothing was changed\n");

    let native = format!("{} {DEFAULT}", BackEnd::Native.options());
    let beside = init(&pod, &native).succeeded();
    assert!(beside.err.contains("iptables-legacy holds rules of an earlier run too"), "{beside:?}");
    assert_eq!(init(&pod, &format!("check {native}")).code, 2);
    init(&pod, &format!("{native} --reconcile")).succeeded();
    assert!(!BackEnd::Legacy.has_ours(&pod) && BackEnd::Native.has_ours(&pod));
    assert_eq!(init(&pod, &format!("check {native}")).code, 0);

    init(&pod, &format!("{} {DEFAULT} --reconcile", BackEnd::Nft.options())).succeeded();
    assert!(!pod.run("nft list tables").stdout.windows(11).any(|part| part == b"istio-proxy"));
    assert!(BackEnd::Nft.has_ours(&pod));
    init(&pod, &format!("{} {DEFAULT}", BackEnd::Legacy.options())).succeeded();
    init(&pod, "--cleanup-only").succeeded();
    assert!(ALL.into_iter().all(|back_end| !back_end.has_ours(&pod)));
}

/// Chains of ours get the new rules; what lands behind a rule that hides it is said.
#[test]
fn on_top_works_where_it_can_and_says_where_it_does_not() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in iptables() {
        let pod = bare_pod();
        let options = format!("{} {DEFAULT}", back_end.options());
        init(&pod, &options).succeeded();
        let other_port = init(&pod, &format!("{options} -p 15011")).succeeded();
        assert!(
            other_port.out.starts_with("rules were applied") && other_port.err.is_empty(),
            "{other_port:?}"
        );
        assert_eq!(init(&pod, &format!("check {options} -p 15011")).code, 0);
        let behind = init(&pod, &format!("{options} -c net1")).succeeded();
        assert!(behind.err.contains("in another order: the rules of IPv4 nat PREROUTING"), "{behind:?}");
        assert_eq!(init(&pod, &format!("check {options} -c net1")).code, 2);
    }
}

/// A run that is killed between guard and rules leaves a pod that nothing gets through. The next run must not.
#[test]
fn the_guard_of_a_killed_run_is_lifted() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in iptables() {
        let pod = Pod::new();
        let options = format!("{} {DEFAULT} --dual-stack", back_end.options());
        init(&pod.pod, &options).succeeded();
        for program in [back_end.name().to_owned(), back_end.name().replace("iptables", "ip6tables")] {
            for line in [
                "-N ISTIO_GUARD",
                "-A ISTIO_GUARD -p tcp -j DROP",
                "-A ISTIO_GUARD -p udp -j DROP",
                "-I INPUT 1 -j ISTIO_GUARD",
                "-I FORWARD 1 -j ISTIO_GUARD",
                "-I OUTPUT 1 -j ISTIO_GUARD",
            ] {
                assert!(pod.pod.run(&format!("{program} {line}")).status.success(), "{line}");
            }
        }
        assert_eq!(init(&pod.pod, &format!("check {options}")).code, 2);
        init(&pod.pod, &options).succeeded();
        assert!(!back_end.rules(&pod.pod).contains("ISTIO_GUARD"));
        assert_eq!(pod.sends(APPLICATION, "10.77.0.1:8080"), "proxy 15001 for 10.77.0.1:8080");
    }
}

/// As the CNI plugin does it: from the node's namespace, by the path of the pod's.
#[test]
fn another_namespace_is_worked_in_from_outside() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in ALL.into_iter().filter(|back_end| back_end.works(DEFAULT)) {
        let (node, pod) = (Namespace::new(), Pod::new());
        let path = pod.pod.path();
        for cni in ["", "--cni-mode"] {
            let options = format!(
                "{} {DEFAULT} --dual-stack --network-namespace {} {cni}",
                back_end.options(),
                path.display()
            );
            let applied = init(&node, &options).succeeded();
            assert!(
                applied.out.contains("for IPv6; ip -6 addr add"),
                "the pod's addresses count: {applied:?}"
            );
            assert!(back_end.has_ours(&pod.pod) && !back_end.has_ours(&node), "{back_end:?}");
            assert_eq!(pod.sends(APPLICATION, "[fd77::1]:8080"), "proxy 15001 for [fd77::1]:8080");
            assert_eq!(init(&node, &format!("check {options}")).code, 0);
            init(&node, &format!("{options} --cleanup-only")).succeeded();
            assert!(!back_end.has_ours(&pod.pod), "{back_end:?}");
        }
    }
    let node = Namespace::new();
    for (path, hint) in
        [("/no/such/namespace", "/var/run/netns/NAME"), ("/etc/passwd", "names no network namespace")]
    {
        let wrong = run(node.command(sampan_init()).args(words(&format!("--network-namespace {path}"))));
        assert!(wrong.code == 1 && wrong.err.contains(path) && wrong.err.contains(hint), "{wrong:?}");
    }
}

/// While rules are replaced, connections wait or come to the proxy; none gets past it.
#[test]
fn nothing_gets_past_the_proxy_while_rules_are_replaced() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in ALL.into_iter().filter(|back_end| back_end.works("-m TPROXY -b *")) {
        let pod = Pod::new();
        let options = |port: u16| format!("{} {DEFAULT} -p {port} --reconcile", back_end.options());
        init(&pod.pod, &options(15001)).succeeded();
        let stop = AtomicBool::new(false);
        let answers = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(pod.sends(APPLICATION, "10.77.0.1:8080"));
                }
                answers
            });
            for port in [15006, 15001, 15006, 15001] {
                let replaced = init(&pod.pod, &options(port)).succeeded();
                assert!(replaced.out.starts_with("rules were replaced"), "{replaced:?}");
            }
            stop.store(true, Ordering::Relaxed);
            client.join().unwrap()
        });
        assert!(!answers.is_empty());
        let proxy = |answer: &&String| !answer.starts_with("proxy 150");
        assert_eq!(answers.iter().find(proxy), None, "{back_end:?}");
    }
}
