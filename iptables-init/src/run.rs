//! What the program does, from arguments to exit code; `main.rs` adds nothing but the real surroundings.

use std::io::Write;

use crate::args::{self, RawOptions};
use crate::config::{Checked, Config};
use crate::environment::Environment;
use crate::error::InitError;
use crate::explain::{Packet, explain};
use crate::plan::Plan;

/// Exit code for everything that went wrong.
const FAILURE: u8 = 1;

/// Runs the program: answers on `out`, warnings and errors on `err`. Returns the exit code: 0, or 1 for wrong
/// arguments, for what is not in this version, and for output that cannot be written. Never touches the kernel.
pub fn run(arguments: &[String], environment: &Environment, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let invocation = match args::parse(arguments, environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            if error.use_stderr() {
                // When even this cannot be written, the exit code still tells.
                let _ = write!(err, "{error}");
                return FAILURE;
            }
            return if write!(out, "{error}").is_ok() { 0 } else { FAILURE };
        }
    };
    match answer(&invocation.options, invocation.explain.as_ref(), environment, out, err) {
        Ok(()) => 0,
        Err(error) => {
            // When even this cannot be written, the exit code still tells.
            let _ = writeln!(err, "sampan-init: error: {error}");
            FAILURE
        }
    }
}

fn answer(
    options: &RawOptions,
    question: Option<&RawOptions>,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), InitError> {
    let Checked { config, warnings } = Config::check(options, environment)?;
    for warning in &warnings {
        writeln!(err, "sampan-init: warning: {warning}")?;
    }
    let conduct = &config.conduct;
    let text = if let Some(question) = question {
        let packet = Packet::from_options(question, &config)?;
        let plan = Plan::new(&config);
        format!("{packet}\n{}", explain(&plan, &packet))
    } else if conduct.skip_rule_apply && !conduct.run_validation {
        writeln!(err, "sampan-init: --skip-rule-apply: no rules are applied, nothing was changed")?;
        String::new()
    } else if conduct.dry_run && conduct.cleanup_only {
        Plan::new(&config).to_cleanup_text()
    } else if conduct.dry_run {
        Plan::new(&config).to_restore_text()
    } else {
        return Err(InitError::NotInThisVersion { what: not_yet(&config) });
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn not_yet(config: &Config) -> &'static str {
    if config.conduct.skip_rule_apply {
        "--run-validation"
    } else if config.conduct.cleanup_only {
        "taking rules away"
    } else {
        "applying rules"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_line(line: &str) -> (u8, String, String) {
        let arguments: Vec<String> =
            std::iter::once("sampan-init").chain(line.split_whitespace()).map(str::to_owned).collect();
        let environment =
            Environment { addresses: vec!["10.0.0.5".parse().unwrap()], ..Environment::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &environment, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn without_dry_run_it_fails_and_says_why() {
        for (line, what) in [
            ("-b * -i *", "applying rules is not in this version"),
            ("--cleanup-only", "taking rules away is not in this version"),
            ("--skip-rule-apply --run-validation", "--run-validation is not in this version"),
        ] {
            let (code, out, err) = run_line(line);
            assert_eq!((code, out.as_str()), (1, ""), "{line}");
            assert!(err.contains(what) && err.contains("--dry-run"), "{err}");
        }
    }

    #[test]
    fn skipping_the_rules_succeeds() {
        let (code, out, err) = run_line("--skip-rule-apply");
        assert_eq!((code, out.as_str()), (0, ""));
        assert!(err.contains("no rules are applied"));
    }

    #[test]
    fn a_dry_run_prints_the_same_text_each_time() {
        let first = run_line("--dry-run -b * -i * --pod-ip 10.0.0.5,fd00::5 --dual-stack");
        assert_eq!((first.0, first.2.as_str()), (0, ""));
        assert!(first.1.contains("# IPv6, for ip6tables-restore") && first.1.ends_with("COMMIT\n"));
        assert_eq!(first, run_line("--dry-run -b * -i * --pod-ip 10.0.0.5,fd00::5 --dual-stack"));
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
        let (code, out, _) = run_line("-i * explain --direction outbound --dst 10.9.9.9:80 --uid 1337");
        assert_eq!(code, 0);
        assert!(
            out.contains("decides: nat ISTIO_OUTPUT rule 4: -m owner --uid-owner 1337 -j RETURN"),
            "{out}"
        );
        assert!(out.contains("outcome: not intercepted"), "{out}");
        assert_eq!(run_line("explain --direction sideways").0, 1);
    }
}
