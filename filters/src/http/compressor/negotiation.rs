//! How several compressors of one chain choose which of them works, from what the client accepts (RFC 9110 §12.5.3).
//!
//! Each of them leaves what it offers in the filter state when it sees the request. The first that sees the response chooses for all.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::info::StateObject;
use sampan_filters_api::{Headers, StreamInfo};

use super::ContentTypes;

/// The key of the offers in the filter state.
const STATE: &str = "envoy.filters.http.compressor";

/// What one compressor offers.
pub(super) struct Offer {
    /// As `content-encoding` names it.
    pub name: &'static str,
    /// `choose_first`
    pub choose_first: bool,
    /// What it compresses.
    pub types: Arc<ContentTypes>,
}

/// All offers of a chain, in its order, and the choice.
#[derive(Default)]
pub(super) struct Offers {
    all: RefCell<Vec<Offer>>,
    chosen: OnceCell<Chosen>,
}

impl StateObject for Offers {
    fn plain(&self) -> String {
        let names: Vec<_> = self.all.borrow().iter().map(|offer| offer.name).collect();
        names.join(",")
    }
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// The coding that it likes best of those it names.
    Named(&'static str),
    /// It takes any.
    Any(&'static str),
    /// It wants none.
    Identity,
    /// Nothing that it names is on offer.
    Nothing,
}

impl Chosen {
    /// Whether a coding was chosen.
    pub fn is(self, name: &str) -> bool {
        matches!(self, Chosen::Named(chosen) | Chosen::Any(chosen) if chosen == name)
    }
}

impl Offers {
    /// Those of a stream.
    pub fn of(info: &mut StreamInfo) -> Rc<Self> {
        let known = info.filter_state.object(STATE).cloned();
        let known = known.and_then(|object| {
            let object: Rc<dyn Any> = object;
            object.downcast::<Self>().ok()
        });
        known.unwrap_or_else(|| {
            let fresh = Rc::new(Self::default());
            info.filter_state.set(STATE, fresh.clone());
            fresh
        })
    }

    /// Adds one.
    pub fn add(&self, offer: Offer) {
        self.all.borrow_mut().push(offer);
    }

    /// The choice for a response.
    pub fn choose(&self, accepts: &[u8], response: &Headers) -> Chosen {
        *self.chosen.get_or_init(|| choose(accepts, &self.all.borrow(), response))
    }
}

fn choose(accepts: &[u8], all: &[Offer], response: &Headers) -> Chosen {
    // Of several offers of one coding, the first counts.
    let mut offers: Vec<(&'static str, bool)> = Vec::new();
    for offer in all.iter().filter(|offer| offer.types.allow(response)) {
        if offers.iter().all(|(name, _)| *name != offer.name) {
            offers.push((offer.name, offer.choose_first));
        }
    }
    let wishes: Vec<(&[u8], u64)> = accepts.split(|byte| *byte == b',').filter_map(wish).collect();
    offers
        .retain(|(name, _)| !wishes.iter().any(|(wish, quality)| *wish == name.as_bytes() && *quality == 0));
    let mut best: (&[u8], u64) = (IDENTITY, 0);
    for &(wish, quality) in &wishes {
        let offer = offers.iter().find(|(name, _)| name.as_bytes() == wish);
        let possible = offer.is_some() || wish == IDENTITY || wish == ANY;
        let preferred = quality == best.1 && offer.is_some_and(|(_, first)| *first);
        if possible && (quality > best.1 || preferred) {
            best = (wish, quality);
        }
    }
    let named = offers.iter().find(|(name, _)| name.as_bytes() == best.0).map(|(name, _)| *name);
    match (best, named) {
        ((_, 0), _) => Chosen::Nothing,
        (_, Some(name)) => Chosen::Named(name),
        ((ANY, _), None) => offers.first().map_or(Chosen::Nothing, |(name, _)| Chosen::Any(name)),
        _ => Chosen::Identity,
    }
}

const IDENTITY: &[u8] = b"identity";
const ANY: &[u8] = b"*";

/// The quality of what is wanted without saying how much, in parts of it.
const WHOLE: u64 = 1_000_000;

/// A coding with its quality; none where that is no number.
fn wish(text: &[u8]) -> Option<(&[u8], u64)> {
    let mut parts = text.splitn(2, |byte| *byte == b';');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let Some(parameter) = parts.next() else { return (!name.is_empty()).then_some((name, WHOLE)) };
    let mut parameter = parameter.splitn(2, |byte| *byte == b'=');
    let key = parameter.next().unwrap_or_default().trim_ascii();
    match parameter.next() {
        Some(value) if key.eq_ignore_ascii_case(b"q") => {
            let quality: f64 = std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
            Some((name, (quality * WHOLE as f64) as u64))
        }
        _ => Some((name, WHOLE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(accepts: &str, first: &[&str]) -> Chosen {
        let types = Arc::new(ContentTypes::Usual);
        let offer = |name: &'static str| Offer {
            name,
            choose_first: first.contains(&name),
            types: Arc::clone(&types),
        };
        choose(accepts.as_bytes(), &["br", "zstd", "gzip"].map(offer), &Headers::new())
    }

    #[test]
    fn the_best_quality_wins_then_the_first_wish() {
        for (accepts, expected) in [
            ("gzip, br, zstd", Chosen::Named("gzip")),
            ("zstd, gzip;q=1", Chosen::Named("zstd")),
            ("br;q=0.5, zstd;q=0.7", Chosen::Named("zstd")),
            ("*", Chosen::Any("br")),
            ("br;q=0, *", Chosen::Any("zstd")),
            ("identity", Chosen::Identity),
            ("gzip; q=0.2, identity;q=0.3", Chosen::Identity),
            ("", Chosen::Nothing),
            ("deflate", Chosen::Nothing),
            ("GZIP", Chosen::Nothing),
            ("gzip;q=0", Chosen::Nothing),
            ("gzip;q=x", Chosen::Nothing),
            ("*;q=0", Chosen::Nothing),
            ("gzip;level=3", Chosen::Named("gzip")),
        ] {
            assert_eq!(offered(accepts, &[]), expected, "{accepts}");
        }
    }

    #[test]
    fn whoever_is_chosen_first_wins_a_tie() {
        let first = &["br", "zstd"];
        assert_eq!(offered("gzip, br, zstd", first), Chosen::Named("zstd"));
        assert_eq!(offered("zstd, br, gzip", first), Chosen::Named("br"));
        assert_eq!(offered("*, br", first), Chosen::Named("br"));
        assert_eq!(offered("gzip, br;q=0.9", first), Chosen::Named("gzip"));
    }
}
