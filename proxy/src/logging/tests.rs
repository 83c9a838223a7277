//! Events through the whole log: what is shown, and what a change of level does.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn captured(level: Level, run: impl FnOnce(&Logging)) -> String {
    let output = Captured::default();
    let sink = Sink::to_writer(Box::new(output.clone())).expect("a thread");
    let log = Logging::new(sink, Format::new("[%l][%n] %v", false), level);
    tracing::subscriber::with_default(log.subscriber(), || run(&log));
    log.flush();
    let bytes = output.0.lock().expect("the lock").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn levels_are_per_component_and_change_while_running() {
    let text = captured(Level::Info, |log| {
        let say = |n: u32| {
            tracing::debug!(target: target::ROUTER, n, "routed");
            tracing::info!(target: target::POOL, "pooled {n}");
        };
        say(1);
        assert!(log.set_level("router", Level::Debug));
        assert!(log.set_level("pool", Level::Error));
        assert!(!log.set_level("nobody", Level::Error));
        say(2);
        log.set_all(Level::Off);
        say(3);
        assert!(log.levels().all(|(_, level)| level == Level::Off));
    });
    assert_eq!(text, "[info][pool] pooled 1\n[debug][router] routed n=2\n");
}

#[test]
fn critical_is_above_error() {
    let text = captured(Level::Critical, |_| {
        tracing::error!(target: target::MAIN, "an error");
        tracing::error!(target: target::MAIN, critical = true, "the end");
    });
    assert_eq!(text, "[critical][main] the end\n");
}

#[test]
fn module_paths_stand_in_for_a_target() {
    let text = captured(Level::Info, |_| tracing::info!(answer = 42, name = "x", "plain"));
    assert_eq!(text, "[info][main] plain answer=42 name=x\n");
}
