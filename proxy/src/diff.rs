//! `sampan diff`: what changed between two generations of a running proxy's configuration, on a terminal.
//!
//! Asks the admin API (`/generations`, `/generations/diff`). Called by `main.rs`; the demo prints its list at the end.

mod arguments;
mod render;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use http::StatusCode;
use serde_json::Value as Json;

pub use crate::admin::client::Place as Admin;

use self::arguments::{Arguments, HELP, Wish};
use self::render::Style;
use crate::admin::client::{self, FetchError};

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The proxy cannot be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It answers, and not with this.
    #[error("{0}: {1}")]
    Refused(Admin, String),
    /// What came is not what an admin API of ours says.
    #[error("{0}: the answer is not what `sampan` says ({1}); is this the admin address of a sampan?")]
    Foreign(Admin, String),
}

/// Runs `sampan diff` with the arguments after the verb.
pub fn run(arguments: &[String]) -> ExitCode {
    let wish = match Arguments::parse(arguments) {
        Ok(Wish::Run(arguments)) => arguments,
        Ok(Wish::Help) => {
            // Whoever closed standard output does not want the text.
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let is_terminal = std::io::stdout().is_terminal();
    let text = if wish.list {
        list(&wish.admin, is_terminal)
    } else {
        diff(&wish.admin, wish.from, wish.to, is_terminal)
    };
    match text {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The generations that a proxy keeps, as a table.
///
/// # Errors
/// The proxy cannot be asked, or does not know.
pub fn list(admin: &Admin, is_terminal: bool) -> Result<String, DiffError> {
    Ok(render::list(&ask(admin, "/generations")?, Style::of(is_terminal)))
}

/// What changed between two generations.
///
/// # Errors
/// The proxy cannot be asked, or a generation is not kept.
pub fn diff(
    admin: &Admin,
    from: Option<u64>,
    to: Option<u64>,
    is_terminal: bool,
) -> Result<String, DiffError> {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let path = format!("/generations/diff?from={}&to={}", number(from), number(to));
    Ok(render::diff(&ask(admin, &path)?, Style::of(is_terminal)))
}

fn ask(admin: &Admin, path: &str) -> Result<Json, DiffError> {
    let (status, body) = client::fetch(admin, path)?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body)
            .map_err(|error| DiffError::Foreign(admin.clone(), error.to_string()));
    }
    let text = String::from_utf8_lossy(&body);
    let first = render::clean(text.lines().next().unwrap_or_default());
    // Envoy, and whatever else, has no such page; ours says which generations it keeps.
    if status == StatusCode::NOT_FOUND && first.starts_with("generation ") {
        return Err(DiffError::Refused(admin.clone(), first));
    }
    Err(DiffError::Foreign(admin.clone(), format!("{status}: {first}")))
}
