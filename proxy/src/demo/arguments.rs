//! The arguments of `sampan demo`.

use std::time::Duration;

/// The help text.
pub(super) const HELP: &str = "\
Usage: sampan demo [--port N] [--seconds N] [--rate N] [--forever]

Starts a small xDS control plane, upstreams v1 and v2, and the proxy, which takes all of its configuration over gRPC.
Under a constant load, the control plane shifts traffic from v1 to v2, adds and removes an endpoint, and sends one bad
route. Prints what to curl, a line per second, what the proxy answers, and at the end the requests lost and the
generations of the configuration. Exits with 1 if a request was lost.

  --port N      the proxy's port on 127.0.0.1 (default: 10000, or any free one)
  --seconds N   how long the script takes, 7 to 86400 (default: 21)
  --rate N      requests per second of the load, 0 to 5000 (default: 200)
  --forever     play the script again and again, until Ctrl-C
  -h, --help    this text
";

/// The load's rate, in requests per second, unless another is asked for.
const RATE: u32 = 200;
/// The highest: this is a demonstration, not a benchmark.
const MAX_RATE: u32 = 5000;
/// How long the script takes, in seconds.
const SECONDS: u32 = 21;
/// Each of its steps has a second at least, so that it shows in a line.
const MIN_SECONDS: u32 = super::script::Script::STEPS;

/// What is wrong with the arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentError {
    /// It is none of those in the help text.
    #[error("unknown argument '{0}'")]
    Unknown(String),
    /// It was given twice.
    #[error("'{0}' is given twice")]
    Twice(&'static str),
    /// The number is missing or is none.
    #[error("'{0}' needs a whole number from {1} to {2}")]
    Number(&'static str, u32, u32),
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The demo.
    Run(Arguments),
    /// The help text.
    Help,
}

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// `--port`
    pub(super) port: Option<u16>,
    /// `--seconds`
    pub(super) seconds: Duration,
    /// `--rate`
    pub(super) rate: u32,
    /// `--forever`
    pub(super) forever: bool,
}

impl Arguments {
    /// Reads them.
    pub(super) fn parse(given: &[String]) -> Result<Wish, ArgumentError> {
        let (mut port, mut seconds, mut rate, mut forever) = (None, None, None, false);
        let mut words = given.iter().flat_map(|word| match word.split_once('=') {
            Some((name, value)) => vec![name, value],
            None => vec![word.as_str()],
        });
        while let Some(word) = words.next() {
            match word {
                "-h" | "--help" => return Ok(Wish::Help),
                "--port" => set(&mut port, "--port", words.next(), 1, u16::MAX.into())?,
                "--seconds" => set(&mut seconds, "--seconds", words.next(), MIN_SECONDS, 86_400)?,
                "--rate" => set(&mut rate, "--rate", words.next(), 0, MAX_RATE)?,
                "--forever" if forever => return Err(ArgumentError::Twice("--forever")),
                "--forever" => forever = true,
                other => return Err(ArgumentError::Unknown(other.to_owned())),
            }
        }
        Ok(Wish::Run(Self {
            port: port.and_then(|port| u16::try_from(port).ok()),
            seconds: Duration::from_secs(seconds.unwrap_or(SECONDS).into()),
            rate: rate.unwrap_or(RATE),
            forever,
        }))
    }
}

fn set(
    place: &mut Option<u32>,
    name: &'static str,
    text: Option<&str>,
    least: u32,
    most: u32,
) -> Result<(), ArgumentError> {
    let number = text.and_then(|text| text.parse().ok()).filter(|number| (least..=most).contains(number));
    let number = number.ok_or(ArgumentError::Number(name, least, most))?;
    match place.replace(number) {
        None => Ok(()),
        Some(_) => Err(ArgumentError::Twice(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wish, ArgumentError> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_asked_for() {
        let seconds = Duration::from_secs(SECONDS.into());
        let plain = Arguments { port: None, seconds, rate: RATE, forever: false };
        assert_eq!(parse(""), Ok(Wish::Run(plain)));
        let all = Arguments { port: Some(8080), seconds: Duration::from_secs(7), rate: 0, forever: true };
        assert_eq!(parse("--port 8080 --seconds=7 --rate 0 --forever"), Ok(Wish::Run(all)));
        assert_eq!(parse("--port 1 -h"), Ok(Wish::Help));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(parse("--fast"), Err(ArgumentError::Unknown("--fast".to_owned())));
        assert_eq!(parse("--port 1 --port 2"), Err(ArgumentError::Twice("--port")));
        for line in ["--port", "--port 0", "--port 65536", "--port x", "--port=", "--port -1"] {
            assert_eq!(parse(line), Err(ArgumentError::Number("--port", 1, 65_535)), "{line}");
        }
        assert_eq!(parse("--forever --forever"), Err(ArgumentError::Twice("--forever")));
        assert_eq!(parse("--seconds 6"), Err(ArgumentError::Number("--seconds", 7, 86_400)));
        assert_eq!(parse("--rate 5001"), Err(ArgumentError::Number("--rate", 0, 5000)));
    }
}
