//! What can go wrong between a plan and the kernel, in words for whoever wrote the pod's manifest: what is missing,
//! what would supply it, which option does without it, and whether anything was changed.

use std::io;

/// What the machine lacks, and how to do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub what: String,
    /// What supplies it, or does without it.
    pub hint: String,
}

/// What became of the steps before the one that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Undo {
    /// There was none.
    #[default]
    NothingDone,
    /// They were undone.
    Undone,
    /// They could not be undone; why.
    Failed(String),
}

/// Why rules could not be applied, compared or taken away.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The process may not.
    #[error(
        "{capability} is missing: give the container securityContext.capabilities.add [NET_ADMIN, NET_RAW] and runAsUser 0, \
         or let the Istio CNI plugin make the rules and use --skip-rule-apply; nothing was changed"
    )]
    Privilege {
        /// The capability.
        capability: &'static str,
    },
    /// No variant of iptables can be used.
    #[error(
        "no usable iptables: {}; install the package iptables, or use --native-nftables (needs the program nft), or \
         --skip-rule-apply where the Istio CNI plugin makes the rules; nothing was changed", tried.join("; ")
    )]
    NoIptables {
        /// Why, for each variant.
        tried: Vec<String>,
    },
    /// A program refused, or could not be started.
    #[error("{program}: {complaint}{}{}", explain_missing(missing.as_ref()), explain_undo(undo))]
    Refused {
        /// The program, with what was asked of it where that helps.
        program: String,
        /// What it said.
        complaint: String,
        /// What is missing, if that is known.
        missing: Option<Missing>,
        /// What became of what had been done.
        undo: Undo,
    },
    /// The network namespace cannot be entered.
    #[error("--network-namespace {path}: {reason}; {hint}; nothing was changed")]
    Namespace {
        /// Its path.
        path: String,
        /// Why not.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
}

impl ApplyError {
    /// A program that refused before anything was changed.
    pub fn refused(program: &str, complaint: String, missing: Option<Missing>) -> Self {
        let missing = missing.or_else(|| Missing::permission(&complaint));
        Self::Refused { program: program.to_owned(), complaint, missing, undo: Undo::NothingDone }
    }

    /// The same error, with what became of the steps before, and what was found out since.
    pub fn after(self, done: Undo, found: Option<Missing>) -> Self {
        match self {
            Self::Refused { program, complaint, missing, .. } => {
                Self::Refused { program, complaint, missing: missing.or(found), undo: done }
            }
            other => other,
        }
    }

    /// A namespace that cannot be entered.
    pub fn namespace(path: &str, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "give the path of a namespace, e.g. /var/run/netns/NAME or /proc/PID/ns/net"
            }
            io::ErrorKind::PermissionDenied => "entering another namespace takes CAP_SYS_ADMIN",
            io::ErrorKind::InvalidInput => "the path names no network namespace",
            _ => "see `man 2 setns`",
        };
        Self::Namespace { path: path.to_owned(), reason: error.to_string(), hint }
    }

    /// Whether a program refused for a reason that is not known yet, so that looking for it is worthwhile.
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Self::Refused { missing: None, .. })
    }
}

impl Missing {
    /// A program that could not be started.
    pub fn program(program: &str, package: &str, error: &io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::NotFound => format!("the program {program} is not on PATH"),
            _ => format!("the program {program} cannot be started"),
        };
        let instead = match package {
            "iptables" => "or use --native-nftables, which needs the program nft instead",
            "nftables" => "or leave out --native-nftables to use iptables",
            _ => "or do without what needs it: -m TPROXY and IPv6 (--dual-stack)",
        };
        Self {
            what,
            hint: format!(
                "install the package {package}, {instead}; --skip-rule-apply where the Istio CNI plugin makes the rules"
            ),
        }
    }

    /// What a complaint about permissions means when the process has its capabilities: they do not reach this namespace.
    pub fn permission(complaint: &str) -> Option<Self> {
        let denied = ["Permission denied", "Operation not permitted", "you must be root"];
        denied.iter().any(|text| complaint.contains(text)).then(|| Self {
            what: "NET_ADMIN (iptables-legacy: NET_RAW too) over this network namespace".to_owned(),
            hint: "give the container securityContext.capabilities.add [NET_ADMIN, NET_RAW] and runAsUser 0; in a user \
                   namespace, the network namespace must belong to it; --skip-rule-apply where the Istio CNI plugin makes the rules"
                .to_owned(),
        })
    }
}

fn explain_missing(missing: Option<&Missing>) -> String {
    missing
        .map(|missing| format!("\n  missing: {}\n  what helps: {}", missing.what, missing.hint))
        .unwrap_or_default()
}

fn explain_undo(undo: &Undo) -> String {
    match undo {
        Undo::NothingDone => "\n  nothing was changed".to_owned(),
        Undo::Undone => "\n  what had been done before was undone: the pod is as it was".to_owned(),
        Undo::Failed(why) => format!(
            "\n  undoing what had been done before failed too ({why}): run with --cleanup-only, or make the pod anew"
        ),
    }
}
