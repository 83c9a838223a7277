//! Values of the runtime layers, as filters ask for them.

/// The runtime layers.
pub trait Runtime {
    /// A switch, if a layer has the key.
    fn switch(&self, key: &str) -> Option<bool>;
    /// A number, if a layer has the key.
    fn number(&self, key: &str) -> Option<u64>;
    /// A fraction, if a layer has the key: how many of how many. A number alone is one per hundred.
    fn fraction(&self, key: &str) -> Option<(u32, u32)>;
}

/// A runtime without layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn switch(&self, _: &str) -> Option<bool> {
        None
    }

    fn number(&self, _: &str) -> Option<u64> {
        None
    }

    fn fraction(&self, _: &str) -> Option<(u32, u32)> {
        None
    }
}

/// `core.v3.RuntimeFractionalPercent`: a share of requests, which the runtime may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// How many.
    pub numerator: u32,
    /// Of how many; zero is never.
    pub denominator: u32,
    /// `runtime_key`; empty if there is none.
    pub key: Box<str>,
}

impl RuntimeFraction {
    /// Every request.
    pub fn always() -> Self {
        Self { numerator: 100, denominator: 100, key: "".into() }
    }

    /// No request.
    pub fn never() -> Self {
        Self { numerator: 0, ..Self::always() }
    }

    /// What is so of every request, whatever the runtime has.
    pub fn certain(&self) -> Option<bool> {
        if self.key.is_empty() { certain(self.numerator, self.denominator) } else { None }
    }

    /// Whether a random value (of all 64 bits) falls into the share. It is drawn only where that is not certain.
    pub fn holds(&self, runtime: &dyn Runtime, random: impl FnOnce() -> u64) -> bool {
        let known = if self.key.is_empty() { None } else { runtime.fraction(&self.key) };
        let (numerator, denominator) = known.unwrap_or((self.numerator, self.denominator));
        certain(numerator, denominator)
            .unwrap_or_else(|| random() % u64::from(denominator) < u64::from(numerator))
    }
}

/// What a share of none or of all says: these are usual, and a division is slow.
fn certain(numerator: u32, denominator: u32) -> Option<bool> {
    if numerator == 0 || denominator == 0 {
        return Some(false);
    }
    (numerator >= denominator).then_some(true)
}

/// `core.v3.RuntimeFeatureFlag`: a switch, which the runtime may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSwitch {
    /// What counts where the runtime says nothing.
    pub default: bool,
    /// `runtime_key`; empty if there is none.
    pub key: Box<str>,
}

impl RuntimeSwitch {
    /// What is in force.
    pub fn is_on(&self, runtime: &dyn Runtime) -> bool {
        let known = if self.key.is_empty() { None } else { runtime.switch(&self.key) };
        known.unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Runtime for One {
        fn switch(&self, key: &str) -> Option<bool> {
            (key == "on").then_some(true)
        }

        fn number(&self, _: &str) -> Option<u64> {
            None
        }

        fn fraction(&self, key: &str) -> Option<(u32, u32)> {
            (key == "half").then_some((5000, 10_000))
        }
    }

    #[test]
    fn the_runtime_goes_before_the_default() {
        let half = RuntimeFraction { key: "half".into(), ..RuntimeFraction::never() };
        assert!(half.holds(&One, || 4999) && !half.holds(&One, || 5000));
        assert!(!half.holds(&NoRuntime, || 0));
        assert!(RuntimeFraction::always().holds(&One, || 99));
        assert_eq!(half.certain(), None);
        let share = |numerator, denominator| RuntimeFraction { numerator, denominator, key: "".into() };
        for (share, certain) in [
            (share(100, 100), Some(true)),
            (share(101, 100), Some(true)),
            (share(0, 100), Some(false)),
            (share(1, 0), Some(false)),
            (share(1, 100), None),
        ] {
            assert_eq!(share.certain(), certain, "{share:?}");
            assert!(certain.is_none_or(|certain| share.holds(&One, || u64::MAX) == certain));
        }
        let on = RuntimeSwitch { default: false, key: "on".into() };
        assert!(on.is_on(&One) && !on.is_on(&NoRuntime));
    }
}
