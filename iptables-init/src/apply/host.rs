//! What interception needs besides rules, by way of the program `ip`: an address on the loopback interface, and the
//! routing of marked packets for TPROXY. Called by [`super`].

use super::error::{ApplyError, Missing};
use crate::config::Config;
use crate::plan::{Family, HostStep, Plan};
use crate::system::{Answer, Call, System};

/// Everything that a run with these marks and tables may have left, whatever its other options.
pub fn conceivable(config: &Config) -> Vec<HostStep> {
    let mut steps = vec![HostStep::LoopbackAddress { address: Family::V6.inbound_source() }];
    for family in [Family::V4, Family::V6] {
        let (mark, table) = (config.tproxy_mark, config.tproxy_route_table);
        steps.push(HostStep::MarkLookup { family, mark, table });
        steps.push(HostStep::LocalDefaultRoute { family, table });
    }
    steps
}

/// Those of the conceivable steps that are done. Without the program `ip` there are none, unless the plan needs it.
///
/// # Errors
/// The plan needs `ip`, and it cannot be started.
pub fn present(system: &dyn System, config: &Config, plan: &Plan) -> Result<Vec<HostStep>, ApplyError> {
    let mut found = Vec::new();
    for step in conceivable(config) {
        match ask(system, step) {
            Ok(true) => found.push(step),
            Ok(false) => {}
            Err(_) if plan.host_steps.is_empty() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Does a step.
///
/// # Errors
/// `ip` refuses or is missing.
pub fn add(system: &dyn System, step: HostStep) -> Result<(), ApplyError> {
    change(system, step, &step.to_string())
}

/// Undoes a step.
///
/// # Errors
/// `ip` refuses or is missing.
pub fn remove(system: &dyn System, step: HostStep) -> Result<(), ApplyError> {
    change(system, step, &step.to_undo_line())
}

fn change(system: &dyn System, step: HostStep, line: &str) -> Result<(), ApplyError> {
    let answer = ip(system, line.strip_prefix("ip ").unwrap_or(line))?;
    // Another run may have been quicker.
    if answer.success || answer.error.contains("File exists") {
        return Ok(());
    }
    let complaint = answer.complaint();
    let missing =
        Missing::permission(&complaint).filter(|_| !matches!(step, HostStep::LoopbackAddress { .. }));
    let missing = missing.unwrap_or_else(|| needs(step));
    Err(ApplyError::refused(line, complaint, Some(missing)))
}

fn needs(step: HostStep) -> Missing {
    match step {
        HostStep::LoopbackAddress { .. } => Missing {
            what: "IPv6 on the loopback interface of this namespace".to_owned(),
            hint: "allow it (sysctl net.ipv6.conf.lo.disable_ipv6=0), or leave out --dual-stack so that the pod's IPv4 \
                   address decides"
                .to_owned(),
        },
        HostStep::MarkLookup { .. } | HostStep::LocalDefaultRoute { .. } => Missing {
            what: "routing by marks in the kernel (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)".to_owned(),
            hint: "use -m REDIRECT, which needs no routing".to_owned(),
        },
    }
}

/// Whether a step is done. A listing that fails (no such table, no IPv6) shows that it is not.
fn ask(system: &dyn System, step: HostStep) -> Result<bool, ApplyError> {
    let has = |answer: &Answer, parts: &[String]| {
        answer.success && answer.output.lines().any(|line| parts.iter().all(|part| has_words(line, part)))
    };
    Ok(match step {
        HostStep::LoopbackAddress { address } => {
            has(&ip(system, "-6 addr show dev lo")?, &[format!("inet6 {address}/128")])
        }
        HostStep::MarkLookup { family, mark, table } => {
            let answer = ip(system, &format!("{} rule show", family.ip_option()))?;
            has(&answer, &[format!("fwmark {mark:#x}"), format!("lookup {table}")])
        }
        HostStep::LocalDefaultRoute { family, table } => {
            let answer = ip(system, &format!("{} route show table {table}", family.ip_option()))?;
            has(&answer, &["local default".to_owned(), "dev lo".to_owned()])
        }
    })
}

/// Whether the words stand in the line one after the other.
fn has_words(line: &str, words: &str) -> bool {
    format!(" {} ", line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .contains(&format!(" {words} "))
}

fn ip(system: &dyn System, line: &str) -> Result<Answer, ApplyError> {
    system.run(&Call::new("ip", line)).map_err(|error| {
        ApplyError::refused("ip", error.to_string(), Some(Missing::program("ip", "iproute2", &error)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::written::Written;
    use super::*;
    use crate::plan::tests::{config, plan};

    const TPROXY: &str = "-m TPROXY -b * --dual-stack";

    #[test]
    fn what_is_done_is_seen() {
        let system = Written::new(&[
            ("ip -6 addr show dev lo", "    inet6 ::6/128 scope global"),
            ("ip -4 rule show", "32765:\tfrom all fwmark 0x539 lookup 133 "),
            ("ip -4 route show table 133", "local default dev lo scope host "),
            ("ip -6 rule show", "32765:\tfrom all fwmark 0x53 lookup 133"),
            ("ip -6 route show table 133", "!Error: ipv6: FIB table does not exist."),
        ]);
        let found = present(&system, &config(TPROXY), &plan(TPROXY)).unwrap();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "ip -6 addr add ::6/128 dev lo",
            "ip -4 rule add fwmark 1337 lookup 133",
            "ip -4 route add local default dev lo table 133",
        ];
        assert_eq!(lines, expected);
        assert_eq!(found[1].to_undo_line(), "ip -4 rule del fwmark 1337 lookup 133");
    }

    #[test]
    fn ip_is_needed_only_by_what_needs_it() {
        let system = Written::new(&[]);
        assert_eq!(present(&system, &config("-b *"), &plan("-b *")).unwrap(), []);
        let error = present(&system, &config(TPROXY), &plan(TPROXY)).unwrap_err().to_string();
        assert!(error.contains("ip is not on PATH") && error.contains("iproute2"), "{error}");
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let step = plan("-b * --dual-stack").host_steps[0];
        let line = "ip -6 addr add ::6/128 dev lo";
        let system = Written::new(&[(line, "!RTNETLINK answers: Permission denied")]);
        let error = add(&system, step).unwrap_err().to_string();
        assert!(error.contains("disable_ipv6=0") && error.contains("--dual-stack"), "{error}");
        let system = Written::new(&[(line, "!RTNETLINK answers: File exists")]);
        assert!(add(&system, step).is_ok());
    }
}
