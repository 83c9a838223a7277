//! The functions of a program and their sizes, as `nm` of binutils tells them.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One function: every name it has, and its size in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) names: Vec<String>,
    pub(super) size: u64,
}

/// All functions of a program that was not stripped.
pub(super) fn read(program: &Path) -> Result<Vec<Function>> {
    let nm = Command::new("nm").args(["--print-size", "--defined-only"]).arg(program).output();
    let nm = nm.context("running nm: apt-get install binutils")?;
    ensure!(nm.status.success(), "nm: {}", String::from_utf8_lossy(&nm.stderr).trim());
    Ok(parse(&String::from_utf8_lossy(&nm.stdout)))
}

/// Lines of `ADDRESS SIZE TYPE NAME`; what has no size is no function of ours.
fn parse(text: &str) -> Vec<Function> {
    let mut functions: BTreeMap<&str, Function> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some(address), Some(size), Some("t" | "T" | "w" | "W"), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else { continue };
        let function = functions.entry(address).or_insert_with(|| Function { names: Vec::new(), size });
        function.names.push(name.to_owned());
    }
    functions.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_with_a_size_are_taken_and_their_names_joined() {
        let text = "0010 0000000a T one\n0010 0000000a t uno\n0020 0000000b r data\n0030 U other\n0040 00000002 W weak\n";
        let one = Function { names: vec!["one".into(), "uno".into()], size: 10 };
        let weak = Function { names: vec!["weak".into()], size: 2 };
        assert_eq!(parse(text), [one, weak]);
    }
}
