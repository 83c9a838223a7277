//! Reading: sums the blocks of all threads into named samples. Runs on the control thread, asks the writers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::codes::Origin;
use super::histogram::Distribution;
use super::metric::{Entry, MetricType};
use super::registry::{Scope, Stats, locked};
use super::schema::Codes;
use super::tags::Tag;

/// A source of stats that live elsewhere: circuit breakers, host sets, memory. Asked at every reading.
pub trait Provider: Send + Sync {
    /// Tells all it has, by full name.
    fn provide(&self, out: &mut Provided<'_>);
}

/// Takes what a [`Provider`] tells.
pub struct Provided<'a> {
    samples: &'a mut Samples,
    wanted: &'a Wanted<'a>,
}

impl Provided<'_> {
    /// A gauge.
    pub fn gauge(&mut self, name: String, value: u64) {
        self.samples.gauge(self.wanted, name, Some(value));
    }

    /// A counter. Resetting does not reach it.
    pub fn counter(&mut self, name: String, value: u64) {
        self.samples.counter(self.wanted, name, value, value > 0);
    }
}

/// Which stats to read.
pub(super) struct Wanted<'a> {
    pub(super) used_only: bool,
    pub(super) counters: bool,
    pub(super) gauges: bool,
    pub(super) texts: bool,
    pub(super) histograms: bool,
    /// Over the full name.
    pub(super) named: &'a dyn Fn(&str) -> bool,
}

/// A stat with its value.
pub(super) struct Sample<T> {
    pub(super) name: String,
    /// Its name without tags and its own tags, if they are not to be found by rules.
    pub(super) tags: Option<(Box<str>, Arc<[Tag]>)>,
    pub(super) value: T,
}

/// A histogram since the start and over the last interval.
#[derive(Clone, Default)]
pub(super) struct Recorded {
    pub(super) cumulative: Distribution,
    pub(super) interval: Distribution,
}

/// All that was read, each list sorted by name.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) counters: Vec<Sample<u64>>,
    pub(super) gauges: Vec<Sample<u64>>,
    pub(super) texts: Vec<Sample<String>>,
    pub(super) histograms: Vec<Sample<Recorded>>,
}

/// What readers remember of a scope.
#[derive(Default)]
pub(super) struct Reader {
    /// Counters at the last reset; empty if there was none.
    counters: Vec<u64>,
    codes: BTreeMap<(u16, u8), u64>,
    intervals: Vec<Interval>,
}

/// A histogram at the last flush, and what came between that and the one before.
#[derive(Default)]
pub(super) struct Interval {
    last: Distribution,
    recent: Distribution,
}

impl Interval {
    fn flush(&mut self, now: Distribution) {
        self.recent = now.since(&self.last);
        self.last = now;
    }
}

impl Stats {
    /// Begins a new interval of all histograms. To be called every `stats_flush_interval` (5 s by default).
    pub fn flush(&self) {
        for scope in self.scopes() {
            let mut reader = locked(&scope.reader);
            for index in 0..scope.schema.histograms.len() {
                let Some(now) = scope.distribution(index) else { continue };
                if reader.intervals.is_empty() {
                    reader.intervals.resize_with(scope.schema.histograms.len(), Interval::default);
                }
                reader.intervals[index].flush(now);
            }
        }
        for entry in self.metrics.entries() {
            if entry.is == MetricType::Histogram {
                locked(&entry.interval).flush(entry.distribution());
            }
        }
    }

    /// Counts from zero again (`POST /reset_counters`). Remembers the counts and subtracts them: writers are not touched.
    pub fn reset_counters(&self) {
        for scope in self.scopes() {
            let mut reader = locked(&scope.reader);
            reader.counters = (0..scope.schema.counters.len()).map(|index| scope.counter(index)).collect();
            reader.codes = scope.codes();
        }
        for entry in self.metrics.entries() {
            if entry.is == MetricType::Counter {
                entry.baseline.store(entry.sum().unwrap_or(0).cast_unsigned(), Relaxed);
            }
        }
    }

    /// Reads what is wanted.
    pub(super) fn collect(&self, wanted: &Wanted<'_>) -> Samples {
        let named = |name: &str| self.config.admits(name) && (wanted.named)(name);
        let wanted = Wanted { named: &named, ..*wanted };
        let mut samples = Samples::default();
        for scope in self.scopes() {
            scope.collect(&wanted, &mut samples);
        }
        for entry in self.metrics.entries() {
            entry.collect(&wanted, &mut samples);
        }
        let refused = self.metrics.refused();
        if refused > 0 {
            samples.counter(&wanted, "sampan.metrics_refused".to_owned(), refused, true);
        }
        let folded = self.metrics.folded();
        if folded > 0 {
            samples.counter(&wanted, "sampan.metrics_folded".to_owned(), folded, true);
        }
        let providers = locked(&self.providers).clone();
        for provider in providers {
            provider.provide(&mut Provided { samples: &mut samples, wanted: &wanted });
        }
        if wanted.texts {
            let texts = locked(&self.texts);
            let admitted = texts.iter().filter(|(name, _)| named(name));
            samples.texts.extend(admitted.map(|(name, value)| Sample::plain(name.clone(), value.clone())));
        }
        samples.sort();
        samples
    }
}

impl Scope {
    fn counter(&self, index: usize) -> u64 {
        self.blocks().iter().fold(0, |sum, block| sum.wrapping_add(block.counter_at(index)))
    }

    fn distribution(&self, index: usize) -> Option<Distribution> {
        let mut sum = None;
        for block in self.blocks() {
            if let Some(recorder) = block.histogram_at(index) {
                recorder.add_to(sum.get_or_insert_with(Distribution::default));
            }
        }
        sum
    }

    /// Counts by code and origin, of all writers.
    fn codes(&self) -> BTreeMap<(u16, u8), u64> {
        let mut codes = BTreeMap::new();
        for block in self.blocks() {
            block
                .codes()
                .each(|code, origin, count| *codes.entry((code, origin as u8)).or_default() += count);
        }
        codes
    }

    fn collect(&self, wanted: &Wanted<'_>, samples: &mut Samples) {
        let blocks = self.blocks();
        let reader = locked(&self.reader);
        if wanted.counters {
            for (index, name) in self.schema.counters.iter().enumerate() {
                let total = blocks.iter().fold(0u64, |sum, block| sum.wrapping_add(block.counter_at(index)));
                let since = total.wrapping_sub(reader.counters.get(index).copied().unwrap_or(0));
                if total > 0 || !wanted.used_only {
                    samples.counter(wanted, self.full(name), since, total > 0);
                }
            }
            self.collect_codes(&reader, wanted, samples);
        }
        if wanted.gauges {
            for (index, name) in self.schema.gauges.iter().enumerate() {
                let shares = blocks.iter().filter_map(|block| block.gauge_at(index));
                let sum = shares.reduce(i64::wrapping_add).map(|sum| sum.max(0).cast_unsigned());
                if sum.is_some() || !wanted.used_only {
                    samples.gauge(wanted, self.full(name), sum);
                }
            }
        }
        if wanted.histograms {
            for (index, name) in self.schema.histograms.iter().enumerate() {
                let cumulative = self.distribution(index);
                let from_the_start = !name.ends_with("upstream_rq_time");
                if cumulative.is_some() || (from_the_start && !wanted.used_only) {
                    let interval = reader.intervals.get(index).map(|interval| interval.recent.clone());
                    let value = Recorded {
                        cumulative: cumulative.unwrap_or_default(),
                        interval: interval.unwrap_or_default(),
                    };
                    samples.histogram(wanted, self.full(name), None, value);
                }
            }
        }
    }

    /// `upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_completed`, and the same under `external.` and the like.
    fn collect_codes(&self, reader: &Reader, wanted: &Wanted<'_>, samples: &mut Samples) {
        if self.schema.codes == Codes::None {
            return;
        }
        let mut named: BTreeMap<(Origin, u16), u64> = BTreeMap::new();
        for ((code, origin), total) in self.codes() {
            let since = total.saturating_sub(reader.codes.get(&(code, origin)).copied().unwrap_or(0));
            let origin = Origin::ALL.into_iter().find(|known| *known as u8 == origin).unwrap_or(Origin::Any);
            *named.entry((origin, code)).or_default() += since;
            if matches!(origin, Origin::External | Origin::Internal) {
                *named.entry((Origin::Any, code)).or_default() += since;
            }
        }
        for origin in Origin::ALL {
            let mut classes = [None; 10];
            let mut completed = None;
            for ((_, code), count) in named.range((origin, 0)..=(origin, u16::MAX)) {
                *classes[usize::from(code / 100).min(9)].get_or_insert(0) += count;
                *completed.get_or_insert(0) += count;
                samples.counter(wanted, self.code_name(origin, code), *count, true);
            }
            for (class, count) in classes.iter().enumerate().take(6) {
                if let Some(count) = count {
                    samples.counter(wanted, self.code_name(origin, format_args!("{class}xx")), *count, true);
                }
            }
            let shown_at_zero =
                origin == Origin::Any && self.schema.codes == Codes::Completed && !wanted.used_only;
            if completed.is_some() || shown_at_zero {
                let count = completed.unwrap_or(0);
                samples.counter(wanted, self.code_name(origin, "completed"), count, completed.is_some());
            }
        }
    }

    fn code_name(&self, origin: Origin, what: impl std::fmt::Display) -> String {
        format!("{}{}upstream_rq_{what}", self.prefix, origin.prefix())
    }

    fn full(&self, name: &str) -> String {
        [self.prefix.as_str(), name].concat()
    }
}

impl Entry {
    fn collect(&self, wanted: &Wanted<'_>, samples: &mut Samples) {
        let tags = (!self.tags.is_empty()).then(|| (self.name.clone(), Arc::clone(&self.tags)));
        let name = self.full_name();
        match self.is {
            MetricType::Counter => {
                let total = self.sum();
                let since = total.unwrap_or(0).cast_unsigned().wrapping_sub(self.baseline.load(Relaxed));
                if wanted.counters && (total.is_some() || !wanted.used_only) && (wanted.named)(&name) {
                    samples.counters.push(Sample { name, tags, value: since });
                }
            }
            MetricType::Gauge => {
                let sum = self.sum();
                if wanted.gauges && (sum.is_some() || !wanted.used_only) && (wanted.named)(&name) {
                    samples.gauges.push(Sample {
                        name,
                        tags,
                        value: sum.unwrap_or(0).max(0).cast_unsigned(),
                    });
                }
            }
            MetricType::Histogram => {
                let cumulative = self.distribution();
                if wanted.histograms && (!cumulative.is_empty() || !wanted.used_only) {
                    let interval = locked(&self.interval).recent.clone();
                    samples.histogram(wanted, name, tags, Recorded { cumulative, interval });
                }
            }
        }
    }
}

impl Entry {
    /// The name with all tags and their values in it, as Envoy joins them: what is empty is left out.
    fn full_name(&self) -> String {
        let mut name = self.name.to_string();
        for (tag, value) in self.tags.iter() {
            for part in [&**tag, value].into_iter().filter(|part| !part.is_empty()) {
                name.push('.');
                name.push_str(part);
            }
        }
        name
    }
}

impl<T> Sample<T> {
    fn plain(name: String, value: T) -> Self {
        Self { name, tags: None, value }
    }
}

impl Samples {
    fn counter(&mut self, wanted: &Wanted<'_>, name: String, value: u64, used: bool) {
        if wanted.counters && (used || !wanted.used_only) && (wanted.named)(&name) {
            self.counters.push(Sample::plain(name, value));
        }
    }

    fn gauge(&mut self, wanted: &Wanted<'_>, name: String, value: Option<u64>) {
        if wanted.gauges && (value.is_some() || !wanted.used_only) && (wanted.named)(&name) {
            self.gauges.push(Sample::plain(name, value.unwrap_or(0)));
        }
    }

    fn histogram(
        &mut self,
        wanted: &Wanted<'_>,
        name: String,
        tags: Option<(Box<str>, Arc<[Tag]>)>,
        value: Recorded,
    ) {
        if (wanted.named)(&name) {
            self.histograms.push(Sample { name, tags, value });
        }
    }

    /// Sorts by name, and adds up what came from several places under one name.
    fn sort(&mut self) {
        for list in [&mut self.counters, &mut self.gauges] {
            list.sort_by(|one, other| (&one.name, &one.tags).cmp(&(&other.name, &other.tags)));
            list.dedup_by(|later, kept| {
                let same = later.name == kept.name && later.tags == kept.tags;
                if same {
                    kept.value = kept.value.wrapping_add(later.value);
                }
                same
            });
        }
        self.texts.sort_by(|one, other| one.name.cmp(&other.name));
        self.histograms.sort_by(|one, other| (&one.name, &one.tags).cmp(&(&other.name, &other.tags)));
    }
}
