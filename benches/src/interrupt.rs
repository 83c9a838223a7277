//! Ctrl-C and SIGTERM: the proxies under test must not outlive the runner.
//!
//! Destructors do not run when a signal ends a process, so a thread waits for the signal, kills the proxies that
//! are up and removes the scratch directory. The backend ends by itself when its standard input closes.

use crate::process::kill_tree;
use anyhow::Result;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::signal::unix::{SignalKind, signal};

/// The process ids of the proxies that are up.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Notes a proxy that has been started.
pub fn started(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
}

/// Notes that a proxy is about to be waited for; its process id may belong to someone else after that.
pub fn ended(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != pid);
}

/// Starts the thread that waits for a signal. It ends the process with status 130, as a shell expects.
pub fn watch(scratch: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            kill_tree(*pid);
        }
        // What cannot be removed is a temporary directory that the system clears.
        let _ = std::fs::remove_dir_all(scratch);
        std::process::exit(130);
    });
    Ok(())
}
