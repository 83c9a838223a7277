//! From the names of functions to patterns that a linker matches, and that match in the next build too.
//!
//! A mangled name (RFC 2603, and the older scheme with a hash) carries what differs between compilers and versions: the identity of each
//! crate, references to places within the name, the hash. That becomes `*`. Names are then kept in a tree by their pieces; a branch is
//! cut, and becomes one pattern `prefix*`, where what did not run is at most [`WASTE`] of what did, and nothing belongs to another group.

use std::collections::{BTreeMap, HashSet};

use super::symbols::Function;

/// Bytes that did not run for each byte that did, at most, below one pattern.
const WASTE: f64 = 0.1;
/// Pieces before which no branch is cut: a pattern must say something.
const SHORTEST: usize = 7;

#[derive(Default)]
struct Branch {
    below: BTreeMap<Piece, Branch>,
    /// Bytes of all functions here and below, and of those that are wanted.
    all: u64,
    ran: u64,
    /// Whether one here or below belongs to another group.
    foreign: bool,
    /// Whether the name of a function that ran ends here.
    ends: bool,
}

/// One character of a name, or what may be anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Piece {
    Is(char),
    /// The identity of a crate: `Cs…_`.
    Crate,
    /// A reference into the name: `B…_`.
    Reference,
    /// The rest: a hash, or the number of a copy.
    Rest,
}

/// The patterns for the functions of a group, in order. `others` are those of the other groups.
pub(super) fn gather(
    functions: &[Function],
    group: &HashSet<String>,
    others: &HashSet<String>,
) -> Vec<String> {
    let mut tree = Branch::default();
    for function in functions {
        let is_in = |names: &HashSet<String>| function.names.iter().any(|name| names.contains(name));
        let (wanted, foreign) = (is_in(group), is_in(others));
        // The linker knows a function that has several names by any of them.
        for name in &function.names {
            tree.add(&pieces(name), function.size, wanted, foreign && !wanted);
        }
    }
    let mut patterns = Vec::new();
    tree.cut(&mut Vec::new(), &mut patterns);
    patterns
}

fn pieces(name: &str) -> Vec<Piece> {
    let (name, rest) = if let Some((name, _)) = name.split_once(".llvm.") {
        (name, true)
    } else if let Some((name, _)) = name.rsplit_once("17h").filter(|(_, hash)| hash.len() == 17) {
        (name, true)
    } else {
        (name, false)
    };
    let mangled = name.starts_with("_R");
    let mut pieces = Vec::new();
    let mut left = name;
    while let Some(first) = left.chars().next() {
        let (piece, taken) = match mangled.then(|| volatile(left)).flatten() {
            Some(volatile) => volatile,
            None => (Piece::Is(first), first.len_utf8()),
        };
        pieces.push(piece);
        left = &left[taken..];
    }
    if rest {
        pieces.push(Piece::Rest);
    }
    pieces
}

/// What the text begins with, if that differs between builds, and its length. An identifier that happens to look like it makes a pattern
/// wider, no more.
fn volatile(text: &str) -> Option<(Piece, usize)> {
    let (piece, tail) = match text.strip_prefix("Cs") {
        Some(tail) => (Piece::Crate, tail),
        None => (Piece::Reference, text.strip_prefix('B')?),
    };
    let digits = tail.find(|c: char| !c.is_ascii_alphanumeric())?;
    tail[digits..].starts_with('_').then(|| (piece, text.len() - tail.len() + digits + 1))
}

impl Branch {
    fn add(&mut self, pieces: &[Piece], size: u64, ran: bool, foreign: bool) {
        let mut branch = self;
        for piece in pieces {
            branch = branch.below.entry(*piece).or_default();
            branch.all += size;
            branch.ran += if ran { size } else { 0 };
            branch.foreign |= foreign;
        }
        branch.ends |= ran;
    }

    fn cut(&self, path: &mut Vec<Piece>, patterns: &mut Vec<String>) {
        let wasted = (self.all - self.ran) as f64;
        if path.len() >= SHORTEST && !self.foreign && wasted <= self.ran as f64 * WASTE {
            patterns.push(text(path, !self.below.is_empty()));
            return;
        }
        if self.ends {
            patterns.push(text(path, false));
        }
        for (piece, branch) in self.below.iter().filter(|(_, branch)| branch.ran > 0) {
            path.push(*piece);
            branch.cut(path, patterns);
            path.pop();
        }
    }
}

fn text(path: &[Piece], open: bool) -> String {
    let mut text = String::new();
    for piece in path {
        match piece {
            Piece::Is(c) => text.push(*c),
            Piece::Crate => text.push_str("Cs*_"),
            Piece::Reference => text.push_str("B*_"),
            Piece::Rest => text.push('*'),
        }
    }
    if open && !text.ends_with('*') {
        text.push('*');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, size: u64) -> Function {
        Function { names: vec![name.to_owned()], size }
    }

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn gathered(functions: &[Function], ran: &[&str]) -> Vec<String> {
        gather(functions, &names(ran), &HashSet::new())
    }

    #[test]
    fn what_differs_between_builds_is_left_open() {
        let names = [
            ("_RNvCsabc12_6sampan4main", "_RNvCs*_6sampan4main"),
            ("_RNvNtCsfLfy6EI15iL_5proxy3runB4_.llvm.123", "_RNvNtCs*_5proxy3runB*_*"),
            ("_ZN3std2io5error17h0123456789abcdefE", "_ZN3std2io5error*"),
            ("arena_dalloc_no_tcache", "arena_dalloc_no_tcache"),
        ];
        for (name, pattern) in names {
            assert_eq!(text(&pieces(name), false), pattern);
        }
    }

    #[test]
    fn a_branch_is_cut_where_little_else_is_below() {
        let functions = [
            function("_RNvCsa_5proxy5start3one", 100),
            function("_RNvCsa_5proxy5start3two", 100),
            function("_RNvCsa_5proxy5start4cold", 20),
            function("_RNvCsa_5proxy5never", 5000),
        ];
        let ran = ["_RNvCsa_5proxy5start3one", "_RNvCsa_5proxy5start3two"];
        assert_eq!(gathered(&functions, &ran), ["_RNvCs*_5proxy5s*"]);
        // Of another group, not a byte is taken.
        let others = names(&["_RNvCsa_5proxy5start4cold"]);
        assert_eq!(gather(&functions, &names(&ran), &others), ["_RNvCs*_5proxy5start3*"]);
    }

    #[test]
    fn where_much_else_is_below_the_names_themselves_are_kept() {
        let functions = [function("_RNvCsa_5proxy3one", 100), function("_RNvCsa_5proxy3only", 5000)];
        assert_eq!(gathered(&functions, &["_RNvCsa_5proxy3one"]), ["_RNvCs*_5proxy3one"]);
        assert!(gathered(&functions, &[]).is_empty());
    }
}
