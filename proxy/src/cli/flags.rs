//! The table of flags, in the order in which Envoy's usage text lists them.
//!
//! A flag whose `effect` is [`Effect::None`] is accepted so that launchers keep working, and does nothing
//! here; the reason is printed in the support report, never hidden.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No value.
    Switch,
    /// One string.
    Text,
    /// One unsigned 32-bit number.
    Number,
    /// A string, and the flag may be repeated.
    Repeated,
}

/// Whether a flag does anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// As in Envoy.
    Full,
    /// Accepted and reported by `/server_info`, without effect, for this reason.
    None(&'static str),
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The long name, without dashes.
    pub long: &'static str,
    /// The short name.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// Whether it does anything.
    pub effect: Effect,
    /// The help text.
    pub help: &'static str,
}

impl Flag {
    /// As error messages name it: `-l (--log-level)`, or `(--mode)` for a flag without a short name.
    pub fn shown(&self) -> String {
        match self.short {
            Some(short) => format!("-{short} (--{})", self.long),
            None => format!("(--{})", self.long),
        }
    }
}

const HOT_RESTART: Effect = Effect::None("hot restart does not exist here: use a rolling restart");

const fn switch(long: &'static str, effect: Effect, help: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Switch, effect, help }
}

const fn text(long: &'static str, effect: Effect, help: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Text, effect, help }
}

const fn number(long: &'static str, effect: Effect, help: &'static str) -> Flag {
    Flag { long, short: None, kind: Kind::Number, effect, help }
}

use Effect::Full;

/// Every flag.
pub const FLAGS: &[Flag] = &[
    Flag {
        long: "stats-tag",
        short: None,
        kind: Kind::Repeated,
        effect: Full,
        help: "This flag provides a universal tag for all stats. The format is ``tag:value``. Only alphanumeric \
               values are allowed for tag names. For tag values all characters are permitted except for '.' \
               (dot). This flag can be repeated multiple times to set multiple universal tags. Multiple values \
               for the same tag name are not allowed.",
    },
    switch("enable-core-dump", Full, "Enable core dumps"),
    text("socket-mode", HOT_RESTART, "Socket file permission"),
    text("socket-path", HOT_RESTART, "Path to hot restart socket file"),
    text("disable-extensions", Full, "Comma-separated list of extensions to disable"),
    switch("cpuset-threads", Full, "Get the default # of worker threads from cpuset size"),
    switch(
        "enable-mutex-tracing",
        Effect::None("no mutex is taken on the request path, so there is nothing to trace"),
        "Enable mutex contention tracing functionality",
    ),
    switch("disable-hot-restart", HOT_RESTART, "Disable hot restart functionality"),
    text(
        "mode",
        Full,
        "One of 'serve' (default; validate configs and then serve traffic normally), 'validate' (validate \
         configs and exit) or 'init_only' (initialize and exit).",
    ),
    number("parent-shutdown-time-s", HOT_RESTART, "Hot restart parent shutdown time in seconds"),
    text("drain-strategy", Full, "Drain sequence behaviour, one of 'gradual' (default) or 'immediate'."),
    number("drain-time-s", Full, "Exit and LDS removal drain time in seconds"),
    number("file-flush-min-size-kb", Full, "Minimum size in KB for log flushing"),
    number("file-flush-interval-msec", Full, "Interval for log flushing in msec"),
    text("service-zone", Full, "Zone name"),
    text("service-node", Full, "Node name"),
    text("service-cluster", Full, "Cluster name"),
    switch("hot-restart-version", Full, "Hot restart compatibility version"),
    number("restart-epoch", HOT_RESTART, "Hot restart epoch #"),
    text("log-path", Full, "Path to logfile"),
    switch(
        "enable-fine-grain-logging",
        Effect::None("levels are set per component, not per source file"),
        "Logger mode: enable file level log control (Fine-Grain Logger) or not",
    ),
    switch("log-format-escaped", Full, "Escape c-style escape sequences in the application logs"),
    text(
        "log-format",
        Full,
        "Log message format in spdlog syntax. Default is \"[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v\"",
    ),
    text(
        "component-log-level",
        Full,
        "Comma-separated list of component log levels. For example upstream:debug,config:trace",
    ),
    Flag {
        long: "log-level",
        short: Some('l'),
        kind: Kind::Text,
        effect: Full,
        help: "Log levels: [trace][debug][info][warning|warn][error][critical][off]. Default is [info]",
    },
    text("local-address-ip-version", Full, "The local IP address version (v4 or v6)."),
    text("admin-address-path", Full, "Admin address path"),
    switch(
        "log-stacktrace-single-entry",
        Effect::None("a stack trace is always one log entry"),
        "Emit the entire stack trace in a single log entry instead of one log call per frame.",
    ),
    switch(
        "skip-deprecated-logs",
        Full,
        "Skips the logging of deprecated field warnings during Protobuf message validation",
    ),
    switch("ignore-unknown-dynamic-fields", Full, "Ignore unknown fields in dynamic configuration"),
    switch("reject-unknown-dynamic-fields", Full, "Reject unknown fields in dynamic configuration"),
    switch("allow-unknown-static-fields", Full, "Allow unknown fields in static configuration"),
    switch("allow-unknown-fields", Full, "Allow unknown fields in static configuration (DEPRECATED)"),
    text("config-yaml", Full, "Inline YAML configuration, merges with the contents of --config-path"),
    Flag {
        long: "config-path",
        short: Some('c'),
        kind: Kind::Text,
        effect: Full,
        help: "Path to configuration file",
    },
    number("concurrency", Full, "# of worker threads to run"),
    text("base-id-path", HOT_RESTART, "Path to which the base ID is written"),
    switch("skip-hot-restart-parent-stats", HOT_RESTART, "Do not copy stats from a hot restart parent."),
    switch(
        "skip-hot-restart-on-no-parent",
        HOT_RESTART,
        "Continue with a regular startup when epoch>0 and there is no hot restart parent.",
    ),
    switch("use-dynamic-base-id", HOT_RESTART, "The server chooses a base ID dynamically."),
    number("base-id", HOT_RESTART, "Base ID so that multiple instances can run on the same host if needed"),
    switch(
        "strict",
        Full,
        "Fail on configuration that is accepted but not supported, instead of a warning (not an Envoy flag)",
    ),
    text(
        "last-good-file",
        Full,
        "Keep what a control plane last sent in this file, without secrets, and serve it at a start without a \
         control plane (not an Envoy flag)",
    ),
    number(
        "last-good-max-age-s",
        Full,
        "How old the last-good file may be, in seconds; 0 is no limit. Default is 86400 (not an Envoy flag)",
    ),
];

/// The flags that are accepted without effect, with the reason: part of the support report.
pub fn without_effect() -> impl Iterator<Item = (&'static str, &'static str)> {
    FLAGS.iter().filter_map(|flag| match flag.effect {
        Effect::None(reason) => Some((flag.long, reason)),
        Full => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_reason_is_given() {
        let mut names: Vec<_> = FLAGS.iter().map(|f| f.long).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        assert!(without_effect().all(|(_, reason)| !reason.is_empty()));
        assert!(without_effect().any(|(name, _)| name == "disable-hot-restart"));
    }
}
