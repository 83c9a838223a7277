//! A worker's series: groups of them by what their labels are made of.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::format::FormatContext;
use sampan_filters_api::series::{Labels, NoSeries, Wanted};
use sampan_filters_api::{Headers, RequestHead, ResponseHead, Series, SeriesKind, StreamInfo};

use super::labels::{Facts, Held, Label, Subject};
use super::{Metric, NAMESPACE, Settings};
use crate::local::{self, Local};

/// Combinations of labels that a worker remembers at most; then it begins anew, and asks the store for the series again.
const MOST: usize = 16 * 1024;

/// A worker's part of a configured filter.
pub struct Known {
    /// The configuration.
    pub settings: Arc<Settings>,
    groups: RefCell<HashMap<Box<[u8]>, Rc<Group>, ahash::RandomState>>,
    /// Reused for each key.
    key: RefCell<Vec<u8>>,
}

/// The series with one combination of labels. Each is asked for when it is first written to.
pub struct Group {
    labels: Vec<(Label, String)>,
    /// The values of the plan's expressions.
    values: Vec<String>,
    standard: RefCell<[Option<Arc<dyn Series>>; Metric::ALL.len()]>,
    custom: RefCell<Vec<Option<Arc<dyn Series>>>>,
}

/// What a stream is known by.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Its facts.
    pub info: &'a StreamInfo,
    /// The request's head.
    pub request: Option<&'a RequestHead>,
    /// The response's head.
    pub response: Option<&'a ResponseHead>,
    /// The response's trailers.
    pub trailers: Option<&'a Headers>,
}

impl<'a> View<'a> {
    /// What formats are rendered from.
    pub fn context(&self) -> FormatContext<'a> {
        FormatContext {
            request: self.request,
            response: self.response,
            trailers: self.trailers,
            ..FormatContext::new(self.info, Instant::now(), SystemTime::now())
        }
    }
}

impl Local for Known {
    fn is_stale(&self) -> bool {
        Arc::strong_count(&self.settings) == 1
    }
}

impl Known {
    /// This thread's part.
    pub fn of(settings: &Arc<Settings>) -> Rc<Self> {
        local::of(settings.id, || Self {
            settings: Arc::clone(settings),
            groups: RefCell::default(),
            key: RefCell::default(),
        })
    }

    /// The series for a stream.
    pub fn group(&self, view: &View<'_>, subject: Subject) -> Rc<Group> {
        let settings = &*self.settings;
        let held = Held::of(settings.reporter, view.info);
        let facts = Facts::gather(settings, &held, view.request, view.info, subject);
        let values =
            if settings.plan.is_plain() { Vec::new() } else { settings.plan.values(&view.context()) };
        let mut key = self.key.borrow_mut();
        key.clear();
        facts.key(&mut key);
        for value in &values {
            key.extend_from_slice(value.as_bytes());
            key.push(0xff);
        }
        if let Some(group) = self.groups.borrow().get(&**key) {
            return Rc::clone(group);
        }
        let custom = RefCell::new(vec![None; settings.plan.custom.len()]);
        let labels = facts.labels(settings);
        let group = Rc::new(Group { labels, values, standard: RefCell::default(), custom });
        let mut groups = self.groups.borrow_mut();
        if groups.len() >= MOST {
            groups.clear();
        }
        groups.insert(key.as_slice().into(), Rc::clone(&group));
        group
    }
}

impl Group {
    /// Adds to a counter.
    pub fn add(&self, settings: &Settings, metric: Metric, amount: u64) {
        self.with(settings, metric, |series| series.add(amount));
    }

    /// Records a value in a histogram.
    pub fn record(&self, settings: &Settings, metric: Metric, value: u64) {
        self.with(settings, metric, |series| series.record(value));
    }

    fn with(&self, settings: &Settings, metric: Metric, write: impl FnOnce(&dyn Series)) {
        let mut standard = self.standard.borrow_mut();
        let slot = &mut standard[metric as usize];
        if let Some(series) = slot.as_ref().filter(|series| !series.is_gone()) {
            return write(&**series);
        }
        let series = if settings.plan.drops(metric) {
            Arc::new(NoSeries)
        } else {
            let name = ["istio_", metric.name()].concat();
            let kind = if metric.is_histogram() { SeriesKind::Histogram } else { SeriesKind::Counter };
            find(settings, &name, kind, settings.plan.labels(metric, &self.labels, &self.values))
        };
        write(&**slot.insert(series));
    }

    /// Records the metrics of one's own for a stream that ended.
    pub fn record_custom(&self, settings: &Settings) {
        let mut slots = self.custom.borrow_mut();
        for (custom, slot) in settings.plan.custom.iter().zip(slots.iter_mut()) {
            let amount = self.values.get(custom.value).and_then(|text| text.parse::<u64>().ok());
            let amount = amount.unwrap_or(0);
            if slot.as_ref().is_none_or(|series| series.is_gone()) {
                *slot = Some(find(settings, &custom.name, custom.kind, custom.labels(&self.values)));
            }
            let Some(series) = slot else { continue };
            match custom.kind {
                SeriesKind::Counter => series.add(amount),
                SeriesKind::Gauge => series.set(amount),
                SeriesKind::Histogram => series.record(amount),
            }
        }
    }
}

/// A series of the store, or the one that stands for all that there is no room for.
fn find(settings: &Settings, name: &str, kind: SeriesKind, labels: Labels) -> Arc<dyn Series> {
    let name = format!("{NAMESPACE}.{name}");
    let wanted = Wanted { kind, name: &name, labels, idle: settings.idle };
    settings.store.series(&wanted).unwrap_or_else(|| {
        let reporter = Label::Reporter.name();
        let fold = |(label, value): &(Arc<str>, String)| {
            let value = if **label == *reporter { value.clone() } else { "folded".to_owned() };
            (Arc::clone(label), value)
        };
        settings.store.folded(&Wanted { labels: wanted.labels.iter().map(fold).collect(), ..wanted.clone() })
    })
}
