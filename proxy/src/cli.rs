//! The command line: every flag of Envoy 1.40 with Envoy's meaning, and `--strict` of our own.
//!
//! Launchers (pilot-agent, kuma-dp, func-e, consul) exec this binary in Envoy's place, so the wording of an
//! error, the exit code and the shape of `--version` are part of the contract. One table, [`flags::FLAGS`],
//! drives the parser, the help text and the list of flags that are accepted without effect.
//!
//! Rules taken from the original: a repeated flag is an error, everything after `--` is ignored, a value may
//! start with a dash, a flag and its value are two words (`--flag=value` is refused), `-h` and `--version` act
//! where they stand.
//!
//! Called by `main.rs`; [`Options`] travels from there to the bootstrap loader and to the admin server.

pub mod flags;
mod options;
mod parse;
#[cfg(test)]
mod tests;
mod usage;
pub mod version;

pub use options::{DrainStrategy, IpVersion, LastGood, Mode, Options};
pub use parse::parse;
pub use usage::UsageError;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the proxy (or validate its configuration) with these options.
    Run(Box<Options>),
    /// Print this text to standard output and exit with success.
    Print(String),
    /// `sampan demo ...`: the arguments after the verb.
    Demo(Vec<String>),
    /// `sampan diff ...`: the arguments after the verb.
    Diff(Vec<String>),
}
