//! From arguments to an [`Invocation`]: clap does the splitting, the table says what exists, and the errors
//! are put in Envoy's words.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::flags::{FLAGS, Flag, Kind};
use super::{Invocation, Options, UsageError, usage, version};

const UNKNOWN: &str = "Couldn't find match for argument";

/// Reads the arguments of the process, the program name included.
///
/// # Errors
/// What the user got wrong, as the text to print.
pub fn parse<I>(arguments: I) -> Result<Invocation, UsageError>
where
    I: IntoIterator<Item = String>,
{
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "sampan".to_owned());
    // What follows `--` belongs to somebody else (func-e marks its runs there).
    let words: Vec<String> = arguments.take_while(|a| a != "--" && a != "--ignore_rest").collect();
    let rest = || words.iter().skip(1).cloned().collect();
    match words.first().map(String::as_str) {
        Some("demo") => return Ok(Invocation::Demo(rest())),
        Some("diff") => return Ok(Invocation::Diff(rest())),
        _ => {}
    }
    if let Some(word) = joined(&words) {
        return Err(fault(&program, word.to_owned(), UNKNOWN));
    }
    match command().no_binary_name(true).try_get_matches_from(&words) {
        Ok(matches) => run_or_print(&program, &matches),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Invocation::Print(usage::help(&program))),
            ErrorKind::DisplayVersion => Ok(Invocation::Print(version::text(&program))),
            _ => Err(in_envoys_words(&program, &words, &error)),
        },
    }
}

/// The first word that holds a flag and its value in one (`--mode=serve`, `-linfo`): clap would take it, the
/// original does not, and a launcher must not come to depend on it.
fn joined(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
        let is_long = word.starts_with("--");
        if matches!(word, "-h" | "--help" | "--version") {
            return None;
        }
        let named = |flag: &&Flag| {
            if is_long { flag.long == name } else { flag.short.is_some_and(|short| name.chars().eq([short])) }
        };
        match FLAGS.iter().find(named) {
            Some(flag) if flag.kind != Kind::Switch => drop(words.next()),
            None if is_long && name.contains('=') => return Some(word),
            None if !is_long && name.chars().count() > 1 => return Some(word),
            _ => {}
        }
    }
    None
}

fn run_or_print(program: &str, matches: &ArgMatches) -> Result<Invocation, UsageError> {
    for flag in FLAGS {
        if flag.kind != Kind::Repeated && times(matches, flag) > 1 {
            return Err(fault(program, flag.shown(), "Argument already set!"));
        }
    }
    if matches.get_count("hot-restart-version") > 0 {
        return Ok(Invocation::Print(version::HOT_RESTART.to_owned()));
    }
    let given = Given { program, matches };
    Ok(Invocation::Run(Box::new(Options::from_flags(&given)?)))
}

/// The values as given, by flag name.
pub(super) struct Given<'a> {
    program: &'a str,
    matches: &'a ArgMatches,
}

impl Given<'_> {
    pub(super) fn switch(&self, name: &str) -> bool {
        self.matches.get_count(name) > 0
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.matches.get_one::<String>(name).map(String::as_str)
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
    }

    pub(super) fn number(&self, name: &str, default: u32) -> Result<u32, UsageError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|_| {
            fault(
                self.program,
                format!("(--{name})"),
                &format!("Couldn't read argument value from string '{text}'"),
            )
        })
    }
}

fn command() -> Command {
    let mut command = Command::new("sampan").disable_help_flag(true).disable_version_flag(true);
    for flag in FLAGS {
        let mut arg = Arg::new(flag.long).long(flag.long);
        if let Some(short) = flag.short {
            arg = arg.short(short);
        }
        arg = match flag.kind {
            Kind::Switch => arg.action(ArgAction::Count),
            // Appended, so that a repetition is seen and refused here with Envoy's words. A value may start
            // with a dash: the original takes the next word whatever it is.
            _ => arg.action(ArgAction::Append).num_args(1).allow_hyphen_values(true),
        };
        command = command.arg(arg);
    }
    command
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help))
        .arg(Arg::new("version").long("version").action(ArgAction::Version))
        .version("printed by version.rs")
}

fn times(matches: &ArgMatches, flag: &Flag) -> usize {
    match flag.kind {
        Kind::Switch => usize::from(matches.get_count(flag.long)),
        _ => matches.get_many::<String>(flag.long).map_or(0, Iterator::count),
    }
}

fn in_envoys_words(program: &str, words: &[String], error: &clap::Error) -> UsageError {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    if error.kind() == ErrorKind::UnknownArgument {
        // clap names a bundle such as `-lx` by its first unknown letter; show the word as it was typed.
        let typed = words.iter().find(|w| **w == named || w.starts_with(&named)).unwrap_or(&named);
        return fault(program, typed.clone(), UNKNOWN);
    }
    // clap writes `--log-level <log-level>`; only the name is wanted.
    let name = named.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
    let shown = FLAGS.iter().find(|f| f.long == name).map_or(named.clone(), Flag::shown);
    let reason = match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            "Missing a value for this argument!"
        }
        ErrorKind::TooManyValues => "This argument takes no value",
        _ => "Couldn't read this argument",
    };
    fault(program, shown, reason)
}

fn fault(program: &str, argument: String, reason: &str) -> UsageError {
    UsageError::Parse { program: program.to_owned(), argument, reason: reason.to_owned() }
}
