//! One filter's part in one stream.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sampan_filters_api::LocalReply;
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};

/// The part, and in which phases it has one.
pub struct Instance<'s> {
    phases: Phases,
    part: Part<'s>,
}

enum Part<'s> {
    /// An instance of the stream's own.
    Own(Box<dyn HttpFilter + 's>),
    /// One that is made for each hook.
    Passing(&'s dyn HttpFilterFactory),
}

impl<'s> Instance<'s> {
    /// What a factory makes for a stream; none where it has nothing to do.
    pub fn create(factory: &'s dyn HttpFilterFactory, start: &Start<'_>) -> Option<Self> {
        let filter = factory.create(start)?;
        let phases = filter.phases().unwrap_or_else(|| factory.phases());
        Some(Self { phases, part: Part::Own(filter) })
    }

    /// Of a factory that makes an instance for each hook, with its [`HttpFilterFactory::passing`].
    pub fn passing(factory: &'s dyn HttpFilterFactory, phases: Phases) -> Self {
        Self { phases, part: Part::Passing(factory) }
    }

    /// The phases in which it takes part.
    pub fn phases(&self) -> Phases {
        self.phases
    }

    /// What a filter wants that does not just let a phase pass. A panic in a filter fails its request only.
    pub fn call(
        &mut self,
        phase: Phases,
        stream: &mut Stream<'_>,
        hook: impl FnOnce(&mut dyn HttpFilter, &mut Stream<'_>) -> Flow,
    ) -> Option<Flow> {
        if !self.phases.intersects(phase) {
            return None;
        }
        let part = &mut self.part;
        wanted(guarded(|| match part {
            Part::Own(filter) => hook(&mut **filter, stream),
            Part::Passing(factory) => {
                let mut hook = Some(hook);
                factory.at_hook(&mut |filter| hook.take().map_or(Flow::Continue, |hook| hook(filter, stream)))
            }
        }))
    }
}

/// What a filter's code returns, or the answer to a panic in it.
pub fn guarded(code: impl FnOnce() -> Flow) -> Flow {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|_| failed())
}

/// A flow that is more than to go on. What most filters return has nothing in it that would have to be dropped, and whether it
/// has is not asked at each of them.
fn wanted(flow: Flow) -> Option<Flow> {
    if matches!(flow, Flow::Continue) {
        std::mem::forget(flow);
        return None;
    }
    Some(flow)
}

#[cold]
fn failed() -> Flow {
    tracing::error!(target: "filter", "a filter panicked; its request is answered with 500");
    Flow::Reply(Box::new(LocalReply::new(500, "filter_failure")))
}
