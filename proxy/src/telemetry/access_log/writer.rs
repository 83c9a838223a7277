//! The thread behind a log file: takes batches of lines from a channel and writes them.
//!
//! It ends when every sender is gone, after the last batch.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::file::{FileState, LogTarget};

/// What a writer is told.
pub(super) enum Message {
    /// Whole lines.
    Lines { bytes: Vec<u8>, count: u64 },
    /// Look at the flags.
    Wake,
    /// Answer when everything before is written.
    Done(SyncSender<()>),
}

/// An open target.
#[derive(Debug)]
pub(super) struct Output(File);

impl Output {
    pub(super) fn open(target: &LogTarget) -> io::Result<Self> {
        let file = match target {
            LogTarget::Path(path) => OpenOptions::new().create(true).append(true).open(&**path)?,
            LogTarget::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            LogTarget::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        };
        Ok(Output(file))
    }
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) target: LogTarget,
    pub(super) output: Output,
    pub(super) state: Arc<FileState>,
}

impl Writer {
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            if self.state.take_reopen() {
                self.reopen();
            }
            match message {
                Message::Lines { bytes, count } => {
                    let written = self.output.0.write_all(&bytes);
                    if let Err(error) = &written {
                        tracing::debug!("access log {}: {error}; {count} lines lost", self.target);
                    }
                    self.state.finished(bytes.len(), count, written.is_ok());
                }
                Message::Wake => {}
                Message::Done(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    }

    /// Lines that were handed over before still went to the old file. If the path cannot be opened, that file stays.
    fn reopen(&mut self) {
        match Output::open(&self.target) {
            Ok(output) => self.output = output,
            Err(error) => {
                tracing::warn!("access log {}: cannot reopen: {error}", self.target);
                self.state.reopen_failed();
            }
        }
    }
}
