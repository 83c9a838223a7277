//! The samplers of OpenTelemetry (`envoy.tracers.opentelemetry.samplers.*`), in place of Envoy's own decision.

use super::context::{Context, TraceId};
use crate::fraction::FractionalPercent;

/// Decides about a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sampler {
    /// `always_on`
    AlwaysOn,
    /// `trace_id_ratio_based`: the same decision for the same trace in every process.
    TraceIdRatio(FractionalPercent),
    /// `parent_based`: as the parent, or by the wrapped one where there is none.
    ParentBased(Box<Sampler>),
}

impl Sampler {
    /// Whether the span is recorded.
    pub fn samples(&self, parent: Option<&Context>, trace: TraceId) -> bool {
        match self {
            Sampler::AlwaysOn => true,
            // Envoy takes the first eight bytes for a number of its machine, which has the lowest byte first.
            Sampler::TraceIdRatio(share) => share.contains(trace.high().swap_bytes()),
            Sampler::ParentBased(wrapped) => {
                parent.map_or_else(|| wrapped.samples(None, trace), |parent| parent.sampled)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fraction::Denominator;

    #[test]
    fn a_ratio_goes_by_the_trace() {
        let half = FractionalPercent { numerator: 50, denominator: Denominator::Hundred };
        let sampler = Sampler::TraceIdRatio(half);
        // 0x2a = 42 and 0x34 = 52 in the lowest byte of the first eight.
        assert!(sampler.samples(None, TraceId(0x2a00_0000_0000_0000_0000_0000_0000_0001)));
        assert!(!sampler.samples(None, TraceId(0x3400_0000_0000_0000_0000_0000_0000_0001)));
        assert!(!Sampler::TraceIdRatio(FractionalPercent::NEVER).samples(None, TraceId(0)));
    }

    #[test]
    fn a_parent_decides_where_there_is_one() {
        let never = Box::new(Sampler::TraceIdRatio(FractionalPercent::NEVER));
        let sampler = Sampler::ParentBased(never);
        let parent = Context { sampled: true, ..Context::default() };
        assert!(sampler.samples(Some(&parent), TraceId(1)));
        assert!(!sampler.samples(None, TraceId(1)));
        let parent = Context::default();
        assert!(!Sampler::ParentBased(Box::new(Sampler::AlwaysOn)).samples(Some(&parent), TraceId(1)));
    }
}
