//! How much memory the process holds, as the kernel sees it. Called by the admin server.
//!
//! The allocator's own statistics are not read: the crate that does so depends on one that nobody maintains.
//! The kernel's numbers answer the same questions (how much is held, how much of it is resident).

use std::fs;

/// Bytes. Zero where the kernel does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Resident private memory: what the program allocated and touched.
    pub anonymous: u64,
    /// Address space for private data, resident or not.
    pub data: u64,
    /// Everything resident, code and mapped files included.
    pub resident: u64,
}

/// Reads it now.
pub fn read() -> Memory {
    parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse(status: &str) -> Memory {
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory { anonymous: kib("RssAnon"), data: kib("VmData"), resident: kib("VmRSS") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let memory = parse("Name:\tx\nVmRSS:\t    3000 kB\nRssAnon:\t    1000 kB\nVmData:\t    9000 kB\n");
        assert_eq!(memory, Memory { anonymous: 1_024_000, data: 9_216_000, resident: 3_072_000 });
        assert!(read().resident > 1 << 20);
        assert_eq!(parse(""), Memory::default());
    }
}
