//! The back-ends, and what this machine has of them.

use sampan_tests::harness::netns::Namespace;

use crate::pod::init;

/// A way into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackEnd {
    Nft,
    Legacy,
    Native,
}

pub const ALL: [BackEnd; 3] = [BackEnd::Nft, BackEnd::Legacy, BackEnd::Native];

/// A rule or hook that tells whether the kernel has what TPROXY mode needs.
const TPROXY: [&str; 2] = [
    "-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 1 --tproxy-mark 1",
    "add rule inet probe prerouting meta l4proto tcp tproxy to :1",
];

impl BackEnd {
    /// The options that choose it.
    pub fn options(self) -> &'static str {
        match self {
            Self::Nft => "--force-iptables-binary iptables-nft",
            Self::Legacy => "--force-iptables-binary iptables-legacy",
            Self::Native => "--native-nftables",
        }
    }

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
            Self::Native => "nft",
        }
    }

    /// The IPv4 and IPv6 rules in a namespace, without what changes by itself.
    pub fn rules(self, namespace: &Namespace) -> String {
        let programs: &[&str] = match self {
            Self::Nft => &["iptables-nft-save", "ip6tables-nft-save"],
            Self::Legacy => &["iptables-legacy-save", "ip6tables-legacy-save"],
            Self::Native => &["nft -s list ruleset"],
        };
        let said = programs.iter().map(|line| String::from_utf8(namespace.run(line).stdout).unwrap());
        let lines: Vec<String> =
            said.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        // Dates and versions, and the counters of chains.
        let lines = lines.iter().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" [").next().unwrap().to_owned() + "\n").collect()
    }

    /// Whether anything of ours is in a namespace.
    pub fn has_ours(self, namespace: &Namespace) -> bool {
        let rules = self.rules(namespace);
        rules.contains("ISTIO_") || rules.contains("istio-proxy")
    }

    /// What this machine lacks for it; for TPROXY mode if `tproxy`. Asked of the programs, without `sampan-init`.
    pub fn lacks(self, tproxy: bool) -> Option<String> {
        let namespace = Namespace::new();
        let mut lines = match self {
            Self::Native => vec![
                "add table inet probe".to_owned(),
                "add chain inet probe prerouting { type filter hook prerouting priority -150 ; }".to_owned(),
                "add chain inet probe output { type nat hook output priority -100 ; }".to_owned(),
                "add rule inet probe output meta l4proto tcp meta skuid 1 counter redirect to :1".to_owned(),
            ],
            _ => vec!["-t nat -A OUTPUT -p tcp -m owner --uid-owner 1 -j REDIRECT --to-ports 1".to_owned()],
        };
        let program = match self {
            Self::Native => "nft",
            _ => self.name(),
        };
        if tproxy {
            lines.push(TPROXY[usize::from(self == Self::Native)].to_owned());
        }
        lines.iter().find_map(|line| {
            let output = namespace.command(program).args(line.split(' ')).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            (!output.status.success()).then(|| format!("{program} {line}: {error}"))
        })
    }

    /// Whether tests can go on; where not, that `sampan-init` says clearly what is missing and leaves nothing behind.
    pub fn works(self, options: &str) -> bool {
        let Some(lack) = self.lacks(options.contains("TPROXY")) else { return true };
        eprintln!("{self:?} does not work on this machine: {lack}");
        let namespace = Namespace::new();
        let run = init(&namespace, &format!("{} {options}", self.options()));
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.err.contains("missing") || run.err.contains("no usable iptables"), "{lack}: {run:?}");
        assert!(!self.has_ours(&namespace));
        false
    }
}

/// The back-ends that this machine must have so that the suite means anything: one at least.
#[test]
fn this_machine_has_a_back_end() {
    if !sampan_tests::harness::netns::can_make_namespaces() {
        return;
    }
    for back_end in ALL {
        for tproxy in [false, true] {
            let lack = back_end.lacks(tproxy);
            eprintln!("{back_end:?}, TPROXY {tproxy}: {}", lack.as_deref().unwrap_or("works"));
        }
    }
    assert!(ALL.iter().any(|back_end| back_end.lacks(false).is_none()));
}
