//! Options that were accepted but change nothing in this combination: named, so that nothing is ignored in silence.
//! Called at the end of [`Config::check`].

use std::fmt::Display;

use super::{Config, DnsCapture, Mode, Selection};
use crate::args::RawOptions;
use crate::value::Cidr;

/// Adds one sentence for each such option.
pub(super) fn add(warnings: &mut Vec<String>, config: &Config, options: &RawOptions) {
    let conduct = &config.conduct;
    let has = |name: &str| options.find(name).is_some();
    let mut warn = |condition: bool, text: &str| {
        if condition {
            warnings.push(text.to_owned());
        }
    };
    warn(
        config.inbound_ports != Selection::All && !config.inbound_ports_exclude.is_empty(),
        "--istio-local-exclude-ports has no effect unless --istio-inbound-ports is `*`",
    );
    warn(
        config.mode == Mode::Redirect
            && (has("istio-inbound-tproxy-mark") || has("istio-inbound-tproxy-route-table")),
        "the TPROXY mark and route table have no effect in REDIRECT mode",
    );
    warn(
        config.proxy_port == config.inbound_capture_port,
        "--envoy-port and --inbound-capture-port are the same: the proxy cannot tell directions apart",
    );
    warn(conduct.dry_run && conduct.run_validation, "--run-validation is not carried out in a dry run");
    warn(
        conduct.native_nftables && conduct.iptables_binary.is_some(),
        "--force-iptables-binary has no effect with --native-nftables",
    );
    warn(
        conduct.cni_mode && conduct.network_namespace.is_none(),
        "--cni-mode without --network-namespace: the rules are made in the present namespace, which is the node's own",
    );
    warn(
        conduct.cni_mode && matches!(config.dns, DnsCapture::Servers(_)),
        "--cni-mode: the name servers are those of the node's /etc/resolv.conf, not the pod's; --capture-all-dns captures any",
    );
    warn(
        conduct.cleanup_only && conduct.run_validation,
        "--run-validation has no effect with --cleanup-only: nothing is redirected then",
    );
    warn(
        has("log_output_level") || has("log_as_json"),
        "--log_output_level and --log_as_json have no effect: only warnings and errors are written, as text",
    );
    if !config.ipv6 {
        for range in ipv6_ranges(config) {
            warnings.push(format!("{range} has no effect: the pod gets no IPv6 rules (see --dual-stack)"));
        }
    }
}

fn ipv6_ranges(config: &Config) -> impl Iterator<Item = impl Display + '_> {
    let included: &[Cidr] = match &config.outbound_ranges {
        Selection::All => &[],
        Selection::Only(ranges) => ranges,
    };
    included.iter().chain(&config.outbound_ranges_exclude).filter(|range| range.address().is_ipv6())
}
