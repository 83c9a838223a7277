//! Failures: what is missing is named with the option that does without it, and a pod is never left half intercepted.
//!
//! This machine's kernel may have everything, so what is lacking is played by programs of the test's own: each is put before
//! the real one on `PATH`, refuses what a kernel without a module would refuse, and hands everything else on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sampan_tests::harness::binaries::sampan_init;
use sampan_tests::harness::netns::{Namespace, can_make_namespaces};
use tempfile::TempDir;

use crate::back_end::BackEnd;
use crate::pod::{Run, bare_pod, init, run, words};

const OPTIONS: &str = "-i * -b * --dual-stack";

/// A pod whose programs can be replaced.
struct Broken {
    pod: Namespace,
    programs: TempDir,
}

impl Broken {
    fn new() -> Self {
        let pod = bare_pod();
        Self { pod, programs: TempDir::new().unwrap() }
    }

    /// A program that runs `script` first, with its input in `$input`, and goes on as the real one.
    fn replace(&self, name: &str, script: &str) {
        let real = which(name);
        let text = format!(
            "#!/bin/sh\ninput=$(cat)\n{script}\nprintf '%s\\n' \"$input\" | exec {} \"$@\"\n",
            real.trim()
        );
        let file = self.programs.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program that refuses input with some words in it, with a kernel's complaint.
    fn refuse(&self, name: &str, words: &str, complaint: &str) {
        let script = format!("case \"$input\" in *'{words}'*) echo '{complaint}' >&2; exit 1;; esac");
        self.replace(name, &script);
    }

    fn init(&self, line: &str) -> Run {
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        run(self.pod.command("env").arg(format!("PATH={path}")).arg(sampan_init()).args(words(line)))
    }

    /// Everything that a run could have changed.
    fn state(&self) -> String {
        // Tables of iptables-nft stay once they were asked for, empty.
        let iptables = BackEnd::Nft.rules(&self.pod);
        let mut state: Vec<String> = lines_with(&iptables, &["ISTIO_", "-A "]).collect();
        state.extend(lines_with(&BackEnd::Native.rules(&self.pod), &["istio-"]));
        for line in
            ["rule", "-6 rule", "-6 addr show dev lo", "-4 route show table all", "-6 route show table all"]
        {
            state.extend(lines_with(&self.pod.ip(line), &["fwmark", "::6", "local default"]));
        }
        state.concat()
    }
}

/// The lines that have any of some words in them.
fn lines_with<'t>(text: &'t str, words: &'t [&'t str]) -> impl Iterator<Item = String> + 't {
    let lines = text.lines().filter(move |line| words.iter().any(|word| line.contains(word)));
    lines.map(|line| format!("{line}\n"))
}

fn which(name: &str) -> String {
    let output = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_refusal_half_way_leaves_a_fresh_pod_fresh() {
    if !can_make_namespaces() || !BackEnd::Nft.works(OPTIONS) {
        return;
    }
    let broken = Broken::new();
    let before = broken.state();
    // IPv4 is done by then, in all its tables, and so are the address and the routes.
    broken.refuse(
        "ip6tables-nft-restore",
        "-A ISTIO_OUTPUT",
        "ip6tables-nft-restore: line 9: RULE_APPEND failed",
    );
    let line = format!("{} {OPTIONS} -m TPROXY --redirect-dns --capture-all-dns", BackEnd::Nft.options());
    let failed = broken.init(&line);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""), "{failed:?}");
    assert!(failed.err.contains("ip6tables-nft-restore: line 9"), "{failed:?}");
    assert!(failed.err.contains("what had been done before was undone: the pod is as it was"), "{failed:?}");
    assert_eq!(broken.state(), before);
}

#[test]
fn a_refusal_half_way_leaves_earlier_rules_as_they_were() {
    if !can_make_namespaces() || !BackEnd::Nft.works(OPTIONS) {
        return;
    }
    let broken = Broken::new();
    broken.pod.run("iptables-nft -t nat -A OUTPUT -d 203.0.113.1/32 -j RETURN");
    let base = BackEnd::Nft.options();
    init(&broken.pod, &format!("{base} {OPTIONS} -m TPROXY -c net1")).succeeded();
    broken.pod.run("iptables-nft -t nat -A OUTPUT -d 203.0.113.2/32 -j RETURN");
    let before = broken.state();
    assert!(before.contains("TPROXY") && before.contains("203.0.113.2"), "{before}");
    broken.refuse("ip6tables-nft-restore", "--to-ports 15099", "no");
    for how in ["--reconcile", ""] {
        let failed = broken.init(&format!("{base} {OPTIONS} -p 15099 {how}"));
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.err.contains("was undone"), "{failed:?}");
        assert_eq!(broken.state(), before, "{how}");
    }
}

#[test]
fn a_native_transaction_is_all_or_nothing() {
    if !can_make_namespaces() || !BackEnd::Native.works(OPTIONS) {
        return;
    }
    let broken = Broken::new();
    let before = broken.state();
    let options = format!("{} {OPTIONS} -m TPROXY", BackEnd::Native.options());
    broken.refuse("nft", "tproxy ip6", "Error: Could not process rule: No such file or directory");
    let failed = broken.init(&options);
    assert!(failed.code == 1 && failed.err.contains("missing: IPv6: the target TPROXY"), "{failed:?}");
    assert!(failed.err.contains("was undone"), "the address and routes are: {failed:?}");
    assert_eq!(broken.state(), before);
}

#[test]
fn what_the_kernel_lacks_is_named_with_what_avoids_it() {
    if !can_make_namespaces() || !BackEnd::Nft.works(OPTIONS) {
        return;
    }
    const ALL: &str = "-i * -b * -m TPROXY --drop-invalid --redirect-dns --capture-all-dns";
    for (words, what, instead) in [
        ("-m owner", "IPv4: the match owner (xt_owner, nft_meta) in this kernel", "--native-nftables"),
        ("-j TPROXY", "IPv4: the target TPROXY (xt_TPROXY, nft_tproxy) in this kernel", "-m REDIRECT"),
        ("-j CT", "IPv4: the target CT (xt_CT, nft_ct) in this kernel", "leaving out --redirect-dns"),
        (
            "-m conntrack",
            "IPv4: the match conntrack (xt_conntrack, nft_ct) in this kernel",
            "-m REDIRECT without --drop-invalid",
        ),
        (
            "-j REDIRECT",
            "IPv4: the target REDIRECT (xt_REDIRECT, nft_redir) in this kernel",
            "--native-nftables",
        ),
        (
            "*raw",
            "IPv4: the table raw (iptable_raw, ip6table_raw) in this kernel",
            "leaving out --redirect-dns",
        ),
    ] {
        let broken = Broken::new();
        let before = broken.state();
        broken.refuse(
            "iptables-nft-restore",
            words,
            "Warning: Extension is not supported, missing kernel module?",
        );
        let failed = broken.init(&format!("{} {ALL}", BackEnd::Nft.options()));
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.err.contains(&format!("missing: {what}")), "{words}: {failed:?}");
        let helps = failed.err.lines().find(|line| line.contains("what helps:")).unwrap();
        assert!(helps.contains(instead) && helps.contains("modprobe"), "{words}: {failed:?}");
        assert_eq!(broken.state(), before, "{words}");
    }
}

#[test]
fn without_privilege_it_says_so() {
    if !can_make_namespaces() {
        return;
    }
    // The binary may lie where nobody but root may go.
    let place = TempDir::new().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("sampan-init");
    std::fs::copy(sampan_init(), &copy).unwrap();
    let pod = Namespace::new();
    for line in ["-b *", "-b * --native-nftables", "--cleanup-only", "check -b *"] {
        let denied = as_nobody(&pod, &copy, line);
        assert_eq!(denied.code, 1, "{denied:?}");
        assert!(
            denied.err.contains("CAP_NET_ADMIN is missing: give the container securityContext"),
            "{denied:?}"
        );
        assert!(denied.err.contains("--skip-rule-apply"), "{denied:?}");
    }
    // Nothing of the kind is needed for looking on paper, or for doing nothing.
    for line in ["-b * --dry-run", "--skip-rule-apply", "explain -b * --direction inbound --dst 10.0.0.1:80"]
    {
        as_nobody(&pod, &copy, line).succeeded();
    }
    assert!(!BackEnd::Nft.has_ours(&pod));
}

fn as_nobody(pod: &Namespace, program: &Path, line: &str) -> Run {
    let mut command = pod.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]).arg(program);
    run(command.args(words(line)))
}

#[test]
fn without_programs_it_says_what_to_install() {
    if !can_make_namespaces() {
        return;
    }
    let (pod, empty) = (Namespace::new(), TempDir::new().unwrap());
    let only = |line: &str, programs: &[&str]| {
        for name in programs {
            let _ = std::os::unix::fs::symlink(which(name).trim(), empty.path().join(name));
        }
        let mut command = pod.command("env");
        command.arg(format!("PATH={}", empty.path().display())).arg(sampan_init());
        run(command.args(words(line)))
    };
    for (line, programs, said) in [
        (
            "-b *",
            &[][..],
            &["no usable iptables", "iptables-legacy-save is not on PATH", "--native-nftables"][..],
        ),
        (
            "-b * --native-nftables",
            &[],
            &["nft is not on PATH", "package nftables", "leave out --native-nftables"],
        ),
        ("-b * -m TPROXY", &[], &["ip is not on PATH", "package iproute2", "-m TPROXY"]),
        (
            "-b *",
            &["iptables-nft-save"],
            &["iptables-nft-restore is not on PATH", "package iptables", "the pod is as it was"],
        ),
    ] {
        let failed = only(line, programs);
        assert_eq!(failed.code, 1, "{failed:?}");
        for part in said {
            assert!(failed.err.contains(part), "{part}: {failed:?}");
        }
    }
    assert!(!BackEnd::Nft.has_ours(&pod));
}

#[test]
fn without_ipv6_on_loopback_it_says_so() {
    if !can_make_namespaces() || !BackEnd::Nft.works(OPTIONS) {
        return;
    }
    let broken = Broken::new();
    let disable = || std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1");
    broken.pod.inside(disable).expect("root may");
    let before = broken.state();
    let failed = broken.init(&format!("{} {OPTIONS} --pod-ip 10.77.0.2,fd77::2", BackEnd::Nft.options()));
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.err.contains("IPv6 on the loopback interface")
            && failed.err.contains("leave out --dual-stack"),
        "{failed:?}"
    );
    assert_eq!(broken.state(), before);
}
