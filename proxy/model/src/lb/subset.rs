//! Subset load balancing: the hosts whose metadata is what the request's route asks for.
//!
//! ```text
//! criteria of the request --a selector has just these keys, and hosts these values--> that subset
//!    '--> else the selector's own fallback, if its keys fit --> any host, the default subset, fewer keys, or nothing
//!    '--> else the cluster's fallback --> any host, the default subset (in panic any host), or nothing
//! ```
//!
//! Each subset is a [`HostSet`] of its own, with its own panic and priority load; the control thread builds them all with the
//! host set.

use ahash::RandomState;
use hashbrown::HashMap;

use super::SubsetUse;
use super::special::Tries;
use crate::cluster::{HostSet, HostSetOptions, Member};

/// A value of metadata in a form that is the same for equal values: JSON, with sorted keys.
pub type Canonical = Box<str>;

/// One entry of a host's `envoy.lb` metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its key.
    pub key: Box<str>,
    /// Its value.
    pub value: Canonical,
    /// If that is a list, the values in it.
    pub elements: Vec<Canonical>,
}

/// A host's `envoy.lb` metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    entries: Vec<Label>,
    hash_key: Option<Box<str>>,
}

/// What a request asks of a host's metadata (`metadata_match`), sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Keys and values, all of which must be the host's.
    pub entries: Vec<(Box<str>, Canonical)>,
    /// What `fallback_list` among them makes of them, one after the other; read with `FALLBACK_LIST` only.
    pub fallbacks: Vec<Vec<(Box<str>, Canonical)>>,
}

/// `LbSubsetConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubsetConfig {
    /// `fallback_policy`
    pub fallback: Fallback,
    /// `default_subset`
    pub default_subset: Vec<(Box<str>, Canonical)>,
    /// `subset_selectors`
    pub selectors: Vec<Selector>,
    /// `locality_weight_aware`
    pub locality_weight_aware: bool,
    /// `scale_locality_weight`
    pub scale_locality_weight: bool,
    /// `panic_mode_any`
    pub panic_mode_any: bool,
    /// `list_as_any`
    pub list_as_any: bool,
    /// `metadata_fallback_policy: FALLBACK_LIST`
    pub fallback_list: bool,
    /// `allow_redundant_keys`
    pub allow_redundant_keys: bool,
}

/// What serves a request that no subset fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing.
    #[default]
    None,
    /// Any host.
    Any,
    /// The default subset.
    Default,
}

/// `LbSubsetSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Its keys, sorted.
    pub keys: Vec<Box<str>>,
    /// What serves a request with these keys that no host fits.
    pub fallback: SelectorFallback,
    /// Each subset has one host.
    pub single_host: bool,
}

/// `LbSubsetSelectorFallbackPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SelectorFallback {
    /// The cluster's own.
    #[default]
    NotDefined,
    /// Nothing.
    None,
    /// Any host.
    Any,
    /// The default subset.
    Default,
    /// The request's criteria with these keys only.
    Keys(Vec<Box<str>>),
}

/// The subsets of a host set.
#[derive(Debug)]
pub struct Subsets {
    config: std::sync::Arc<SubsetConfig>,
    any: HostSet,
    default: HostSet,
    /// Of each selector, by the values of its keys.
    by_selector: Vec<HashMap<Vec<Canonical>, HostSet, RandomState>>,
    changes: SubsetChanges,
}

/// How many subsets there ever were, over all versions of a host set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubsetChanges {
    /// `lb_subsets_created`
    pub created: u64,
    /// `lb_subsets_removed`
    pub removed: u64,
}

/// Where a request may go.
pub(super) enum Found<'h> {
    /// To this subset and nowhere else.
    Chosen(&'h HostSet),
    /// To the first of these that has a host for it.
    Listed(Tries<'h>),
    /// Nowhere.
    Nothing,
}

impl Labels {
    /// Labels, with what stands for the host where it is hashed.
    pub fn new(mut entries: Vec<Label>, hash_key: Option<Box<str>>) -> Self {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Self { entries, hash_key: hash_key.filter(|key| !key.is_empty()) }
    }

    /// What stands for the host where it is hashed.
    pub fn hash_key(&self) -> Option<&str> {
        self.hash_key.as_deref()
    }

    /// Whether the host has all of these.
    pub fn has_all(&self, entries: &[(Box<str>, Canonical)]) -> bool {
        entries.iter().all(|(key, value)| self.has(key, value, false))
    }

    fn label(&self, key: &str) -> Option<&Label> {
        self.entries.iter().find(|label| &*label.key == key)
    }

    /// Whether the host has `value` at `key`.
    fn has(&self, key: &str, value: &str, list_as_any: bool) -> bool {
        self.label(key).is_some_and(|label| {
            *label.value == *value || list_as_any && label.elements.iter().any(|element| **element == *value)
        })
    }
}

impl Criteria {
    fn with_keys(entries: &[(Box<str>, Canonical)], keys: &[Box<str>]) -> Vec<(Box<str>, Canonical)> {
        entries.iter().filter(|(key, _)| keys.contains(key)).cloned().collect()
    }
}

impl SubsetConfig {
    fn fits(&self, member: &Member, entries: &[(Box<str>, Canonical)]) -> bool {
        entries.iter().all(|(key, value)| {
            member.labels.as_ref().is_some_and(|labels| labels.has(key, value, self.list_as_any))
        })
    }

    /// The subsets of a selector that a host is in: one, or with lists as many as the lists have values.
    fn values(&self, selector: &Selector, member: &Member) -> Vec<Vec<Canonical>> {
        const MOST: usize = 1024;
        let mut out = vec![Vec::new()];
        for key in &selector.keys {
            let Some(label) = member.labels.as_ref().and_then(|labels| labels.label(key)) else {
                return Vec::new();
            };
            let whole = std::slice::from_ref(&label.value);
            let values = if self.list_as_any && !label.elements.is_empty() { &label.elements } else { whole };
            out = out
                .iter()
                .flat_map(|known| {
                    values.iter().map(move |value| {
                        let mut next = known.clone();
                        next.push(value.clone());
                        next
                    })
                })
                .take(MOST)
                .collect();
        }
        out
    }
}

impl Subsets {
    /// Builds the subsets of `whole`.
    pub(crate) fn build(
        config: std::sync::Arc<SubsetConfig>,
        whole: &HostSet,
        previous: Option<&Self>,
    ) -> Self {
        let options = HostSetOptions {
            subsets: None,
            locality_weighted: whole.options().locality_weighted && config.locality_weight_aware,
            ..whole.options().clone()
        };
        let scale = config.scale_locality_weight;
        let subset = |fits: &dyn Fn(u32, &Member) -> bool| whole.subset(fits, options.clone(), scale);
        let any = subset(&|_, _| true);
        let default = subset(&|_, member| config.fits(member, &config.default_subset));
        let by_selector = config.selectors.iter().map(|selector| {
            let mut members: HashMap<Vec<Canonical>, Vec<u32>, RandomState> = HashMap::default();
            for (at, member) in whole.members().iter().enumerate() {
                for values in config.values(selector, member) {
                    let hosts = members.entry(values).or_default();
                    let full = selector.single_host && !hosts.is_empty();
                    if !full && hosts.last() != Some(&(at as u32)) {
                        hosts.push(at as u32);
                    }
                }
            }
            let sets = members.into_iter();
            sets.map(|(values, list)| (values, subset(&|at, _| list.binary_search(&at).is_ok()))).collect()
        });
        let by_selector: Vec<_> = by_selector.collect();
        let changes = SubsetChanges::default();
        let mut subsets = Self { any, default, by_selector, changes, config: config.clone() };
        subsets.changes = subsets.since(previous);
        subsets
    }

    /// The changes from the version before to this one, and those before.
    fn since(&self, previous: Option<&Self>) -> SubsetChanges {
        let Some(previous) = previous else {
            return SubsetChanges { created: self.count() as u64, removed: 0 };
        };
        let kept = |one: &Self, other: &Self| -> usize {
            let pairs = one.by_selector.iter().zip(&other.by_selector);
            pairs.map(|(one, other)| one.keys().filter(|key| other.contains_key(*key)).count()).sum()
        };
        let same = if self.config == previous.config { kept(self, previous) } else { 0 };
        let total = |subsets: &Self| subsets.by_selector.iter().map(HashMap::len).sum::<usize>();
        SubsetChanges {
            created: previous.changes.created + (total(self) - same) as u64,
            removed: previous.changes.removed + (total(previous) - same) as u64,
        }
    }

    /// How many there ever were.
    pub fn changes(&self) -> SubsetChanges {
        self.changes
    }

    /// How many subsets have hosts (`lb_subsets_active`).
    pub fn count(&self) -> usize {
        let kept = match self.config.fallback {
            Fallback::None => 0,
            Fallback::Any => usize::from(!self.any.members().is_empty()),
            Fallback::Default => usize::from(!self.default.members().is_empty()),
        };
        kept + self.by_selector.iter().map(HashMap::len).sum::<usize>()
    }

    /// Where a request with these criteria may go.
    pub(super) fn find(&self, criteria: Option<&Criteria>) -> Found<'_> {
        let Some(criteria) = criteria else { return self.fall_back() };
        if !self.config.fallback_list || criteria.fallbacks.is_empty() {
            return self.find_entries(&criteria.entries, 0);
        }
        let mut tries = Tries::new();
        for entries in &criteria.fallbacks {
            match self.find_entries(entries, 0) {
                Found::Chosen(hosts) => tries.push((hosts, SubsetUse::Selected)),
                Found::Listed(more) => tries.extend(more),
                Found::Nothing => {}
            }
        }
        Found::Listed(tries)
    }

    fn find_entries(&self, entries: &[(Box<str>, Canonical)], depth: usize) -> Found<'_> {
        let keys = || entries.iter().map(|(key, _)| key);
        let selectors = self.config.selectors.iter().zip(&self.by_selector);
        for (selector, subsets) in selectors.clone() {
            let values: Option<Vec<Canonical>> = if self.config.allow_redundant_keys {
                let value = |key: &str| entries.iter().find(|(known, _)| **known == *key);
                selector.keys.iter().map(|key| value(key).map(|(_, value)| value.clone())).collect()
            } else {
                selector.keys.iter().eq(keys()).then(|| entries.iter().map(|(_, v)| v.clone()).collect())
            };
            if let Some(hosts) = values.and_then(|values| subsets.get(&values)) {
                return Found::Chosen(hosts);
            }
        }
        let own = selectors.map(|(selector, _)| selector).find(|selector| {
            if self.config.allow_redundant_keys {
                selector.keys.iter().all(|key| keys().any(|known| known == key))
            } else {
                selector.keys.iter().eq(keys())
            }
        });
        match own.map_or(&SelectorFallback::NotDefined, |selector| &selector.fallback) {
            SelectorFallback::NotDefined => self.fall_back(),
            SelectorFallback::None => Found::Nothing,
            SelectorFallback::Any => Found::Listed(Tries::from_slice(&[(&self.any, SubsetUse::None)])),
            SelectorFallback::Default => {
                Found::Listed(Tries::from_slice(&[(&self.default, SubsetUse::None)]))
            }
            // Each step has fewer keys, so this ends; a configuration that says otherwise is refused.
            SelectorFallback::Keys(fewer) if depth < 16 => {
                self.find_entries(&Criteria::with_keys(entries, fewer), depth + 1)
            }
            SelectorFallback::Keys(_) => Found::Nothing,
        }
    }

    /// The cluster's own fallback.
    fn fall_back(&self) -> Found<'_> {
        let mut tries = Tries::new();
        match self.config.fallback {
            Fallback::None => return Found::Nothing,
            Fallback::Any => tries.push((&self.any, SubsetUse::Fallback)),
            Fallback::Default => tries.push((&self.default, SubsetUse::Fallback)),
        }
        if self.config.panic_mode_any {
            tries.push((&self.any, SubsetUse::Panic));
        }
        Found::Listed(tries)
    }
}
