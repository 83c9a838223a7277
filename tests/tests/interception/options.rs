//! Every option on a real kernel: its rules are taken, read back the same, changed by nothing in a second run, and follow
//! from any other rules by `--reconcile`. Then traffic for the options that the main table of traffic leaves out.

use sampan_tests::harness::netns::{Identity, Namespace, can_make_namespaces, join};

use crate::back_end::{ALL, BackEnd};
use crate::pod::{APPLICATION, Pod, bare_pod, init, run, serve, words};

/// A command line, and a variable as `NAME=value` before it if it has one.
const LINES: &[&str] = &[
    "",
    "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020",
    "-i * -b * -d 15020 --dual-stack",
    "-i * -p 1 -z 2 -e 3 -b *",
    "-i * -u 3,4 -g 1,2",
    "-b 80,8000:9000",
    "-b * -d 22,6000:6010",
    "-i 10.0.0.0/8,192.168.1.7/16,fd00::1/8 -x 10.1.2.3/32,10.9.9.9/12,fd01::/16 --dual-stack",
    "-i 127.1.2.3/32",
    "-i 0.0.0.0/0,::/0 --dual-stack",
    "-q 32000,8000:9000 -o 25,6000:6010",
    "-b * -i * -c net1,net+ -k vm0,vm+",
    "-b * -i 10.0.0.0/8,172.16.0.0/12 -k vm0",
    "-m TPROXY -b * -i * -d 15090,15021,15020 --dual-stack",
    "-m TPROXY -b 80,8000:9000 -t 0x7 -r 9 -c net1",
    "-m TPROXY",
    "-b * --drop-invalid --dual-stack",
    "-i * --redirect-dns --capture-all-dns --dual-stack",
    "ISTIO_OUTBOUND_OWNER_GROUPS=77,202 -i *",
    "ISTIO_OUTBOUND_OWNER_GROUPS=77 -i *",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=888,9 -i * --dual-stack",
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.1/8 -i *",
    "-b * -i * -d 15020 -x 10.1.0.0/16 -o 25 -q 99 -c net1 -k vm0 -m TPROXY --redirect-dns --capture-all-dns --drop-invalid --dual-stack",
];

#[test]
fn every_option_is_taken_read_back_and_replaced() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for back_end in ALL {
            scope.spawn(move || on(back_end));
        }
    });
}

fn on(back_end: BackEnd) {
    if !back_end.works("-m TPROXY -b *") {
        return;
    }
    let pod = bare_pod();
    for line in LINES {
        let (variable, options) = match line.split_once(' ') {
            Some((variable, rest)) if variable.contains('=') => (variable.split_once('='), rest),
            _ => (None, *line),
        };
        let at = format!("{back_end:?}: {line:?}");
        let go = |more: &str| {
            let mut command = pod.command("env");
            command.args(variable.map(|(name, value)| format!("{name}={value}")));
            command.arg(sampan_tests::harness::binaries::sampan_init());
            run(command.args(words(&format!("{} {options} {more}", back_end.options()))))
        };
        let first = go("--reconcile");
        assert_eq!(first.code, 0, "{at}: {first:?}");
        let compared = go("check");
        assert_eq!(compared.code, 0, "{at}: {compared:?}");
        let rules = back_end.rules(&pod);
        let second = go("");
        assert!(second.code == 0 && second.out.contains("in place already"), "{at}: {second:?}");
        let forced = go("--force-apply");
        assert!(forced.code == 0 && !forced.out.contains("in place"), "{at}: {forced:?}");
        assert_eq!(back_end.rules(&pod), rules, "{at}");
    }
    init(&pod, &format!("{} --cleanup-only", back_end.options())).succeeded();
    assert!(!back_end.has_ours(&pod), "{back_end:?}: {}", back_end.rules(&pod));
}

#[test]
fn ranges_and_ports_of_choice() {
    if !can_make_namespaces() {
        return;
    }
    const OPTIONS: &str = "-i 10.78.0.0/16,fd78::/16 -q 9999 -b 8081 --dual-stack";
    for back_end in ALL.into_iter().filter(|back_end| back_end.works(OPTIONS)) {
        let pod = Pod::new();
        init(&pod.pod, &format!("{} {OPTIONS}", back_end.options())).succeeded();
        for (to, expected) in [
            ("10.78.0.1:8080", "proxy 15001 for 10.78.0.1:8080"),
            ("[fd78::1]:8080", "proxy 15001 for [fd78::1]:8080"),
            ("10.77.0.1:8080", "peer 8080"),
            ("[fd77::1]:8080", "peer 8080"),
            ("10.77.0.1:9999", "proxy 15001 for 10.77.0.1:9999"),
            ("[fd77::1]:9999", "proxy 15001 for [fd77::1]:9999"),
        ] {
            assert_eq!(pod.sends(APPLICATION, to), expected, "{back_end:?}");
        }
        for (to, expected) in [
            ("10.77.0.2:8081", "proxy 15006 for 10.77.0.2:8081"),
            ("[fd77::2]:8081", "proxy 15006 for [fd77::2]:8081"),
            ("10.77.0.2:8080", "pod 8080"),
            ("[fd77::2]:8080", "pod 8080"),
        ] {
            assert_eq!(pod.receives(to), expected, "{back_end:?}");
        }
    }
}

#[test]
fn owner_groups_in_and_out() {
    if !can_make_namespaces() {
        return;
    }
    let of_group = |gid| Identity { uid: 5000, gid };
    for back_end in ALL.into_iter().filter(|back_end| back_end.works("-i *")) {
        for (variable, redirected, left_alone) in [
            ("ISTIO_OUTBOUND_OWNER_GROUPS=77,78", 78, 79),
            ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=77,78", 79, 78),
        ] {
            let pod = Pod::new();
            let mut command = pod.pod.command("env");
            command.arg(variable).arg(sampan_tests::harness::binaries::sampan_init());
            run(command.args(words(&format!("{} -i *", back_end.options())))).succeeded();
            let at = format!("{back_end:?} {variable}");
            assert_eq!(
                pod.sends(of_group(redirected), "10.77.0.1:8080"),
                "proxy 15001 for 10.77.0.1:8080",
                "{at}"
            );
            assert_eq!(pod.sends(of_group(left_alone), "10.77.0.1:8080"), "peer 8080", "{at}");
        }
    }
}

#[test]
fn interfaces_excluded_and_of_virtual_machines() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in ALL.into_iter().filter(|back_end| back_end.works("-b * -i *")) {
        let (pod, other, machine) = (Pod::new(), Namespace::new(), Namespace::new());
        join((&pod.pod, "net1", &["10.79.0.1/24"]), (&other, "cable", &["10.79.0.2/24"]));
        join((&pod.pod, "vm0", &["10.80.0.1/24"]), (&machine, "eth0", &["10.80.0.2/24"]));
        machine.ip("route add default via 10.80.0.1");
        serve(&other, "0.0.0.0:8080".parse().unwrap(), |_, _| "other".to_owned());
        init(&pod.pod, &format!("{} -b * -i * -c net1 -k vm0", back_end.options())).succeeded();
        let ask = |from: &Namespace, to: &str| from.ask(APPLICATION, None, to.parse().unwrap()).unwrap();
        // An excluded interface is left alone in both directions, the others are not.
        assert_eq!(pod.sends(APPLICATION, "10.79.0.2:8080"), "other", "{back_end:?}");
        assert_eq!(ask(&other, "10.79.0.1:8080"), "pod 8080", "{back_end:?}");
        assert_eq!(
            pod.sends(APPLICATION, "10.77.0.1:8080"),
            "proxy 15001 for 10.77.0.1:8080",
            "{back_end:?}"
        );
        // What a virtual machine sends is outbound traffic, wherever it goes.
        assert_eq!(ask(&machine, "10.77.0.1:8080"), "proxy 15001 for 10.77.0.1:8080", "{back_end:?}");
        assert_eq!(ask(&machine, "203.0.113.9:80"), "proxy 15001 for 203.0.113.9:80", "{back_end:?}");
    }
}
