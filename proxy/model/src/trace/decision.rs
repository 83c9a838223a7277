//! Which requests are traced: Envoy's sampling rules, and the digit of `x-request-id` by which one proxy tells the next.
//!
//! ```text
//! id says so already? --no--> x-client-trace-id, client_sampling --> x-envoy-force-trace --> random_sampling
//!   then overall_sampling, of which none of these gets out
//! ```
//!
//! Shares of random and overall sampling are held against the first eight digits of the request id, so that every proxy on the way
//! chooses the same requests.

use crate::fraction::{FractionalPercent, RuntimeValues};

/// Why a request is traced, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reason {
    /// It is not.
    #[default]
    NotTraceable,
    /// By chance.
    Sampling,
    /// `x-envoy-force-trace`
    ServiceForced,
    /// `x-client-trace-id`
    ClientForced,
}

impl Reason {
    /// Whether the request is traced.
    pub fn is_traced(self) -> bool {
        self != Reason::NotTraceable
    }

    /// The digit of a request id.
    const fn digit(self) -> u8 {
        match self {
            Reason::NotTraceable => b'4',
            Reason::Sampling => b'9',
            Reason::ServiceForced => b'a',
            Reason::ClientForced => b'b',
        }
    }

    /// What a request id says.
    pub fn of_id(id: &[u8]) -> Reason {
        let digit = if id.len() == ID_LENGTH { id[DIGIT] } else { b'4' };
        let all = [Reason::Sampling, Reason::ServiceForced, Reason::ClientForced];
        all.into_iter().find(|reason| reason.digit() == digit).unwrap_or_default()
    }

    /// Writes the reason into a request id; false if that is no UUID.
    pub fn pack(self, id: &mut [u8]) -> bool {
        let fits = id.len() == ID_LENGTH;
        if fits {
            id[DIGIT] = self.digit();
        }
        fits
    }
}

/// The length of a UUID in text, and the place of its version.
const ID_LENGTH: usize = 36;
const DIGIT: usize = 14;

/// The number that Envoy takes a request id for: its first eight hexadecimal digits.
pub fn number_of_id(id: &[u8]) -> Option<u64> {
    super::context::hex64(id.get(..8)?).ok()
}

/// The shares of `HttpConnectionManager.Tracing`, or of a route's in their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// `client_sampling`
    pub client: FractionalPercent,
    /// `random_sampling`
    pub random: FractionalPercent,
    /// `overall_sampling`
    pub overall: FractionalPercent,
}

impl Default for Rates {
    fn default() -> Self {
        let all = FractionalPercent::ALWAYS;
        Self { client: all, random: all, overall: all }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// It has `x-client-trace-id`.
    pub client_id: bool,
    /// It has `x-envoy-force-trace`.
    pub forced: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// Why it is traced, or not.
    pub reason: Reason,
    /// The request's id does not say so yet.
    pub is_news: bool,
}

impl Rates {
    /// Whether a request with this id is traced. `random` is of all 64 bits, for requests that a client wants to have traced.
    pub fn decide(&self, id: &[u8], asked: Asked, runtime: &dyn RuntimeValues, random: u64) -> Decision {
        let Some(number) = number_of_id(id) else { return Decision::default() };
        let number = number % 10_000;
        let within =
            |key, share: FractionalPercent, number| runtime.fraction(key).unwrap_or(share).contains(number);
        if !within(OVERALL, self.overall, number) {
            return Decision { reason: Reason::NotTraceable, is_news: true };
        }
        let known = Reason::of_id(id);
        let reason = match known {
            Reason::NotTraceable if asked.client_id && within(CLIENT, self.client, random) => {
                Reason::ClientForced
            }
            Reason::NotTraceable if asked.forced => Reason::ServiceForced,
            Reason::NotTraceable if within(RANDOM, self.random, number) => Reason::Sampling,
            known => known,
        };
        Decision { reason, is_news: reason != known }
    }
}

const CLIENT: &str = "tracing.client_enabled";
const RANDOM: &str = "tracing.random_sampling";
const OVERALL: &str = "tracing.global_enabled";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fraction::{Denominator, NoRuntime};

    const PLAIN: &[u8] = b"00000032-0000-4000-8000-000000000001";

    fn with(reason: Reason) -> Vec<u8> {
        let mut id = PLAIN.to_vec();
        assert!(reason.pack(&mut id));
        id
    }

    fn rates(client: u32, random: u32, overall: u32) -> Rates {
        let of = |numerator| FractionalPercent { numerator, denominator: Denominator::TenThousand };
        Rates { client: of(client), random: of(random), overall: of(overall) }
    }

    #[test]
    fn ids_carry_the_reason() {
        for reason in [Reason::NotTraceable, Reason::Sampling, Reason::ServiceForced, Reason::ClientForced] {
            assert_eq!(Reason::of_id(&with(reason)), reason);
        }
        assert_eq!(with(Reason::ClientForced), b"00000032-0000-b000-8000-000000000001");
        assert_eq!(Reason::of_id(b"9999"), Reason::NotTraceable);
        assert!(!Reason::Sampling.pack(&mut [b'1'; 35]));
    }

    #[test]
    fn the_id_decides_what_chance_would() {
        let none = Asked::default();
        let decide =
            |id: &[u8], random, overall| rates(0, random, overall).decide(id, none, &NoRuntime, 0).reason;
        // 0x32 = 50
        assert_eq!(decide(PLAIN, 51, 10_000), Reason::Sampling);
        assert_eq!(decide(PLAIN, 50, 10_000), Reason::NotTraceable);
        assert_eq!(decide(PLAIN, 51, 50), Reason::NotTraceable);
        assert_eq!(decide(&with(Reason::ServiceForced), 0, 51), Reason::ServiceForced);
        assert_eq!(decide(&with(Reason::ServiceForced), 0, 50), Reason::NotTraceable);
        assert_eq!(decide(b"short", 10_000, 10_000), Reason::NotTraceable);
        assert_eq!(decide(b"00000032", 51, 51), Reason::Sampling, "what is no UUID has a number too");
    }

    #[test]
    fn who_asks_is_traced() {
        let asked = Asked { client_id: true, forced: true };
        let decide =
            |client, asked, random| rates(client, 0, 10_000).decide(PLAIN, asked, &NoRuntime, random).reason;
        assert_eq!(decide(1, asked, 0), Reason::ClientForced);
        assert_eq!(decide(1, asked, 1), Reason::ServiceForced);
        assert_eq!(decide(0, Asked { forced: false, ..asked }, 0), Reason::NotTraceable);
    }

    #[test]
    fn the_runtime_goes_before_the_configuration() {
        struct Never;
        impl RuntimeValues for Never {
            fn fraction(&self, key: &str) -> Option<FractionalPercent> {
                (key == "tracing.global_enabled").then_some(FractionalPercent::NEVER)
            }
            fn integer(&self, _: &str) -> Option<u64> {
                None
            }
        }
        let all = rates(10_000, 10_000, 10_000);
        let excluded = Decision { reason: Reason::NotTraceable, is_news: true };
        assert_eq!(all.decide(PLAIN, Asked::default(), &Never, 0), excluded);
    }
}
