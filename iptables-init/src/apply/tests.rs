//! The order of steps on a written machine: what is run, what is not, and what becomes of refusals. What the kernel
//! makes of it is for the tests in network namespaces.

use super::written::Written;
use super::*;
use crate::plan::tests::{config, plan};

const QUIET: &[(&str, &str)] = &[
    ("iptables-nft-save", ""),
    ("ip6tables-nft-save", ""),
    ("iptables-nft-restore", ""),
    ("ip6tables-nft-restore", ""),
    ("ip -6 addr add ::6/128 dev lo", ""),
    ("ip -6 addr del ::6/128 dev lo", ""),
    ("ip", "!none"),
    ("nft", ""),
];

/// The quiet machine with other answers for some programs.
fn machine(answers: &[(&str, &str)]) -> Written {
    Written::new(&answers.iter().chain(QUIET).copied().collect::<Vec<_>>())
}

fn apply_on(system: &Written, line: &str) -> Result<Report, ApplyError> {
    apply(Work { config: &config(line), plan: &plan(line), system })
}

/// The programs that change something, in order.
fn changes(system: &Written) -> Vec<String> {
    let ran = system.ran.borrow();
    let lines = ran.iter().map(|(line, _)| line.clone());
    lines
        .filter(|line| {
            line.contains("-restore")
                || line.contains(" add ")
                || line.contains(" del ")
                || line.contains(" -f ")
        })
        .collect()
}

/// What `iptables-save` would print after a plan.
fn kernel(line: &str) -> String {
    plan(line)
        .ipv4
        .to_restore_text()
        .replace("* ", "*")
        .replace("-N ", ":")
        .replace("\n-A ISTIO_INBOUND -p tcp --dport 15008", " - [0:0]\n-A ISTIO_INBOUND -p tcp --dport 15008")
        .lines()
        .map(|line| {
            if line.starts_with(':') && !line.ends_with(']') {
                format!("{line} - [0:0]\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

#[test]
fn a_fresh_pod_gets_steps_then_rules() {
    let system = machine(&[]);
    let report = apply_on(&system, "-b * -i * --dual-stack").unwrap();
    assert_eq!(
        changes(&system),
        [
            "ip -6 addr add ::6/128 dev lo",
            "iptables-nft-restore --noflush --wait=30",
            "ip6tables-nft-restore --noflush --wait=30"
        ]
    );
    assert!(
        report.done.starts_with("rules were applied (iptables-nft): 15 for IPv4, 15 for IPv6; ip -6 addr"),
        "{}",
        report.done
    );
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn rules_in_place_are_left_alone() {
    let saved = kernel("-b * -i *");
    let system = machine(&[("iptables-nft-save", &saved)]);
    let report = apply_on(&system, "-b * -i *").unwrap();
    assert_eq!(report.done, "rules are in place already (iptables-nft), nothing was changed");
    assert_eq!(changes(&system), Vec::<String>::new());
    apply_on(&system, "-b * -i * --force-apply").unwrap();
    assert_eq!(changes(&system), ["iptables-nft-restore --noflush --wait=30"]);
}

#[test]
fn other_rules_are_replaced_behind_a_guard_or_built_upon() {
    let saved = kernel("-b 80");
    let system = machine(&[("iptables-nft-save", &saved)]);
    let report = apply_on(&system, "-b * -i * --reconcile").unwrap();
    assert!(report.done.starts_with("rules were replaced") && report.warnings.is_empty());
    let texts: Vec<String> =
        system.ran.borrow().iter().map(|(_, input)| input.clone()).filter(|text| !text.is_empty()).collect();
    assert_eq!(texts.len(), 3, "{texts:#?}");
    assert!(texts[0] == transaction::guard_up() && texts[2] == transaction::guard_down());
    assert!(texts[1].starts_with("*nat\n-D PREROUTING -p tcp -j ISTIO_INBOUND\n"));

    let system = machine(&[("iptables-nft-save", &saved)]);
    let report = apply_on(&system, "-b * -i *").unwrap();
    assert!(report.warnings[0].contains("--reconcile"), "{:?}", report.warnings);
    let left = report.warnings.iter().any(|text| text.contains("--dport 80 -j ISTIO_IN_REDIRECT"));
    assert!(left, "{:?}", report.warnings);
}

#[test]
fn a_refusal_is_undone_in_reverse() {
    let system = machine(&[("ip6tables-nft-restore", "!ip6tables-restore: line 7 failed")]);
    let error = apply_on(&system, "-b * -i * --dual-stack").unwrap_err().to_string();
    assert!(error.starts_with("ip6tables-nft-restore: ip6tables-restore: line 7 failed"), "{error}");
    assert!(error.contains("missing: IPv6: the table nat") && error.contains("--dual-stack"), "{error}");
    assert!(error.contains("what had been done before was undone"), "{error}");
    let lines = changes(&system);
    assert_eq!(lines[0], "ip -6 addr add ::6/128 dev lo");
    assert!(lines.contains(&"ip -6 addr del ::6/128 dev lo".to_owned()), "{lines:?}");
}

#[test]
fn what_cannot_be_undone_is_said() {
    let system = machine(&[
        ("ip6tables-nft-restore", "!no"),
        ("ip -6 addr del ::6/128 dev lo", "!RTNETLINK answers: odd"),
    ]);
    let error = apply_on(&system, "-b * --dual-stack").unwrap_err().to_string();
    assert!(error.contains("failed too (ip -6 addr del ::6/128 dev lo: RTNETLINK answers: odd)"), "{error}");
}

#[test]
fn without_privilege_or_programs_nothing_is_run() {
    let mut system = machine(&[]);
    system.privileges.net_admin = false;
    let error = apply_on(&system, "-b *").unwrap_err().to_string();
    assert!(error.starts_with("CAP_NET_ADMIN is missing") && error.contains("--skip-rule-apply"), "{error}");
    assert!(system.ran.borrow().is_empty());

    let system = Written::new(&[("nft", "")]);
    let error = apply_on(&system, "-b *").unwrap_err().to_string();
    assert!(
        error.contains("iptables-nft-save is not on PATH") && error.contains("--native-nftables"),
        "{error}"
    );
    let error = apply_on(&Written::new(&[]), "-b * --native-nftables").unwrap_err().to_string();
    assert!(error.contains("nft is not on PATH") && error.contains("package nftables"), "{error}");
}

#[test]
fn the_other_back_end_s_rules_are_seen() {
    let system = machine(&[
        ("nft list tables", "table inet istio-proxy-nat\n"),
        ("nft -s -y list table inet istio-proxy-nat", ""),
    ]);
    let line = "-b *";
    let compared = check(Work { config: &config(line), plan: &plan(line), system: &system }).unwrap();
    assert!(compared.differences.contains(&Difference::Elsewhere("nft".to_owned())));
    apply_on(&system, "-b * --reconcile").unwrap();
    let ran = system.ran.borrow();
    let deleted = ran.iter().any(|(line, input)| {
        line == "nft -f -" && input == "add table inet istio-proxy-nat\ndelete table inet istio-proxy-nat\n"
    });
    assert!(deleted, "{ran:?}");
}

#[test]
fn cleaning_up_looks_everywhere() {
    let saved = kernel("-b *");
    let system = machine(&[
        ("iptables-nft-save", &saved),
        ("iptables-legacy-save", &saved),
        ("ip6tables-legacy-save", ""),
        ("iptables-legacy-restore", ""),
        ("nft list tables", "table inet istio-proxy-raw\n"),
    ]);
    let report = apply_on(&system, "--cleanup-only").unwrap();
    assert_eq!(report.done, "rules were taken away (iptables-nft)");
    assert_eq!(
        changes(&system),
        [
            "iptables-nft-restore --noflush --wait=30",
            "iptables-legacy-restore --noflush --wait=30",
            "nft -f -"
        ]
    );
    assert_eq!(
        apply_on(&machine(&[]), "--cleanup-only").unwrap().done,
        "there were no rules to take away (iptables-nft)"
    );
}
