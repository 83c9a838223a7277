//! The arguments of `sampan demo`.

use std::time::Duration;

/// The help text.
pub(super) const HELP: &str = "\
Usage: sampan demo [--port N] [--seconds N] [--rate N]

Starts two small upstreams, v1 and v2, and the proxy in front of them with a 90/10 split; prints what to curl,
where the admin page is, and a line per second while a light load runs.

  --port N      the proxy's port on 127.0.0.1 (default: 10000, or any free one)
  --seconds N   end by itself after N seconds (default: Ctrl-C ends it)
  --rate N      requests per second of the load, 0 to 5000 (default: 200)
  -h, --help    this text
";

/// The load's rate, in requests per second, unless another is asked for.
const RATE: u32 = 200;
/// The highest: this is a demonstration, not a benchmark.
const MAX_RATE: u32 = 5000;

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
    pub(super) seconds: Option<Duration>,
    /// `--rate`
    pub(super) rate: u32,
}

impl Arguments {
    /// Reads them.
    pub(super) fn parse(given: &[String]) -> Result<Wish, ArgumentError> {
        let (mut port, mut seconds, mut rate) = (None, None, None);
        let mut words = given.iter().flat_map(|word| match word.split_once('=') {
            Some((name, value)) => vec![name, value],
            None => vec![word.as_str()],
        });
        while let Some(word) = words.next() {
            match word {
                "-h" | "--help" => return Ok(Wish::Help),
                "--port" => set(&mut port, "--port", words.next(), 1, u16::MAX.into())?,
                "--seconds" => set(&mut seconds, "--seconds", words.next(), 1, 86_400)?,
                "--rate" => set(&mut rate, "--rate", words.next(), 0, MAX_RATE)?,
                other => return Err(ArgumentError::Unknown(other.to_owned())),
            }
        }
        Ok(Wish::Run(Self {
            port: port.and_then(|port| u16::try_from(port).ok()),
            seconds: seconds.map(|seconds| Duration::from_secs(seconds.into())),
            rate: rate.unwrap_or(RATE),
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
        let plain = Arguments { port: None, seconds: None, rate: RATE };
        assert_eq!(parse(""), Ok(Wish::Run(plain)));
        let all = Arguments { port: Some(8080), seconds: Some(Duration::from_secs(3)), rate: 0 };
        assert_eq!(parse("--port 8080 --seconds=3 --rate 0"), Ok(Wish::Run(all)));
        assert_eq!(parse("--port 1 -h"), Ok(Wish::Help));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(parse("--fast"), Err(ArgumentError::Unknown("--fast".to_owned())));
        assert_eq!(parse("--port 1 --port 2"), Err(ArgumentError::Twice("--port")));
        for line in ["--port", "--port 0", "--port 65536", "--port x", "--port=", "--port -1"] {
            assert_eq!(parse(line), Err(ArgumentError::Number("--port", 1, 65_535)), "{line}");
        }
        assert_eq!(parse("--rate 5001"), Err(ArgumentError::Number("--rate", 0, 5000)));
    }
}
