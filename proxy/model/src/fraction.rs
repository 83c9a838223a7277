//! Fractions of traffic, with an optional runtime key that overrides them.
//!
//! Used by route matches (`runtime_fraction`), mirroring and filters. The random value and the runtime layer are passed
//! in by the caller; nothing here draws a number of its own.

/// What a [`FractionalPercent`] is a fraction of (`envoy.type.v3.FractionalPercent.DenominatorType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denominator {
    /// Per hundred.
    #[default]
    Hundred,
    /// Per ten thousand.
    TenThousand,
    /// Per million.
    Million,
}

impl Denominator {
    /// The number itself.
    pub const fn value(self) -> u32 {
        match self {
            Self::Hundred => 100,
            Self::TenThousand => 10_000,
            Self::Million => 1_000_000,
        }
    }
}

/// `envoy.type.v3.FractionalPercent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FractionalPercent {
    /// How many of `denominator`. More than the denominator means always.
    pub numerator: u32,
    /// The whole.
    pub denominator: Denominator,
}

impl FractionalPercent {
    /// A fraction that holds for every random value.
    pub const ALWAYS: Self = Self { numerator: 100, denominator: Denominator::Hundred };
    /// A fraction that holds for no random value.
    pub const NEVER: Self = Self { numerator: 0, denominator: Denominator::Hundred };

    /// Whether `random` (uniform over `u64`) falls inside the fraction.
    #[inline]
    pub fn contains(self, random: u64) -> bool {
        random % u64::from(self.denominator.value()) < u64::from(self.numerator)
    }
}

/// `envoy.config.core.v3.RuntimeFractionalPercent`: a fraction that the runtime layers may override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// Used when the runtime does not know the key.
    pub default: FractionalPercent,
    /// The runtime key, when one was configured.
    pub key: Option<Box<str>>,
}

impl RuntimeFraction {
    /// Whether `random` falls inside the fraction, under `runtime`.
    #[inline]
    pub fn contains(&self, random: u64, runtime: &dyn RuntimeValues) -> bool {
        let fraction = self.key.as_deref().and_then(|key| runtime.fraction(key)).unwrap_or(self.default);
        fraction.contains(random)
    }
}

/// The runtime layers, as the domain sees them. Implemented by the runtime snapshot.
pub trait RuntimeValues {
    /// The fraction stored under `key`; a plain integer counts as that many per hundred.
    fn fraction(&self, key: &str) -> Option<FractionalPercent>;
    /// The integer stored under `key`.
    fn integer(&self, key: &str) -> Option<u64>;
}

/// A runtime without any entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRuntime;

impl RuntimeValues for NoRuntime {
    fn fraction(&self, _key: &str) -> Option<FractionalPercent> {
        None
    }

    fn integer(&self, _key: &str) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(FractionalPercent);

    impl RuntimeValues for One {
        fn fraction(&self, key: &str) -> Option<FractionalPercent> {
            (key == "k").then_some(self.0)
        }
        fn integer(&self, _key: &str) -> Option<u64> {
            None
        }
    }

    #[test]
    fn fraction_counts_by_denominator() {
        let half = FractionalPercent { numerator: 5_000, denominator: Denominator::TenThousand };
        assert!(half.contains(4_999));
        assert!(!half.contains(5_000));
        assert!(half.contains(10_000));
        assert!((0..1000).all(|r| FractionalPercent::ALWAYS.contains(r)));
        assert!(!(0..1000).any(|r| FractionalPercent::NEVER.contains(r)));
    }

    #[test]
    fn runtime_key_overrides_the_default() {
        let fraction = RuntimeFraction { default: FractionalPercent::ALWAYS, key: Some("k".into()) };
        assert!(fraction.contains(7, &NoRuntime));
        assert!(!fraction.contains(7, &One(FractionalPercent::NEVER)));
        let other = RuntimeFraction { default: FractionalPercent::ALWAYS, key: Some("other".into()) };
        assert!(other.contains(7, &One(FractionalPercent::NEVER)));
    }
}
