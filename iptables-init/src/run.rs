//! What the program does, from arguments to exit code; `main.rs` adds nothing but the real surroundings.

use std::io::Write;

use crate::apply::{self, Work};
use crate::args::{self, Action, RawOptions};
use crate::config::{Checked, Config};
use crate::environment::Environment;
use crate::error::InitError;
use crate::explain::{Dialect, Packet, explain};
use crate::plan::Plan;
use crate::system::System;
use crate::validate;

/// All is as asked.
const SUCCESS: u8 = 0;
/// Something went wrong.
const FAILURE: u8 = 1;
/// `check` found differences.
const DIFFERENT: u8 = 2;
/// Traffic could not be shown to be redirected: the code that `istio-iptables` gives, and that CNI's repair looks for.
const NOT_VALIDATED: u8 = 126;

/// Runs the program: answers on `out`, warnings and errors on `err`. Returns the exit code: 0; 1 for what went wrong;
/// 2 for differences that `check` found; 126 if the validation failed.
pub fn run(
    arguments: &[String],
    environment: &Environment,
    system: &dyn System,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let invocation = match args::parse(arguments, environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            if error.use_stderr() {
                // When even this cannot be written, the exit code still tells.
                let _ = write!(err, "{error}");
                return FAILURE;
            }
            return if write!(out, "{error}").is_ok() { SUCCESS } else { FAILURE };
        }
    };
    match answer(&invocation.options, &invocation.action, environment, system, out, err) {
        Ok(code) => code,
        Err(error) => {
            // When even this cannot be written, the exit code still tells.
            let _ = writeln!(err, "sampan-init: error: {error}");
            if matches!(error, InitError::Validation(_)) { NOT_VALIDATED } else { FAILURE }
        }
    }
}

fn answer(
    options: &RawOptions,
    action: &Action,
    environment: &Environment,
    system: &dyn System,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, InitError> {
    let mut environment = environment.clone();
    if let Some(path) =
        options.find("network-namespace").map(|given| given.value.as_str()).filter(|path| !path.is_empty())
    {
        let entered = system.enter_network_namespace(path);
        environment.addresses = entered.map_err(|error| apply::ApplyError::namespace(path, &error))?;
    }
    let Checked { config, warnings } = Config::check(options, &environment)?;
    for warning in &warnings {
        writeln!(err, "sampan-init: warning: {warning}")?;
    }
    let plan = Plan::new(&config);
    let work = Work { config: &config, plan: &plan, system };
    let code = match action {
        Action::Explain(question) => {
            let packet = Packet::from_options(question, &config)?;
            let dialect = Dialect::of(&config);
            write!(out, "{packet}\n{}", explain(&plan, &packet).to_text(dialect))?;
            SUCCESS
        }
        Action::Check => compare(work, out)?,
        Action::Apply if config.conduct.dry_run => {
            out.write_all(dry_run(&config, &plan).as_bytes())?;
            SUCCESS
        }
        Action::Apply => {
            carry_out(work, out, err)?;
            SUCCESS
        }
    };
    out.flush()?;
    Ok(code)
}

fn dry_run(config: &Config, plan: &Plan) -> String {
    let conduct = &config.conduct;
    if conduct.skip_rule_apply {
        return "# --skip-rule-apply: no rules\n".to_owned();
    }
    match (conduct.native_nftables, conduct.cleanup_only) {
        (false, false) => plan.to_restore_text(),
        (false, true) => plan.to_cleanup_text(),
        (true, false) => plan.to_nftables_dry_run(),
        (true, true) => plan.to_nftables_cleanup_text(),
    }
}

fn compare(work: Work<'_>, out: &mut dyn Write) -> Result<u8, InitError> {
    let compared = apply::check(work)?;
    let planned = if work.config.conduct.cleanup_only { "no rules are left" } else { "rules are as planned" };
    if compared.differences.is_empty() {
        writeln!(out, "{planned} ({})", compared.back_end)?;
        return Ok(SUCCESS);
    }
    for difference in &compared.differences {
        writeln!(out, "{difference}")?;
    }
    writeln!(out, "{} difference(s) ({})", compared.differences.len(), compared.back_end)?;
    Ok(DIFFERENT)
}

fn carry_out(work: Work<'_>, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), InitError> {
    let conduct = &work.config.conduct;
    if conduct.skip_rule_apply {
        writeln!(err, "sampan-init: --skip-rule-apply: no rules are applied, nothing was changed")?;
    } else {
        let report = apply::apply(work)?;
        for warning in &report.warnings {
            writeln!(err, "sampan-init: warning: {warning}")?;
        }
        writeln!(out, "{}", report.done)?;
    }
    if conduct.run_validation && !conduct.cleanup_only {
        for sentence in validate::validate(work.config, work.plan)? {
            writeln!(out, "{sentence}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::written::Written;

    fn run_on(system: &Written, line: &str) -> (u8, String, String) {
        let arguments: Vec<String> =
            std::iter::once("sampan-init").chain(line.split_whitespace()).map(str::to_owned).collect();
        let environment =
            Environment { addresses: vec!["10.0.0.5".parse().unwrap()], ..Environment::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &environment, system, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    /// On a machine without any program: whatever works needs none.
    fn run_line(line: &str) -> (u8, String, String) {
        run_on(&Written::new(&[]), line)
    }

    #[test]
    fn without_programs_it_fails_and_says_what_to_install() {
        for line in ["-b * -i *", "--cleanup-only", "check -b *"] {
            let (code, out, err) = run_line(line);
            assert_eq!((code, out.as_str()), (1, ""), "{line}");
            assert!(
                err.contains("iptables-nft-save is not on PATH") && err.contains("--skip-rule-apply"),
                "{err}"
            );
        }
        let (code, _, err) = run_line("--network-namespace /no/such/file");
        assert!(code == 1 && err.contains("--network-namespace /no/such/file"), "{err}");
    }

    #[test]
    fn skipping_the_rules_succeeds() {
        let (code, out, err) = run_line("--skip-rule-apply");
        assert_eq!((code, out.as_str()), (0, ""));
        assert!(err.contains("no rules are applied"));
    }

    #[test]
    fn check_tells_by_its_exit_code() {
        let empty: &[(&str, &str)] = &[("iptables-nft-save", ""), ("ip6tables-nft-save", "")];
        let (code, out, _) = run_on(&Written::new(empty), "check -b *");
        assert_eq!(code, 2);
        assert!(
            out.contains("missing: IPv4 nat has no chain ISTIO_INBOUND, which shall have 2 rule(s)\n")
                && out.contains(" difference(s) (iptables-nft)\n"),
            "{out}"
        );
        let (code, out, _) = run_on(&Written::new(empty), "check --cleanup-only");
        assert_eq!((code, out.as_str()), (0, "no rules are left (iptables-nft)\n"));
    }

    #[test]
    fn a_dry_run_prints_the_same_text_each_time() {
        let first = run_line("--dry-run -b * -i * --pod-ip 10.0.0.5,fd00::5 --dual-stack");
        assert_eq!((first.0, first.2.as_str()), (0, ""));
        assert!(first.1.contains("# IPv6, for ip6tables-restore") && first.1.ends_with("COMMIT\n"));
        assert_eq!(first, run_line("--dry-run -b * -i * --pod-ip 10.0.0.5,fd00::5 --dual-stack"));
        let (_, native, _) = run_line("--dry-run -b * -m TPROXY --native-nftables");
        assert!(native.starts_with("# ip -4 rule add fwmark 1337 lookup 133\n"), "{native}");
        assert!(native.contains("table inet istio-proxy-mangle {"), "{native}");
        let (_, native, _) = run_line("--dry-run --cleanup-only --native-nftables");
        assert!(native.contains("delete table inet istio-proxy-nat\n"), "{native}");
    }

    #[test]
    fn wrong_arguments_and_usage_exit_with_1() {
        let (code, _, err) = run_line("--dry-run -p 0 -z 99999");
        assert_eq!(code, 1);
        assert!(err.contains("2 invalid argument(s)") && err.contains("--envoy-port = \"0\""), "{err}");
        assert_eq!(run_line("--unknown").0, 1);
        let (code, out, _) = run_line("--help");
        assert!(code == 0 && out.contains("ISTIO_META_DNS_CAPTURE"));
    }

    #[test]
    fn explain_names_the_rule_that_decides() {
        let line = "-i * explain --direction outbound --dst 10.9.9.9:80 --uid 1337";
        let (code, out, _) = run_line(line);
        assert_eq!(code, 0);
        assert!(
            out.contains("decides: nat ISTIO_OUTPUT rule 4: -m owner --uid-owner 1337 -j RETURN"),
            "{out}"
        );
        assert!(out.contains("outcome: not intercepted"), "{out}");
        let (_, out, _) = run_line(&format!("--native-nftables {line}"));
        assert!(
            out.contains("decides: inet istio-proxy-nat istio-output: meta skuid 1337 counter return"),
            "{out}"
        );
        assert_eq!(run_line("explain --direction sideways").0, 1);
    }
}
