//! One spelling for a rule, so that what we ask for can be compared with what `iptables-save` prints: the kernel's
//! answer names implied modules, turns decimal marks into hexadecimal ones, masks ranges, and has an order of its own.
//!
//! It need not know every spelling of every version: a rule that only looks different is asked for by `iptables -C`
//! afterwards ([`super::compare`]).

use std::net::IpAddr;

use crate::value::Cidr;

/// A rule's conditions and target, each in one spelling, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical(Vec<Item>);

/// One option with its values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// The option's name, with the module before it where two modules have the same, and `!` in front if negated.
    key: String,
    value: String,
}

/// The shapes of rules that a plan puts into the kernel's chains without a jump to a chain of ours, as their sorted
/// keys: excluded and virtual machines' interfaces, and the marks of TPROXY.
const OUR_SHAPES: &[&[&str]] = &[
    &["-i", "-j RETURN"],
    &["-j RETURN", "-o"],
    &["CONNMARK --save-mark", "-j CONNMARK", "-p", "mark --mark"],
    &["-j RETURN", "-o", "-p", "mark --mark"],
    &["!-d", "-j MARK", "-o", "-p", "MARK --set-xmark", "owner --uid-owner"],
    &["!-d", "-j MARK", "-o", "-p", "MARK --set-xmark", "owner --gid-owner"],
    &["CONNMARK --restore-mark", "-j CONNMARK", "-p", "connmark --mark"],
];

impl Canonical {
    /// The canonical form of a rule as text, without its chain. What is quoted is passed over: no rule of ours has quotes.
    pub fn of(spec: &str) -> Self {
        let spec = unquoted(spec);
        let mut items: Vec<Item> = Vec::new();
        let (mut module, mut negated) = (String::new(), false);
        let mut words = spec.split_ascii_whitespace().peekable();
        while let Some(word) = words.next() {
            match word {
                "!" => negated = true,
                "-m" => words.next().unwrap_or_default().clone_into(&mut module),
                "-j" | "-g" => {
                    words.next().unwrap_or_default().clone_into(&mut module);
                    items.push(Item { key: format!("{word} {module}"), value: String::new() });
                }
                option => {
                    let mut values = Vec::new();
                    while let Some(value) = words.next_if(|next| !next.starts_with('-') && *next != "!") {
                        values.push(value);
                    }
                    items.extend(item(&module, option, &values.join(" "), negated));
                    negated = false;
                }
            }
        }
        items.sort();
        Self(items)
    }

    /// Whether it is, values aside, a rule that we put into the kernel's chains without a jump.
    pub fn has_our_shape(&self) -> bool {
        let keys = || self.0.iter().map(|item| item.key.as_str());
        OUR_SHAPES.iter().any(|shape| {
            let mut sorted: Vec<&str> = shape.to_vec();
            sorted.sort_unstable();
            keys().eq(sorted)
        })
    }
}

/// A rule with an empty pair of quotes for each quoted text: what a comment says is no part of the rule.
pub(super) fn unquoted(spec: &str) -> String {
    let (mut text, mut quoted, mut escaped) = (String::with_capacity(spec.len()), false, false);
    for c in spec.chars() {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        if !quoted || c == '"' && !escaped {
            text.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    text
}

/// One option in the spelling that all are brought to; nothing if it says what is the default anyway.
fn item(module: &str, option: &str, value: &str, negated: bool) -> Option<Item> {
    let (option, value) = match option {
        "-s" | "-d" => (option, network(value)),
        "--mark" | "--tproxy-mark" => (option, mark(value)),
        "--set-mark" | "--set-xmark" => ("--set-xmark", mark(value)),
        "--to-port" | "--to-ports" => ("--to-ports", value.to_owned()),
        "--ctstate" => (option, sorted(value)),
        "--nfmask" | "--ctmask" if mark(value) == u32::MAX.to_string() => return None,
        "--on-ip" if matches!(value, "0.0.0.0" | "::") => return None,
        _ => (option, value.to_owned()),
    };
    // `-m tcp` comes with `-p tcp` by itself, and the general options belong to no module.
    let own = !option.starts_with("--") || matches!(module, "" | "tcp" | "udp");
    let not = if negated { "!" } else { "" };
    let key = if own { format!("{not}{option}") } else { format!("{not}{module} {option}") };
    Some(Item { key, value })
}

/// A range with its host bits cleared and its length written.
fn network(value: &str) -> String {
    let parsed = Cidr::parse(value).ok().or_else(|| value.parse::<IpAddr>().ok().map(Cidr::host));
    parsed.map_or_else(|| value.to_owned(), |range| range.network().to_string())
}

/// A mark in decimal, without a mask that covers all of it.
fn mark(value: &str) -> String {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (mark, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
    match (number(mark), number(mask)) {
        (Some(mark), Some(u32::MAX)) => mark.to_string(),
        (Some(mark), Some(mask)) => format!("{mark}/{mask}"),
        _ => value.to_owned(),
    }
}

fn sorted(list: &str) -> String {
    let mut names: Vec<&str> = list.split(',').collect();
    names.sort_unstable();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_equals_what_is_printed() {
        for (asked, printed) in [
            ("-p tcp --dport 15008 -j RETURN", "-p tcp -m tcp --dport 15008 -j RETURN"),
            (
                "-o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
                "! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
            ),
            ("-d 127.0.0.1/8 -j RETURN", "-d 127.0.0.0/8 -j RETURN"),
            ("-d fd00::1/8 -j RETURN", "-d fd00::/8 -j RETURN"),
            ("-j MARK --set-mark 1337", "-j MARK --set-xmark 0x539/0xffffffff"),
            (
                "-p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006",
                "-p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff",
            ),
            (
                "-p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
                "-p tcp -m mark --mark 0x539 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            ),
            (
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
                "-m conntrack --ctstate ESTABLISHED,RELATED -j ISTIO_DIVERT",
            ),
        ] {
            assert_eq!(Canonical::of(asked), Canonical::of(printed), "{asked}");
        }
    }

    #[test]
    fn what_differs_stays_different() {
        for (one, other) in [
            ("-p tcp --dport 80 -j RETURN", "-p tcp ! --dport 80 -j RETURN"),
            ("-m mark --mark 1 -j RETURN", "-m connmark --mark 1 -j RETURN"),
            ("-m mark --mark 1 -j RETURN", "-m mark --mark 0x1/0xff -j RETURN"),
            ("-p tcp --dport 80 -j A", "-p tcp --sport 80 -j A"),
            ("-d 10.0.0.0/8 -j A", "-d 10.0.0.0/9 -j A"),
            (
                "-m owner ! --gid-owner 1 -m owner ! --gid-owner 2 -j RETURN",
                "-m owner ! --gid-owner 1 -j RETURN",
            ),
        ] {
            assert_ne!(Canonical::of(one), Canonical::of(other), "{one}");
        }
    }

    #[test]
    fn our_shapes_are_known_whatever_their_values() {
        for ours in [
            "-i eth7 -j RETURN",
            "-o lo -p tcp -m mark --mark 0x7 -j RETURN",
            "! -d 127.0.0.1/32 -o lo -p tcp -m owner --gid-owner 9 -j MARK --set-xmark 0x53a/0xffffffff",
            "-p tcp -m mark --mark 0x7 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-p tcp -m connmark --mark 0x7 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        ] {
            assert!(Canonical::of(ours).has_our_shape(), "{ours}");
        }
        for foreign in ["-i eth7 -j ACCEPT", "-i eth7 -p tcp -j RETURN", "-p tcp -j MARK --set-xmark 0x1/0x1"]
        {
            assert!(!Canonical::of(foreign).has_our_shape(), "{foreign}");
        }
    }
}
