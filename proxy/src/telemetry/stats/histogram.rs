//! Log-linear histograms: every decade has 90 bins, so a value keeps its first two decimal digits. Bins, quantiles and
//! sums are those of Envoy's (the circllhist layout), so that dashboards read the same numbers.
//!
//! A [`Recorder`] belongs to one writing thread and grows a page of bins per decade that values fall into; a
//! [`Distribution`] is what a reader adds up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Decades above the first that are kept apart: values from 10 to 10^15. Larger ones count in the last bin.
const DECADES: usize = 14;
const DECADE_BINS: usize = 90;
/// Bins of the values 0 to 9.
const SMALL: usize = 10;
const POWERS: [u64; DECADES] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
];
const LARGEST: u64 = 999_999_999_999_999;

/// The quantiles that Envoy computes.
pub const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// One thread's histogram.
#[derive(Default)]
pub struct Recorder {
    small: [AtomicU64; SMALL],
    decades: [OnceLock<Box<Decade>>; DECADES],
}

struct Decade([AtomicU64; DECADE_BINS]);

impl Default for Decade {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DECADE_BINS])
    }
}

impl Recorder {
    /// Counts a value.
    #[inline]
    pub fn record(&self, value: u64) {
        let cell = if value < SMALL as u64 {
            self.small.get(value as usize)
        } else {
            let value = value.min(LARGEST);
            let decade = value.ilog10() as usize - 1;
            let leading = POWERS.get(decade).map_or(0, |power| value / power) as usize;
            self.decades.get(decade).and_then(|page| page.get_or_init(Box::default).0.get(leading - SMALL))
        };
        if let Some(cell) = cell {
            cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Adds what was recorded to a distribution.
    pub fn add_to(&self, sum: &mut Distribution) {
        for (bin, cell) in self.small.iter().enumerate() {
            sum.add(bin as u16, cell.load(Relaxed));
        }
        for (decade, page) in self.decades.iter().enumerate() {
            let Some(page) = page.get() else { continue };
            for (bin, cell) in page.0.iter().enumerate() {
                sum.add((SMALL + decade * DECADE_BINS + bin) as u16, cell.load(Relaxed));
            }
        }
    }
}

/// Counts by bin, sparse and in ascending order of bins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    bins: Vec<(u16, u64)>,
}

impl Distribution {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let bin = if value < SMALL as u64 {
            value as usize
        } else {
            let value = value.min(LARGEST);
            let decade = value.ilog10() as usize - 1;
            let leading = POWERS.get(decade).map_or(0, |power| value / power) as usize;
            decade * DECADE_BINS + leading
        };
        self.add(bin as u16, 1);
    }

    /// Adds to a bin. Cheap when bins come in ascending order.
    pub fn add(&mut self, bin: u16, count: u64) {
        if count == 0 {
            return;
        }
        match self.bins.binary_search_by_key(&bin, |(at, _)| *at) {
            Ok(at) => self.bins[at].1 += count,
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        for &(bin, count) in &other.bins {
            self.add(bin, count);
        }
    }

    /// What was added since `earlier`, a former state of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut bins = self.bins.clone();
        for (bin, count) in &mut bins {
            if let Ok(at) = earlier.bins.binary_search_by_key(bin, |(at, _)| *at) {
                *count = count.saturating_sub(earlier.bins[at].1);
            }
        }
        bins.retain(|(_, count)| *count > 0);
        Self { bins }
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.bins.iter().map(|(_, count)| count).sum()
    }

    /// The sum of the values as far as the bins tell it: each counts as the harmonic middle of its bin.
    pub fn sum(&self) -> f64 {
        self.bins.iter().fold(0.0, |sum, &(bin, count)| sum + middle(bin) * count as f64)
    }

    /// How many values lie in bins that begin at or below `bound`.
    pub fn count_below(&self, bound: f64) -> u64 {
        self.bins.iter().take_while(|(bin, _)| lower(*bin) <= bound).map(|(_, count)| count).sum()
    }

    /// The bins as lower bound, width and count.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        self.bins.iter().map(|&(bin, count)| (lower(bin), width(bin), count))
    }

    /// The value at each of [`QUANTILES`]; NaN when nothing was recorded.
    pub fn quantiles(&self) -> [f64; QUANTILES.len()] {
        let total = self.count();
        let mut values = [f64::NAN; QUANTILES.len()];
        if total == 0 {
            return values;
        }
        let mut bins = self.bins.iter();
        let mut at = bins.next();
        let mut before = 0;
        for (value, quantile) in values.iter_mut().zip(QUANTILES) {
            let rank = ((quantile * total as f64).ceil() as u64).clamp(1, total);
            while let Some((_, count)) = at
                && before + count < rank
            {
                before += count;
                at = bins.next();
            }
            if let Some(&(bin, count)) = at {
                *value = lower(bin) + width(bin) * ((rank - before) as f64 / (count + 1) as f64);
            }
        }
        values
    }
}

/// Where a bin begins.
fn lower(bin: u16) -> f64 {
    let bin = usize::from(bin);
    if bin < SMALL {
        return bin as f64;
    }
    let (decade, leading) = split(bin);
    leading as f64 * scale(decade)
}

/// How wide a bin is. Values below 10 keep a decimal, as their two digits allow.
fn width(bin: u16) -> f64 {
    match usize::from(bin) {
        0 => 0.0,
        1..SMALL => 0.1,
        bin => scale(split(bin).0),
    }
}

fn middle(bin: u16) -> f64 {
    let (low, high) = (lower(bin), lower(bin) + width(bin));
    if high == 0.0 { 0.0 } else { 2.0 * low * high / (low + high) }
}

fn split(bin: usize) -> (usize, usize) {
    ((bin - SMALL) / DECADE_BINS, (bin - SMALL) % DECADE_BINS + SMALL)
}

fn scale(decade: usize) -> f64 {
    POWERS.get(decade).map_or(0.0, |power| *power as f64)
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // The numbers are compared as printed.
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Distribution {
        let recorder = Recorder::default();
        let mut direct = Distribution::default();
        for &value in values {
            recorder.record(value);
            direct.record(value);
        }
        let mut sum = Distribution::default();
        recorder.add_to(&mut sum);
        assert_eq!(sum, direct);
        sum
    }

    #[test]
    fn sums_are_those_envoy_printed() {
        assert_eq!(of(&[1]).sum(), 1.047_619_047_619_047_6);
        assert!((of(&[2, 2, 2]).sum() - 6.146_341_463_414_634).abs() < 1e-12);
        assert!((of(&[19]).sum() - 19.487_179_487_179_485).abs() < 1e-12);
        assert_eq!(of(&[0, 0]).sum(), 0.0);
    }

    #[test]
    fn quantiles_are_those_envoy_printed() {
        let three = of(&[2, 2, 2]).quantiles();
        assert_eq!(three, [2.025, 2.025, 2.05, 2.075, 2.075, 2.075, 2.075, 2.075, 2.075, 2.075]);
        assert_eq!(of(&[19]).quantiles(), [19.5; 10]);
        assert_eq!(of(&[0; 9]).quantiles(), [0.0; 10]);
        assert!(Distribution::default().quantiles()[0].is_nan());
    }

    #[test]
    fn a_bin_holds_what_falls_into_it() {
        for value in [0, 1, 9, 10, 11, 99, 100, 109, 110, 12_345, 999_999_999_999_999] {
            let one = of(&[value]);
            let (low, wide, count) = one.bins().next().unwrap();
            assert_eq!(count, 1);
            assert!(low <= value as f64 && (value as f64) < low + wide.max(1.0), "{value} in {low} + {wide}");
        }
        assert_eq!(of(&[u64::MAX]).count(), 1);
    }

    #[test]
    fn cumulative_counts_include_the_bin_of_the_bound() {
        let some = of(&[1, 5, 25, 250, 251]);
        assert_eq!(some.count_below(0.5), 0);
        assert_eq!(some.count_below(1.0), 1);
        assert_eq!(some.count_below(25.0), 3);
        assert_eq!(some.count_below(250.0), 5);
    }

    #[test]
    fn an_interval_is_the_difference_of_two_states() {
        let earlier = of(&[1, 1, 30]);
        let later = of(&[1, 1, 30, 30, 700]);
        assert_eq!(later.since(&earlier), of(&[30, 700]));
        assert!(later.since(&later).is_empty());
        let mut merged = earlier.clone();
        merged.merge(&of(&[30, 700]));
        assert_eq!(merged, later);
    }
}
