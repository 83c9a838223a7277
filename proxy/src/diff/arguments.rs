//! The arguments of `sampan diff`.

use std::net::SocketAddr;

use super::Admin;

/// The help text.
pub(super) const HELP: &str = "\
Usage: sampan diff [--admin ADDRESS] [FROM [TO]]
       sampan diff [--admin ADDRESS] --list

Prints what changed in a running proxy's configuration, resource by resource and field by field: after generation FROM
up to generation TO. Without TO: up to the newest. Without both: what the last generation changed. The last 16
generations are kept. Colours are used on a terminal, unless NO_COLOR is set.

  --admin ADDRESS   the admin API: HOST:PORT with an IP address, the path of a unix socket, or @NAME for an abstract one
                    (default: 127.0.0.1:9901)
  --list            the generations instead of a difference: when, how many connections, what changed
  -h, --help        this text
";

/// Where the admin API is, unless told otherwise.
const ADMIN: Admin = Admin::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901));

/// What is wrong with the arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    /// It is none of those in the help text.
    #[error("unknown argument '{0}'")]
    Unknown(String),
    /// A generation is no number.
    #[error("'{0}' is no generation: a whole number is one; `sampan diff --list` shows those that are kept")]
    Generation(String),
    /// No address is given, or none that can be connected to.
    #[error("'--admin' needs an IP address with a port such as 127.0.0.1:9901, or the path of a unix socket")]
    Admin,
    /// A list has no numbers.
    #[error("'--list' shows all generations: leave FROM and TO out")]
    List,
    /// The order is wrong.
    #[error("generation {0} does not come before generation {1}")]
    Order(u64, u64),
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A difference or a list.
    Run(Arguments),
    /// The help text.
    Help,
}

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// `--admin`
    pub(super) admin: Admin,
    /// `--list`
    pub(super) list: bool,
    /// FROM
    pub(super) from: Option<u64>,
    /// TO
    pub(super) to: Option<u64>,
}

impl Arguments {
    /// Reads them.
    pub(super) fn parse(given: &[String]) -> Result<Wish, ArgumentError> {
        let mut arguments = Self { admin: ADMIN, list: false, from: None, to: None };
        let mut words = given.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "-h" | "--help" => return Ok(Wish::Help),
                "--list" => arguments.list = true,
                "--admin" => arguments.admin = admin(words.next())?,
                word if word.starts_with("--admin=") => {
                    arguments.admin = admin(word.split_once('=').map(|(_, value)| value))?;
                }
                word if word.starts_with('-') => return Err(ArgumentError::Unknown(word.to_owned())),
                word => {
                    let number = word.parse().map_err(|_| ArgumentError::Generation(word.to_owned()))?;
                    match (arguments.from, arguments.to) {
                        (None, _) => arguments.from = Some(number),
                        (_, None) => arguments.to = Some(number),
                        _ => return Err(ArgumentError::Unknown(word.to_owned())),
                    }
                }
            }
        }
        match (arguments.list, arguments.from, arguments.to) {
            (true, Some(_), _) => Err(ArgumentError::List),
            (_, Some(from), Some(to)) if from >= to => Err(ArgumentError::Order(from, to)),
            _ => Ok(Wish::Run(arguments)),
        }
    }
}

fn admin(text: Option<&str>) -> Result<Admin, ArgumentError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(ArgumentError::Admin)?;
    if text.starts_with(['/', '@', '.']) {
        return Ok(Admin::Unix(text.to_owned()));
    }
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map(Admin::Tcp).map_err(|_| ArgumentError::Admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wish, ArgumentError> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn run(line: &str) -> Arguments {
        match parse(line) {
            Ok(Wish::Run(arguments)) => arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(run(""), Arguments { admin: ADMIN, list: false, from: None, to: None });
        let there = Admin::Tcp("[::1]:80".parse().unwrap());
        assert_eq!(
            run("--admin [::1]:80 3 7"),
            Arguments { admin: there, list: false, from: Some(3), to: Some(7) }
        );
        assert_eq!(run("--admin=/run/admin.sock --list").admin, Admin::Unix("/run/admin.sock".to_owned()));
        assert_eq!(
            run("5 --admin @a"),
            Arguments { admin: Admin::Unix("@a".into()), from: Some(5), ..run("") }
        );
        assert_eq!(run("--admin http://localhost:9901/").admin, ADMIN);
        assert_eq!(parse("3 --help"), Ok(Wish::Help));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(parse("--from 3"), Err(ArgumentError::Unknown("--from".to_owned())));
        assert_eq!(parse("1 2 3"), Err(ArgumentError::Unknown("3".to_owned())));
        assert_eq!(parse("newest"), Err(ArgumentError::Generation("newest".to_owned())));
        assert_eq!(parse("7 3"), Err(ArgumentError::Order(7, 3)));
        assert_eq!(parse("--list 3"), Err(ArgumentError::List));
        for line in ["--admin", "--admin=", "--admin 9901", "--admin nowhere"] {
            assert_eq!(parse(line), Err(ArgumentError::Admin), "{line}");
        }
    }
}
