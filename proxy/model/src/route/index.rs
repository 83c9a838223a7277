//! Path to candidate routes, so that a look-up does not walk the whole list.
//!
//! A virtual host's routes are ordered and the first match wins. The index turns that into: collect the few routes whose
//! path part can match, and take the smallest position among those whose other conditions hold too. Conditions have no
//! side effect, so candidates may be asked in any order, and one behind the best position so far need not be asked.
//!
//! - Exact paths are keys of a hash map.
//! - Prefixes are sorted. The last key that is not greater than the path shares with it the longest stretch that any key
//!   does; every key that is a prefix of the path is that key or a prefix of it. So each key knows its longest proper
//!   prefix among the keys (its parent), and the look-up is one binary search and a walk up the parents.
//! - Regexes and templates hang at their literal beginning in the same structure, and are asked in full.
//! - Both exist a second time in lower case for routes with `case_sensitive: false`.
//! - A list of a few routes has no index: walking it is faster and costs no memory.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::matcher::{PathMatch, RouteMatch};
use super::request::RequestView;

/// Up to here a plain walk is at least as fast.
const LINEAR_LIMIT: usize = 4;

/// "No such node" and "no position yet".
const NONE: u32 = u32::MAX;

/// How routes are found by path.
#[derive(Clone, Debug)]
pub(crate) enum PathIndex {
    /// Walk the list; this many routes.
    Linear(usize),
    /// Use the tables.
    Tables(Box<Tables>),
}

/// The index proper.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    cased: PathTables,
    /// Keys in lower case, compared with the lowered path.
    uncased: PathTables,
    connect: Vec<Candidate>,
}

#[derive(Clone, Debug, Default)]
struct PathTables {
    exact: HashMap<Box<[u8]>, SmallVec<[Candidate; 2]>, ahash::RandomState>,
    prefixes: PrefixTable,
}

/// Sorted prefixes; keys and candidates lie flat, so that a search touches few cache lines.
#[derive(Clone, Debug, Default)]
struct PrefixTable {
    keys: Vec<u8>,
    nodes: Vec<Node>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key_start: u32,
    key_len: u32,
    candidates_start: u32,
    candidates_end: u32,
    /// The longest other key that is a prefix of this one.
    parent: u32,
    /// The smallest position here and up the parents.
    smallest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    position: u32,
    check: Check,
}

/// What is left to ask once the key has matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Check {
    /// The path must end, or go on with `/`, after the key.
    boundary: bool,
    /// Headers, query and so on.
    conditions: bool,
    /// Everything, path included.
    full: bool,
}

/// A look-up under way.
struct Search<C, F> {
    best: u32,
    conditions: C,
    full: F,
}

impl PathIndex {
    /// An index over `matchers`, which are in order of precedence.
    pub(crate) fn new<'m>(matchers: impl ExactSizeIterator<Item = &'m RouteMatch>) -> Self {
        if matchers.len() <= LINEAR_LIMIT {
            return Self::Linear(matchers.len());
        }
        Self::Tables(Box::new(Tables::new(matchers)))
    }

    /// The smallest position that matches. `conditions` asks a route for all but its path, `full` for everything.
    #[inline]
    pub(crate) fn find(
        &self,
        request: &impl RequestView,
        path: &[u8],
        conditions: impl Fn(usize) -> bool,
        full: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Self::Linear(count) => (0..*count).find(|position| full(*position)),
            Self::Tables(tables) => tables.find(request, path, Search { best: NONE, conditions, full }),
        }
    }
}

impl Tables {
    fn new<'m>(matchers: impl Iterator<Item = &'m RouteMatch>) -> Self {
        let mut tables = Self::default();
        let mut prefixes: [Vec<(Vec<u8>, Candidate)>; 2] = Default::default();
        for (position, matcher) in matchers.enumerate() {
            let conditions = matcher.has_conditions();
            let check = Check { boundary: false, conditions, full: false };
            let candidate = Candidate { position: position as u32, check };
            let full = Candidate { check: Check { full: true, ..check }, ..candidate };
            let bounded = Candidate { check: Check { boundary: true, ..check }, ..candidate };
            let uncased = usize::from(!matcher.case_sensitive);
            match &matcher.path {
                PathMatch::Prefix(prefix) => prefixes[uncased].push((fold(prefix, uncased), candidate)),
                PathMatch::SeparatedPrefix(prefix) => {
                    prefixes[uncased].push((fold(prefix, uncased), bounded));
                }
                PathMatch::Exact(path) => {
                    let side = if uncased == 1 { &mut tables.uncased } else { &mut tables.cased };
                    let list = side.exact.entry(fold(path, uncased).into()).or_default();
                    push_reachable(list, candidate);
                }
                PathMatch::Regex(regex) => prefixes[0].push((regex.literal_prefix().into(), full)),
                PathMatch::UriTemplate(template) => {
                    prefixes[0].push((template.literal_prefix().into(), full));
                }
                PathMatch::Connect => tables.connect.push(candidate),
            }
        }
        let [cased, uncased] = prefixes;
        tables.cased.prefixes = PrefixTable::new(cased);
        tables.uncased.prefixes = PrefixTable::new(uncased);
        tables
    }

    fn find<C, F>(&self, request: &impl RequestView, path: &[u8], mut search: Search<C, F>) -> Option<usize>
    where
        C: Fn(usize) -> bool,
        F: Fn(usize) -> bool,
    {
        if !self.connect.is_empty() && request.is_connect() {
            search.offer(&self.connect, path, path.len());
        }
        if !path.is_empty() {
            self.cased.offer(path, &mut search);
            if !self.uncased.is_empty() {
                let mut lowered: SmallVec<[u8; 256]> = SmallVec::from_slice(path);
                lowered.make_ascii_lowercase();
                self.uncased.offer(&lowered, &mut search);
            }
        }
        (search.best != NONE).then_some(search.best as usize)
    }
}

impl PathTables {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.nodes.is_empty()
    }

    #[inline]
    fn offer<C, F>(&self, path: &[u8], search: &mut Search<C, F>)
    where
        C: Fn(usize) -> bool,
        F: Fn(usize) -> bool,
    {
        if !self.exact.is_empty()
            && let Some(candidates) = self.exact.get(path)
        {
            search.offer(candidates, path, path.len());
        }
        self.prefixes.offer(path, search);
    }
}

impl PrefixTable {
    fn new(mut entries: Vec<(Vec<u8>, Candidate)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.position.cmp(&b.1.position)));
        let mut table = Self::default();
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            let Some((key, _)) = group.first() else { continue };
            let mut list = SmallVec::<[Candidate; 2]>::new();
            for (_, candidate) in group {
                push_reachable(&mut list, *candidate);
            }
            table.push(key, &list);
        }
        table.keys.shrink_to_fit();
        table.nodes.shrink_to_fit();
        table.candidates.shrink_to_fit();
        table
    }

    /// Adds a key greater than all so far.
    fn push(&mut self, key: &[u8], candidates: &[Candidate]) {
        let mut parent = (self.nodes.len() as u32).checked_sub(1).unwrap_or(NONE);
        while let Some(node) = self.nodes.get(parent as usize) {
            if key.starts_with(self.key(node)) {
                break;
            }
            parent = node.parent;
        }
        let above = self.nodes.get(parent as usize).map_or(NONE, |node| node.smallest);
        let own = candidates.first().map_or(NONE, |candidate| candidate.position);
        self.nodes.push(Node {
            key_start: self.keys.len() as u32,
            key_len: key.len() as u32,
            candidates_start: self.candidates.len() as u32,
            candidates_end: (self.candidates.len() + candidates.len()) as u32,
            parent,
            smallest: own.min(above),
        });
        self.keys.extend_from_slice(key);
        self.candidates.extend_from_slice(candidates);
    }

    #[inline]
    fn key(&self, node: &Node) -> &[u8] {
        &self.keys[node.key_start as usize..(node.key_start + node.key_len) as usize]
    }

    #[inline]
    fn offer<C, F>(&self, path: &[u8], search: &mut Search<C, F>)
    where
        C: Fn(usize) -> bool,
        F: Fn(usize) -> bool,
    {
        let not_greater = self.nodes.partition_point(|node| self.key(node) <= path);
        let Some(mut node) = not_greater.checked_sub(1).and_then(|last| self.nodes.get(last)) else { return };
        let shared = common_length(self.key(node), path);
        while node.smallest < search.best {
            if node.key_len as usize <= shared {
                let own = &self.candidates[node.candidates_start as usize..node.candidates_end as usize];
                search.offer(own, path, node.key_len as usize);
            }
            let Some(parent) = self.nodes.get(node.parent as usize) else { return };
            node = parent;
        }
    }
}

impl<C: Fn(usize) -> bool, F: Fn(usize) -> bool> Search<C, F> {
    /// Takes the first of `candidates` that matches and is better than the best so far.
    #[inline]
    fn offer(&mut self, candidates: &[Candidate], path: &[u8], key_len: usize) {
        for candidate in candidates {
            if candidate.position >= self.best {
                return;
            }
            let position = candidate.position as usize;
            let Check { boundary, conditions, full } = candidate.check;
            let matches = if full {
                (self.full)(position)
            } else {
                (!boundary || matches!(path.get(key_len), None | Some(b'/')))
                    && (!conditions || (self.conditions)(position))
            };
            if matches {
                self.best = candidate.position;
                return;
            }
        }
    }
}

/// Adds `candidate` unless one before it takes every request with this key.
fn push_reachable(list: &mut SmallVec<[Candidate; 2]>, candidate: Candidate) {
    const ALWAYS: Check = Check { boundary: false, conditions: false, full: false };
    if list.last().is_none_or(|last| last.check != ALWAYS) {
        list.push(candidate);
    }
}

fn fold(key: &str, uncased: usize) -> Vec<u8> {
    if uncased == 1 { key.to_ascii_lowercase().into_bytes() } else { key.as_bytes().to_vec() }
}

/// How many bytes `a` and `b` have in common from the start.
fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
