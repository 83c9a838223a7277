//! Which buckets a request takes tokens from: those of its descriptors, and the default one.
//!
//! A configured descriptor with an empty value stands for every value, each with a bucket of its own; of those the least recently
//! used one goes when there are too many. Their table is behind a lock, which requests without such a descriptor do not take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::bucket::{Bucket, Shape};
use super::{Descriptor, Entries};

/// A configured descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Keys and values; an empty value is any.
    pub entries: Entries,
    /// Its bucket, or that of each value.
    pub shape: Shape,
    /// `shadow_mode`: counted, not enforced.
    pub shadow: bool,
}

/// What a limiter is made of.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// `token_bucket`; none for no limit.
    pub default: Option<Shape>,
    /// `descriptors`
    pub limits: Vec<Limit>,
    /// `always_consume_default_token_bucket`
    pub always_default: bool,
    /// `max_dynamic_descriptors`
    pub most_dynamic: usize,
}

/// The buckets.
#[derive(Debug)]
pub struct Limiter {
    plan: Plan,
    default: Option<Arc<Bucket>>,
    fixed: Vec<(Limit, Arc<Bucket>)>,
    dynamic: Vec<(Limit, Mutex<Recent>)>,
}

/// Buckets by value, and when each was used last.
#[derive(Debug, Default)]
struct Recent {
    buckets: HashMap<Entries, (Arc<Bucket>, u64)>,
    clock: u64,
}

/// What a limiter says of a request.
#[derive(Debug)]
pub struct Verdict {
    /// Whether there were tokens.
    pub allowed: bool,
    /// Whether the limit that was reached is only counted.
    pub shadow: bool,
    /// The bucket that the response tells of.
    pub bucket: Option<Arc<Bucket>>,
    /// What the descriptor of that bucket says about telling.
    pub told: Option<bool>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(plan: Plan, now: Instant) -> Self {
        let bucket = |shape| Arc::new(Bucket::new(shape, now));
        let (dynamic, fixed): (Vec<Limit>, Vec<Limit>) = plan
            .limits
            .iter()
            .cloned()
            .partition(|limit| limit.entries.iter().any(|(_, value)| value.is_empty()));
        Self {
            default: plan.default.map(bucket),
            fixed: fixed.into_iter().map(|limit| (limit.clone(), bucket(limit.shape))).collect(),
            dynamic: dynamic.into_iter().map(|limit| (limit, Mutex::default())).collect(),
            plan,
        }
    }

    /// A limiter like this one, with full buckets of its own.
    pub fn fresh(&self, now: Instant) -> Self {
        Self::new(self.plan.clone(), now)
    }

    /// Whether any descriptor is configured.
    pub fn has_limits(&self) -> bool {
        !self.plan.limits.is_empty()
    }

    /// Takes the tokens of a request. The slowest bucket is asked first, so that a request which it refuses costs the others
    /// nothing. `tells` is whether the response to a request without descriptors tells of its bucket.
    pub fn take(&self, descriptors: &[Descriptor], tells: bool, now: Instant) -> Verdict {
        if descriptors.is_empty() {
            return self.of_default(now).unwrap_or_else(|| self.passes(tells));
        }
        let mut matched: Vec<(&Descriptor, Arc<Bucket>, bool)> = descriptors
            .iter()
            .filter_map(|descriptor| {
                let (bucket, shadow) = self.bucket(&descriptor.entries, now)?;
                Some((descriptor, bucket, shadow))
            })
            .collect();
        matched.sort_by(|a, b| a.1.shape().rate.total_cmp(&b.1.shape().rate));
        let mut over_shadow = None;
        for (descriptor, bucket, shadow) in &matched {
            if bucket.take(descriptor.hits.unwrap_or(1.0), now) {
                continue;
            }
            let verdict = Verdict {
                allowed: false,
                shadow: *shadow,
                bucket: Some(Arc::clone(bucket)),
                told: descriptor.told,
            };
            if !*shadow {
                return verdict;
            }
            over_shadow.get_or_insert(verdict);
        }
        if (matched.is_empty() || self.plan.always_default)
            && let Some(refusal) = self.of_default(now)
        {
            return refusal;
        }
        if let Some(verdict) = over_shadow {
            return verdict;
        }
        match matched.first() {
            Some((descriptor, bucket, _)) => Verdict {
                allowed: true,
                shadow: false,
                bucket: Some(Arc::clone(bucket)),
                told: descriptor.told,
            },
            None => self.passes(tells),
        }
    }

    /// Takes a token of the default bucket; what is said if it has none.
    fn of_default(&self, now: Instant) -> Option<Verdict> {
        let default = self.default.as_ref().filter(|default| !default.take(1.0, now))?;
        // A bucket that can hold nothing has nothing to tell.
        let bucket = (default.shape().most > 0).then(|| Arc::clone(default));
        Some(Verdict { allowed: false, shadow: false, bucket, told: None })
    }

    /// What is said of a request that no descriptor matches, and that passes.
    fn passes(&self, tells: bool) -> Verdict {
        let bucket = self.default.as_ref().filter(|_| tells).cloned();
        Verdict { allowed: true, shadow: false, bucket, told: None }
    }

    fn bucket(&self, entries: &Entries, now: Instant) -> Option<(Arc<Bucket>, bool)> {
        if let Some((limit, bucket)) = self.fixed.iter().find(|(limit, _)| limit.entries == *entries) {
            return Some((Arc::clone(bucket), limit.shadow));
        }
        let (limit, recent) = self.dynamic.iter().find(|(limit, _)| limit.is_pattern_of(entries))?;
        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        Some((recent.bucket(entries, limit.shape, self.plan.most_dynamic, now), limit.shadow))
    }
}

impl Limit {
    fn is_pattern_of(&self, entries: &Entries) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|((key, value), (other_key, other))| {
                key == other_key && (value.is_empty() || value == other)
            })
    }
}

impl Recent {
    fn bucket(&mut self, entries: &Entries, shape: Shape, most: usize, now: Instant) -> Arc<Bucket> {
        self.clock += 1;
        if let Some((bucket, used)) = self.buckets.get_mut(entries) {
            *used = self.clock;
            return Arc::clone(bucket);
        }
        let bucket = Arc::new(Bucket::new(shape, now));
        if self.buckets.len() >= most.max(1) {
            let oldest = self.buckets.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(entries, _)| entries.clone()) {
                self.buckets.remove(&oldest);
            }
        }
        self.buckets.insert(entries.clone(), (Arc::clone(&bucket), self.clock));
        bucket
    }
}
