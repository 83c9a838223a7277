//! A range with bounds, exceptions and constants, for integers, floats and durations.

use std::fmt::Display;

/// What a number may be. With a lower bound above the upper one, the range is what lies outside of both.
#[derive(Debug, Clone)]
pub(super) struct Range<T> {
    pub(super) constant: Option<T>,
    pub(super) lt: Option<T>,
    pub(super) lte: Option<T>,
    pub(super) gt: Option<T>,
    pub(super) gte: Option<T>,
    pub(super) allowed: Vec<T>,
    pub(super) refused: Vec<T>,
    pub(super) ignore_empty: bool,
    /// How a bound is shown.
    pub(super) show: fn(T) -> String,
}

impl<T: Copy + PartialOrd + Display + Default> Range<T> {
    /// Says what is wrong with a number.
    pub(super) fn check(&self, number: T) -> Result<(), String> {
        if self.ignore_empty && number == T::default() {
            return Ok(());
        }
        if let Some(constant) = self.constant.filter(|constant| *constant != number) {
            return Err(format!("value must equal {}", (self.show)(constant)));
        }
        self.check_bounds(number)?;
        if !self.allowed.is_empty() && !self.allowed.contains(&number) {
            return Err("value must be in list".to_owned());
        }
        if self.refused.contains(&number) {
            return Err("value must not be in list".to_owned());
        }
        Ok(())
    }

    fn check_bounds(&self, number: T) -> Result<(), String> {
        let above =
            self.gt.is_none_or(|bound| number > bound) && self.gte.is_none_or(|bound| number >= bound);
        let below =
            self.lt.is_none_or(|bound| number < bound) && self.lte.is_none_or(|bound| number <= bound);
        let low = self.gt.or(self.gte);
        let high = self.lt.or(self.lte);
        let show = self.show;
        match (low, high) {
            (Some(low), Some(high)) if low > high => {
                if above || below {
                    return Ok(());
                }
                Err(format!("value must be outside range [{}, {}]", show(high), show(low)))
            }
            (Some(low), Some(high)) if !(above && below) => {
                let open = if self.gt.is_some() { '(' } else { '[' };
                let close = if self.lt.is_some() { ')' } else { ']' };
                Err(format!("value must be inside range {open}{}, {}{close}", show(low), show(high)))
            }
            (Some(low), None) if !above => {
                let equal = if self.gt.is_some() { "" } else { "or equal to " };
                Err(format!("value must be greater than {equal}{}", show(low)))
            }
            (None, Some(high)) if !below => {
                let equal = if self.lt.is_some() { "" } else { "or equal to " };
                Err(format!("value must be less than {equal}{}", show(high)))
            }
            _ => Ok(()),
        }
    }
}
