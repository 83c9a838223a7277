//! `/logging`: shows and changes the levels of the process log.

use http::StatusCode;

use super::{Admin, Reply, Request};
use crate::logging::{Level, Logging, target};

pub(super) fn logging(admin: &Admin, request: &Request) -> Reply {
    let log = &admin.log;
    match change(log, &request.query) {
        Ok(()) => Reply::text(active(log)),
        Err(reason) => {
            let levels: String = Level::ALL.iter().flat_map(|l| [l.name(), " "]).collect();
            let text = format!(
                "error: {reason}\n\n\
                 usage: /logging?<name>=<level> (change single level)\n\
                 usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
                 usage: /logging?level=<level> (change all levels)\n\
                 usage: /logging?group=<group_name>:<level> (change group of loggers)\n\
                 levels: {levels}\n{}",
                active(log)
            );
            Reply::status(StatusCode::BAD_REQUEST, text)
        }
    }
}

fn active(log: &Logging) -> String {
    let lines: String =
        log.levels().flat_map(|(name, level)| ["  ", name, ": ", level.name(), "\n"]).collect();
    format!("active loggers:\n{lines}\n")
}

/// Applies the one parameter there may be. Nothing changes unless all of it is valid.
fn change(log: &Logging, query: &[(String, String)]) -> Result<(), &'static str> {
    let (name, value) = match query {
        [] => return Ok(()),
        [one] => one,
        _ => return Err("invalid number of parameters"),
    };
    match name.as_str() {
        // The home page sends an empty value for a field that was left alone.
        "level" | "paths" if value.is_empty() => {}
        "level" => {
            let level = level(value)?;
            tracing::info!(target: target::MISC, "change all log levels: level='{}'", level.name());
            log.set_all(level);
        }
        "group" => return Err("group parameter requires fine-grain logging to be enabled"),
        "paths" => {
            let pairs = value.split(',').map(pair).collect::<Result<Vec<_>, _>>()?;
            for (name, level) in pairs {
                set(log, name, level);
            }
        }
        name => {
            let level = level(value)?;
            let name = target::named(name).ok_or("unknown logger name")?;
            set(log, name, level);
        }
    }
    Ok(())
}

fn pair(text: &str) -> Result<(&'static str, Level), &'static str> {
    const EMPTY: &str = "empty logger name or empty logger level";
    let (name, wanted) = text.split_once(':').ok_or(EMPTY)?;
    if name.is_empty() || wanted.is_empty() {
        return Err(EMPTY);
    }
    let wanted = level(wanted)?;
    Ok((target::named(name).ok_or("unknown logger name")?, wanted))
}

fn level(text: &str) -> Result<Level, &'static str> {
    Level::parse(text).ok_or("unknown logger level")
}

fn set(log: &Logging, name: &str, level: Level) {
    tracing::info!(target: target::ADMIN, "change log level: name='{name}' level='{}'", level.name());
    log.set_level(name, level);
}
