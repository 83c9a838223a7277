//! Scripts and the Lua states that run them: one state for each worker and script, with limits.
//!
//! A script sees Lua 5.1 as LuaJIT has it (with 5.2's `__pairs` and `goto`), without `io`, `debug`, `ffi`, `package` and what of `os`
//! reaches outside of the process. Its machine code generator is off, so that instructions are counted: a script that takes more than
//! [`MOST_INSTRUCTIONS`] or [`MOST_TIME`] between two waits ends with an error, as does one whose state takes more than
//! [`MOST_MEMORY`]. (A single call of a library function is not interrupted, however long it takes.)

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};

use crate::http::local_ratelimit::next_id;

/// Instructions between two waits.
const MOST_INSTRUCTIONS: u64 = 10_000_000;
/// How often they are counted.
const COUNTED: u32 = 1000;
/// How long they may take: functions of the library can take their time over one instruction.
const MOST_TIME: Duration = Duration::from_secs(1);
/// Bytes that one state may take.
const MOST_MEMORY: usize = 64 * 1024 * 1024;

/// A script of the configuration.
#[derive(Debug)]
pub struct Script {
    id: u64,
    source: Box<[u8]>,
}

/// A state in which a script has been run.
pub(super) struct Vm {
    pub lua: Lua,
    /// `envoy_on_request`
    pub on_request: Option<Function>,
    /// `envoy_on_response`
    pub on_response: Option<Function>,
    /// Makes a handle of a native object.
    pub handle: Function,
    /// What the script may still take.
    left: Rc<Left>,
}

/// What a script may take until it waits for something.
struct Left {
    instructions: Cell<u64>,
    since: Cell<Instant>,
}

/// States by the number of their script.
type States = HashMap<u64, (Weak<Script>, Rc<Vm>)>;

thread_local! {
    /// The states of this worker.
    static STATES: RefCell<States> = RefCell::default();
}

impl Script {
    /// A script, which is run once to see whether it can be.
    pub fn new(source: Vec<u8>) -> Result<Self, String> {
        let script = Self { id: next_id(), source: source.into_boxed_slice() };
        Vm::new(&script).map_err(|error| error.to_string())?;
        Ok(script)
    }

    /// This worker's state of the script; made by its first stream. None where that fails, which has been logged.
    pub(super) fn state(self: &Arc<Self>) -> Option<Rc<Vm>> {
        STATES.with_borrow_mut(|states| {
            if let Some((_, vm)) = states.get(&self.id) {
                return Some(Rc::clone(vm));
            }
            // States of scripts that no configuration has any more go when another one comes.
            states.retain(|_, (script, _)| script.strong_count() > 0);
            let vm = match Vm::new(self) {
                Ok(vm) => Rc::new(vm),
                Err(error) => {
                    tracing::error!(target: "lua", "a script that ran before does not run any more: {error}");
                    return None;
                }
            };
            states.insert(self.id, (Arc::downgrade(self), Rc::clone(&vm)));
            Some(vm)
        })
    }
}

impl Vm {
    fn new(script: &Script) -> Result<Self, Error> {
        let libraries =
            StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS | StdLib::BIT | StdLib::JIT;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        lua.set_memory_limit(MOST_MEMORY)?;
        let handle: Function = lua.load(include_str!("prelude.lua")).set_name("=prelude").call(())?;
        fence(&lua)?;
        let left =
            Rc::new(Left { instructions: Cell::new(MOST_INSTRUCTIONS), since: Cell::new(Instant::now()) });
        count(&lua, &left, COUNTED)?;
        lua.load(&*script.source).set_name("=script").set_mode(mlua::chunk::ChunkMode::Text).exec()?;
        let globals = lua.globals();
        let function = |name| match globals.get::<Value>(name) {
            Ok(Value::Function(function)) => Some(function),
            _ => None,
        };
        let (on_request, on_response) = (function("envoy_on_request"), function("envoy_on_response"));
        Ok(Self { lua, on_request, on_response, handle, left })
    }

    /// Gives a script its instructions and its time anew.
    pub fn refill(&self) {
        self.left.since.set(Instant::now());
        if self.left.instructions.replace(MOST_INSTRUCTIONS) == 0 {
            // It ran out before, and every instruction has been an error since.
            let _ = count(&self.lua, &self.left, COUNTED);
        }
    }
}

/// Turns off what a script must not do to a proxy.
fn fence(lua: &Lua) -> Result<(), Error> {
    let globals = lua.globals();
    let jit: Table = globals.get("jit")?;
    jit.get::<Function>("off")?.call::<()>(())?;
    for name in ["jit", "dofile", "loadfile", "collectgarbage"] {
        globals.set(name, Value::Nil)?;
    }
    let os: Table = globals.get("os")?;
    for name in ["execute", "exit", "remove", "rename", "tmpname", "setlocale"] {
        os.set(name, Value::Nil)?;
    }
    let print = lua.create_function(|_, values: mlua::Variadic<Value>| {
        let words: Result<Vec<_>, _> = values.iter().map(Value::to_string).collect();
        tracing::info!(target: "lua", "script log: {}", words?.join("\t"));
        Ok(())
    })?;
    globals.set("print", print)
}

/// Counts instructions, every so often. Once none is left, each one is an error, so that no `pcall` can hold it up.
fn count(lua: &Lua, left: &Rc<Left>, often: u32) -> Result<(), Error> {
    let left = Rc::clone(left);
    let triggers = HookTriggers::new().every_nth_instruction(often);
    lua.set_global_hook(triggers, move |lua, _| {
        let before = left.instructions.get();
        let late = left.since.get().elapsed() > MOST_TIME;
        let now = if late { 0 } else { before.saturating_sub(u64::from(often)) };
        left.instructions.set(now);
        if before > 0 && now == 0 {
            count(lua, &left, 1)?;
        }
        if now == 0 {
            let reason =
                format!("the script takes more than {MOST_INSTRUCTIONS} instructions, or {MOST_TIME:?}");
            return Err(Error::RuntimeError(reason));
        }
        Ok(VmState::Continue)
    })
}
