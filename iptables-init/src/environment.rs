//! What the program must know of the pod around it, read once and passed along as data, so that everything after it
//! is pure. `main.rs` reads the real one; tests write their own.
//!
//! Addresses come from the thread's `/proc` rather than from a netlink socket: reading two files needs no privilege.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The pod as seen from inside it.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Addresses of all interfaces of this network namespace.
    pub addresses: Vec<IpAddr>,
    /// The text of `/etc/resolv.conf`, or why it could not be read. Needed for DNS capture only.
    pub resolv_conf: Result<String, String>,
    /// The text of `/etc/passwd`; empty if there is none.
    pub passwd: String,
    /// The text of `/etc/group`; empty if there is none.
    pub group: String,
}

impl Environment {
    /// Reads what the process was started with and in. A file that is missing counts as empty: a minimal image has
    /// neither a passwd file nor, on some nodes, IPv6.
    pub fn of_this_process() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            variables: std::env::vars_os()
                .map(|(name, value)| {
                    (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
                })
                .collect(),
            addresses: addresses_of_this_namespace(),
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").map_err(|error| error.to_string()),
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// A variable that is set and not empty; an empty one counts as absent, as manifests often leave it so.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The number of a user by name.
    pub fn uid_of(&self, name: &str) -> Option<u32> {
        number_in_account_file(&self.passwd, name)
    }

    /// The number of a group by name.
    pub fn gid_of(&self, name: &str) -> Option<u32> {
        number_in_account_file(&self.group, name)
    }

    /// The name servers of `/etc/resolv.conf` that are plain IP addresses, in order and without doubles, and the
    /// entries that are not. The error says why the file could not be read.
    pub fn name_servers(&self) -> Result<(Vec<IpAddr>, Vec<String>), String> {
        let text = self.resolv_conf.as_ref().map_err(Clone::clone)?;
        let (mut servers, mut unusable) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if words.next() != Some("nameserver") {
                continue;
            }
            let Some(word) = words.next() else { continue };
            match word.parse::<IpAddr>() {
                Ok(address) if servers.contains(&address) => {}
                Ok(address) => servers.push(address),
                Err(_) => unusable.push(word.to_owned()),
            }
        }
        Ok((servers, unusable))
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            addresses: Vec::new(),
            resolv_conf: Ok(String::new()),
            passwd: String::new(),
            group: String::new(),
        }
    }
}

/// The addresses in the network namespace of this thread: `/proc/net` would be that of the process's first thread.
pub fn addresses_of_this_namespace() -> Vec<IpAddr> {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let mut addresses = addresses_in_fib_trie(&read("fib_trie"));
    addresses.extend(addresses_in_if_inet6(&read("if_inet6")));
    addresses
}

/// The third colon-separated field of the line that begins with `name`: the layout of both passwd(5) and group(5).
fn number_in_account_file(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// Local addresses are the leaves whose next line says `/32 host LOCAL`.
fn addresses_in_fib_trie(text: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.map(IpAddr::V4)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// Each line begins with an address as 32 hexadecimal digits.
fn addresses_in_if_inet6(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_of_both_families() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n        \
                    /32 host LOCAL\nLocal:\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(addresses_in_fib_trie(trie), expected);
        let six = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000005 02 40 00 80 eth0\n";
        let expected: Vec<IpAddr> = vec!["::1".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(addresses_in_if_inet6(six), expected);
    }

    #[test]
    fn reads_name_servers_and_accounts() {
        let environment = Environment {
            resolv_conf: Ok(
                "# x\nsearch a\nnameserver 10.0.0.10\nnameserver fe80::1%eth0\nnameserver 10.0.0.10\n".into(),
            ),
            passwd: "root:x:0:0::/root:/bin/sh\nistio-proxy:x:1500:1500::/:/bin/false\n".into(),
            group: "java:x:77:\n".into(),
            ..Environment::default()
        };
        let (servers, unusable) = environment.name_servers().unwrap();
        assert_eq!(servers, ["10.0.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(unusable, ["fe80::1%eth0"]);
        assert_eq!(environment.uid_of("istio-proxy"), Some(1500));
        assert_eq!(environment.gid_of("java"), Some(77));
        assert_eq!(environment.gid_of("istio-proxy"), None);
    }
}
