//! Retries: whether what came of an attempt is worth another one, and when.
//!
//! ```text
//! outcome --a condition holds--> retries left? --breaker or budget has room--> back off --> another attempt
//!                                    '-- no: limit exceeded        '-- no: overflow
//! ```
//!
//! A [`RetryPolicy`] is a route's; the request may widen it by `x-envoy-*` headers. [`RetryState`] belongs to one request; it is given
//! random numbers and never sleeps itself.

mod conditions;
mod policy;
mod priority;
mod state;
#[cfg(test)]
mod tests;

pub use conditions::{Condition, Conditions};
pub use policy::{HostPredicate, RateLimitedBackOff, ResetFormat, ResetHeader, RetryPolicy};
pub use priority::untried;
pub use state::{Attempted, Decision, RetryState, Wishes};
