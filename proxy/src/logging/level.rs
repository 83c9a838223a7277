//! The severity scale of the process log, with the names that `-l` and `/logging` use.

/// From the most to the least talkative. `Off` is a threshold only: no line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Everything.
    Trace,
    /// For developers.
    Debug,
    /// Normal events.
    Info,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
    /// The process cannot go on.
    Critical,
    /// Nothing.
    Off,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical, Self::Off];

    /// The level of that name; `warn` is `warning`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "warn" {
            return Some(Self::Warning);
        }
        Self::ALL.into_iter().find(|l| l.name() == text)
    }

    /// `trace`, `debug`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }

    /// The one-letter form of `%L`.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Trace => 'T',
            Self::Debug => 'D',
            Self::Info => 'I',
            Self::Warning => 'W',
            Self::Error => 'E',
            Self::Critical => 'C',
            Self::Off => 'O',
        }
    }

    pub(super) fn from_index(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for (index, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(Level::parse(level.name()), Some(level));
            assert_eq!(Level::from_index(index as u8), level);
        }
        assert_eq!(Level::parse("warn"), Some(Level::Warning));
        assert_eq!(Level::parse("INFO"), None);
    }
}
