//! `just layout`: makes `proxy/layout.ld`; see [`sampan_benches::layout`].

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;

/// Writes the linker script that gathers the functions which the proxy runs when it starts and serves.
#[derive(Debug, Parser)]
#[command(name = "layout", version)]
struct Cli {
    /// A release build made with SAMPAN_LAYOUT=off, not stripped.
    #[arg(long)]
    sampan: PathBuf,
    /// Where the script goes.
    #[arg(long, default_value = "proxy/layout.ld")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    sampan_benches::layout::make(&cli.sampan, &cli.out)
}
