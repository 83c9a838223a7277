//! Help and error texts, in the shape of the argument parser that Envoy uses, because wrappers and tests
//! compare them.

use std::fmt::Write as _;

use super::flags::{FLAGS, Flag, Kind};

/// A command line that cannot be accepted. `Display` is the whole text for standard error; exit with 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// The arguments do not parse: an unknown or repeated flag, or a value that is missing or malformed.
    #[error("{}", self.parse_error_text())]
    Parse {
        /// The program name, for the usage text.
        program: String,
        /// The argument as it is shown to the user.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The arguments parse, and a value or a combination is refused.
    #[error("error: {0}\n")]
    Refused(String),
}

impl UsageError {
    fn parse_error_text(&self) -> String {
        let Self::Parse { program, argument, reason } = self else { return String::new() };
        let mut text = format!("PARSE ERROR: Argument: {argument}\n             {reason}\n\nBrief USAGE: \n");
        text.push_str(&synopsis(program));
        let _ = write!(
            text,
            "\nFor complete USAGE and HELP type: \n   {program} --help\n\n{argument} -- {reason}\n"
        );
        text
    }
}

/// The text of `--help`.
pub(super) fn help(program: &str) -> String {
    let mut text = format!("\nUSAGE: \n\n{}\n\nWhere: \n\n", synopsis(program));
    for flag in FLAGS {
        let long = spelled(&format!("--{}", flag.long), flag.kind);
        match flag.short {
            Some(short) => {
                let _ = write!(text, "   {},  {long}", spelled(&format!("-{short}"), flag.kind));
            }
            None => {
                let _ = write!(text, "   {long}");
            }
        }
        text.push_str(if flag.kind == Kind::Repeated { "  (accepted multiple times)\n" } else { "\n" });
        text.push_str(&wrap(flag.help, 5, 75));
        text.push('\n');
    }
    text.push_str(
        "   --,  --ignore_rest\n     Ignores the rest of the labeled arguments following this flag.\n\n\
         \x20  --version\n     Displays version information and exits.\n\n\
         \x20  -h,  --help\n     Displays usage information and exits.\n\n\n",
    );
    let _ = writeln!(
        text,
        "   sampan, a drop-in for envoy\n\n   {program} demo\n     Runs the proxy, a control plane and upstreams, and changes everything under load.\n\n   \
         {program} diff\n     Prints what the last update changed in a running proxy's configuration.\n"
    );
    text
}

fn spelled(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Switch => name.to_owned(),
        Kind::Text | Kind::Repeated => format!("{name} <string>"),
        Kind::Number => format!("{name} <uint32_t>"),
    }
}

fn synopsis(program: &str) -> String {
    let indent = (program.len() + 5).min(40);
    let mut words: Vec<String> = FLAGS.iter().map(bracketed).collect();
    words.extend(["[--]", "[--version]", "[-h]"].map(str::to_owned));
    let body = wrap(&words.join(" "), indent, 75);
    format!("   {program}  {}", body.trim_start())
}

fn bracketed(flag: &Flag) -> String {
    let name = match flag.short {
        Some(short) => format!("-{short}"),
        None => format!("--{}", flag.long),
    };
    let dots = if flag.kind == Kind::Repeated { " ..." } else { "" };
    format!("[{}]{dots}", spelled(&name, flag.kind))
}

/// Breaks text into lines of at most `width` columns, each after `indent` spaces.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    let pad = " ".repeat(indent);
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column == 0 {
            out.push_str(&pad);
            column = indent;
        } else if column + 1 + word.len() > width {
            out.push('\n');
            out.push_str(&pad);
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
    out
}
