//! How a kind of block lists its stats: names in static tables, typed indices for the code that writes.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::histogram::Recorder;

/// How a kind counts response codes (`upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_completed`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// It has none.
    None,
    /// `upstream_rq_completed` is there from the start, the rest once written.
    Completed,
    /// All appear once written.
    OnWrite,
}

/// The static description of a kind: everything a reader needs to print a block of it.
#[derive(Debug)]
pub struct Schema {
    /// The first part of every name, with its dot (`cluster.`), or empty.
    pub root: &'static str,
    /// Counter names, by index.
    pub counters: &'static [&'static str],
    /// Gauge names, by index.
    pub gauges: &'static [&'static str],
    /// Histogram names, by index.
    pub histograms: &'static [&'static str],
    /// Whether response codes are counted.
    pub codes: Codes,
}

/// A typed index into one of the tables of a [`Schema`].
pub trait Slot: Copy {
    /// The position in the table.
    fn index(self) -> usize;
}

/// A histogram's place in a block: empty until the first value is recorded.
pub type HistogramCell = OnceLock<Box<Recorder>>;

/// A kind of block. Written by the `stat_kind!` macro only.
pub trait Kind: Sized + Send + Sync + 'static {
    /// Index of its counters.
    type Counter: Slot;
    /// Index of its gauges.
    type Gauge: Slot;
    /// Index of its histograms.
    type Histogram: Slot;
    /// Storage: counters first, then gauges.
    type Cells: AsRef<[AtomicU64]> + Send + Sync;
    /// Storage of the histograms.
    type Histograms: AsRef<[HistogramCell]> + Send + Sync;
    /// Where the gauges begin in `Cells`.
    const FIRST_GAUGE: usize;
    /// The description.
    const SCHEMA: &'static Schema;
    /// Zeroed storage.
    fn cells() -> Self::Cells;
    /// Empty histograms.
    fn histograms() -> Self::Histograms;
}

/// The full prefix of a scope: root, scope name and a dot, with nothing doubled when one of them is empty.
pub fn prefix_of(root: &str, scope: &str) -> String {
    if scope.is_empty() { root.to_owned() } else { format!("{root}{scope}.") }
}

/// Defines a [`Kind`]: a marker type and one enum per table. Each variant is documented by its Envoy name.
macro_rules! stat_kind {
    ($(#[$doc:meta])* $kind:ident($root:literal, $codes:ident);
     $counter:ident { $($c:ident = $cn:literal,)* }
     $gauge:ident { $($g:ident = $gn:literal,)* }
     $histogram:ident { $($h:ident = $hn:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $kind;

        stat_kind!(@slot $kind "Counters" $counter { $($c = $cn,)* });
        stat_kind!(@slot $kind "Gauges" $gauge { $($g = $gn,)* });
        stat_kind!(@slot $kind "Histograms" $histogram { $($h = $hn,)* });

        impl $crate::telemetry::stats::Kind for $kind {
            type Counter = $counter;
            type Gauge = $gauge;
            type Histogram = $histogram;
            type Cells = [std::sync::atomic::AtomicU64; $counter::COUNT + $gauge::COUNT];
            type Histograms = [$crate::telemetry::stats::schema::HistogramCell; $histogram::COUNT];
            const FIRST_GAUGE: usize = $counter::COUNT;
            const SCHEMA: &'static $crate::telemetry::stats::Schema = &$crate::telemetry::stats::Schema {
                root: $root,
                counters: &[$($cn),*],
                gauges: &[$($gn),*],
                histograms: &[$($hn),*],
                codes: $crate::telemetry::stats::schema::Codes::$codes,
            };
            fn cells() -> Self::Cells {
                [const { std::sync::atomic::AtomicU64::new(0) }; $counter::COUNT + $gauge::COUNT]
            }
            fn histograms() -> Self::Histograms {
                [const { std::sync::OnceLock::new() }; $histogram::COUNT]
            }
        }
    };
    (@slot $kind:ident $what:literal $slot:ident { $($v:ident = $n:literal,)* }) => {
        #[doc = concat!($what, " of [`", stringify!($kind), "`].")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $slot {
            $(#[doc = concat!("`", $n, "`")] $v,)*
        }
        impl $slot {
            /// How many there are.
            pub const COUNT: usize = { const NAMES: &[&str] = &[$($n),*]; NAMES.len() };
        }
        impl $crate::telemetry::stats::Slot for $slot {
            #[inline]
            fn index(self) -> usize {
                match self { $(Self::$v => Self::$v as usize,)* }
            }
        }
    };
}
pub(crate) use stat_kind;
