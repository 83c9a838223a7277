//! Reads options one by one and keeps every rejection, so that the user hears of all mistakes at once.
//! Used by [`Config::check`](super::Config::check) alone.

use std::net::IpAddr;
use std::time::Duration;

use super::{
    Conduct, DEFAULT_PROXY_ID, DnsCapture, IPTABLES_PROGRAMS, MAX_OWNER_GROUPS, Mode, OwnerGroups, Selection,
};
use crate::args::{Given, RawOptions};
use crate::environment::Environment;
use crate::error::{ArgumentError, ArgumentErrors};
use crate::value::{Owner, Rejection, parse_duration, parse_port, parse_switch};

/// Collects what is wrong while values are read; a wrong value yields a stand-in, since its configuration is never used.
pub(super) struct Reader<'o> {
    options: &'o RawOptions,
    errors: Vec<ArgumentError>,
    warnings: Vec<String>,
}

impl<'o> Reader<'o> {
    pub(super) fn new(options: &'o RawOptions) -> Self {
        Self { options, errors: Vec::new(), warnings: Vec::new() }
    }

    /// The warnings so far, unless something was wrong.
    pub(super) fn finish(self) -> Result<Vec<String>, ArgumentErrors> {
        if self.errors.is_empty() { Ok(self.warnings) } else { Err(ArgumentErrors(self.errors)) }
    }

    /// One value.
    pub(super) fn one<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, Rejection>,
    ) -> T {
        let Some(given) = self.options.find(name) else { return default };
        match parse(given.value.trim()) {
            Ok(value) => value,
            Err(rejection) => {
                self.reject(given, rejection);
                default
            }
        }
    }

    /// A comma list; empty elements are passed over, as templates leave them.
    pub(super) fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Rejection>) -> Vec<T> {
        let Some(given) = self.options.find(name) else { return Vec::new() };
        let mut values = Vec::new();
        for element in given.value.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let parsed = if element == "*" {
                Err(Rejection::new("`*` cannot stand here or inside a list", "write the elements out"))
            } else {
                parse(element)
            };
            match parsed {
                Ok(value) => values.push(value),
                Err(rejection) => self.reject(given, rejection),
            }
        }
        values
    }

    /// A comma list or `*`.
    pub(super) fn selection<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Rejection>,
    ) -> Selection<T> {
        match self.options.find(name) {
            Some(given) if given.value.trim() == "*" => Selection::All,
            _ => Selection::Only(self.list(name, parse)),
        }
    }

    /// A switch, off by default.
    pub(super) fn switch(&mut self, name: &str) -> bool {
        self.one(name, false, parse_switch)
    }

    pub(super) fn mode(&mut self) -> Mode {
        self.one("istio-inbound-interception-mode", Mode::Redirect, |text| match text {
            "" | "REDIRECT" => Ok(Mode::Redirect),
            "TPROXY" => Ok(Mode::Tproxy),
            _ => Err(Rejection::new(
                format!("{text:?} is not a mode"),
                "write REDIRECT or TPROXY, in capitals",
            )),
        })
    }

    /// The proxy's users: as given, else the user that `ENVOY_USER` names, else 1337.
    pub(super) fn proxy_uids(&mut self, environment: &Environment) -> Vec<Owner> {
        let given = self.list("proxy-uid", |text| Owner::parse(text, |name| environment.uid_of(name)));
        if !given.is_empty() {
            return given;
        }
        let user = self.options.find("ENVOY_USER").map_or("istio-proxy", |given| given.value.as_str());
        vec![Owner::number(environment.uid_of(user).unwrap_or(DEFAULT_PROXY_ID))]
    }

    pub(super) fn pod_addresses(&mut self, environment: &Environment) -> Vec<IpAddr> {
        let given = self.list("pod-ip", |text| {
            text.parse::<IpAddr>().map_err(|_| {
                Rejection::new(format!("{text:?} is not an IP address"), "write e.g. 10.0.0.5 or fd00::5")
            })
        });
        let mut addresses = if given.is_empty() { environment.addresses.clone() } else { given };
        addresses.retain(|address| match address.to_canonical() {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => {
                !v6.is_loopback() && !v6.is_unicast_link_local() && v6.segments() != [0, 0, 0, 0, 0, 0, 0, 6]
            }
        });
        if addresses.is_empty() {
            self.warnings.push(
                "this network namespace has no address besides loopback and link-local ones: IPv4 is assumed; \
                 --pod-ip names the pod's addresses"
                    .to_owned(),
            );
        }
        addresses
    }

    pub(super) fn owner_groups(&mut self, environment: &Environment) -> OwnerGroups {
        let (include, exclude) = ("ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE");
        let parse = |text: &str| Owner::parse(text, |name| environment.gid_of(name));
        let excluded = self.list(exclude, parse);
        let Some(given) = self.options.find(include).filter(|given| given.value.trim() != "*") else {
            return OwnerGroups::AllExcept(excluded);
        };
        let included = self.list(include, parse);
        if included.len() > MAX_OWNER_GROUPS {
            let reason = format!("{} groups do not fit into one rule", included.len());
            self.reject(given, Rejection::new(reason, format!("name at most {MAX_OWNER_GROUPS}")));
        }
        if !excluded.is_empty() {
            self.warnings.push(format!("{exclude} has no effect because {include} is not `*`"));
        }
        OwnerGroups::Only(included)
    }

    /// Which DNS servers are meant; `/etc/resolv.conf` is looked at only if it decides.
    pub(super) fn dns(&mut self, environment: &Environment) -> DnsCapture {
        let (redirect, all) = (self.switch("redirect-dns"), self.switch("capture-all-dns"));
        if !redirect {
            if all {
                self.warnings.push("--capture-all-dns has no effect without --redirect-dns".to_owned());
            }
            return DnsCapture::Off;
        }
        if all {
            return DnsCapture::All;
        }
        match environment.name_servers() {
            Ok((servers, unusable)) => {
                for entry in unusable {
                    self.warnings.push(format!(
                        "/etc/resolv.conf: name server {entry:?} is not a plain IP address and is not captured"
                    ));
                }
                if servers.is_empty() {
                    self.warnings.push(
                        "DNS is not captured: /etc/resolv.conf names no server; --capture-all-dns captures any".to_owned(),
                    );
                    return DnsCapture::Off;
                }
                DnsCapture::Servers(servers)
            }
            Err(reason) => {
                let given = Given { value: "true".to_owned(), origin: "--redirect-dns".to_owned() };
                let given = self.options.find("redirect-dns").cloned().unwrap_or(given);
                let reason = format!("/etc/resolv.conf cannot be read: {reason}");
                self.reject(
                    &given,
                    Rejection::new(reason, "add --capture-all-dns to capture DNS to any server"),
                );
                DnsCapture::Off
            }
        }
    }

    pub(super) fn conduct(&mut self) -> Conduct {
        Conduct {
            dry_run: self.switch("dry-run"),
            skip_rule_apply: self.switch("skip-rule-apply"),
            run_validation: self.switch("run-validation"),
            probe_port: self.one("iptables-probe-port", 15002, parse_port),
            probe_timeout: self.one("probe-timeout", Duration::from_secs(5), parse_duration),
            network_namespace: self.text("network-namespace"),
            cni_mode: self.switch("cni-mode"),
            reconcile: self.switch("reconcile"),
            cleanup_only: self.switch("cleanup-only"),
            force_apply: self.switch("force-apply"),
            native_nftables: self.switch("native-nftables"),
            iptables_binary: self.one("force-iptables-binary", None, |text| {
                if text.is_empty() {
                    Ok(None)
                } else if IPTABLES_PROGRAMS.contains(&text) {
                    Ok(Some(text.to_owned()))
                } else {
                    let hint = format!("write one of {}", IPTABLES_PROGRAMS.join(", "));
                    Err(Rejection::new(format!("{text:?} is not an iptables program"), hint))
                }
            }),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.options.find(name).map(|given| given.value.clone()).filter(|value| !value.is_empty())
    }

    fn reject(&mut self, given: &Given, rejection: Rejection) {
        self.errors.push(ArgumentError {
            option: given.origin.clone(),
            value: given.value.clone(),
            reason: rejection.reason,
            hint: rejection.hint,
        });
    }
}
