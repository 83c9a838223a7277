//! One run of a script: a coroutine that is resumed as the message comes along.
//!
//! ```text
//! start -> runs -+-> ended (or failed: logged, counted, the message goes on)
//!                +-> "body"     Flow::Hold   -> the whole body came -> runs
//!                +-> "call"     Flow::Await  -> the answer came     -> runs
//!                +-> "chunk"    the message goes on; each piece     -> runs
//!                +-> "trailers" the message goes on to its end      -> runs
//!                '-> "respond"  Flow::Reply
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{IntoLuaMulti, MultiValue, Thread, Value};
use sampan_filters_api::call::CallError;
use sampan_filters_api::http::{Flow, Hold, Resume, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Answer, Calls, Counters, Headers, StreamInfo};

use super::job::{Entered, Job, MOST_HELD, Native};
use super::vm::Vm;
use super::{ERRORS, EXECUTIONS};

/// What the script waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    Body,
    Chunk,
    Trailers,
    Call,
    Ended,
}

/// What a run needs of its filter.
#[derive(Clone)]
pub(super) struct Means {
    pub vm: Rc<Vm>,
    pub calls: Rc<dyn Calls>,
    pub counters: Arc<Counters>,
    /// `clear_route_cache`
    pub clears_route: bool,
    pub context: Option<Arc<MetadataValue>>,
}

pub(super) struct Run {
    means: Means,
    thread: Thread,
    job: Rc<RefCell<Job>>,
    waits: Waits,
    /// The body that the script has put in place of the message's, until that comes by.
    replacement: Option<Bytes>,
    /// Whether the script has replaced the body, and what comes by of the old one is dropped.
    drops: bool,
}

type Shared = Rc<RefCell<Run>>;

/// Runs a script for a message whose head has come, if the script has a function for it.
pub(super) fn start(
    means: &Means,
    stream: &mut Stream<'_>,
    response_side: bool,
    end: bool,
) -> (Option<Shared>, Flow) {
    let vm = &means.vm;
    let function = if response_side { &vm.on_response } else { &vm.on_request };
    let Some(function) = function else { return (None, Flow::Continue) };
    means.counters.inc(EXECUTIONS);
    let job = Rc::new(RefCell::new(job(stream.info, response_side, end, means)));
    let begun = vm.lua.create_thread(function.clone()).and_then(|thread| {
        let handle: Value = vm.handle.call(vm.lua.create_userdata(Native(Rc::clone(&job)))?)?;
        Ok((thread, handle))
    });
    let (thread, handle) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            failed(means, &error);
            return (None, Flow::Continue);
        }
    };
    let run =
        Run { means: means.clone(), thread, job, waits: Waits::Nothing, replacement: None, drops: false };
    let run = Rc::new(RefCell::new(run));
    let flow = step(&run, stream, handle);
    (Some(run), flow)
}

fn job(info: &StreamInfo, response_side: bool, end: bool, means: &Means) -> Job {
    let mut job = Job::new(info, response_side, means.context.clone());
    job.progress.ended = end;
    job
}

fn failed(means: &Means, error: &mlua::Error) {
    means.counters.inc(ERRORS);
    tracing::error!(target: "lua", "script log: {error}");
}

/// Resumes the script, and turns what it wants into what happens to the message.
fn step(run: &Shared, stream: &mut Stream<'_>, args: impl IntoLuaMulti) -> Flow {
    let (job, thread, vm) = {
        let mut run = run.borrow_mut();
        run.waits = Waits::Nothing;
        (Rc::clone(&run.job), run.thread.clone(), Rc::clone(&run.means.vm))
    };
    vm.refill();
    let outcome = {
        let _entered = Entered::new(&job, stream);
        thread.resume::<MultiValue>(args)
    };
    after(run, stream, outcome)
}

fn after(run: &Shared, stream: &mut Stream<'_>, outcome: Result<MultiValue, mlua::Error>) -> Flow {
    let mut this = run.borrow_mut();
    let this = &mut *this;
    let mut job = this.job.borrow_mut();
    if !job.response_side
        && !job.progress.continued
        && (job.clear_route || (job.headers_changed && this.means.clears_route))
    {
        *stream.clear_route = true;
    }
    for call in job.beside.drain(..) {
        let call = this.means.calls.call(call);
        this.means.calls.spawn(Box::pin(async move {
            // Nobody waits for its answer.
            let _ = call.await;
        }));
    }
    let values = match outcome {
        Ok(values) if this.thread.is_resumable() => values,
        Ok(_) => {
            this.waits = Waits::Ended;
            return Flow::Continue;
        }
        Err(error) => {
            this.waits = Waits::Ended;
            failed(&this.means, &error);
            return Flow::Continue;
        }
    };
    let wanted = match values.front() {
        Some(Value::String(word)) => word.as_bytes().to_vec(),
        _ => Vec::new(),
    };
    match (&*wanted, job.call.take(), job.reply.take()) {
        (b"body", ..) => {
            this.waits = Waits::Body;
            Flow::Hold(Hold { most: MOST_HELD, partial: false })
        }
        (b"chunk", ..) => {
            this.waits = Waits::Chunk;
            Flow::Continue
        }
        (b"trailers", ..) => {
            this.waits = Waits::Trailers;
            Flow::Continue
        }
        (b"respond", _, Some(reply)) => {
            this.waits = Waits::Ended;
            Flow::Reply(reply)
        }
        (b"call", Some(call), _) => {
            this.waits = Waits::Call;
            // What is put in the place of a response's body now would come too late.
            job.replaceable &= !job.response_side;
            let (call, run) = (this.means.calls.call(call), Rc::clone(run));
            Flow::Await(Box::pin(async move {
                let answer = call.await;
                let resume: Resume = Box::new(move |stream| answered(&run, stream, answer));
                resume
            }))
        }
        _ => {
            this.waits = Waits::Ended;
            failed(&this.means, &super::job::wrong("script performed an unexpected yield"));
            Flow::Continue
        }
    }
}

/// Goes on with the answer to a call: its headers and body. A call that failed looks like a 503, as in Envoy.
fn answered(run: &Shared, stream: &mut Stream<'_>, answer: Result<Answer, CallError>) -> Flow {
    let lua = run.borrow().means.vm.lua.clone();
    let made = (|| {
        if let Err(CallError::UnknownCluster(_)) = answer {
            let why = "http call cluster invalid. Must be configured";
            return Ok((Value::Nil, Value::String(lua.create_string(why)?)));
        }
        let headers = lua.create_table()?;
        let body = match answer {
            Ok(answer) => {
                headers.raw_set(":status", answer.head.status.to_string())?;
                for (name, value) in answer.head.headers.iter() {
                    headers
                        .raw_set(lua.create_string(name.to_ascii_lowercase())?, lua.create_string(value)?)?;
                }
                answer.body
            }
            Err(error) => {
                tracing::debug!(target: "lua", "an http call failed: {error}");
                headers.raw_set(":status", "503")?;
                Bytes::from_static(b"upstream failure")
            }
        };
        let body = if body.is_empty() { Value::Nil } else { Value::String(lua.create_string(&body)?) };
        Ok::<_, mlua::Error>((Value::Table(headers), body))
    })();
    match made {
        Ok(values) => finish(run, step(run, stream, values)),
        Err(error) => {
            let mut run = run.borrow_mut();
            run.waits = Waits::Ended;
            failed(&run.means, &error);
            Flow::Continue
        }
    }
}

/// Takes what a script has put in place of the body, where that comes by later.
fn finish(run: &Shared, flow: Flow) -> Flow {
    let mut this = run.borrow_mut();
    let this = &mut *this;
    let mut job = this.job.borrow_mut();
    if job.progress.body && job.replaced && !job.response_side {
        job.replaced = false;
        this.replacement = Some(job.body.clone());
        this.drops = true;
    }
    flow
}

/// The head goes on: the script may no longer hold it.
pub(super) fn continues(run: &Shared) {
    run.borrow().job.borrow_mut().progress.continued = true;
}

/// The whole body came that the script waits for.
pub(super) fn held(run: &Shared, stream: &mut Stream<'_>, body: Bytes) -> Flow {
    if run.borrow().waits != Waits::Body {
        return Flow::Continue;
    }
    {
        let this = run.borrow();
        let mut job = this.job.borrow_mut();
        job.body = body;
        job.replaceable = true;
        job.progress.body = true;
    }
    let flow = step(run, stream, ());
    finish(run, flow)
}

/// What the script has made of a response's body, if it has replaced it.
pub(super) fn replaced(run: &Shared) -> Option<Bytes> {
    let this = run.borrow();
    let mut job = this.job.borrow_mut();
    std::mem::take(&mut job.replaced).then(|| job.body.clone())
}

/// A piece of the body comes by.
pub(super) fn data(run: &Shared, stream: &mut Stream<'_>, data: &mut Bytes, end: bool) -> Flow {
    let waits = {
        let mut this = run.borrow_mut();
        if this.drops {
            *data = this.replacement.take().unwrap_or_default();
            return Flow::Continue;
        }
        this.waits
    };
    match waits {
        Waits::Chunk => {
            {
                let this = run.borrow();
                let mut job = this.job.borrow_mut();
                job.body = data.clone();
                (job.replaceable, job.replaced) = (true, false);
                job.progress.continued = true;
            }
            let flow = step(run, stream, true);
            if let Some(other) = replaced(run) {
                *data = other;
            }
            if end && run.borrow().waits == Waits::Chunk { ended(run, stream) } else { flow }
        }
        Waits::Trailers if end => ended(run, stream),
        _ => Flow::Continue,
    }
}

/// The message has ended without trailers.
fn ended(run: &Shared, stream: &mut Stream<'_>) -> Flow {
    run.borrow().job.borrow_mut().progress.ended = true;
    step(run, stream, Value::Nil)
}

/// The trailers came.
pub(super) fn trailers(run: &Shared, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
    let job = Rc::clone(&run.borrow().job);
    {
        let mut job = job.borrow_mut();
        job.progress.ended = true;
        std::mem::swap(&mut job.trailers, trailers);
    }
    let waits = run.borrow().waits;
    let flow = match waits {
        Waits::Chunk | Waits::Trailers => step(run, stream, Value::Nil),
        _ => Flow::Continue,
    };
    std::mem::swap(&mut job.borrow_mut().trailers, trailers);
    flow
}

/// What is left of a body that was replaced and had no bytes of its own.
pub(super) fn rest(run: &Shared) -> Bytes {
    run.borrow_mut().replacement.take().unwrap_or_default()
}
