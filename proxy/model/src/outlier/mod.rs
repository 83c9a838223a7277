//! Outlier detection: hosts that fail are left alone for a while.
//!
//! ```text
//! workers --outcome of each request--> Monitor (atomics beside the host) --a run of failures is complete--> Detector
//! interval --> Detector: rates of success over the interval, hosts whose time is over --> Event
//!
//!   in use --run of failures, or worse than the others, while few enough are out--> ejected
//!     ^                                                                               |
//!     '------------- times ejected of late x base time (at most the maximum) <--------'
//! ```
//!
//! The [`Detector`] lives on the control thread; it is told the time and given random numbers.

mod config;
mod detector;
mod monitor;
#[cfg(test)]
mod tests;

pub use config::{Enforcing, OutlierConfig};
pub use detector::{Averages, Detector, Event, History};
pub use monitor::{Monitor, Outcome, Side};

/// Why a host is an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Gateway errors in a row.
    ConsecutiveGatewayFailure,
    /// Server errors in a row.
    Consecutive5xx,
    /// Failures in a row to reach it.
    ConsecutiveLocalOriginFailure,
    /// Its rate of success is far below the others'.
    SuccessRate,
    /// The same of reaching it.
    LocalOriginSuccessRate,
    /// Too large a part of its requests fail.
    FailurePercentage,
    /// The same of reaching it.
    LocalOriginFailurePercentage,
}

impl Reason {
    /// Whose failures they are.
    pub fn side(self) -> Side {
        match self {
            Self::ConsecutiveLocalOriginFailure
            | Self::LocalOriginSuccessRate
            | Self::LocalOriginFailurePercentage => Side::LocalOrigin,
            _ => Side::External,
        }
    }
}
