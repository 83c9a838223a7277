//! Entry point of `compare`: the runner, or (as a child of the runner) the backend.

use anyhow::Result;
use clap::Parser;
use sampan_benches::cli::{Cli, Command};
use sampan_benches::{backend, run};
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Backend) => backend::serve().map(|()| ExitCode::SUCCESS),
        None => run::compare(&cli),
    }
}
