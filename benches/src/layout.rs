//! Which functions the proxy runs when it starts and serves, as a linker script that puts them next to each other.
//!
//! A program's pages come into memory as they are touched, with their neighbours: 64 KiB at a time. The start touches some 2,500 functions
//! of 1.8 MiB all over 21 MiB of code, and so half of the program counts as the process's memory and goes through its caches. The linker
//! script gathers them: the same functions then take 3 MiB.
//!
//! ```text
//!   profile: sampan under callgrind, starts, serves some requests, is scraped, ends ──> names of functions that ran, and when
//!   symbols: nm over the same program ──> names and sizes of all functions
//!   patterns: what changes from build to build becomes `*`; the shortest prefixes that hold little else ──> proxy/layout.ld
//! ```
//!
//! What serving requests takes stands apart from what only the start takes: a processor, too, knows where few pages lie at a time (64 of
//! 4 KiB, by its first table), and asks for each line of them. What only filters, HTTP/2 and TLS take comes last, so that a proxy that does
//! without them does not touch it.
//!
//! The script is made by `just layout` and kept in the tree. It may be stale: a pattern that matches nothing does no harm, a function that
//! no pattern matches stays where it was. `tests/tests/memory.rs` says when too many do.

mod patterns;
mod profile;
mod symbols;

use anyhow::{Context, Result, ensure};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

/// Where the gathered functions go.
const SECTION: &str = ".text.gathered";

/// Profiles the program and writes the linker script.
///
/// # Errors
/// The program cannot be run under callgrind, or its names are not those of a build without a layout.
pub fn make(sampan: &Path, out: &Path) -> Result<()> {
    let ran = profile::functions(sampan)?;
    let symbols = symbols::read(sampan)?;
    let beside = &ran.mesh - &ran.plain;
    // A function goes where a pattern matches it first, and `*` matches much: what most proxies run comes first.
    let groups = [
        ("Start and end", &(&ran.whole - &ran.plain) - &ran.mesh),
        ("The same, and requests through filters, HTTP/2 and TLS", &beside & &ran.whole),
        ("Requests", ran.plain.clone()),
        ("Requests through filters, HTTP/2 and TLS", &beside - &ran.whole),
    ];
    let all: HashSet<String> = groups.iter().flat_map(|(_, group)| group).cloned().collect();
    let groups = groups.map(|(title, group)| (title, patterns::gather(&symbols, &group, &(&all - &group))));
    ensure!(
        groups.iter().all(|(_, patterns)| patterns.len() > 50),
        "only {} functions of {} were seen to run: was it built with SAMPAN_LAYOUT=off?",
        ran.whole.len(),
        sampan.display()
    );
    std::fs::write(out, script(&groups)).with_context(|| format!("writing {}", out.display()))?;
    for (title, patterns) in groups {
        eprintln!("{title}: {} patterns", patterns.len());
    }
    Ok(())
}

fn script(groups: &[(&str, Vec<String>)]) -> String {
    let mut text = format!(
        "/* The functions that run when the proxy starts and serves, next to each other. Made by `just layout`; see benches/src/layout.rs. */\n\
         SECTIONS\n{{\n  {SECTION} :\n  {{\n"
    );
    for (title, patterns) in groups {
        let _ = writeln!(text, "    /* {title} */");
        for pattern in patterns {
            // What the compiler holds for seldom run has a section of another name.
            let _ = writeln!(text, "    *(.text.{pattern} .text.unlikely.{pattern})");
        }
    }
    text.push_str("  }\n}\nINSERT BEFORE .text;\n");
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_script_names_both_sections_of_a_pattern() {
        let text = super::script(&[("Start", vec!["_RNvCs*_6sampan4main".to_owned()])]);
        assert!(text.contains("*(.text._RNvCs*_6sampan4main .text.unlikely._RNvCs*_6sampan4main)\n"));
        assert!(text.ends_with("INSERT BEFORE .text;\n"));
    }
}
