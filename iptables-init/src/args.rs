//! The command line: one table of every option, from which the parser, the help text and the environment variables
//! follow. Values stay text here, so that [`crate::config`] can report all wrong ones together.
//!
//! A flag wins over its variable; a flag given twice takes the last value, as `istio-iptables` does, because injection
//! templates append overrides. The argument `istio-iptables` in front is accepted and dropped: templates written for
//! the agent's image name it there.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::environment::Environment;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Long name without dashes. The environment variable is this in capitals with `_` for `-`.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// Other environment variables with the same meaning, asked after the first.
    pub also: &'static [&'static str],
    /// Whether it stands without a value (`--dry-run`), meaning true.
    pub switch: bool,
    /// What it does, for `--help`.
    pub help: &'static str,
}

/// An option's text and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub value: String,
    /// `--name`, or `NAME (environment)`.
    pub origin: String,
}

/// What the user wrote, by long name (or by variable name for those that have no flag).
#[derive(Debug, Clone, Default)]
pub struct RawOptions(BTreeMap<&'static str, Given>);

/// A parsed command line.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The options that shape the rules.
    pub options: RawOptions,
    /// What is asked for.
    pub action: Action,
}

/// What the program is to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Apply, or with other options print, skip, validate, take away.
    Apply,
    /// Compare the kernel with the plan.
    Check,
    /// Say what becomes of the packet that these options describe.
    Explain(RawOptions),
}

/// Variables that have no flag in `istio-iptables` either.
pub const VARIABLES: &[&str] = &[
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "ISTIO_OUTBOUND_OWNER_GROUPS",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "ENVOY_USER",
];

/// Every option of the program.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    value("envoy-port", Some('p'), "Port to which outbound TCP is redirected [15001]"),
    value("inbound-capture-port", Some('z'), "Port to which inbound TCP is redirected [15006]"),
    value("inbound-tunnel-port", Some('e'), "Port of the HBONE tunnel, never redirected [15008]"),
    value("proxy-uid", Some('u'), "Users whose traffic is not redirected [the user ENVOY_USER (istio-proxy), else 1337]"),
    value("proxy-gid", Some('g'), "Groups whose traffic is not redirected [as --proxy-uid]"),
    value("istio-inbound-interception-mode", Some('m'), "REDIRECT or TPROXY [REDIRECT]"),
    value("istio-inbound-ports", Some('b'), "Inbound ports to redirect, `*` for all [none]"),
    value("istio-local-exclude-ports", Some('d'), "Inbound ports to leave alone when -b is `*` [none]"),
    value("istio-service-cidr", Some('i'), "Outbound IP ranges to redirect, `*` for all [none]"),
    value("istio-service-exclude-cidr", Some('x'), "Outbound IP ranges to leave alone [none]"),
    value("istio-outbound-ports", Some('q'), "Outbound ports to redirect wherever they go [none]"),
    value("istio-local-outbound-ports-exclude", Some('o'), "Outbound ports to leave alone [none]"),
    value("istio-exclude-interfaces", Some('c'), "Interfaces whose traffic is left alone [none]"),
    value("kube-virt-interfaces", Some('k'), "Interfaces of virtual machines: what comes from them counts as outbound [none]"),
    value("istio-inbound-tproxy-mark", Some('t'), "Packet mark for TPROXY [1337]"),
    value("istio-inbound-tproxy-route-table", Some('r'), "Routing table for TPROXY [133]"),
    switch("dry-run", Some('n'), &[], "Print the rules, change nothing"),
    value("iptables-probe-port", None, "Port on which --run-validation listens [15002]"),
    value("probe-timeout", None, "How long --run-validation may take [5s]"),
    switch("skip-rule-apply", None, &[], "Do not apply rules (the CNI plugin has done it)"),
    switch("run-validation", None, &[], "Prove by a connection that traffic is redirected"),
    switch("redirect-dns", None, &["ISTIO_META_DNS_CAPTURE"], "Redirect DNS to the agent's port 15053"),
    switch("capture-all-dns", None, &[], "With --redirect-dns: any server, not only those of /etc/resolv.conf"),
    switch("drop-invalid", None, &["INVALID_DROP"], "Drop packets that connection tracking calls invalid"),
    switch("dual-stack", None, &["ISTIO_DUAL_STACK", "ISTIO_AGENT_DUAL_STACK"], "IPv6 rules if any address of the pod is IPv6"),
    value("network-namespace", None, "Path of the network namespace to work in [its own]"),
    switch("cni-mode", None, &[], "Run by the CNI plugin, in the host's file system"),
    switch("reconcile", None, &[], "Replace rules that differ from the wanted ones"),
    switch("cleanup-only", None, &[], "Take the rules away"),
    switch("force-apply", None, &[], "Apply even if the rules seem to be in place"),
    switch("native-nftables", None, &[], "Use nftables rather than iptables"),
    value("force-iptables-binary", None, "Use this iptables program rather than the detected one"),
    value("pod-ip", None, "Addresses of the pod, to preview its rules elsewhere [those of the interfaces]"),
    value("log_output_level", None, "Accepted for istio-iptables' sake"),
    switch("log_as_json", None, &[], "Accepted for istio-iptables' sake"),
];

/// The options of `sampan-init explain`. Their variables do not exist: a packet is not a setting.
#[rustfmt::skip]
pub const EXPLAIN_FLAGS: &[Flag] = &[
    value("direction", None, "outbound (sent by the pod) or inbound (arriving at it)"),
    value("dst", None, "Destination, IP:PORT or [IP]:PORT"),
    value("src", None, "Source, IP or IP:PORT [outbound: the pod's own address]"),
    value("protocol", None, "tcp or udp [tcp]"),
    value("uid", None, "User that sends it [an application that is not the proxy]"),
    value("gid", None, "Group that sends it [an application that is not the proxy]"),
    value("in-interface", None, "Interface it arrives on [inbound: eth0]"),
    value("out-interface", None, "Interface it leaves by [outbound: lo for the pod's own addresses, else eth0]"),
    value("state", None, "What connection tracking says: new, established or invalid [new]"),
    value("mark", None, "Packet mark that it carries [none]"),
];

impl RawOptions {
    /// The option called `name`, if the user gave it.
    pub fn find(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    fn collect(flags: &'static [Flag], matches: &ArgMatches, environment: Option<&Environment>) -> Self {
        let mut found = BTreeMap::new();
        for flag in flags {
            let given = match matches.get_one::<String>(flag.name) {
                Some(value) => Some(Given { value: value.clone(), origin: format!("--{}", flag.name) }),
                None => environment.and_then(|environment| flag.in_environment(environment)),
            };
            if let Some(given) = given {
                found.insert(flag.name, given);
            }
        }
        for name in VARIABLES {
            if let Some(given) = environment.and_then(|environment| given_by(environment, name)) {
                found.insert(name, given);
            }
        }
        Self(found)
    }
}

impl Flag {
    /// The environment variables that stand for this option, in the order in which they are asked.
    pub fn variables(&self) -> Vec<String> {
        let own = self.name.to_ascii_uppercase().replace('-', "_");
        std::iter::once(own).chain(self.also.iter().map(|name| (*name).to_owned())).collect()
    }

    fn in_environment(&self, environment: &Environment) -> Option<Given> {
        self.variables().iter().find_map(|name| given_by(environment, name))
    }

    fn to_arg(self, in_environment: bool) -> Arg {
        let help = if in_environment {
            format!("{} [env: {}]", self.help, self.variables().join(", "))
        } else {
            self.help.to_owned()
        };
        let mut arg = Arg::new(self.name).long(self.name).help(help).action(ArgAction::Set);
        arg = arg.value_name(if self.switch { "BOOL" } else { "VALUE" });
        if self.switch {
            arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        }
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        arg
    }
}

/// Parses a command line (the program's name first). The error is clap's: wrong usage, or a wish for help or version.
pub fn parse(arguments: &[String], environment: &Environment) -> Result<Invocation, clap::Error> {
    let mut arguments = arguments.to_vec();
    if arguments.get(1).is_some_and(|first| first == "istio-iptables") {
        arguments.remove(1);
    }
    let matches = command().try_get_matches_from(arguments)?;
    // Options are global: clap shows those after the subcommand to the subcommand's matches, and copies earlier ones.
    let innermost = matches.subcommand().map_or(&matches, |(_, inner)| inner);
    let options = RawOptions::collect(FLAGS, innermost, Some(environment));
    let action = match matches.subcommand_name() {
        Some("explain") => Action::Explain(RawOptions::collect(EXPLAIN_FLAGS, innermost, None)),
        Some("check") => Action::Check,
        _ => Action::Apply,
    };
    Ok(Invocation { options, action })
}

fn command() -> Command {
    let explain = Command::new("explain")
        .about("Say which rule decides about a packet, and what becomes of it")
        .args_override_self(true)
        .args(EXPLAIN_FLAGS.iter().map(|flag| flag.to_arg(false)));
    Command::new("sampan-init")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Traffic interception rules for a pod, in place of istio-iptables")
        .after_help(
            "Exit codes: 0 done; 1 failed, nothing was changed unless the message says so; 2 `check` found differences; \
             126 the validation failed.",
        )
        .args_override_self(true)
        .args(FLAGS.iter().map(|flag| flag.to_arg(true).global(true)))
        .subcommand(explain)
        .subcommand(
            Command::new("check")
                .about("Compare the rules in the kernel with those that the options ask for")
                .args_override_self(true),
        )
}

fn given_by(environment: &Environment, name: &str) -> Option<Given> {
    let value = environment.variable(name)?.to_owned();
    Some(Given { value, origin: format!("{name} (environment)") })
}

const fn value(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag { name, short, also: &[], switch: false, help }
}

const fn switch(
    name: &'static str,
    short: Option<char>,
    also: &'static [&'static str],
    help: &'static str,
) -> Flag {
    Flag { name, short, also, switch: true, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, variables: &[(&str, &str)]) -> Invocation {
        let arguments: Vec<String> =
            std::iter::once("sampan-init").chain(line.split_whitespace()).map(str::to_owned).collect();
        let mut environment = Environment::default();
        for (name, value) in variables {
            environment.variables.insert((*name).to_owned(), (*value).to_owned());
        }
        parse(&arguments, &environment).unwrap()
    }

    fn text(options: &RawOptions, name: &str) -> Option<String> {
        options.find(name).map(|given| given.value.clone())
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn takes_the_injector_s_command_line() {
        let line = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020 \
                    --log_output_level=default:info --run-validation --skip-rule-apply";
        let options = parsed(line, &[]).options;
        assert_eq!(text(&options, "istio-local-exclude-ports").unwrap(), "15090,15021,15020");
        assert_eq!(text(&options, "istio-service-cidr").unwrap(), "*");
        assert_eq!(text(&options, "run-validation").unwrap(), "true");
    }

    #[test]
    fn the_last_flag_wins_and_flags_win_over_variables() {
        let options =
            parsed("-p 1 -p 2 --dry-run=false", &[("ENVOY_PORT", "3"), ("DRY_RUN", "true")]).options;
        assert_eq!(text(&options, "envoy-port").unwrap(), "2");
        assert_eq!(text(&options, "dry-run").unwrap(), "false");
    }

    #[test]
    fn every_flag_has_its_variable() {
        for flag in FLAGS {
            for name in flag.variables() {
                let options = parsed("", &[(&name, "x")]).options;
                let given = options.find(flag.name).unwrap();
                assert_eq!(
                    (given.value.as_str(), given.origin.as_str()),
                    ("x", &*format!("{name} (environment)"))
                );
            }
        }
        assert_eq!(text(&parsed("", &[("ENVOY_USER", "me")]).options, "ENVOY_USER").unwrap(), "me");
        assert_eq!(text(&parsed("", &[("PROXY_UID", "")]).options, "proxy-uid"), None);
    }

    #[test]
    fn explain_takes_options_on_both_sides() {
        let invocation = parsed("-b * explain --direction inbound --dst 10.0.0.1:80 -i *", &[]);
        assert_eq!(text(&invocation.options, "istio-inbound-ports").unwrap(), "*");
        assert_eq!(text(&invocation.options, "istio-service-cidr").unwrap(), "*");
        let Action::Explain(question) = invocation.action else { panic!("not explain") };
        assert_eq!(text(&question, "dst").unwrap(), "10.0.0.1:80");
        let invocation = parsed("-b 80 check -i *", &[]);
        assert!(matches!(invocation.action, Action::Check));
        assert_eq!(text(&invocation.options, "istio-inbound-ports").unwrap(), "80");
    }

    #[test]
    fn unknown_flags_are_errors() {
        let arguments = ["sampan-init".to_owned(), "--nonsense".to_owned()];
        assert!(parse(&arguments, &Environment::default()).is_err());
    }
}
