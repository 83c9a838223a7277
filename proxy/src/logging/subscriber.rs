//! The `tracing` subscriber: decides per callsite, formats events, ignores spans.
//!
//! Spans are not recorded: a request's identity belongs in its log line, and a span per stream would put
//! an allocation on the request path. Called by `tracing` once installed.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, span};

use super::format::{Format, Line};
use super::{Level, Sink, target};

pub(super) struct Shared {
    levels: [AtomicU8; target::ALL.len()],
    format: ArcSwap<Format>,
    pub(super) sink: Sink,
}

impl Shared {
    pub(super) fn new(sink: Sink, format: Format, level: Level) -> Self {
        Self {
            levels: std::array::from_fn(|_| AtomicU8::new(level as u8)),
            format: ArcSwap::from_pointee(format),
            sink,
        }
    }

    pub(super) fn level(&self, index: usize) -> Level {
        self.levels.get(index).map_or(Level::Off, |l| Level::from_index(l.load(Ordering::Relaxed)))
    }

    pub(super) fn set_level(&self, index: usize, level: Level) {
        if let Some(slot) = self.levels.get(index) {
            slot.store(level as u8, Ordering::Relaxed);
        }
    }

    pub(super) fn set_format(&self, format: Format) {
        self.format.store(Arc::new(format));
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && severity(metadata) >= self.level(target::of(metadata.target()))
    }
}

/// The severity of a callsite; the field `critical` lifts an error to critical.
fn severity(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::ERROR if metadata.fields().field("critical").is_some() => Level::Critical,
        tracing::Level::ERROR => Level::Error,
    }
}

pub(super) struct LogSubscriber {
    shared: Arc<Shared>,
}

impl LogSubscriber {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[derive(Default)]
struct Scratch {
    message: String,
    line: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Subscriber for LogSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shared.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.shared.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lowest = (0..target::ALL.len()).map(|i| self.shared.level(i)).min().unwrap_or(Level::Off);
        Some(match lowest {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
            Level::Off => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        SCRATCH.with(|scratch| {
            // A formatter that logs while it is being formatted would come back here: its line is left out.
            let Ok(mut scratch) = scratch.try_borrow_mut() else { return };
            let Scratch { message, line } = &mut *scratch;
            message.clear();
            line.clear();
            event.record(&mut Message(message));
            let facts = Line {
                level: severity(metadata),
                logger: target::ALL.get(target::of(metadata.target())).copied().unwrap_or(target::MISC),
                file: metadata.file().map_or("", shortened),
                line: metadata.line().unwrap_or(0),
                message,
            };
            self.shared.format.load().write(line, &facts);
            self.shared.sink.write(line.as_bytes());
        });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A library's path without the place of the registry on the build machine: `h2-0.4.20/src/lib.rs`.
fn shortened(file: &'static str) -> &'static str {
    let Some(at) = file.find("/registry/src/") else { return file };
    let rest = &file[at + "/registry/src/".len()..];
    rest.split_once('/').map_or(rest, |(_, inside)| inside)
}

/// The message, and after it the other fields as ` name=value`.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail; a value whose own Debug fails just ends there.
        let _ = match field.name() {
            "message" => {
                let others = std::mem::take(self.0);
                let written = write!(self.0, "{value:?}");
                self.0.push_str(&others);
                written
            }
            "critical" => Ok(()),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.insert_str(0, value);
        } else {
            let _ = write!(self.0, " {}={value}", field.name());
        }
    }
}
