//! Response flags: why a stream ended as it did, one bit each, in Envoy's spelling.

use std::fmt;

macro_rules! flags {
    ($($name:ident = $short:literal, $long:literal;)*) => {
        /// One reason.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Flag { $(#[doc = $long] $name,)* }

        impl Flag {
            /// All flags, in the order in which Envoy prints them.
            pub const ALL: &'static [Flag] = &[$(Flag::$name,)*];

            /// The letters of `%RESPONSE_FLAGS%`.
            pub const fn short(self) -> &'static str {
                match self { $(Flag::$name => $short,)* }
            }

            /// The word of `%RESPONSE_FLAGS_LONG%`.
            pub const fn long(self) -> &'static str {
                match self { $(Flag::$name => $long,)* }
            }

            /// The flag of these letters.
            pub fn from_short(short: &str) -> Option<Flag> {
                Flag::ALL.iter().copied().find(|f| f.short() == short)
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck = "LH", "FailedLocalHealthCheck";
    NoHealthyUpstream = "UH", "NoHealthyUpstream";
    UpstreamRequestTimeout = "UT", "UpstreamRequestTimeout";
    LocalReset = "LR", "LocalReset";
    UpstreamRemoteReset = "UR", "UpstreamRemoteReset";
    UpstreamConnectionFailure = "UF", "UpstreamConnectionFailure";
    UpstreamConnectionTermination = "UC", "UpstreamConnectionTermination";
    UpstreamOverflow = "UO", "UpstreamOverflow";
    NoRouteFound = "NR", "NoRouteFound";
    DelayInjected = "DI", "DelayInjected";
    FaultInjected = "FI", "FaultInjected";
    RateLimited = "RL", "RateLimited";
    UnauthorizedExternalService = "UAEX", "UnauthorizedExternalService";
    RateLimitServiceError = "RLSE", "RateLimitServiceError";
    DownstreamConnectionTermination = "DC", "DownstreamConnectionTermination";
    UpstreamRetryLimitExceeded = "URX", "UpstreamRetryLimitExceeded";
    StreamIdleTimeout = "SI", "StreamIdleTimeout";
    InvalidEnvoyRequestHeaders = "IH", "InvalidEnvoyRequestHeaders";
    DownstreamProtocolError = "DPE", "DownstreamProtocolError";
    UpstreamMaxStreamDurationReached = "UMSDR", "UpstreamMaxStreamDurationReached";
    ResponseFromCacheFilter = "RFCF", "ResponseFromCacheFilter";
    NoFilterConfigFound = "NFCF", "NoFilterConfigFound";
    DurationTimeout = "DT", "DurationTimeout";
    UpstreamProtocolError = "UPE", "UpstreamProtocolError";
    NoClusterFound = "NC", "NoClusterFound";
    OverloadManagerTerminated = "OM", "OverloadManagerTerminated";
    DnsResolutionFailed = "DF", "DnsResolutionFailed";
    DropOverload = "DO", "DropOverload";
    DownstreamRemoteReset = "DR", "DownstreamRemoteReset";
    UnconditionalDropOverload = "UDO", "UnconditionalDropOverload";
}

/// A bit that is no flag: Envoy prints flags in the order in which they were set, which differs in this one case.
const RETRY_LIMIT_LEADS: u32 = 1 << 31;

/// A set of [`Flag`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);

    /// The set of one flag.
    pub const fn of(flag: Flag) -> Self {
        Flags(1 << flag as u8)
    }

    /// Adds a flag.
    pub fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Adds `URX`, and has it printed before the reason of the last attempt, as for HTTP requests.
    pub fn set_retry_limit(&mut self) {
        self.set(Flag::UpstreamRetryLimitExceeded);
        self.0 |= RETRY_LIMIT_LEADS;
    }

    /// Adds all flags of `other`.
    pub fn merge(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Whether a flag is set.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// What tells sets apart.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the sets share a flag.
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 & !RETRY_LIMIT_LEADS != 0
    }

    /// The flags that are set.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        let limit = Flag::UpstreamRetryLimitExceeded;
        let leads = self.0 & RETRY_LIMIT_LEADS != 0;
        let others = Flag::ALL.iter().copied().filter(move |f| self.has(*f) && !(leads && *f == limit));
        leads.then_some(limit).into_iter().chain(others)
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let mut set = Flags::NONE;
        flags.into_iter().for_each(|f| set.set(f));
        set
    }
}

/// As `%RESPONSE_FLAGS%` prints it: `UF,URX`, or `-`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut comma = "";
        for flag in self.iter() {
            write!(f, "{comma}{}", flag.short())?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retry_limit_may_lead() {
        let mut flags = Flags::of(Flag::UpstreamConnectionFailure);
        flags.set(Flag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.to_string(), "UF,URX");
        flags.set_retry_limit();
        assert_eq!(flags.to_string(), "URX,UF");
        assert!(!flags.intersects(Flags::of(Flag::NoRouteFound)));
    }

    #[test]
    fn thirty_flags_print_and_parse() {
        assert_eq!(Flag::ALL.len(), 30);
        for &flag in Flag::ALL {
            assert_eq!(Flag::from_short(flag.short()), Some(flag));
        }
        let both: Flags =
            [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure].into_iter().collect();
        assert_eq!(both.to_string(), "UF,URX");
        assert_eq!(Flags::NONE.to_string(), "-");
    }
}
