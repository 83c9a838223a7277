//! The options after checking: what the rest of the process reads.

use std::net::IpAddr;
use std::time::Duration;

use super::UsageError;
use super::parse::Given;
use crate::logging::{self, Level};

/// `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Serve traffic.
    Serve,
    /// Check the configuration and exit.
    Validate,
    /// Initialize fully, without serving, and exit.
    InitOnly,
}

/// `--drain-strategy`: how connections are told to go while draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStrategy {
    /// More and more of them over the drain time.
    Gradual,
    /// All of them from the start.
    Immediate,
}

/// `--local-address-ip-version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// The loopback address of this family.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        }
    }
}

/// `--last-good-file` and `--last-good-max-age-s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The file.
    pub path: String,
    /// How old it may be; `None` is no limit.
    pub max_age: Option<Duration>,
}

/// Every option, checked. Field names follow the flags; `/server_info` prints them.
#[derive(Debug, Clone)]
pub struct Options {
    /// `-c`.
    pub config_path: Option<String>,
    /// `--config-yaml`, merged over the file.
    pub config_yaml: Option<String>,
    /// `--mode`.
    pub mode: Mode,
    /// `--strict`: what is not supported fails instead of warning.
    pub strict: bool,
    /// `--concurrency`, at least 1; `None` when it was not given.
    pub concurrency: Option<u32>,
    /// `--cpuset-threads`.
    pub cpuset_threads: bool,
    /// `-l`.
    pub log_level: Level,
    /// `--component-log-level`, checked against the logger names.
    pub component_log_levels: Vec<(&'static str, Level)>,
    /// The same as it was typed.
    pub component_log_level_text: String,
    /// `--log-format`.
    pub log_format: String,
    /// Whether `--log-format` was given, in which case the bootstrap may not set a format as well.
    pub log_format_set: bool,
    /// `--log-format-escaped`.
    pub log_format_escaped: bool,
    /// `--log-path`.
    pub log_path: Option<String>,
    /// `--service-cluster`.
    pub service_cluster: String,
    /// `--service-node`.
    pub service_node: String,
    /// `--service-zone`.
    pub service_zone: String,
    /// `--drain-time-s`.
    pub drain_time: Duration,
    /// `--drain-strategy`.
    pub drain_strategy: DrainStrategy,
    /// `--file-flush-interval-msec`.
    pub file_flush_interval: Duration,
    /// `--file-flush-min-size-kb`, in KiB; 0 leaves the choice to the writer.
    pub file_flush_min_size_kb: u32,
    /// `--admin-address-path`.
    pub admin_address_path: Option<String>,
    /// `--local-address-ip-version`.
    pub local_address_ip_version: IpVersion,
    /// `--allow-unknown-static-fields` (or its old name).
    pub allow_unknown_static_fields: bool,
    /// `--reject-unknown-dynamic-fields`.
    pub reject_unknown_dynamic_fields: bool,
    /// `--ignore-unknown-dynamic-fields`.
    pub ignore_unknown_dynamic_fields: bool,
    /// `--skip-deprecated-logs`.
    pub skip_deprecated_logs: bool,
    /// `--stats-tag`, as pairs.
    pub stats_tags: Vec<(String, String)>,
    /// `--disable-extensions`.
    pub disabled_extensions: Vec<String>,
    /// `--enable-core-dump`.
    pub enable_core_dump: bool,
    /// `--last-good-file`
    pub last_good: Option<LastGood>,
    /// The flags without effect here, kept to be reported.
    pub inert: Inert,
}

/// Values of flags that do nothing here and are only reported by `/server_info`.
#[derive(Debug, Clone)]
pub struct Inert {
    pub(crate) base_id: u32,
    pub(crate) base_id_path: String,
    pub(crate) use_dynamic_base_id: bool,
    pub(crate) restart_epoch: u32,
    pub(crate) disable_hot_restart: bool,
    pub(crate) parent_shutdown_time_s: u32,
    pub(crate) skip_hot_restart_on_no_parent: bool,
    pub(crate) skip_hot_restart_parent_stats: bool,
    pub(crate) socket_path: String,
    pub(crate) socket_mode: u32,
    pub(crate) enable_mutex_tracing: bool,
    pub(crate) enable_fine_grain_logging: bool,
    pub(crate) log_stacktrace_single_entry: bool,
}

impl Options {
    pub(super) fn from_flags(given: &Given<'_>) -> Result<Self, UsageError> {
        let owned = |name: &str| given.text(name).map(str::to_owned);
        let components = given.text("component-log-level").unwrap_or_default();
        if !components.is_empty() && given.switch("enable-fine-grain-logging") {
            return refuse("--component-log-level will not work with --enable-fine-grain-logging".to_owned());
        }
        let concurrency = match given.text("concurrency") {
            Some(_) => Some(given.number("concurrency", 1)?.max(1)),
            None => None,
        };
        Ok(Self {
            config_path: owned("config-path"),
            config_yaml: owned("config-yaml"),
            mode: mode(given.text("mode").unwrap_or("serve"))?,
            strict: given.switch("strict"),
            concurrency,
            cpuset_threads: given.switch("cpuset-threads"),
            log_level: level(given.text("log-level").unwrap_or("info"))?,
            component_log_levels: component_levels(components)?,
            component_log_level_text: components.to_owned(),
            log_format: owned("log-format").unwrap_or_else(|| logging::DEFAULT_FORMAT.to_owned()),
            log_format_set: given.text("log-format").is_some(),
            log_format_escaped: given.switch("log-format-escaped"),
            log_path: owned("log-path").filter(|p| !p.is_empty()),
            service_cluster: owned("service-cluster").unwrap_or_default(),
            service_node: owned("service-node").unwrap_or_default(),
            service_zone: owned("service-zone").unwrap_or_default(),
            drain_time: Duration::from_secs(given.number("drain-time-s", 600)?.into()),
            drain_strategy: drain_strategy(given.text("drain-strategy").unwrap_or("gradual"))?,
            file_flush_interval: Duration::from_millis(
                given.number("file-flush-interval-msec", 10_000)?.into(),
            ),
            file_flush_min_size_kb: given.number("file-flush-min-size-kb", 0)?,
            admin_address_path: owned("admin-address-path").filter(|p| !p.is_empty()),
            local_address_ip_version: ip_version(given.text("local-address-ip-version").unwrap_or("v4"))?,
            allow_unknown_static_fields: given.switch("allow-unknown-static-fields")
                || given.switch("allow-unknown-fields"),
            reject_unknown_dynamic_fields: given.switch("reject-unknown-dynamic-fields"),
            ignore_unknown_dynamic_fields: given.switch("ignore-unknown-dynamic-fields"),
            skip_deprecated_logs: given.switch("skip-deprecated-logs"),
            stats_tags: stats_tags(&given.all("stats-tag"))?,
            disabled_extensions: list(given.text("disable-extensions").unwrap_or_default()),
            enable_core_dump: given.switch("enable-core-dump"),
            last_good: last_good(given)?,
            inert: Inert::from_flags(given)?,
        })
    }
}

impl Inert {
    fn from_flags(given: &Given<'_>) -> Result<Self, UsageError> {
        let restart_epoch = given.number("restart-epoch", 0)?;
        let use_dynamic_base_id = given.switch("use-dynamic-base-id");
        if use_dynamic_base_id && restart_epoch > 0 {
            return refuse(format!("cannot use --restart-epoch={restart_epoch} with --use-dynamic-base-id"));
        }
        let mode = given.text("socket-mode").unwrap_or("0");
        let Ok(socket_mode) = u32::from_str_radix(mode, 8) else {
            return refuse(format!("error converting socket-mode '{mode}' to an octal number"));
        };
        Ok(Self {
            base_id: given.number("base-id", 0)?,
            base_id_path: given.text("base-id-path").unwrap_or_default().to_owned(),
            use_dynamic_base_id,
            restart_epoch,
            disable_hot_restart: given.switch("disable-hot-restart"),
            parent_shutdown_time_s: given.number("parent-shutdown-time-s", 900)?,
            skip_hot_restart_on_no_parent: given.switch("skip-hot-restart-on-no-parent"),
            skip_hot_restart_parent_stats: given.switch("skip-hot-restart-parent-stats"),
            socket_path: given.text("socket-path").unwrap_or("@envoy_domain_socket").to_owned(),
            socket_mode,
            enable_mutex_tracing: given.switch("enable-mutex-tracing"),
            enable_fine_grain_logging: given.switch("enable-fine-grain-logging"),
            log_stacktrace_single_entry: given.switch("log-stacktrace-single-entry"),
        })
    }
}

fn refuse<T>(text: String) -> Result<T, UsageError> {
    Err(UsageError::Refused(text))
}

fn last_good(given: &Given<'_>) -> Result<Option<LastGood>, UsageError> {
    let age = given.number("last-good-max-age-s", 86_400)?;
    match given.text("last-good-file") {
        Some("") => refuse("--last-good-file needs a path".to_owned()),
        Some(path) => {
            let max_age = (age > 0).then(|| Duration::from_secs(age.into()));
            Ok(Some(LastGood { path: path.to_owned(), max_age }))
        }
        None if given.text("last-good-max-age-s").is_some() => {
            refuse("--last-good-max-age-s has no effect without --last-good-file".to_owned())
        }
        None => Ok(None),
    }
}

fn mode(text: &str) -> Result<Mode, UsageError> {
    match text {
        "serve" => Ok(Mode::Serve),
        "validate" => Ok(Mode::Validate),
        "init_only" => Ok(Mode::InitOnly),
        _ => refuse(format!("unknown mode '{text}'")),
    }
}

fn drain_strategy(text: &str) -> Result<DrainStrategy, UsageError> {
    match text {
        "gradual" => Ok(DrainStrategy::Gradual),
        "immediate" => Ok(DrainStrategy::Immediate),
        _ => refuse(format!("unknown drain-strategy '{text}'")),
    }
}

fn ip_version(text: &str) -> Result<IpVersion, UsageError> {
    match text {
        "v4" => Ok(IpVersion::V4),
        "v6" => Ok(IpVersion::V6),
        _ => refuse(format!("unknown IP address version '{text}'")),
    }
}

fn level(text: &str) -> Result<Level, UsageError> {
    Level::parse(text).ok_or_else(|| UsageError::Refused(format!("invalid log level specified '{text}'")))
}

fn component_levels(text: &str) -> Result<Vec<(&'static str, Level)>, UsageError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|pair| {
            let Some((name, wanted)) = pair.split_once(':') else {
                return refuse(format!("component log level not correctly specified '{pair}'"));
            };
            let wanted = level(wanted)?;
            match logging::target::named(name) {
                Some(name) => Ok((name, wanted)),
                None => refuse(format!("invalid component specified '{name}'")),
            }
        })
        .collect()
}

fn stats_tags(given: &[String]) -> Result<Vec<(String, String)>, UsageError> {
    let mut tags: Vec<(String, String)> = Vec::with_capacity(given.len());
    for text in given {
        let Some((name, value)) = text.split_once(':') else {
            return refuse(format!("misformatted stats-tag '{text}'"));
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return refuse(format!("misformatted stats-tag '{text}' contains invalid char in '{name}'"));
        }
        if value.contains('.') {
            return refuse(format!("misformatted stats-tag '{text}' contains invalid char in '{value}'"));
        }
        if tags.iter().any(|(other, _)| other == name) {
            return refuse(format!("stats-tag '{name}' is set more than once"));
        }
        tags.push((name.to_owned(), value.to_owned()));
    }
    Ok(tags)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}
